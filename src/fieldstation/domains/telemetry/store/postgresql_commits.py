"""How nodes on one PostgreSQL database learn of each other's commits: LISTEN and NOTIFY.

The notification belongs to the transaction, so it arrives when the entry can be read, and it costs
no round trip of its own. A slow poll beside it finds what a lost notification would have told.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.store.postgresql_connections import Server

if TYPE_CHECKING:
    pass

CHANNEL = "fieldstation_readings"
POLL_INTERVAL_S = 1.0


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
