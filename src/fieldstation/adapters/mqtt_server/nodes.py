"""The other nodes as the MQTT server sees them: through the station's tables and its bus."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from fieldstation.bus.ports import Bus
from fieldstation.core.clock import Clock
from fieldstation.core.errors import Busy
from fieldstation.core.events import Event
from fieldstation.db.database import Database
from fieldstation.domains.messaging import ownership
from fieldstation.domains.messaging.events import MessagePublished, SessionsTaken, TopicsHeard
from fieldstation.domains.messaging.schemas import Claim, Handover
from fieldstation.domains.telemetry.ports import ReadingStore

HANDOVER_S_MAX = 1.0
LOOK_INTERVAL_S = 0.03


class StationNodes:
    """Implements ``MqttNodes``."""

    def __init__(
        self, *, database: Database, store: ReadingStore, bus: Bus, node_id: str, clock: Clock
    ) -> None:
        self.node_id = node_id
        self._database = database
        self._store = store
        self._bus = bus
        self._clock = clock

    @property
    def has_bus(self) -> bool:
        return self._bus.kind != "memory"

    @property
    def connection(self) -> int | None:
        return self._bus.interruptions if self._bus.is_connected else None

    async def claim(
        self, organization_id: str, client_id: str, *, held_epoch: int | None, fresh: bool
    ) -> Claim:
        now_us = self._clock.now_us()
        async with self._database.transaction() as session:
            epoch, former = await ownership.take(
                session,
                organization_id=organization_id,
                client_id=client_id,
                node_id=self.node_id,
                held_epoch=held_epoch,
                fresh=fresh,
                now_us=now_us,
            )
        if former is None:
            return Claim(epoch, existed=epoch != now_us)
        if former:
            await self._wait_for(former, Handover(organization_id, client_id, epoch, fresh))
        async with self._database.transaction() as session:
            is_ours, kept = await ownership.settle_in(
                session, organization_id, client_id, epoch=epoch
            )
        if not is_ours:
            raise Busy("Another node serves this client.")
        if kept is not None and not kept.state.expiry_s:
            kept = None
        if kept is not None:
            exchanges = await self._store.exchanges((organization_id, client_id))
            begun = [each for each in exchanges if each.began_us == kept.state.began_us]
            kept = replace(kept, stored=tuple(each.packet_id for each in begun))
        return Claim(epoch, existed=True, kept=kept)

    async def _wait_for(self, node_id: str, handover: Handover) -> None:
        """Wait until a node that is there has handed over, at most a second."""
        give_up_at_s = self._clock.monotonic() + HANDOVER_S_MAX
        async with self._database.reading() as session:
            if not await ownership.is_there(session, node_id, now_us=self._clock.now_us()):
                return
        while self._clock.monotonic() < give_up_at_s:
            async with self._database.reading() as session:
                if await ownership.is_handed_over(session, node_id, handover):
                    return
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def purge(self) -> None:
        """Delete what nodes that are gone would have deleted."""
        async with self._database.transaction() as session:
            await ownership.purge(session, self._clock)

    async def show_life(self) -> None:
        await self._note_seen(self._clock.now_us())

    async def say_goodbye(self) -> None:
        await self._note_seen(0)

    async def _note_seen(self, at_us: int) -> None:
        async with self._database.transaction() as session:
            await ownership.note_seen(session, self.node_id, at_us)

    async def wanted(self) -> Sequence[Handover]:
        async with self._database.reading() as session:
            return await ownership.wanted_from(session, self.node_id)

    async def handed_over(self, given_up: Sequence[Handover]) -> None:
        async with self._database.transaction() as session:
            await ownership.hand_over(session, self.node_id, list(given_up))

    def when_wanted(self, wake: Callable[[], None]) -> None:
        def hear(event: SessionsTaken) -> None:
            if event.node_id == self.node_id:
                wake()

        self._bus.subscribe(SessionsTaken, hear)

    def publish(self, event: Event) -> None:
        self._bus.publish(event)

    def listen(
        self, heard: Callable[[TopicsHeard], None], published: Callable[[MessagePublished], None]
    ) -> None:
        self._bus.subscribe(TopicsHeard, heard)
        self._bus.subscribe(MessagePublished, published)


def other_nodes(
    database: Database, store: ReadingStore, bus: Bus, *, node_id: str, clock: Clock
) -> StationNodes | None:
    """Return the other nodes that there may be: a SQLite file has one."""
    if database.dialect == "sqlite":
        return None
    return StationNodes(database=database, store=store, bus=bus, node_id=node_id, clock=clock)
