"""How much some series take, readings and rollups apart."""

from collections.abc import Sequence

from fieldstation.domains.telemetry.sizing import SeriesSizes
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR, Dialect
from fieldstation.domains.telemetry.store.rollup_blocks import SLOTS
from fieldstation.domains.telemetry.store.steps import Query, Row, Steps, as_json

FAR_US = 1 << 62
HOURS = "h.series_id = k.series_id AND h.hour < $2"
CHUNKS = "c.hour = h.hour AND c.series_id = h.series_id"
SEALED = "s.series_id = k.series_id AND s.start_us < $2"
ROLLUPS = "r.series_id = k.series_id AND r.hours = $2 AND r.number <= $3"
BLOCK = "(LENGTH(r.data) + COALESCE(LENGTH(r.sketches), 0))"


def sizes(
    dialect: Dialect,
    series_ids: Sequence[int],
    *,
    raw_before_us: int | None,
    rollups_before_us: int | None,
    now_us: int,
) -> Steps[SeriesSizes]:
    """Add up chunks, sealed chunks and rollups of series.

    Cost: one search for each hour that is not sealed yet, sealed chunk and block of rollups: of
    each its key and the length of its bytes, not the bytes.
    """
    raw_us = FAR_US if raw_before_us is None else raw_before_us
    rollups_us = FAR_US if rollups_before_us is None else rollups_before_us
    ids = as_json(list(series_ids))
    source = dialect.rows("$1", "k", series_id="bigint")
    hours, chunks = dialect.seek("series_hour", "h", HOURS), dialect.seek("chunk", "c", CHUNKS)
    raw: list[Row] = yield Query(
        dialect.finish(
            "SELECT k.series_id, SUM(c.count), SUM(LENGTH(c.data)), MIN(c.start_us)"
            f" FROM {source} {hours} {chunks} GROUP BY k.series_id"
        ),
        (ids, raw_us // US_PER_HOUR),
    )
    raw += yield Query(
        dialect.finish(
            f"SELECT k.series_id, SUM({share('s.count')}), SUM({share('LENGTH(s.data)')}),"
            f" MIN(s.start_us) FROM {source} {dialect.seek('sealed', 's', SEALED)}"
            " GROUP BY k.series_id"
        ),
        (ids, raw_us),
    )
    rolled_up: list[Row] = []
    blocks = dialect.seek("rollup", "r", ROLLUPS)
    for width in SLOTS:
        # Of the block around the instant the hours before it count.
        span = SLOTS[width] * width
        number, before = divmod(rollups_us // US_PER_HOUR, span)
        filled = max(1, before, min(span, now_us // US_PER_HOUR - number * span))
        found = yield Query(
            dialect.finish(
                f"SELECT k.series_id, SUM(CASE WHEN r.number < $3 THEN {BLOCK}"
                f" ELSE {BLOCK} * $4 / $5 END), MIN(r.number)"
                f" FROM {source} {blocks} GROUP BY k.series_id"
            ),
            (ids, width, number, before, filled),
        )
        rolled_up += [(row[0], row[1], row[2] * span * US_PER_HOUR) for row in found if row[1]]
    return SeriesSizes(
        series=len({row[0] for row in (*raw, *rolled_up)}),
        readings=sum(int(row[1]) for row in raw),
        raw_bytes=sum(int(row[2]) for row in raw),
        rollup_bytes=sum(int(row[1]) for row in rolled_up),
        oldest_us=min((row[3] for row in raw), default=None),
        oldest_rollup_us=min((row[2] for row in rolled_up), default=None),
    )


def share(amount: str) -> str:
    """Take of a sealed chunk the part that lies before an instant, by time."""
    part = f"{amount} * ($2 - s.start_us) / (s.end_us - s.start_us + 1)"
    return f"CASE WHEN s.end_us < $2 THEN {amount} ELSE {part} END"
