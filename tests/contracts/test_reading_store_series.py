"""Series, variants, last values, log and housekeeping, on every store."""

import pytest

from fieldstation.domains.telemetry.ports import Columns, Kind, LastValue, SeriesKey, Variant
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import (
    DAY_US,
    HOUR_US,
    NOON_US,
    Given,
    append,
    columns,
    everything,
    make_refusal,
    make_series,
    rows_of,
)

pytestmark = pytest.mark.anyio

NOTHING = Columns()


async def test_series_resolve_to_the_same_ids(store: ReadingStoreUnderTest) -> None:
    keys = [SeriesKey("org", "device", "humidity", f"s{at}") for at in range(3)]
    first = await store.resolve_series(keys)

    again = await store.resolve_series([keys[2], keys[0], keys[0]])

    assert [row.key for row in first] == keys
    assert [row.id for row in again] == [first[2].id, first[0].id, first[0].id]
    assert (first[0].last_us, first[0].variants) == (None, ())
    assert await store.series_by_id([first[1].id, 10**9]) == [first[1]]


@pytest.mark.parametrize("flushes", [False, True])
async def test_resolved_series_know_their_newest_reading(
    store: ReadingStoreUnderTest, flushes: bool
) -> None:
    (series,) = await make_series(store, 1)
    await append(store, [Given(series.id, NOON_US + 5), Given(series.id, NOON_US - DAY_US)])
    if flushes:
        await store.flush()

    (resolved,) = await store.resolve_series([series.key])

    assert resolved.last_us == NOON_US + 5


async def test_series_are_found_by_every_filter(store: ReadingStoreUnderTest) -> None:
    keys = [
        SeriesKey(organization, device, sensor_type, "s")
        for organization in ("org", "other")
        for device in ("a", "b")
        for sensor_type in ("light", "noise")
    ]
    await store.resolve_series(keys)

    async def found(**filters: list[str]) -> list[SeriesKey]:
        return [row.key for row in await store.find_series("org", **filters)]

    assert await found() == sorted(keys[:4], key=keys.index)
    assert await found(device_ids=["b"]) == keys[2:4]
    assert await found(device_ids=["a", "b"], sensor_types=["noise"]) == [keys[1], keys[3]]
    assert await found(sensor_ids=["s"], device_ids=["zzz"]) == []
    assert await found(device_ids=[]) == []


async def test_variants_are_numbered_per_series(store: ReadingStoreUnderTest) -> None:
    one, two = await make_series(store, 2)
    celsius = Variant("°C", None, "mqtt")
    kelvin = Variant("K", "lab", "http")

    numbers = await store.resolve_variants([(one.id, celsius), (one.id, kelvin), (two.id, kelvin)])
    again = await store.resolve_variants([(two.id, celsius), (one.id, kelvin), (two.id, celsius)])

    assert (numbers, again) == ([0, 1, 0], [1, 1, 1])
    found = await store.series_by_id([one.id, two.id])
    assert {row.id: row.variants for row in found} == {
        one.id: (celsius, kelvin),
        two.id: (kelvin, celsius),
    }


async def test_last_values_only_get_newer(store: ReadingStoreUnderTest) -> None:
    one, two = await make_series(store, 2)
    newest = LastValue(one.id, NOON_US + 9, 1 / 3, Kind.NUMBER, None, NOON_US + 10)
    text = LastValue(two.id, NOON_US, 0.0, Kind.TEXT, "open", NOON_US)
    await store.save_last_values([newest, text], seq=7)

    await store.save_last_values([newest._replace(ts_us=NOON_US, value=5.0)], seq=5)
    await store.save_last_values([text._replace(ts_us=NOON_US + 1, text="closed")], seq=8)

    values, cursor = await store.load_last_values()
    assert values == [newest, text._replace(ts_us=NOON_US + 1, text="closed")]
    assert cursor == {"node-a": 8}


async def test_log_holds_what_each_node_accepted(database: ReadingDatabase) -> None:
    store = await database.open("node-a")
    (series,) = await make_series(store, 1)
    given = [
        [
            Given(series.id, NOON_US + turn, turn / 3),
            Given(series.id, NOON_US + 100 + turn, text="a"),
        ]
        for turn in range(3)
    ]
    for rows in given:
        await append(store, rows)
    other = await database.open("node-b")
    await append(other, [given[0][0], Given(series.id, NOON_US + 50)])

    batches = await store.batches_after({"node-a": 1}, batches_max=9)

    assert [(batch.node_id, batch.seq) for batch in batches] == [
        ("node-a", 2),
        ("node-a", 3),
        ("node-b", 1),
    ]
    assert [rows_of(batch.readings) for batch in batches] == [
        *given[1:],
        [Given(series.id, NOON_US + 50)],
    ]
    assert len(await store.batches_after({}, batches_max=2)) == 2
    assert await store.log_bounds() == {"node-a": (1, 3), "node-b": (1, 1)}


