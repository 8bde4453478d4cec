"""The reading store on MariaDB, through asyncmy (the extra ``mariadb``)."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy.engine import URL

from fieldstation.core.clock import Clock
from fieldstation.domains.telemetry.store.mariadb_connections import Server
from fieldstation.domains.telemetry.store.mariadb_dialect import MariadbDialect
from fieldstation.domains.telemetry.store.served import (
    READS_WAITING_MAX,
    WRITES_WAITING_MAX,
    ServedStore,
)

POLL_INTERVAL_S = 0.1


class MariadbReadingStore(ServedStore):
    """A ``ReadingStore`` in a MariaDB database.

    The server tells nobody of a commit, so what other nodes committed is looked for ten times a
    second: one search in the primary key.
    """

    def __init__(
        self,
        url: URL,
        *,
        node_id: str,
        clock: Clock,
        readers: int = 4,
        writes_waiting_max: int = WRITES_WAITING_MAX,
        reads_waiting_max: int = READS_WAITING_MAX,
    ) -> None:
        super().__init__(
            Server(url, readers=readers),
            MariadbDialect(),
            node_id=node_id,
            clock=clock,
            writes_waiting_max=writes_waiting_max,
            reads_waiting_max=reads_waiting_max,
        )

    @asynccontextmanager
    async def _hearing_commits(self) -> AsyncGenerator["Polling", None]:
        yield Polling()


class Polling:
    """Says after a while that there may be something new."""

    async def wait(self) -> None:
        await asyncio.sleep(POLL_INTERVAL_S)
