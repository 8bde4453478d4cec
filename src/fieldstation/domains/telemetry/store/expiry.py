"""Deleting what is older than wanted, in slices: readings once they are rolled up, then rollups.

A slice is read, then planned beside the event loop, then written in one transaction that raises the
floors of its series first. Whoever asks sees all of that or nothing, and the rollups of before from
then on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from fieldstation.domains.telemetry.models import rollup
from fieldstation.domains.telemetry.models import sealed as sealed_table
from fieldstation.domains.telemetry.ports import FLAG_DETAIL
from fieldstation.domains.telemetry.store import chunks, rollups, sealed
from fieldstation.domains.telemetry.store.compression import compress
from fieldstation.domains.telemetry.store.deletion import count_deleted
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.floors import raise_floors
from fieldstation.domains.telemetry.store.points import Points, integers
from fieldstation.domains.telemetry.store.recent import Part, between
from fieldstation.domains.telemetry.store.removal import ChunkKey, SealedKey, remove
from fieldstation.domains.telemetry.store.rollup_blocks import (
    DAY,
    HOUR,
    SLOTS,
    BlockKey,
    pack_blocks,
    unpack_blocks,
)
from fieldstation.domains.telemetry.store.sketches import pack_sketches, unpack_sketches
from fieldstation.domains.telemetry.store.steps import Query, Row, Steps, as_json, insert_rows

DETAILS_PER_STATEMENT = 2_048
DetailKey = tuple[int, int, int]
"""``(hour, series_id, ts_us)``."""


@dataclass(frozen=True, slots=True)
class ExpiryLimits:
    """How much one slice deletes. A slice holds the flushes up for some 50 ms, the writer for 10.

    The last row of a slice may bring as many details as a chunk has readings.
    """

    series_per_slice: int = 64
    chunks_per_slice: int = 128
    sealed_per_slice: int = 64
    details_per_slice: int = 2_048
    rollups_per_slice: int = 256


@dataclass(slots=True)
class Removal:
    """What a slice takes away, and the rows of ``SEALED_NAMES`` that stay of sealed chunks."""

    series_ids: set[int] = field(default_factory=set)
    chunk_keys: list[ChunkKey] = field(default_factory=list)
    sealed_keys: list[SealedKey] = field(default_factory=list)
    detail_keys: list[DetailKey] = field(default_factory=list)
    trimmed: list[Row] = field(default_factory=list)
    readings: int = 0

    def takes(self, points: Points) -> None:
        """Note readings of one series that go."""
        self.series_ids.add(int(points.series_id[0]))
        self.readings += len(points)
        detailed = points.take((points.flags & FLAG_DETAIL) != 0)
        keys = zip(detailed.series_id.tolist(), detailed.ts_us.tolist(), strict=True)
        self.detail_keys += [(ts_us // US_PER_HOUR, own, ts_us) for own, ts_us in keys]


def ready(
    dialect: Dialect, parts: Sequence[Part], series_ids: Sequence[int], before_hour: int
) -> Steps[list[int]]:
    """Return the series that hold readings before an hour and have all of them rolled up: nothing
    from their floor on is marked, nor in memory. None before the watermark is there.

    Cost: four searches a series.
    """
    if (yield from rollups.watermark(dialect)) < before_hour:
        return []
    rows = yield Query(
        _ready_text(dialect), (as_json(list(series_ids)), before_hour, before_hour * US_PER_HOUR)
    )
    floors: dict[int, int] = {int(own): floor for own, floor in rows}
    waiting = {
        int(piece.series_id[0])
        for part in parts
        for piece in between(part, floors, 0, before_hour * US_PER_HOUR)
        if piece.ts_us[-1] >= floors[int(piece.series_id[0])] * US_PER_HOUR
    }
    return [series_id for series_id in floors if series_id not in waiting]


@lru_cache(maxsize=4)
def _ready_text(dialect: Dialect) -> str:
    ids = dialect.rows("$1", "k", series_id="bigint")
    hours = "SELECT 1 FROM series_hour AS h WHERE h.series_id = f.id AND h.hour < $2"
    sealed_ones = "SELECT 1 FROM sealed AS s WHERE s.series_id = f.id AND s.start_us < $3"
    marks = (
        "SELECT 1 FROM rollup_stale AS m"
        " WHERE m.series_id = f.id AND m.hour >= f.raw_from_hour AND m.hour < $2"
    )
    return dialect.finish(
        f"SELECT f.id, f.raw_from_hour FROM {ids}"
        f" {dialect.seek('series', 'f', 'f.id = k.series_id')}"
        f" WHERE (EXISTS ({hours}) OR EXISTS ({sealed_ones})) AND NOT EXISTS ({marks})"
    )


def read_slice(
    dialect: Dialect, limits: ExpiryLimits, series_ids: Sequence[int], before_hour: int
) -> Steps[tuple[list[Row], list[Row]]]:
    """Read some chunks ``(hour, series_id, start_us, count, data)`` of before an hour, or if there
    are none, sealed ones that begin before it."""
    ids = as_json(list(series_ids))
    packed = yield Query(_chunks_text(dialect), (ids, before_hour, limits.chunks_per_slice))
    if packed:
        return packed, []
    before_us = before_hour * US_PER_HOUR
    return [], (yield Query(_sealed_text(dialect), (ids, before_us, limits.sealed_per_slice)))


@lru_cache(maxsize=4)
def _chunks_text(dialect: Dialect) -> str:
    hours = "h.series_id = k.series_id AND h.hour < $2"
    own = "c.hour = h.hour AND c.series_id = h.series_id"
    # Without an order: the rows behind the last one wanted are not even looked at.
    return dialect.finish(
        "SELECT c.hour, c.series_id, c.start_us, c.count, c.data FROM"
        f" {dialect.rows('$1', 'k', series_id='bigint')}"
        f" {dialect.seek('series_hour', 'h', hours)} {dialect.seek('chunk', 'c', own)} LIMIT $3"
    )


@lru_cache(maxsize=4)
def _sealed_text(dialect: Dialect) -> str:
    begun = "s.series_id = k.series_id AND s.start_us < $2"
    return dialect.finish(
        f"SELECT {sealed.PICKED} FROM {dialect.rows('$1', 'k', series_id='bigint')}"
        f" {dialect.seek('sealed', 's', begun)} LIMIT $3"
    )


def plan(
    limits: ExpiryLimits, packed: Iterable[Row], sealed_rows: Iterable[Row], before_hour: int
) -> Removal:
    """Say what goes of these rows, until so many details go with them.

    Cost: 0.1 ms for each sealed chunk, and 0.4 ms for one that is made anew.
    """
    removal = Removal()
    for hour, series_id, start_us, count, data in packed:
        if len(removal.detail_keys) >= limits.details_per_slice:
            break
        removal.chunk_keys.append((hour, series_id, start_us))
        removal.takes(chunks.unpack([(hour, series_id, count, data)]))
    for row in sealed_rows:
        if len(removal.detail_keys) >= limits.details_per_slice:
            break
        points = sealed.unpack([row])
        old = points.ts_us < before_hour * US_PER_HOUR
        removal.sealed_keys.append((row[0], row[1]))
        removal.takes(points.take(old))
        rest = points.take(~old)
        if len(rest):
            ends = int(rest.ts_us[0]), int(rest.ts_us[-1])
            removal.trimmed.append((row[0], *ends, len(rest), compress(rest)))
    return removal


def write_slice(dialect: Dialect, removal: Removal, before_hour: int) -> Steps[None]:
    """Raise the floors and delete.

    Raises ``Busy``, and nothing is changed, when some of it is not there any more.
    """
    yield from raise_floors(dialect, sorted(removal.series_ids), before_hour)
    yield from remove(dialect, removal.chunk_keys, removal.sealed_keys)
    if removal.trimmed:
        yield insert_rows(sealed_table, sealed.SEALED_NAMES, removal.trimmed)
    for at in range(0, len(removal.detail_keys), DETAILS_PER_STATEMENT):
        some = removal.detail_keys[at : at + DETAILS_PER_STATEMENT]
        yield Query(_delete_details_text(dialect), (as_json(some),))
    yield from count_deleted(removal.readings)


@lru_cache(maxsize=4)
def _delete_details_text(dialect: Dialect) -> str:
    keys = dialect.rows("$1", "k", hour="bigint", series_id="bigint", ts="bigint")
    return dialect.finish(
        "DELETE FROM reading_detail WHERE (hour, series_id, ts) IN"
        f" (SELECT k.hour, k.series_id, k.ts FROM {keys})"
    )


def days_of_rollups(
    dialect: Dialect, limits: ExpiryLimits, series_ids: Sequence[int], before_day: int
) -> Steps[list[tuple[int, int]]]:
    """Return some ``(series_id, day)`` with rollups before a day and before the series' floor.

    Whoever computes a day writes its hours as well, so these have a row wherever the day has a
    line. Cost: two searches a series.
    """
    rows = yield Query(
        _days_text(dialect),
        (as_json(list(series_ids)), before_day, limits.rollups_per_slice),
    )
    return [(series_id, day) for series_id, day in rows]


@lru_cache(maxsize=4)
def _days_text(dialect: Dialect) -> str:
    own = (
        f"r.series_id = f.id AND r.hours = {HOUR} AND r.number < $2"
        f" AND r.number * {DAY} < f.raw_from_hour"
    )
    floor = "f.id = k.series_id AND f.raw_from_hour > 0"
    return dialect.finish(
        f"SELECT r.series_id, r.number FROM {dialect.rows('$1', 'k', series_id='bigint')}"
        f" {dialect.seek('series', 'f', floor)} {dialect.seek('rollup', 'r', own)} LIMIT $3"
    )


def read_day_blocks(dialect: Dialect, days: Sequence[tuple[int, int]]) -> Steps[list[Row]]:
    """Read the rows with the lines of these days."""
    slots = SLOTS[DAY]
    keys = sorted({BlockKey(series_id, DAY, day // slots) for series_id, day in days})
    return (yield from rollups.blocks_of(dialect, keys))


def without_days(
    blocks: Sequence[Row], days: Sequence[tuple[int, int]]
) -> tuple[list[Row], list[BlockKey]]:
    """Return the rows of ``ROLLUP_NAMES`` that stay, without the lines of some days, and the keys
    of those of which nothing stays."""
    gone = set(days)
    slots = SLOTS[DAY]
    kept: list[Row] = []
    emptied: list[BlockKey] = []
    for *parts, data, packed in blocks:
        key = BlockKey(*parts)
        lines = unpack_blocks([(key, data)], DAY)
        begins = (lines.start_us // (DAY * US_PER_HOUR)).tolist()
        stays = [at for at, day in enumerate(begins) if (key.series_id, day) not in gone]
        if not stays:
            emptied.append(key)
            continue
        ((_, rest),) = pack_blocks(lines.take(integers(stays)), DAY)
        sketches = {
            slot: sketch
            for slot, sketch in unpack_sketches(packed).items()
            if (key.series_id, key.number * slots + slot) not in gone
        }
        kept.append((*key, rest, pack_sketches(list(sketches), list(sketches.values()))))
    return kept, emptied


def write_days(
    dialect: Dialect,
    days: Sequence[tuple[int, int]],
    kept: Sequence[Row],
    emptied: Sequence[BlockKey],
) -> Steps[None]:
    """Delete the hours of these days, and put what stays of their blocks in the place of those."""
    keys = [*(BlockKey(series_id, HOUR, day) for series_id, day in days), *emptied]
    wanted = dialect.rows("$1", "k", series_id="bigint", hours="bigint", number="bigint")
    yield Query(
        dialect.finish(
            "DELETE FROM rollup WHERE (series_id, hours, number) IN"
            f" (SELECT k.series_id, k.hours, k.number FROM {wanted})"
        ),
        (as_json(keys),),
    )
    if kept:
        yield insert_rows(rollup, rollups.ROLLUP_NAMES, kept, on_conflict=rollups.REPLACE)
