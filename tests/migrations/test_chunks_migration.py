"""The readings of a station before chunks are all there after the upgrade, and after going back."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, text
from sqlalchemy.engine import URL

from fieldstation.db.engines import database_url
from fieldstation.domains.telemetry.ports import FLAG_ANOMALY, FLAG_DETAIL, Kind, Order, Outcome
from fieldstation.domains.telemetry.store.entries import encode_entry
from fieldstation.domains.telemetry.store.points import points_of
from fieldstation.migrations.chain import configuration, differences
from fieldstation.migrations.upgrade import on_connection
from tests.contracts.reading_databases import ReadingDatabase, ReadingStoreUnderTest
from tests.contracts.readings import (
    FOREVER,
    HOUR_US,
    MINUTE_US,
    NOON_US,
    Given,
    append,
    columns,
    everything,
    rows_of,
)
from tests.contracts.seals import AT_ONCE, SMALL_SLICES, seal_all
from tests.services import fresh_server_database

pytestmark = pytest.mark.anyio

BEFORE = "20261122_first_schema"
TABLES = ("series", "series_hour", "reading", "reading_detail", "intake_batch", "tally")
SERIES = (1, 2, 3)
LONG_SERIES = 3
"""Has more readings in one hour than a chunk holds."""

Rows = list[tuple[Any, ...]]


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    """An empty telemetry database."""
    if request.param == "sqlite":
        yield database_url(None, data_dir=tmp_path)
    else:
        with fresh_server_database(request.param) as address:
            yield database_url(address, data_dir=tmp_path)


def make_readings() -> list[Given]:
    """Make what three series measured in four hours, by instant: numbers, texts and anomalies."""
    rows: list[Given] = []
    for at in range(40):
        plain = Given(SERIES[at % 2], NOON_US + at * 6 * MINUTE_US, at / 7, flags=(at % 3) << 8)
        rows += [
            plain._replace(flags=plain.flags | FLAG_ANOMALY, score=at / 3),
            plain._replace(value=0.0, text=f"state {at}"),
            plain._replace(value=-0.0, metadata=b'{"battery":3.1}'),
            plain,
        ][at % 4 : at % 4 + 1]
    rows += [Given(LONG_SERIES, NOON_US + 1 + at, at / 9) for at in range(9_000)]
    return sorted(rows, key=lambda row: (row.ts_us, row.series_id))


def flags_of(row: Given) -> int:
    kind = Kind.NUMBER if row.text is None else Kind.TEXT
    detailed = (row.text, row.metadata, row.score) != (None, None, None)
    return row.flags | kind | (FLAG_DETAIL if detailed else 0)


def entry_of(rows: Sequence[Given]) -> bytes:
    """Pack rows as the log did and does."""
    built = columns(rows)
    keys = {at: (rows[at].series_id, rows[at].ts_us) for at in built.details}
    details = {keys[at]: detail for at, detail in built.details.items()}
    return encode_entry(replace(points_of(built), details=details))


def in_entries(rows: Sequence[Given]) -> list[tuple[str, int, int, list[Given]]]:
    """Spread the rows over the entries of two nodes: node, number, commit time, readings."""
    cut = [list(rows[at::5]) for at in range(5)]
    return [
        ("node-a", 4, NOON_US + 10, cut[0]),
        ("node-a", 5, NOON_US + 30, cut[1]),
        ("node-a", 6, NOON_US + 30, cut[2]),
        ("node-b", 1, NOON_US + 20, cut[3]),
        ("node-b", 2, NOON_US + 40, cut[4]),
    ]


def fill(connection: Connection, rows: Sequence[Given]) -> None:
    """Write the rows as the first schema kept them."""
    insert(
        connection,
        "series (id, organization_id, device_id, sensor_type, sensor_id, created_at)",
        [(one, "org", "device", "temperature", f"sensor-{one}", NOON_US) for one in SERIES],
    )
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT setval('series_id_seq', 3)"))
    insert(
        connection,
        "series_hour (series_id, hour)",
        sorted({(row.series_id, row.ts_us // HOUR_US) for row in rows}),
    )
    insert(
        connection,
        "reading (minute, series_id, ts, value, flags)",
        [
            (row.ts_us // MINUTE_US, row.series_id, row.ts_us, row.value, flags_of(row))
            for row in rows
        ],
    )
    insert(
        connection,
        "reading_detail (minute, series_id, ts, text, metadata, score)",
        [
            (row.ts_us // MINUTE_US, row.series_id, row.ts_us, row.text, row.metadata, row.score)
            for row in rows
            if flags_of(row) & FLAG_DETAIL
        ],
    )
    totals = {"node-a": 0, "node-b": 0}
    entries: Rows = []
    for node_id, seq, committed_us, own in in_entries(rows):
        totals[node_id] += len(own)
        entries.append((node_id, seq, committed_us, totals[node_id], entry_of(own)))
    insert(
        connection,
        "intake_batch (node_id, seq, committed_at, accepted_total, readings)",
        entries,
    )
    insert(connection, "tally (name, amount)", [("readings_deleted", 0)])


def insert(connection: Connection, into: str, rows: Rows) -> None:
    names = into[into.index("(") + 1 : -1].split(", ")
    values = ", ".join(f":{name}" for name in names)
    statement = text(f"INSERT INTO {into} VALUES ({values})")  # noqa: S608 - our own names
    connection.execute(statement, [dict(zip(names, row, strict=True)) for row in rows])


async def migrate(url: URL, revision: str, *, back: bool = False) -> None:
    run = command.downgrade if back else command.upgrade
    await on_connection(url, lambda c: run(configuration(c, "telemetry"), revision))


async def contents(url: URL) -> dict[str, Rows]:
    """Return every row of the first schema's tables, in any order."""
    found: dict[str, Rows] = {}

    def read(connection: Connection) -> None:
        for name in TABLES:
            rows = connection.execute(text(f"SELECT * FROM {name}"))  # noqa: S608 - our own names
            names = sorted(rows.keys())
            found[name] = sorted(
                (tuple(row[name] for name in names) for row in rows.mappings()), key=repr
            )

    await on_connection(url, read)
    return found


