"""What the MQTT server keeps, in the station's tables; packet ids of readings beside these."""

from collections.abc import Sequence
from dataclasses import replace

from fieldstation.db.database import Database
from fieldstation.domains.messaging import service as messaging
from fieldstation.domains.messaging.schemas import (
    Change,
    KeptSession,
    Retained,
    SessionCleared,
    SessionEnded,
    SessionState,
)
from fieldstation.domains.telemetry.ports import ReadingStore


class KeptState:
    """Loads and saves for one node; on PostgreSQL there may be others."""

    def __init__(self, database: Database, store: ReadingStore, *, node_id: str) -> None:
        self._database = database
        self._store = store
        self._node_id = node_id
        self._is_shared = database.dialect != "sqlite"

    async def load_retained(self) -> Sequence[Retained]:
        async with self._database.reading() as session:
            return await messaging.load_retained(session)

    async def load_sessions(self) -> Sequence[KeptSession]:
        async with self._database.transaction() as session:
            kept = await messaging.load_sessions(
                session, node_id=self._node_id, everything=not self._is_shared
            )
        stored: dict[tuple[str, str, int], list[int]] = {}
        for exchange in await self._store.exchanges():
            stored.setdefault(exchange[:3], []).append(exchange.packet_id)
        return [replace(each, stored=tuple(stored.get(key_of(each.state), ()))) for each in kept]

    async def save(self, changes: Sequence[Change]) -> None:
        async with self._database.transaction() as session:
            await messaging.save(session, changes, node_id=self._node_id, fenced=self._is_shared)
        over = [
            key_of(change)
            for change in changes
            if isinstance(change, SessionEnded | SessionCleared) and change.began_us
        ]
        if over:
            await self._store.forget_exchanges(over)


def key_of(change: SessionState | SessionEnded | SessionCleared) -> tuple[str, str, int]:
    """Name a session so that no later one of its client has the same name."""
    return (change.organization_id, change.client_id, change.began_us)
