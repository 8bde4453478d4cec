"""Whether there is more than a bound is found out without reading everything."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fieldstation.domains.exports.counting import holds_more
from fieldstation.domains.telemetry.ports import Bucket, SeriesRow
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore
from tests.contracts.reading_databases import ReadingDatabase, reading_database
from tests.contracts.readings import NOON_US, SECOND_US, Given, append, make_series

pytestmark = pytest.mark.anyio
EVER: dict[str, int] = {"start_us": 0, "end_us": 1 << 60}


class Watched(SqliteReadingStore):
    """Counts what the counting asks for."""

    counted = 0

    async def buckets(self, series: Sequence[SeriesRow], **given: Any) -> list[Bucket]:
        found = await super().buckets(series, **given)
        self.counted += sum(bucket.count for bucket in found)
        return found


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[ReadingDatabase]:
    async with reading_database(f"sqlite:///{tmp_path / 'telemetry.db'}") as database:
        yield database


async def watched(database: ReadingDatabase) -> Watched:
    path = Path(database.url.removeprefix("sqlite:///"))
    store = Watched(path, node_id="node-a", clock=database.clock)
    await store.open()
    return store


async def test_a_store_without_as_much_is_not_asked_at_all(database: ReadingDatabase) -> None:
    store = await watched(database)
    try:
        series = await make_series(store, 1)
        await append(store, [Given(series[0].id, NOON_US + at, at) for at in range(100)])
        assert not await holds_more(store, series, **EVER, readings_max=100)
        assert store.counted == 0
        assert await holds_more(store, series, **EVER, readings_max=99)
    finally:
        await store.close()


async def test_the_bound_is_exact_and_counting_ends_soon_behind_it(
    database: ReadingDatabase,
) -> None:
    store = await watched(database)
    try:
        one, other = await make_series(store, 2)
        rows = [Given(one.id, NOON_US + at * SECOND_US, at) for at in range(40_000)]
        await append(store, rows)
        await append(store, [Given(other.id, NOON_US, 1.0)])
        assert not await holds_more(store, [other], **EVER, readings_max=1)
        assert not await holds_more(store, [one], **EVER, readings_max=40_000)
        assert await holds_more(store, [one, other], **EVER, readings_max=40_000)
        part: dict[str, int] = {"start_us": NOON_US, "end_us": NOON_US + 1_000 * SECOND_US}
        assert not await holds_more(store, [one], **part, readings_max=1_000)
        assert await holds_more(store, [one], **part, readings_max=999)

        store.counted = 0
        assert await holds_more(store, [one], **EVER, readings_max=1_000)
        assert 1_000 < store.counted <= 2_500
    finally:
        await store.close()
