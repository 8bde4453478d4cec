"""A PostgreSQL server is killed while a station seals and rolls up on it: nothing lost or doubled.

The station is caught in the middle of the transaction that moves readings: a lock holds it there.
It goes on by itself once the server is back.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.faults.oracle import together
from tests.faults.own_postgresql import OwnPostgresql, own_postgresql
from tests.faults.past import past_of
from tests.faults.senders import HttpSender, acknowledged, run_senders
from tests.faults.stored import rows_of_postgresql
from tests.faults.upkeep import Upkeep
from tests.faults.victims import Victim, victim
from tests.station_process import StationProcess
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

DAYS = 10
TABLES = ("rollup", "chunk", "sealed")
"""Rollups before they are written, of which there is one slice only; readings before they leave
their chunks, and in between."""
REFUSALS = 40
"""A sender tries again every 50 ms or so: the server is away for some seconds."""
Fault = Callable[[Victim, OwnPostgresql], Awaitable[None]]
CAUGHT = (
    "SELECT pid FROM pg_locks WHERE relation = '{}'::regclass AND NOT granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@asynccontextmanager
async def caught_at(url: str, table: str) -> AsyncIterator[tuple[asyncpg.Connection, int]]:
    """Wait until a transaction of the station is about to write to a table, and hold it there.

    Yields the connection that holds it, and its process id.
    """
    connection = await asyncpg.connect(url, timeout=5)
    try:
        await connection.execute(f"BEGIN; LOCK TABLE {table} IN SHARE MODE")

        async def is_caught() -> bool:
            return bool(await connection.fetch(CAUGHT.format(table)))

        await wait_until(is_caught)
        yield connection, await connection.fetchval(CAUGHT.format(table))
    finally:
        connection.terminate()


async def until_everybody_sent(found: Victim) -> None:
    begun = {sender: sender.acknowledgements for sender in found.senders}
    await wait_until(lambda: all(s.acknowledgements > begun[s] for s in found.senders))


async def until_refused(found: Victim) -> None:
    """Wait until requests are refused for a while and nothing is acknowledged."""
    http = [sender for sender in found.senders if isinstance(sender, HttpSender)]
    begun = [sender.statuses[503] for sender in http]
    done = acknowledged(found.senders)
    await wait_until(
        lambda: all(s.statuses[503] > n + REFUSALS for s, n in zip(http, begun, strict=True))
    )
    assert acknowledged(found.senders) == done


async def kill_at_each(found: Victim, server: OwnPostgresql) -> None:
    await until_everybody_sent(found)
    for table in TABLES:  # the next one at once, while there is something left to move
        async with caught_at(server.url, table):
            await asyncio.to_thread(server.kill)
        await until_refused(found)
        await asyncio.to_thread(server.start)
    await until_everybody_sent(found)


async def terminate_at_each(found: Victim, server: OwnPostgresql) -> None:
    await until_everybody_sent(found)
    for table in TABLES:
        async with caught_at(server.url, table) as (connection, pid):
            assert await connection.fetchval(f"SELECT pg_terminate_backend({pid})")
    await until_everybody_sent(found)


@pytest.mark.parametrize("fault", [kill_at_each, terminate_at_each])
async def test_every_reading_stands_once_though_its_database_is_lost_while_it_is_sealed(
    tmp_path: Path, fault: Fault
) -> None:
    with (
        own_postgresql() as server,
        victim(StationProcess(tmp_path / "data", database_url=server.url)) as found,
        past_of(found.station, days=DAYS) as past,
    ):

        async def lose_the_database() -> None:
            await fault(found, server)
            for sender in found.senders:
                sender.finish()

        await run_senders(found.senders, lose_the_database)
        assert found.journal.acknowledged == found.journal.sent.keys()
        upkeep = Upkeep(server.url, before_us=past.end_us)
        await upkeep.until_done()
        found.journal.verify_by_api(found.client)
        past.verify()
        assert found.station.stop() == 0
        journal = together(found.journal, past.journal)
        assert journal.verify(await rows_of_postgresql(server.url)).keys() == journal.sent.keys()
        await upkeep.forget_readings()
        found.station.start()
        past.verify_buckets()
