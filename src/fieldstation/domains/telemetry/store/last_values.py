"""The last values as saved every few seconds, with the log position up to which they hold."""

from collections.abc import Sequence

from fieldstation.domains.telemetry.models import intake_cursor, last_value
from fieldstation.domains.telemetry.ports import LastValue
from fieldstation.domains.telemetry.store.steps import Query, Steps, insert_rows

LAST_VALUE_NAMES = ("series_id", "ts", "value", "flags", "text", "received_at", "metadata", "score")
NEWER_WINS = (
    "ON CONFLICT (series_id) DO UPDATE SET ts = excluded.ts, value = excluded.value,"
    " flags = excluded.flags, text = excluded.text, received_at = excluded.received_at,"
    " metadata = excluded.metadata, score = excluded.score"
    " WHERE excluded.ts >= last_value.ts"
)
FURTHER_WINS = (
    "ON CONFLICT (node_id) DO UPDATE SET seq = excluded.seq WHERE excluded.seq > intake_cursor.seq"
)


def load() -> Steps[tuple[list[LastValue], dict[str, int]]]:
    """Read all of them: one scan of a table with one row per series."""
    # The cursor first: values saved in between are only newer than it says.
    cursor = yield Query("SELECT node_id, seq FROM intake_cursor")
    rows = yield Query(f"SELECT {', '.join(LAST_VALUE_NAMES)} FROM last_value ORDER BY series_id")
    return [LastValue(*row) for row in rows], {row[0]: row[1] for row in cursor}


def save(values: Sequence[LastValue], *, node_id: str, seq: int) -> Steps[None]:
    """Save changed values and this node's cursor: one statement for each."""
    newest: dict[int, LastValue] = {}
    for value in sorted(values, key=lambda value: (value.series_id, value.ts_us)):
        newest[value.series_id] = value
    if newest:
        rows = list(newest.values())
        yield insert_rows(last_value, LAST_VALUE_NAMES, rows, on_conflict=NEWER_WINS)
    yield insert_rows(intake_cursor, ("node_id", "seq"), [(node_id, seq)], on_conflict=FURTHER_WINS)
