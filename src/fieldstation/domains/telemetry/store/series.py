"""Series and their variants: found, created and numbered."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from fieldstation.domains.telemetry.models import series, series_variant
from fieldstation.domains.telemetry.ports import SeriesKey, SeriesRow, Variant
from fieldstation.domains.telemetry.store import sealed
from fieldstation.domains.telemetry.store.dialect import Dialect
from fieldstation.domains.telemetry.store.recent import Part, newest_in
from fieldstation.domains.telemetry.store.steps import (
    KEEP_FIRST,
    Query,
    Row,
    Steps,
    as_json,
    insert_rows,
)

SERIES_NAMES = ("organization_id", "device_id", "sensor_type", "sensor_id", "created_at")
VARIANT_NAMES = ("series_id", "number", "unit", "origin", "source_protocol")

_PICKED = "SELECT s.id, s.organization_id, s.device_id, s.sensor_type, s.sensor_id"


def by_keys(
    dialect: Dialect, parts: Sequence[Part], keys: Iterable[SeriesKey]
) -> Steps[dict[SeriesKey, SeriesRow]]:
    """Find series by their identity, with their newest instants; ``parts`` were taken before.

    Cost: a search each in the unique index, and one for the chunks of its newest hour.
    """
    text = "text"
    rows_of = dialect.rows(
        "$1", "k", organization_id=text, device_id=text, sensor_type=text, sensor_id=text
    )
    same = " AND ".join(f"s.{name} = k.{name}" for name in SERIES_NAMES[:4])
    statement = f"{_PICKED} FROM {rows_of} {dialect.seek('series', 's', same)}"
    rows = yield Query(dialect.finish(statement), (as_json(list(keys)),))
    found = yield from _complete(dialect, rows)
    stored = yield from newest_in_chunks(dialect, [row.id for row in found])
    newest = {row.id: max(stored.get(row.id, 0), newest_in(parts, row.id)) for row in found}
    return {row.key: replace(row, last_us=newest[row.id] or None) for row in found}


def by_ids(dialect: Dialect, series_ids: Sequence[int]) -> Steps[list[SeriesRow]]:
    """Find series by their ids: one search each in the primary key."""
    ids = dialect.rows("$1", "k", series_id="bigint")
    statement = f"{_PICKED} FROM {ids} {dialect.seek('series', 's', 's.id = k.series_id')}"
    rows = yield Query(dialect.finish(statement), (as_json(list(series_ids)),))
    return (yield from _complete(dialect, rows))


def by_filter(
    dialect: Dialect,
    organization_id: str,
    *,
    device_ids: Sequence[str] | None,
    sensor_types: Sequence[str] | None,
    sensor_ids: Sequence[str] | None,
) -> Steps[list[SeriesRow]]:
    """Find an organization's series.

    Cost: reads the devices' entries of the unique index, or all of the organization's.
    """
    filters = {"device_id": device_ids, "sensor_type": sensor_types, "sensor_id": sensor_ids}
    given = {name: list(values) for name, values in filters.items() if values is not None}
    clauses = ["s.organization_id = $1"]
    for at, name in enumerate(given, start=2):
        rows_of = dialect.rows(f"${at}", "k", wanted="text")
        clauses.append(f"s.{name} IN (SELECT k.wanted FROM {rows_of})")
    rows = yield Query(
        dialect.finish(f"{_PICKED} FROM series AS s WHERE {' AND '.join(clauses)} ORDER BY s.id"),
        (organization_id, *(as_json(values) for values in given.values())),
    )
    return (yield from _complete(dialect, rows))


def create(keys: Sequence[SeriesKey], *, now_us: int) -> Steps[None]:
    """Create the series that do not exist; another node may create the same ones at that moment."""
    if keys:
        rows = [(*key, now_us) for key in sorted(set(keys))]
        yield insert_rows(series, SERIES_NAMES, rows, on_conflict=KEEP_FIRST)


def number_variants(dialect: Dialect, wanted: Sequence[tuple[int, Variant]]) -> Steps[list[int]]:
    """Number each variant within its series.

    Holds the series' rows, so two nodes never give one number twice.
    """
    ids = as_json(sorted({series_id for series_id, _ in wanted}))
    own = f"SELECT k.series_id FROM {dialect.rows('$1', 'k', series_id='bigint')}"
    yield Query(
        dialect.finish(f"SELECT id FROM series WHERE id IN ({own}) ORDER BY id {dialect.row_lock}"),
        (ids,),
    )
    known = yield from _variants(dialect, ids)
    fresh: list[Row] = []
    for series_id, variant in wanted:
        numbered = known[series_id]
        if variant not in numbered:
            fresh.append((series_id, len(numbered), *variant))
            numbered.append(variant)
    if fresh:
        yield insert_rows(series_variant, VARIANT_NAMES, fresh)
    return [known[series_id].index(variant) for series_id, variant in wanted]


def newest_in_chunks(dialect: Dialect, series_ids: Sequence[int]) -> Steps[dict[int, int]]:
    """Find the newest instant of each series in chunks or sealed ones: two searches each."""
    last_hour = "(SELECT MAX(h.hour) FROM series_hour AS h WHERE h.series_id = k.series_id)"
    own = dialect.seek("chunk", "c", f"c.hour = {last_hour} AND c.series_id = k.series_id")
    rows = yield Query(
        dialect.finish(
            "SELECT k.series_id, MAX(c.end_us) FROM"
            f" {dialect.rows('$1', 'k', series_id='bigint')} {own} GROUP BY k.series_id"
        ),
        (as_json(list(series_ids)),),
    )
    newest = yield from sealed.newest(dialect, series_ids)
    newest.update((row[0], max(row[1], newest.get(row[0], 0))) for row in rows)
    return newest


def _variants(dialect: Dialect, ids: str) -> Steps[defaultdict[int, list[Variant]]]:
    found = dialect.seek("series_variant", "v", "v.series_id = k.series_id")
    rows = yield Query(
        dialect.finish(
            "SELECT v.series_id, v.unit, v.origin, v.source_protocol"
            f" FROM {dialect.rows('$1', 'k', series_id='bigint')} {found}"
            " ORDER BY v.series_id, v.number"
        ),
        (ids,),
    )
    variants: defaultdict[int, list[Variant]] = defaultdict(list)
    for series_id, *labels in rows:
        variants[series_id].append(Variant(*labels))
    return variants


def _complete(dialect: Dialect, rows: Sequence[Row]) -> Steps[list[SeriesRow]]:
    if not rows:
        return []
    variants = yield from _variants(dialect, as_json([row[0] for row in rows]))
    return [
        SeriesRow(
            id=series_id,
            key=SeriesKey(*key),
            variants=tuple(variants[series_id]),
        )
        for series_id, *key in rows
    ]
