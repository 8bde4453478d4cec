"""What an append promises, on every store."""

import pytest

from fieldstation.domains.telemetry.ports import FLAG_ANOMALY, Kind, Outcome
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import (
    MINUTE_US,
    NOON_US,
    Given,
    append,
    columns,
    everything,
    make_refusal,
    make_series,
)

pytestmark = pytest.mark.anyio

ACCEPTED, DUPLICATE, CONFLICT = Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.CONFLICT


async def test_accepted_readings_come_back_exactly(store: ReadingStoreUnderTest) -> None:
    (series,) = await make_series(store, 1)
    values = [0.1, 1 / 3, -0.0, 5e-324, 1.7976931348623157e308, 123456789.12345679, 2.0**53]
    given = [Given(series.id, NOON_US + at, value) for at, value in enumerate(values)]

    assert await append(store, given) is None

    assert await everything(store, [series]) == given


async def test_details_come_back_with_their_reading(store: ReadingStoreUnderTest) -> None:
    (series,) = await make_series(store, 1)
    given = [
        Given(series.id, NOON_US, 1.5, metadata=b'{"battery":3.1}'),
        Given(series.id, NOON_US + 1, text="door open"),
        Given(series.id, NOON_US + 2, 99.0, flags=FLAG_ANOMALY, score=7.25),
        Given(series.id, NOON_US + 3, 1.5),
    ]

    await append(store, given)

    assert await everything(store, [series]) == given


async def test_input_columns_stay_as_they_are(store: ReadingStoreUnderTest) -> None:
    (series,) = await make_series(store, 1)
    given = columns([Given(series.id, NOON_US, text="on"), Given(series.id, NOON_US, text="on")])
    before = columns([Given(series.id, NOON_US, text="on"), Given(series.id, NOON_US, text="on")])

    await store.append(given)

    assert given == before


async def test_same_reading_again_is_a_duplicate_and_another_value_a_conflict(
    store: ReadingStoreUnderTest,
) -> None:
    (series,) = await make_series(store, 1)
    first = Given(series.id, NOON_US, 1 / 3)
    await append(store, [first])

    again = [first, first._replace(value=0.5), Given(series.id, NOON_US + 1, 2.0)]
    outcomes = await append(store, again)

    assert outcomes == bytes([DUPLICATE, CONFLICT, ACCEPTED])
    assert await everything(store, [series]) == [first, again[2]]


async def test_text_and_kind_belong_to_the_value(store: ReadingStoreUnderTest) -> None:
    (series,) = await make_series(store, 1)
    text = Given(series.id, NOON_US, text="open")
    number = Given(series.id, NOON_US + 1, 1.0)
    await append(store, [text, number])

    retry = columns([text, text._replace(text="closed"), number])
    retry.flags[2] = Kind.BOOLEAN
    outcomes = (await store.append(retry)).outcomes

    assert outcomes == bytes([DUPLICATE, CONFLICT, CONFLICT])


async def test_first_reading_of_a_batch_stands(store: ReadingStoreUnderTest) -> None:
    (series,) = await make_series(store, 1)
    first = Given(series.id, NOON_US, 1.0)

    outcomes = await append(store, [first, first._replace(value=2.0), first])

    assert outcomes == bytes([ACCEPTED, CONFLICT, DUPLICATE])
    assert await everything(store, [series]) == [first]


async def test_wrong_guess_stores_no_key_twice(store: ReadingStoreUnderTest) -> None:
    (series,) = await make_series(store, 1)
    first = Given(series.id, NOON_US, 1.0)
    await append(store, [first])

    batch = [Given(series.id, NOON_US + 5, 3.0), first, first._replace(value=2.0)]
    outcomes = await append(store, batch)

    assert outcomes == bytes([ACCEPTED, DUPLICATE, CONFLICT])
    assert await everything(store, [series]) == [first, batch[0]]
    logged = await store.batches_after({})
    assert [len(entry.readings) for entry in logged] == [1, 1]


async def test_large_batch_is_stored_whole(store: ReadingStoreUnderTest) -> None:
    series = await make_series(store, 3)
    given = [
        Given(
            series[at % 3].id, NOON_US + at * MINUTE_US, at / 7, metadata=b"{}" if at % 5 else None
        )
        for at in range(5_000)
    ]

    assert await append(store, given) is None

    assert await everything(store, series) == given


async def test_numbering_goes_on_after_a_restart_and_a_trimmed_log(
    database: ReadingDatabase,
) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    for at in range(3):
        await append(store, [Given(series.id, NOON_US + at)])
    database.clock.advance(3600)
    await store.flush()
    await store.trim_log(before_us=database.clock.now_us())
    await store.close()

    store = await database.open()
    appended = await store.append(columns([Given(series.id, NOON_US + 9)]))

    assert appended.seq == 4
    assert await store.log_bounds() == {"node-a": (3, 4)}


async def test_batch_that_stores_nothing_leaves_no_log_entry(
    store: ReadingStoreUnderTest,
) -> None:
    (series,) = await make_series(store, 1)
    given = columns([Given(series.id, NOON_US)])
    first = await store.append(given)

    again = await store.append(given, refusals=[make_refusal(1)])
    nothing = await store.append(columns([]))

    assert (first.seq, again.seq, nothing.seq) == (1, 1, 1)
    assert await store.log_bounds() == {"node-a": (1, 1)}
    assert await store.refusals("org", "device", limit=9) == [make_refusal(1)]


async def test_commit_time_never_goes_backwards(database: ReadingDatabase) -> None:
    store = await database.open()
    (series,) = await make_series(store, 1)
    first = await store.append(columns([Given(series.id, NOON_US)]))
    database.clock.advance(-3600)

    second = await store.append(columns([Given(series.id, NOON_US + 1)]))

    assert second.committed_us == first.committed_us


async def test_retried_refusal_is_kept_once(store: ReadingStoreUnderTest) -> None:
    refusals = [make_refusal(1), make_refusal(2)]
    await store.append(columns([]), refusals=refusals)

    await store.append(columns([]), refusals=refusals)

    assert await store.refusals("org", "device", limit=9) == refusals[::-1]
