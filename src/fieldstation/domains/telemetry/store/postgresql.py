"""The reading store on PostgreSQL, through asyncpg (the extra ``postgresql``)."""

from contextlib import AbstractAsyncContextManager

from fieldstation.core.clock import Clock
from fieldstation.domains.telemetry.store.dialect import PostgresqlDialect
from fieldstation.domains.telemetry.store.postgresql_commits import (
    CHANNEL,
    ENTER,
    Commits,
    committing,
    hearing_commits,
)
from fieldstation.domains.telemetry.store.postgresql_connections import Server
from fieldstation.domains.telemetry.store.recording import Committing
from fieldstation.domains.telemetry.store.served import (
    READS_WAITING_MAX,
    WRITES_WAITING_MAX,
    ServedStore,
)
from fieldstation.domains.telemetry.store.steps import Steps


class PostgresqlReadingStore(ServedStore):
    """A ``ReadingStore`` in a PostgreSQL database."""

    def __init__(
        self,
        dsn: str,
        *,
        node_id: str,
        clock: Clock,
        readers: int = 4,
        writes_waiting_max: int = WRITES_WAITING_MAX,
        reads_waiting_max: int = READS_WAITING_MAX,
    ) -> None:
        self._postgresql = Server(dsn, readers=readers)
        super().__init__(
            self._postgresql,
            PostgresqlDialect(),
            node_id=node_id,
            clock=clock,
            writes_waiting_max=writes_waiting_max,
            reads_waiting_max=reads_waiting_max,
        )

    def _hearing_commits(self) -> AbstractAsyncContextManager[Commits]:
        return hearing_commits(self._postgresql, besides=self._node_id)

    def _commit_entry(self) -> str:
        return committing(self._node_id)

    async def _enter(self, steps: Steps[Committing]) -> Committing | None:
        return await self._postgresql.enter(steps, ENTER, CHANNEL)