@asynccontextmanager
async def opened(url: URL, node_id: str = "node-a") -> AsyncIterator[ReadingStoreUnderTest]:
    kind = url.get_backend_name()
    address = url.set(drivername=kind).render_as_string(hide_password=False)
    database = ReadingDatabase(kind, address)
    try:
        yield await database.open(node_id)
    finally:
        await database.close()


@pytest.fixture
async def rows(url: URL) -> list[Given]:
    """What a database of the first schema holds."""
    rows = make_readings()
    await migrate(url, BEFORE)
    await on_connection(url, lambda connection: fill(connection, rows))
    return rows


async def test_every_reading_and_detail_is_there_after_the_upgrade(
    url: URL, rows: list[Given]
) -> None:
    await migrate(url, "head")

    async with opened(url) as store:
        series = await store.find_series("org")
        assert await everything(store, series) == rows
        anomalies = await store.page(
            series, **FOREVER, order=Order.OLDEST_FIRST, limit=99, anomaly=True
        )
        assert rows_of(anomalies) == [row for row in rows if row.flags & FLAG_ANOMALY]
        assert [one.count for one in await store.stats(series, **FOREVER)] == [20, 10, 9_000]
        totals = await store.totals()
        assert (totals.readings, totals.oldest_us) == (len(rows), rows[0].ts_us)
        resolved = await store.resolve_series([one.key for one in series])
        assert [one.last_us for one in resolved] == [
            max(row.ts_us for row in rows if row.series_id == one) for one in SERIES
        ]


