"""Who did something, and what it was."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a user, a device, or the station itself; ``peer`` is the client's address."""

    kind: Literal["user", "device", "station"]
    id: str | None = None
    peer: str | None = None


STATION = Actor("station")


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to one entity; ``before`` and ``after`` hold the fields that changed, never a
    secret."""

    action: str
    entity_kind: str
    entity_id: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
