"""Floors: from which hour on the readings of a series are kept, the first of a day.

Before its floor a series has no readings that count, and its rollups are what there is: nobody
computes them anew. A floor only ever rises, in the transaction of the first deletion up to it, and
never before everything up to it is rolled up. So it lies at or before the watermark.
"""

from collections.abc import Sequence

from fieldstation.domains.telemetry.store.dialect import Dialect
from fieldstation.domains.telemetry.store.steps import Query, Steps, as_json


def floors_of(dialect: Dialect, series_ids: Sequence[int]) -> Steps[dict[int, int]]:
    """Return the floor of each series that has one: a search each."""
    ids = dialect.rows("$1", "k", series_id="bigint")
    found = dialect.seek("series", "f", "f.id = k.series_id AND f.raw_from_hour > 0")
    rows = yield Query(
        dialect.finish(f"SELECT f.id, f.raw_from_hour FROM {ids} {found}"),
        (as_json(list(series_ids)),),
    )
    return {int(series_id): floor for series_id, floor in rows}


def raise_floors(dialect: Dialect, series_ids: Sequence[int], hour: int) -> Steps[None]:
    """Raise the floors that lie before an hour."""
    own = f"SELECT k.series_id FROM {dialect.rows('$2', 'k', series_id='bigint')}"
    yield Query(
        dialect.finish(
            "UPDATE series SET raw_from_hour = $1"
            f" WHERE raw_from_hour < $1 AND {dialect.among('id', own)}"
        ),
        (hour, as_json(list(series_ids))),
    )
