"""What the forecast says of an organization whose readings are known, and of whose disk."""

import shutil
from pathlib import Path

import pytest

from fieldstation.domains.identity.schemas.callers import Caller
from fieldstation.domains.retention.desk import MEASURED_FOR_S
from fieldstation.domains.retention.jobs import Retention
from fieldstation.domains.retention.measuring import SAMPLE_MAX, sampled
from fieldstation.domains.retention.schemas import Forecast
from tests.contracts.readings import HOUR_US, NOON_US, Given, append
from tests.contracts.seals import AT_ONCE
from tests.domains.retention.conftest import Field, put

pytestmark = pytest.mark.anyio

DAYS = 28
PER_DAY = 24


async def send(field: Field, caller: Caller, *, series: int = 1, days: int = DAYS) -> None:
    """Store a reading an hour of each series up to now, sealed and rolled up."""
    device = await field.device(caller)
    for number in range(series):
        row = await field.series(caller, device, f"t{number}")
        rows = [
            Given(row.id, NOON_US - at * HOUR_US, float(at % 9))
            for at in range(1, PER_DAY * days + 1)
        ]
        await append(field.store, rows)
    await field.store.flush()
    field.store.seal_limits = AT_ONCE
    while await field.store.seal_slice():
        pass
    while await field.store.roll_up(before_us=NOON_US):
        pass


async def forecast(node: Retention, caller: Caller) -> Forecast:
    return (await node.desk.read(caller)).forecast


async def test_it_grows_as_it_did_and_nothing_of_others_counts(
    field: Field, tmp_path: Path
) -> None:
    node = field.open(tmp_path)
    ours, theirs = await field.organization("ours"), await field.organization("theirs")
    await send(field, ours)
    await send(field, theirs, series=5)

    found = await forecast(node, ours)

    assert (found.series, found.readings) == (1, PER_DAY * DAYS)
    assert found.readings_per_day == pytest.approx(PER_DAY, abs=1)
    assert found.bytes_per_reading == pytest.approx(found.raw_bytes / (PER_DAY * DAYS), abs=0.01)
    assert found.bytes_steady is None
    stored = found.raw_bytes + found.rollup_bytes
    assert found.bytes_in_30_days > stored + 29 * PER_DAY * (found.bytes_per_reading or 0)
    growth = (found.bytes_in_365_days - stored) / (found.bytes_in_30_days - stored)
    assert growth == pytest.approx(365 / 30, rel=0.01)
    assert (await forecast(node, theirs)).readings == 5 * PER_DAY * DAYS


async def test_under_rules_it_ends_where_the_days_that_are_kept_end(
    field: Field, tmp_path: Path
) -> None:
    node, ours = field.open(tmp_path), await field.organization("ours")
    await send(field, ours)
    forever = await forecast(node, ours)

    plan = await put(node, ours, {"raw_days": 7, "rollup_days": 14}, dry_run=True)

    limit = plan.forecast.bytes_steady
    assert limit is not None
    assert limit == plan.forecast.bytes_in_365_days
    expected = forever.raw_bytes * 7 / DAYS + forever.rollup_bytes * 14 / DAYS
    assert limit == pytest.approx(expected, rel=0.15)
    assert plan.removes.readings == pytest.approx(PER_DAY * (DAYS - 7.5), abs=2)
    assert plan.removes.bytes == pytest.approx(
        forever.raw_bytes * (DAYS - 7.5) / DAYS + forever.rollup_bytes * (DAYS - 14.5) / DAYS,
        rel=0.15,
    )


async def test_an_organization_without_readings(field: Field, tmp_path: Path) -> None:
    node, ours = field.open(tmp_path), await field.organization("ours")
    found = await forecast(node, ours)
    assert (found.series, found.readings, found.readings_per_day) == (0, 0, 0)
    assert (found.bytes_per_reading, found.bytes_in_365_days, found.bytes_steady) == (None, 0, 0)


async def test_many_series_are_measured_by_some_of_them(field: Field, tmp_path: Path) -> None:
    node, ours = field.open(tmp_path), await field.organization("ours")
    await send(field, ours, series=2 * SAMPLE_MAX + 7, days=1)

    found = await forecast(node, ours)

    assert 0 < max(field.store.measured) <= SAMPLE_MAX
    assert found.series == 2 * SAMPLE_MAX + 7
    assert found.readings == PER_DAY * found.series


def test_a_sample_is_from_all_over_and_stands_for_all() -> None:
    for count in (1, 199, 200, 201, 399, 400, 401, 100_000):
        sample, scale = sampled(list(range(count)))
        assert len(sample) <= SAMPLE_MAX
        assert len(sample) * scale == pytest.approx(count)
        assert sample[-1] >= count * 0.99 - 1


async def test_what_was_measured_is_kept_for_ten_minutes(field: Field, tmp_path: Path) -> None:
    node, ours = field.open(tmp_path), await field.organization("ours")
    await send(field, ours)
    first = await forecast(node, ours)
    listed = field.store.listed

    field.clock.advance(MEASURED_FOR_S - 1)
    again = await forecast(node, ours)  # what is free on the disk is looked at each time
    assert again.model_copy(update={"disk": None}) == first.model_copy(update={"disk": None})
    assert field.store.listed == listed
    field.clock.advance(2)
    assert (await forecast(node, ours)).measured_at > first.measured_at


async def test_the_disk_is_the_station_organizations_alone(field: Field, tmp_path: Path) -> None:
    first, second = await field.organization("first"), await field.organization("second")
    await send(field, second)

    node = field.open(tmp_path)
    named = field.open(tmp_path, STATION_ORGANIZATION="second")

    disk = (await forecast(node, first)).disk
    assert disk is not None
    assert disk.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)
    assert disk.full_at is None
    assert (await forecast(node, second)).disk is None
    assert (await forecast(named, first)).disk is None
    assert (await forecast(named, second)).disk is not None


async def test_beside_a_database_server_no_disk_is_known(field: Field, tmp_path: Path) -> None:
    first = await field.organization("first")
    node = field.open(tmp_path, TELEMETRY_DATABASE_URL="postgresql://nobody@localhost/nothing")
    assert (await forecast(node, first)).disk is None
