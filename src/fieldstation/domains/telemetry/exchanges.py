"""QoS 2 messages whose readings are stored and whose packet ids are not yet free."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Exchange(NamedTuple):
    """The packet id of a QoS 2 message, in the session that began at ``began_us``."""

    organization_id: str
    client_id: str
    began_us: int
    packet_id: int


class ExchangeStore(Protocol):
    """Keeps packet ids beside the readings; see also ``ReadingStore.append``."""

    async def exchanges(self, client: tuple[str, str] | None = None) -> list[Exchange]:
        """Return what has not ended, of a client of an organization or of all."""
        ...

    async def forget_exchanges(self, sessions: Sequence[tuple[str, str, int]]) -> None:
        """Delete those of sessions that are over: organization, client and when it began."""
        ...
