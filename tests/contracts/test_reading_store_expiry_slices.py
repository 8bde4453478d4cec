"""How much one slice of a deletion takes, on every store."""

import pytest

from fieldstation.domains.telemetry.store.expiry import ExpiryLimits
from tests.contracts.expiries import SMALL_EXPIRIES
from tests.contracts.reading_databases import ReadingDatabase
from tests.contracts.readings import MINUTE_US, Given, make_series
from tests.contracts.seals import AT_ONCE
from tests.contracts.store_insides import rows_in
from tests.contracts.test_reading_store_expiry import CUT_US, keep
from tests.contracts.test_reading_store_rollups import (
    BEHIND_US,
    DAYS,
    MIDNIGHT_US,
    half_hourly,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("seals", [False, True], ids=["in chunks", "sealed"])
async def test_a_slice_takes_so_much_and_no_more(database: ReadingDatabase, seals: bool) -> None:
    database.seal_limits = AT_ONCE
    database.expiry_limits = ExpiryLimits(
        series_per_slice=2, chunks_per_slice=5, sealed_per_slice=1, rollups_per_slice=3
    )
    store = await database.open()
    series = await make_series(store, 3)
    await keep(store, half_hourly(series), seals=seals)
    ids = [row.id for row in series]
    table = "sealed" if seals else "chunk"
    left = []

    while await store.expire_slice(ids, raw_before_us=BEHIND_US, rollups_before_us=None):
        left.append((await rows_in(database, f"SELECT COUNT(*) FROM {table}"))[0][0])  # noqa: S608

    whole = 3 if seals else 3 * 24 * DAYS
    steps = 1 if seals else 5
    assert len(left) >= whole // steps
    assert all(0 < more - less <= steps for more, less in zip([whole, *left], left, strict=False))
    days = []
    while await store.expire_slice(ids, raw_before_us=None, rollups_before_us=BEHIND_US):
        rows = await rows_in(database, "SELECT COUNT(*) FROM rollup WHERE hours = 1")
        days.append(rows[0][0])
    assert days == [9, 6, 3, 0]


async def test_details_bound_a_slice_too(database: ReadingDatabase) -> None:
    database.seal_limits = AT_ONCE
    database.expiry_limits = SMALL_EXPIRIES
    store = await database.open()
    (series,) = await make_series(store, 1)
    given = [
        Given(series.id, MIDNIGHT_US + at * 20 * MINUTE_US, at / 7, metadata=b"{}")
        for at in range(12)
    ]
    await keep(store, given)
    left = []

    while await store.expire_slice([series.id], raw_before_us=CUT_US, rollups_before_us=None):
        left.append((await rows_in(database, "SELECT COUNT(*) FROM reading_detail"))[0][0])

    assert left == [9, 6, 3, 0]
