"""Taking chunks and sealed chunks away by their keys: all of them, or nothing."""

from collections.abc import Sequence
from functools import lru_cache

from fieldstation.core.errors import Busy
from fieldstation.domains.telemetry.store.dialect import Dialect
from fieldstation.domains.telemetry.store.steps import Query, Steps, as_json

ChunkKey = tuple[int, int, int]
"""``(hour, series_id, start_us)``."""
SealedKey = tuple[int, int]
"""``(series_id, start_us)``."""


def remove(
    dialect: Dialect, chunk_keys: Sequence[ChunkKey], sealed_keys: Sequence[SealedKey]
) -> Steps[None]:
    """Delete these rows, and forget the hours of which no chunk is left.

    Raises ``Busy``, and nothing is changed, when some of them are not there any more.
    """
    gone = 0
    if chunk_keys:
        gone += len((yield Query(_delete_chunks_text(dialect), (as_json(chunk_keys),))))
    if sealed_keys:
        gone += len((yield Query(_delete_sealed_text(dialect), (as_json(sealed_keys),))))
    if gone != len(chunk_keys) + len(sealed_keys):
        raise Busy("Another node deleted or sealed the same readings; try again.")
    if chunk_keys:
        hours = sorted({(series_id, hour) for hour, series_id, _ in chunk_keys})
        yield Query(_delete_hours_text(dialect), (as_json(hours),))


@lru_cache(maxsize=4)
def _delete_chunks_text(dialect: Dialect) -> str:
    keys = dialect.rows("$1", "k", hour="bigint", series_id="bigint", start_us="bigint")
    return dialect.finish(
        "DELETE FROM chunk WHERE (hour, series_id, start_us) IN"
        f" (SELECT k.hour, k.series_id, k.start_us FROM {keys}) RETURNING count"
    )


@lru_cache(maxsize=4)
def _delete_sealed_text(dialect: Dialect) -> str:
    keys = dialect.rows("$1", "k", series_id="bigint", start_us="bigint")
    return dialect.finish(
        "DELETE FROM sealed WHERE (series_id, start_us) IN"
        f" (SELECT k.series_id, k.start_us FROM {keys}) RETURNING count"
    )


@lru_cache(maxsize=4)
def _delete_hours_text(dialect: Dialect) -> str:
    """Forget the hours of which no chunk is left; late readings may have brought others."""
    keys = dialect.rows("$1", "k", series_id="bigint", hour="bigint")
    return dialect.finish(
        "DELETE FROM series_hour WHERE (series_id, hour) IN"
        f" (SELECT k.series_id, k.hour FROM {keys}) AND NOT EXISTS (SELECT 1 FROM chunk AS c"
        " WHERE c.hour = series_hour.hour AND c.series_id = series_hour.series_id)"
    )