async def test_what_was_there_before_rollups_is_rolled_up(url: URL, rows: list[Given]) -> None:
    await migrate(url, "head")
    hours: Rows = []

    def read(connection: Connection) -> None:
        found = connection.execute(text("SELECT series_id, hour FROM rollup_stale"))
        hours.extend(sorted(map(tuple, found)))

    await on_connection(url, read)
    assert hours == sorted({(row.series_id, row.ts_us // HOUR_US) for row in rows})
    async with opened(url) as store:
        series = await store.find_series("org")
        before = await store.buckets(series, **FOREVER, interval_us=HOUR_US)
        while await store.roll_up(before_us=NOON_US + 48 * HOUR_US):
            pass
        await on_connection(url, forget_chunks)
        assert await store.buckets(series, **FOREVER, interval_us=HOUR_US) == before


def forget_chunks(connection: Connection) -> None:
    connection.execute(text("DELETE FROM chunk"))


async def test_the_log_goes_on_in_order_after_the_upgrade(url: URL, rows: list[Given]) -> None:
    await migrate(url, "head")

    async with opened(url) as store:
        logged = await store.batches_after({}, batches_max=99)
        found = [(one.node_id, one.seq, one.committed_us, rows_of(one.readings)) for one in logged]
        assert found == in_entries(rows)
        (series, *_) = await store.find_series("org")
        appended = await store.append(columns([Given(series.id, NOON_US + 3)]))
        assert appended.seq == 7
    numbers: list[tuple[str, int]] = []

    def read(connection: Connection) -> None:
        found = connection.execute(text("SELECT node_id, seq FROM intake_batch ORDER BY id"))
        numbers.extend((node_id, seq) for node_id, seq in found)

    await on_connection(url, read)
    assert numbers == [
        ("node-a", 4),
        ("node-b", 1),
        ("node-a", 5),
        ("node-a", 6),
        ("node-b", 2),
        ("node-a", 7),
    ]


async def test_appends_are_judged_by_what_was_upgraded(url: URL, rows: list[Given]) -> None:
    await migrate(url, "head")
    written = next(row for row in rows if row.text is not None)
    fresh = [Given(1, NOON_US - HOUR_US, 1.0), Given(2, NOON_US + 2, text="new")]

    async with opened(url, "node-b") as store:
        batch = [rows[0], written, written._replace(text="another"), rows[-1], *fresh]
        outcomes = await append(store, batch)
        series = await store.find_series("org")
        expected = sorted([*rows, *fresh], key=lambda row: (row.ts_us, row.series_id))
        assert await everything(store, series) == expected
        await store.flush()
        assert await everything(store, series) == expected

    duplicate, conflict = Outcome.DUPLICATE, Outcome.CONFLICT
    assert outcomes == bytes([duplicate, duplicate, conflict, duplicate, 0, 0])


async def test_going_back_restores_the_same_rows(url: URL, rows: list[Given]) -> None:
    before = await contents(url)
    await migrate(url, "head")

    await migrate(url, BEFORE, back=True)

    assert await contents(url) == before
    assert len(before["reading"]) == len(rows)


async def test_going_back_keeps_what_was_appended_and_flushed(url: URL, rows: list[Given]) -> None:
    fresh = [
        Given(1, NOON_US + 7 * HOUR_US + at, at / 3, flags=[0, 1 << 8, 1 << 16][at % 3])
        for at in range(9)
    ]
    noted = Given(2, NOON_US + 9 * HOUR_US, text="open", metadata=b"{}")
    await migrate(url, "head")
    async with opened(url) as store:
        await append(store, fresh[:4])
        await append(store, [*fresh[4:], noted])
        await store.flush()

    await migrate(url, BEFORE, back=True)

    after = await contents(url)
    stored = sorted((row[2], row[3], row[4], row[0]) for row in after["reading"])
    assert stored == sorted(
        (row.series_id, row.ts_us, row.value, flags_of(row)) for row in [*rows, *fresh, noted]
    )
    assert len(after["intake_batch"]) == 7
    assert len(after["reading_detail"]) == 31
    await migrate(url, "head")
    async with opened(url) as store:
        series = await store.find_series("org")
        assert await everything(store, series) == [*rows, *fresh, noted]


async def test_going_back_is_refused_while_readings_wait_in_the_log(
    url: URL, rows: list[Given]
) -> None:
    await migrate(url, "head")
    fresh = Given(1, NOON_US + 7 * HOUR_US, 1.0)
    async with opened(url) as store:
        await append(store, [fresh])

    with pytest.raises(RuntimeError, match="wait in the intake log; start the station and stop it"):
        await migrate(url, BEFORE, back=True)

    await migrate(url, "head")  # on MariaDB the revisions behind it have gone back already
    async with opened(url) as store:
        assert await everything(store, await store.find_series("org")) == [*rows, fresh]


async def test_chunks_from_before_are_sealed_in_time(url: URL, rows: list[Given]) -> None:
    await migrate(url, "head")
    async with opened(url) as store:
        store.seal_limits = SMALL_SLICES
        series = await store.find_series("org")
        stats, totals = await store.stats(series, **FOREVER), await store.totals()

        assert await seal_all(store) == len(rows)

        assert await everything(store, series) == rows
        assert await store.stats(series, **FOREVER) == stats
        assert replace(await store.totals(), bytes_on_disk=0) == replace(totals, bytes_on_disk=0)
        assert await append(store, rows[:5]) == bytes([Outcome.DUPLICATE] * 5)


async def test_going_back_is_refused_once_readings_are_sealed(url: URL, rows: list[Given]) -> None:
    await migrate(url, "head")
    async with opened(url) as store:
        store.seal_limits = AT_ONCE
        await store.seal_slice()

    with pytest.raises(RuntimeError, match=r"sealed already.*restore the backup"):
        await migrate(url, BEFORE, back=True)

    async with opened(url) as store:
        assert await everything(store, await store.find_series("org")) == rows


async def test_an_empty_database_is_upgraded_and_taken_back(url: URL) -> None:
    await migrate(url, BEFORE)
    before = await contents(url)
    await migrate(url, "head")
    async with opened(url) as store:
        assert (await store.totals()).readings == 0

    await migrate(url, BEFORE, back=True)

    assert await contents(url) == before
    await migrate(url, "head")
    found: list[object] = []
    await on_connection(url, lambda connection: found.extend(differences(connection, "telemetry")))
    assert found == []
