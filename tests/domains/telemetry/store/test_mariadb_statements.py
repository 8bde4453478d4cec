"""What the store says to all databases becomes what MariaDB understands."""

import pytest

from fieldstation.domains.telemetry.models import chunk, intake_cursor, last_value, series, tally
from fieldstation.domains.telemetry.store.deletion import ADD
from fieldstation.domains.telemetry.store.last_values import FURTHER_WINS
from fieldstation.domains.telemetry.store.mariadb_dialect import MariadbDialect
from fieldstation.domains.telemetry.store.mariadb_statements import (
    BYTES_PER_STATEMENT,
    LISTED_VALUES_MAX,
    ROWS_PER_STATEMENT_MAX,
    inserts,
    numbered,
    on_duplicate,
)
from fieldstation.domains.telemetry.store.steps import KEEP_FIRST, Query, as_json, insert_rows

NAMES = ("hour", "series_id", "start_us", "data")


def test_each_placeholder_gets_its_argument_however_often_it_stands() -> None:
    text, arguments = numbered(Query("SELECT $2, $1, $2, '5%'", ("one", 2)))
    assert text == "SELECT %s, %s, %s, '5%%'"
    assert arguments == [2, "one", 2]


def listing(columns: str, **kinds: str) -> str:
    """Return a condition as the store writes it: some columns are among those of an argument."""
    picked = ", ".join(f"k.{name}" for name in kinds)
    source = MariadbDialect().rows("$1", "k", **kinds)
    return MariadbDialect().among(columns, " ".join(("SELECT", picked, "FROM", source)))


def test_the_list_of_a_delete_is_written_out() -> None:
    """With a subquery the server would read the whole table."""
    one = listing("hour", hour="bigint")
    assert numbered(Query(f"DELETE {one} AND series_id = $2", ("[7,8]", 9))) == (
        "DELETE hour IN (%s, %s) AND series_id = %s",
        [7, 8, 9],
    )
    two = listing("(hour, sensor_id)", hour="bigint", sensor_id="text")
    assert numbered(Query(f"DELETE {two} RETURNING count", ('[[7,"a"],[8,"%s"]]',))) == (
        "DELETE (hour, sensor_id) IN ((%s, %s), (%s, %s)) RETURNING count",
        [7, "a", 8, "%s"],
    )


@pytest.mark.parametrize(
    ("verb", "rows"), [("DELETE", 0), ("DELETE", LISTED_VALUES_MAX + 1), ("SELECT", 2)]
)
def test_other_lists_stay_subqueries(verb: str, rows: int) -> None:
    condition = listing("hour", hour="bigint")
    text, arguments = numbered(Query(f"{verb} {condition}", (as_json([1] * rows),)))
    assert text == f"{verb} {condition}".replace("$1", "%s")
    assert len(arguments) == 1


def test_a_list_in_another_order_stays_a_subquery() -> None:
    swapped = listing("(b, a)", a="bigint", b="bigint").replace("k.a, k.b", "k.b, k.a")
    text, _ = numbered(Query(f"DELETE {swapped}", ("[[1,2]]",)))
    assert "JSON_TABLE(%s" in text


def test_a_statement_without_arguments_stays_as_it_is() -> None:
    assert numbered(Query("SELECT 5 % 2")) == ("SELECT 5 % 2", [])


def test_a_row_that_stays_is_given_its_own_value() -> None:
    assert on_duplicate(series, KEEP_FIRST) == "ON DUPLICATE KEY UPDATE id = series.id"


def test_a_sum_adds_what_is_new_to_what_stands() -> None:
    expected = "ON DUPLICATE KEY UPDATE amount = tally.amount + VALUES(amount)"
    assert on_duplicate(tally, ADD) == expected


def test_a_condition_decides_about_each_column_and_what_it_compares_comes_last() -> None:
    assert on_duplicate(intake_cursor, FURTHER_WINS) == (
        "ON DUPLICATE KEY UPDATE seq = IF(VALUES(seq) > intake_cursor.seq, VALUES(seq),"
        " intake_cursor.seq)"
    )
    newer = (
        "ON CONFLICT (series_id) DO UPDATE SET ts = excluded.ts, value = excluded.value"
        " WHERE excluded.ts >= last_value.ts"
    )
    assert on_duplicate(last_value, newer) == (
        "ON DUPLICATE KEY UPDATE"
        " value = IF(VALUES(ts) >= last_value.ts, VALUES(value), last_value.value),"
        " ts = IF(VALUES(ts) >= last_value.ts, VALUES(ts), last_value.ts)"
    )


@pytest.mark.parametrize(
    "on_conflict",
    [
        "ON CONFLICT (series_id) DO UPDATE SET ts = excluded.ts, value = excluded.value"
        " WHERE excluded.ts > last_value.ts AND excluded.value > last_value.value",
        "OR IGNORE",
    ],
)
def test_what_has_no_translation_is_a_defect(on_conflict: str) -> None:
    with pytest.raises(ValueError, match="MariaDB"):
        on_duplicate(last_value, on_conflict)


def test_rows_are_inserted_by_key_in_few_texts() -> None:
    rows = [(at % 7, at, 0, b"x") for at in range(ROWS_PER_STATEMENT_MAX + 11)]
    made = list(inserts(insert_rows(chunk, NAMES, rows, on_conflict=KEEP_FIRST)))
    counts = [len(arguments) // len(NAMES) for _, arguments in made]
    assert counts == [256, 8, 2, 1]
    keys = [
        tuple(arguments[at : at + 3]) for _, arguments in made for at in range(0, len(arguments), 4)
    ]
    assert keys == sorted(row[:3] for row in rows)


def test_long_rows_are_spread_over_statements_and_each_row_stays_whole() -> None:
    large = b"x" * (BYTES_PER_STATEMENT // 3)
    rows = [(at, 1, 0, large) for at in range(4)] + [(9, 1, 0, large * 9)]
    made = list(inserts(insert_rows(chunk, NAMES, rows)))
    assert [len(arguments) // len(NAMES) for _, arguments in made] == [2, 2, 1]
