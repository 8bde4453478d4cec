"""What the store says to all databases becomes what MariaDB understands."""

import pytest

from fieldstation.domains.telemetry.models import chunk, intake_cursor, last_value, series, tally
from fieldstation.domains.telemetry.store.deletion import ADD
from fieldstation.domains.telemetry.store.last_values import FURTHER_WINS
from fieldstation.domains.telemetry.store.mariadb_dialect import MariadbDialect
from fieldstation.domains.telemetry.store.mariadb_statements import (
    BYTES_PER_STATEMENT,
    ROWS_PER_STATEMENT_MAX,
    inserts,
    numbered,
    on_duplicate,
)
from fieldstation.domains.telemetry.store.steps import KEEP_FIRST, Query, insert_rows

NAMES = ("hour", "series_id", "start_us", "data")


def test_each_placeholder_gets_its_argument_however_often_it_stands() -> None:
    text, arguments = numbered(Query("SELECT $2, $1, $2, '5%'", ("one", 2)))
    assert text == "SELECT %s, %s, %s, '5%%'"
    assert arguments == [2, "one", 2]


def test_a_list_is_written_out_where_the_server_would_read_the_whole_table() -> None:
    dialect = MariadbDialect()
    among = dialect.among("hour", dialect.rows("$1", "k", hour="bigint"))
    listed = numbered(Query(f"{among} AND series_id = $2", ("[7,8]", 9)))
    assert listed == ("hour IN (%s, %s) AND series_id = %s", [7, 8, 9])
    assert numbered(Query(among, ("[]",))) == ("hour IN (NULL)", [])


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
