"""Steps as statements of MariaDB: placeholders, conflicts, and how many rows go into one INSERT."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec
from sqlalchemy import Table

from fieldstation.domains.telemetry.store.steps import Argument, Insert, Query, Row

ROWS_PER_STATEMENT_MAX = 256
BYTES_PER_STATEMENT = 1024 * 1024
BYTES_PER_VALUE = 16
"""What a number, or the length of a text, takes at most on its way to the server."""

LISTED_VALUES_MAX = 20_000
"""A statement has 65,535 arguments at most."""

_PLACEHOLDER = re.compile(r"\$(\*?)(\d)")
_LIST = re.compile(
    r"IN \(SELECT (?P<picked>[\w., ]+) FROM JSON_TABLE\(\$(?P<number>\d), '\$\[\*\]'"
    r" COLUMNS \((?P<columns>.+?')\)\) AS \w+\)"
)
_CONFLICT = re.compile(
    r"ON CONFLICT (?:\([\w, ]+\) )?DO (?:NOTHING|UPDATE SET (?P<set>.+?)(?: WHERE (?P<where>.+))?)"
)
_EXCLUDED = re.compile(r"\bexcluded\.(\w+)")


def numbered(query: Query) -> tuple[str, list[Argument]]:
    """Return the statement with the driver's ``%s`` and an argument for each of them.

    A DELETE or an UPDATE gets the values of a JSON list one by one: with a subquery the server
    would read the whole table and look into the list at each row.
    """
    if not query.args:
        return query.sql, []
    arguments: list[Argument] = []

    def place(found: re.Match[str]) -> str:
        value = query.args[int(found[2]) - 1]
        if not found[1]:
            arguments.append(value)
            return "%s"
        rows = msgspec.json.decode(str(value))
        arguments.extend(one for row in rows for one in _as_list(row))
        return ", ".join(_marks(row) for row in rows)

    text = query.sql.replace("%", "%%")
    if text.startswith(("DELETE", "UPDATE")):
        text = _LIST.sub(lambda found: _listed(found, query.args), text)
    return _PLACEHOLDER.sub(place, text), arguments


def _listed(found: re.Match[str], args: Sequence[Argument]) -> str:
    """Mark a list (``$*n``) that has as many columns as the subquery picks, in their order."""
    names = [column.split()[0] for column in found["columns"].split(", ")]
    picked = [name.rpartition(".")[2] for name in found["picked"].split(", ")]
    rows = msgspec.json.decode(str(args[int(found["number"]) - 1]))
    if picked != names or not 0 < len(rows) * len(names) <= LISTED_VALUES_MAX:
        return found[0]
    return f"IN ($*{found['number']})"


def _as_list(row: list[Argument] | Argument) -> list[Argument]:
    return row if isinstance(row, list) else [row]


def _marks(row: list[Argument] | Argument) -> str:
    return f"({', '.join(['%s'] * len(row))})" if isinstance(row, list) else "%s"


def inserts(step: Insert) -> Iterator[tuple[str, list[Argument]]]:
    """Yield statements for the rows of an ``Insert``, in the order of their key.

    Each has a power of two of rows, so that a handful of texts stay prepared, and about a mebibyte
    at most; a larger row has a statement of its own.
    """
    key = _key_of(step)
    rows = sorted(zip(*step.columns, strict=True), key=lambda row: [row[at] for at in key])
    start = 0
    while start < len(rows):
        count = _fitting(rows, start)
        text = insert_text(step.table, step.names, count, step.on_conflict)
        yield text, [value for row in rows[start : start + count] for value in row]
        start += count


def bytes_of(arguments: Sequence[Argument]) -> int:
    """Return how many bytes arguments take on their way to the server, at most."""
    return sum(map(_bytes_of, arguments)) + BYTES_PER_VALUE * len(arguments)


def _bytes_of(argument: Argument) -> int:
    if isinstance(argument, str):
        return len(argument.encode())
    return len(argument) if isinstance(argument, bytes) else 0


def _fitting(rows: Sequence[Row], start: int) -> int:
    count = size = 0
    for row in rows[start : start + ROWS_PER_STATEMENT_MAX]:
        size += bytes_of(row)
        if count and size > BYTES_PER_STATEMENT:
            break
        count += 1
    return 1 << (count.bit_length() - 1)


def _key_of(step: Insert) -> list[int]:
    """Return where the primary key's columns stand; without them the columns as they come."""
    names = [column.name for column in step.table.primary_key if column.name in step.names]
    return [step.names.index(name) for name in names] or [*range(len(step.names))]


@lru_cache(maxsize=64)
def insert_text(table: Table, names: tuple[str, ...], rows: int, on_conflict: str) -> str:
    row = f"({', '.join(['%s'] * len(names))})"
    into = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES {', '.join([row] * rows)}"
    return f"{into} {on_duplicate(table, on_conflict)}" if on_conflict else into


def on_duplicate(table: Table, on_conflict: str) -> str:
    """Translate ``ON CONFLICT``.

    A row that stays is given its own value again: ``INSERT IGNORE`` would pass over every other
    error too. Assignments happen one after the other, so a column that ``WHERE`` compares comes
    last; with two of them there would be no right order. Raises ``ValueError`` for those.
    """
    found = _CONFLICT.fullmatch(on_conflict)
    if found is None:
        raise ValueError(f"not a conflict that MariaDB can be told of: {on_conflict}")
    if found["set"] is None:
        first = next(iter(table.primary_key)).name
        return f"ON DUPLICATE KEY UPDATE {first} = {table.name}.{first}"
    changes = [part.split(" = ", 1) for part in found["set"].split(", ")]
    compared = {name for name, _ in changes if re.search(rf"\b{table.name}\.{name}\b", on_conflict)}
    if found["where"] is not None and len(compared) > 1:
        raise ValueError(f"MariaDB cannot compare {sorted(compared)} and change them as well")
    parts = [
        f"{name} = {_value(table, name, value, found['where'])}"
        for name, value in sorted(changes, key=lambda change: change[0] in compared)
    ]
    return f"ON DUPLICATE KEY UPDATE {', '.join(parts)}"


def _value(table: Table, name: str, value: str, condition: str | None) -> str:
    chosen = value if condition is None else f"IF({condition}, {value}, {table.name}.{name})"
    return _EXCLUDED.sub(r"VALUES(\1)", chosen)
