"""How nodes on one PostgreSQL database learn of each other's commits: LISTEN and NOTIFY.

The notification belongs to the transaction, so it arrives when the entry can be read, and it costs
no round trip of its own. A slow poll beside it finds what a lost notification would have told.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.store.postgresql_connections import ALONE_IF_FREE, Server
from fieldstation.domains.telemetry.store.recording import LOG_NAMES

CHANNEL = "fieldstation_readings"
POLL_INTERVAL_S = 1.0

ENTER = (
    f"WITH turn AS MATERIALIZED (SELECT {ALONE_IF_FREE} AS taken), entry AS ("
    f"INSERT INTO intake_batch ({', '.join(LOG_NAMES)})"
    " SELECT $1::bigint, $2, $3::bigint, $4::bigint, $5::bigint, $6::bytea FROM turn WHERE taken"
    " AND NOT EXISTS (SELECT FROM intake_batch WHERE id >= $1) RETURNING node_id)"
    " SELECT pg_notify($7, node_id) FROM entry"
)
"""Commits a log entry by itself and tells the others on a channel, if nobody else writes now and
no entry is newer. The key ``id`` decides between two that look at the same moment.
"""


def committing(node_id: str) -> str:
    """Return the statements that commit a log entry of this node and tell the others."""
    quoted = node_id.replace("'", "''")
    return f"NOTIFY {CHANNEL}, '{quoted}'; COMMIT"


class Commits:
    """Whether another node committed since somebody waited last."""

    def __init__(self) -> None:
        self._heard = asyncio.Event()
        self._lost = False

    def hear(self) -> None:
        self._heard.set()

    def lose(self) -> None:
        """Note that the connection is gone: nothing more is heard."""
        self._lost = True
        self._heard.set()

    async def wait(self) -> None:
        """Return when another node may have committed. Raises ``Busy`` when that is unknowable."""
        try:
            async with asyncio.timeout(POLL_INTERVAL_S):
                await self._heard.wait()
        except TimeoutError:
            return
        self._heard.clear()
        if self._lost:
            raise Busy("The connection that hears of other nodes' commits was lost.")


@asynccontextmanager
async def hearing_commits(server: Server, *, besides: str) -> AsyncGenerator[Commits, None]:
    """Hear of every node's commits but one's own. Raises ``Busy``."""
    commits = Commits()

    def told(_connection: object, _pid: int, _channel: str, node_id: object) -> None:
        if node_id != besides:
            commits.hear()

    def lost(_connection: object) -> None:
        commits.lose()

    async with server.session() as connection:
        connection.add_termination_listener(lost)
        await connection.add_listener(CHANNEL, told)
        yield commits
