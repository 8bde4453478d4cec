"""How store logic is written once for every driver: generators yield statements and get rows.

The driver decides where it runs: a thread with a ``sqlite3`` connection, or the event loop with one
to a server.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Table

Row = Sequence[Any]
Argument = str | int | float | bytes | None


@dataclass(frozen=True, slots=True)
class Query:
    """One statement in the driver's dialect; ``args[0]`` is ``$1``."""

    sql: str
    args: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class Insert:
    """Rows for one table, as columns in the order of ``names``.

    Without ``on_conflict`` an existing key undoes the whole transaction (``KeyTaken``).
    """

    table: Table
    names: tuple[str, ...]
    columns: Sequence[Sequence[Argument]]
    on_conflict: str = ""


Result = TypeVar("Result")
Steps = Generator[Query | Insert, list[Row], Result]

KEEP_FIRST = "ON CONFLICT DO NOTHING"

_encoder = msgspec.json.Encoder()


class KeyTaken(Exception):
    """A row with that key stands already; the transaction that tried was rolled back."""


def as_json(rows: Sequence[object]) -> str:
    """Encode the argument of ``Dialect.rows``: rows, or plain values for a single column."""
    return _encoder.encode(rows).decode()


def insert_rows(
    table: Table, names: tuple[str, ...], rows: Sequence[Row], *, on_conflict: str = ""
) -> Insert:
    """Build an ``Insert`` from at least one row."""
    columns = list(zip(*rows, strict=True))
    return Insert(table=table, names=names, columns=columns, on_conflict=on_conflict)
