"""Sealed chunks as they are asked for: by period, by key, by series.

The sealed chunks of a series never overlap, so one search finds the one that reaches into a period
and the others begin inside it. Who asks looks into memory first, then into the chunks, then here:
readings move in that direction only.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

from fieldstation.domains.telemetry.store.chunks import SEEK_SERIES_MAX
from fieldstation.domains.telemetry.store.compression import Outline, decompress
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.points import Points, joined
from fieldstation.domains.telemetry.store.steps import Query, Row, Steps, as_json

SEALED_NAMES = ("series_id", "start_us", "end_us", "count", "data")
PICKED = "s.series_id, s.start_us, s.end_us, s.count, s.data"


def unpack(rows: Iterable[Row]) -> Points:
    """Return the readings of rows of ``SEALED_NAMES``, one row behind the other."""
    return joined([decompress(Outline(*outline), data) for *outline, data in rows])


def read(
    dialect: Dialect, series_ids: Collection[int], *, start_us: int, end_us: int
) -> Steps[Points]:
    """Read the sealed chunks that reach into a period, with their readings outside of it.

    Cost: two searches a series and the chunks found; one search in all where more than 200 series
    are asked for and the period lies behind everything sealed.
    """
    if start_us >= end_us or (yield from _is_behind(series_ids, start_us)):
        return joined([])
    rows = yield Query(
        _between_text(dialect, PICKED), (as_json(list(series_ids)), start_us, end_us)
    )
    return unpack(rows)


def hours(
    dialect: Dialect, series_ids: Collection[int], *, start_us: int, end_us: int
) -> Steps[set[int]]:
    """Return the hours of a period in which any of the series may have sealed readings.

    Cost: as ``read``, without the bytes; a chunk counts for all hours from its first reading to its
    last.
    """
    if start_us >= end_us:
        return set()
    picked = f"DISTINCT s.start_us / {US_PER_HOUR}, s.end_us / {US_PER_HOUR}"
    rows = yield Query(
        _between_text(dialect, picked), (as_json(list(series_ids)), start_us, end_us)
    )
    first, last = start_us // US_PER_HOUR, (end_us - 1) // US_PER_HOUR
    found: set[int] = set()
    for low, high in rows:
        found.update(range(max(first, low), min(last, high) + 1))
    return found


def covering(dialect: Dialect, keys: Sequence[tuple[int, int]]) -> Steps[Points]:
    """Read the sealed chunks in which these keys would stand: one search a key."""
    found = dialect.seek(
        "sealed",
        "s",
        "s.series_id = k.series_id AND s.start_us = (SELECT MAX(m.start_us) FROM sealed AS m"
        " WHERE m.series_id = k.series_id AND m.start_us <= k.ts) AND s.end_us >= k.ts",
    )
    source = dialect.rows("$1", "k", series_id="bigint", ts="bigint")
    rows = yield Query(dialect.finish(f"SELECT {PICKED} FROM {source} {found}"), (as_json(keys),))
    return unpack({(row[0], row[1]): row for row in rows}.values())


def newest(dialect: Dialect, series_ids: Sequence[int]) -> Steps[dict[int, int]]:
    """Find the newest sealed instant of each series that has one: one search each."""
    found = dialect.seek(
        "sealed",
        "s",
        "s.series_id = k.series_id AND s.start_us ="
        " (SELECT MAX(m.start_us) FROM sealed AS m WHERE m.series_id = k.series_id)",
    )
    source = dialect.rows("$1", "k", series_id="bigint")
    rows = yield Query(
        dialect.finish(f"SELECT s.series_id, s.end_us FROM {source} {found}"),
        (as_json(list(series_ids)),),
    )
    return {row[0]: row[1] for row in rows}


def next_edge(
    dialect: Dialect, series_ids: Sequence[int], edge_us: int, *, forwards: bool
) -> Steps[int | None]:
    """Return from which instant on any of the series may have sealed readings again: at the edge or
    behind it, or going backwards, before it; then as the end of a period.

    Cost: at most two searches a series.
    """
    rows = yield Query(_edge_text(dialect, forwards), (as_json(list(series_ids)), edge_us))
    reaching, beyond = rows[0]
    if not forwards:
        return None if reaching is None else min(edge_us, reaching + 1)
    return edge_us if reaching is not None and reaching >= edge_us else beyond


@lru_cache(maxsize=8)
def _edge_text(dialect: Dialect, forwards: bool) -> str:
    before = (
        "SELECT p.end_us FROM sealed AS p WHERE p.series_id = k.series_id"
        f" AND p.start_us {'<=' if forwards else '<'} $2 ORDER BY p.start_us DESC LIMIT 1"
    )
    after = (
        "SELECT MIN(n.start_us) FROM sealed AS n WHERE n.series_id = k.series_id"
        " AND n.start_us > $2"
    )
    beyond = f"MIN(({after}))" if forwards else "NULL"
    ids = dialect.rows("$1", "k", series_id="bigint")
    return dialect.finish(f"SELECT MAX(({before})), {beyond} FROM {ids}")


def _is_behind(series_ids: Collection[int], start_us: int) -> Steps[bool]:
    """Tell whether many series are asked for and no sealed chunk reaches that far."""
    if len(series_ids) <= SEEK_SERIES_MAX:
        return False
    ((last_us,),) = yield Query("SELECT MAX(end_us) FROM sealed")
    return last_us is None or last_us < start_us


@lru_cache(maxsize=8)
def _between_text(dialect: Dialect, picked: str) -> str:
    reaching = (
        "SELECT MAX(m.start_us) FROM sealed AS m"
        " WHERE m.series_id = k.series_id AND m.start_us <= $2"
    )
    inside = (
        f"s.series_id = k.series_id AND s.start_us >= COALESCE(({reaching}), $2)"
        " AND s.start_us < $3 AND s.end_us >= $2"
    )
    source = f"{dialect.rows('$1', 'k', series_id='bigint')} {dialect.seek('sealed', 's', inside)}"
    return dialect.finish(f"SELECT {picked} FROM {source}")
