"""What a store says of its size and of its database, also to who only looks, on every store."""

import pytest

from fieldstation.core.errors import Busy
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import (
    DAY_US,
    HOUR_US,
    NOON_US,
    Given,
    append,
    everything,
    make_series,
)
from tests.contracts.seals import AT_ONCE, seal_all
from tests.contracts.store_insides import failing_write, rows_in

pytestmark = pytest.mark.anyio

NAMES = {"sqlite": "SQLite 3.", "postgresql": "PostgreSQL 1", "mariadb": "MariaDB 1"}


async def test_each_form_of_readings_is_measured(database: ReadingDatabase) -> None:
    database.seal_limits = AT_ONCE
    store = await database.open()
    empty = await store.sizes()
    assert not any(vars_of(empty))
    series = await make_series(store, 2)
    given = [Given(row.id, NOON_US + at * HOUR_US, at / 7) for row in series for at in range(30)]
    await append(store, given)
    await store.flush()
    assert await seal_all(store) == 60
    await append(store, [Given(series[0].id, NOON_US + 31 * HOUR_US + at) for at in range(7)])
    await store.flush()
    while await store.roll_up(before_us=NOON_US + 3 * DAY_US):
        pass
    await append(store, [Given(series[0].id, NOON_US + 32 * HOUR_US)])

    found = await store.sizes()

    assert (found.sealed_readings, found.chunk_readings) == (60, 7)
    assert found.sealed_bytes == await bytes_in(database, "SELECT data FROM sealed")
    assert found.chunk_bytes == await bytes_in(database, "SELECT data FROM chunk")
    assert found.rollup_bytes == await bytes_in(
        database, "SELECT data FROM rollup"
    ) + await bytes_in(database, "SELECT sketches FROM rollup WHERE sketches IS NOT NULL")
    assert found.rollup_bytes > found.sealed_bytes > found.chunk_bytes > 0


def vars_of(sizes: object) -> list[int]:
    return [getattr(sizes, name) for name in type(sizes).__slots__]  # type: ignore[attr-defined]


async def bytes_in(database: ReadingDatabase, statement: str) -> int:
    return sum(len(data) for (data,) in await rows_in(database, statement))


async def test_who_only_looks_sees_everything_and_finishes_nothing(
    database: ReadingDatabase,
) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    given = [Given(series.id, NOON_US + at * HOUR_US, float(at)) for at in range(9)]
    await append(store, given[:6])
    with failing_write(store, 1), pytest.raises(Busy):
        await store.flush()
    await append(store, given[6:])
    tally = "SELECT name, amount FROM tally ORDER BY name"
    before = await rows_in(database, tally)
    assert "flushing_through" in dict(before)
    looking = database.make("doctor")

    await looking.open_beside()

    assert await everything(looking, [series]) == given
    assert (await looking.totals()).readings == 9
    assert (await looking.totals()).newest_us == given[-1].ts_us
    assert (await looking.sizes()).chunk_readings == 0
    await looking.close()
    assert await rows_in(database, tally) == before
    assert await rows_in(database, "SELECT count FROM chunk") == []


async def test_a_store_names_its_database(
    database: ReadingDatabase, store: ReadingStoreUnderTest
) -> None:
    assert (await store.description()).startswith(NAMES[database.kind])
