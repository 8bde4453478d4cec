"""QoS 2 messages of a client: their packet ids are kept with what they hold until PUBREL."""

from collections.abc import Callable

from fieldstation.adapters.mqtt_server.keeper import Keeper, Then
from fieldstation.adapters.mqtt_server.ports import MqttStation
from fieldstation.adapters.mqtt_server.sessions import Session
from fieldstation.domains.telemetry.exchanges import Exchange


class Exchanges:
    """Those of one connection; a session that is not kept has none that need keeping."""

    def __init__(
        self,
        station: MqttStation,
        keeper: Keeper,
        session: Session,
        *,
        organization_id: str,
        client_id: str,
    ) -> None:
        self._station = station
        self._keeper = keeper
        self._session = session
        self._key = (organization_id, client_id, session.began_us)

    @property
    def can_begin(self) -> bool:
        """Whether the session that a packet id is kept for is saved itself."""
        journal = self._session.journal
        return journal is None or journal.is_saved

    def keep(self, packet_id: int) -> None:
        """Commit a packet id with the message that the station took just now."""
        if self._session.journal is not None:
            self._session.stored.add(packet_id)
            self._station.keep_exchange(Exchange(*self._key, packet_id))

    def is_ending(self, packet_id: int) -> bool:
        """Whether PUBREL came already and the end is not yet saved."""
        session = self._session
        return packet_id in session.stored and packet_id not in session.received

    def end(self, packet_id: int, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """PUBREL came: free the packet id, and call ``then`` once that is saved."""

        def keep_on() -> None:
            self._session.received[packet_id] = True
            otherwise()

        def free() -> None:
            self._session.stored.discard(packet_id)
            if self._session.journal is None:
                then()
            else:
                self._session.journal.received(packet_id, held=False)
                self._keeper.tell(Then(then))

        if packet_id in self._session.stored:
            self._station.end_exchange(Exchange(*self._key, packet_id), Settled(free, keep_on))
        else:
            free()


class Settled:
    """A receipt for one thing; see ``ports.Receipt``."""

    def __init__(self, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
        self._then = then
        self._otherwise = otherwise

    def settle(self, count: int) -> None:  # noqa: ARG002 - it is one
        self._then()

    def fail(self, count: int) -> None:  # noqa: ARG002 - it is one
        self._otherwise()