async def test_log_is_trimmed_from_its_beginning(database: ReadingDatabase) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    for at in range(5):
        await append(store, [Given(series.id, NOON_US + at)])
        database.clock.advance(10)
    before_us = database.clock.now_us() - 15_000_000
    assert await store.trim_log(before_us=before_us) == 0, "their readings are nowhere else yet"
    await store.flush()

    assert await store.trim_log(before_us=before_us, batches_max=2) == 2
    assert await store.trim_log(before_us=before_us, batches_max=99) == 2
    assert await store.trim_log(before_us=before_us + DAY_US) == 0

    assert await store.log_bounds() == {"node-a": (5, 5)}


async def test_refusals_are_paged_and_trimmed_per_device(store: ReadingStoreUnderTest) -> None:
    kept = [make_refusal(number) for number in range(5)]
    other = make_refusal(9, device_id="other")
    await store.append(NOTHING, refusals=[*kept, other])

    page = await store.refusals("org", "device", limit=2)
    following = await store.refusals("org", "device", limit=9, before_id=page[-1].id)
    assert [*page, *following] == kept[::-1]
    assert await store.count_refusals("org", "device") == 5
    assert await store.count_refusals("foreign", "device") == 0

    assert await store.trim_refusals(keep_per_device=2) == 3
    assert await store.refusals("org", "device", limit=9) == [kept[4], kept[3]]
    assert await store.refusals("org", "other", limit=9) == [other]
    assert await store.refusals("foreign", "device", limit=9) == []


async def test_deleted_device_leaves_nothing_and_its_ids_are_not_reused(
    store: ReadingStoreUnderTest,
) -> None:
    gone = await make_series(store, 2, device_id="gone")
    (stays,) = await make_series(store, 1, device_id="stays")
    given = [
        Given(row.id, NOON_US + hours * HOUR_US, 1.0, metadata=b"{}")
        for hours in range(30)
        for row in [*gone, stays]
    ]
    await append(store, given)
    await store.resolve_variants([(gone[0].id, Variant("V", None, "mqtt"))])
    await store.save_last_values([LastValue(gone[0].id, NOON_US, 1.0, 0, None, NOON_US)], seq=1)
    refused = [make_refusal(1, device_id="gone"), make_refusal(2, device_id="stays")]
    await store.append(NOTHING, refusals=refused)

    await store.delete_device("org", "gone")
    await store.delete_device("org", "gone")

    assert await store.find_series("org", device_ids=["gone"]) == []
    assert await everything(store, gone) == []
    assert len(await everything(store, [stays])) == 30
    assert (await store.load_last_values())[0] == []
    assert await store.refusals("org", "gone", limit=9) == []
    assert await store.refusals("org", "stays", limit=9) == refused[1:]
    assert (await store.totals()).readings == 30
    reborn = await make_series(store, 2, device_id="gone")
    assert {row.id for row in reborn}.isdisjoint(row.id for row in [*gone, stays])
    assert reborn[0].variants == ()


async def test_totals_tell_what_the_store_holds(database: ReadingDatabase) -> None:
    store = await database.open()
    empty = await store.totals()
    series = await make_series(store, 3)
    await append(store, [Given(row.id, NOON_US + row.id) for row in series])
    # One SQLite file has one node.
    other = store if database.kind == "sqlite" else await database.open("node-b")
    await append(other, [Given(series[0].id, NOON_US - DAY_US)])

    totals = await store.totals()

    assert (empty.series, empty.readings, empty.oldest_us) == (0, 0, None)
    assert (totals.series, totals.readings) == (3, 4)
    assert totals.oldest_us == NOON_US - DAY_US
    assert totals.newest_us == NOON_US + series[-1].id
    assert totals.bytes_on_disk > 8_192


async def test_late_batch_of_one_series_may_span_years(store: ReadingStoreUnderTest) -> None:
    (series,) = await make_series(store, 1)
    given = [Given(series.id, NOON_US - days * DAY_US, float(days)) for days in range(1_500, 0, -1)]

    outcome = await store.append(columns(given))

    assert outcome.outcomes is None
    assert await everything(store, [series]) == given
