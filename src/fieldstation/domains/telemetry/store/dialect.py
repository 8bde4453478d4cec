"""What the dialects of SQL say differently; everything else is written once."""

import re
from functools import lru_cache
from typing import Protocol

US_PER_HOUR = 3_600_000_000


class Dialect(Protocol):
    """Fragments of statements.

    Placeholders are ``$1``, ``$2`` … in the fragments and ``finish`` adapts them.
    """

    row_lock: str
    """Put behind a SELECT: nobody else changes these rows before the transaction ends."""

    bytes_on_disk: str
    """A statement returning the size of the tables; what lies beside them counts apart."""

    description: str
    """A statement returning the server or library and its version, and extensions to know of."""

    def rows(self, placeholder: str, alias: str, **columns: str) -> str:
        """Unpack a JSON argument (``as_json``) into a row source ``alias(columns…)``.

        The values of ``columns`` are SQL types.
        """
        ...

    def seek(self, table: str, alias: str, condition: str) -> str:
        """Join ``table`` behind what stands before it, by one index search for each row of that."""
        ...

    def among(self, column: str, select: str) -> str:
        """Restrict an indexed column to the values of a short list, each searched in the index."""
        ...

    def hour_of(self, us: str) -> str:
        """Divide an instant by the length of an hour, rounding down."""
        ...

    def finish(self, statement: str) -> str:
        """Turn ``$n`` into the driver's placeholders."""
        ...


class SqliteDialect:
    """SQLite: ``CROSS JOIN`` keeps the written order, JSON arguments are read by ``json_each``."""

    row_lock = ""
    bytes_on_disk = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    description = "SELECT 'SQLite ' || sqlite_version()"

    def rows(self, placeholder: str, alias: str, **columns: str) -> str:
        if len(columns) == 1:
            (name,) = columns
            return f"(SELECT value AS {name} FROM json_each({placeholder})) AS {alias}"
        picked = ", ".join(
            f"json_extract(value, '$[{at}]') AS {name}" for at, name in enumerate(columns)
        )
        return f"(SELECT {picked} FROM json_each({placeholder})) AS {alias}"

    def seek(self, table: str, alias: str, condition: str) -> str:
        return f"CROSS JOIN {table} AS {alias} ON {condition}"

    def among(self, column: str, select: str) -> str:
        return f"{column} IN ({select})"

    def hour_of(self, us: str) -> str:
        return f"{us} / {US_PER_HOUR}"

    def finish(self, statement: str) -> str:
        return _PLACEHOLDER.sub(r"?\1", statement)


class PostgresqlDialect:
    """PostgreSQL: ``LATERAL … OFFSET 0`` leaves the planner no join but the index search."""

    row_lock = "FOR UPDATE"
    bytes_on_disk = (
        "SELECT SUM(pg_total_relation_size(name::regclass))::bigint FROM unnest(ARRAY["
        "'series', 'series_variant', 'series_hour', 'chunk', 'sealed', 'reading_detail',"
        " 'intake_batch', 'last_value', 'refusal', 'mqtt_exchange', 'rollup', 'rollup_stale'"
        "]) AS t(name)"
    )
    description = (
        "SELECT 'PostgreSQL ' || current_setting('server_version') || COALESCE("
        "(SELECT ' with TimescaleDB ' || extversion FROM pg_extension"
        " WHERE extname = 'timescaledb'), '')"
    )

    def rows(self, placeholder: str, alias: str, **columns: str) -> str:
        if len(columns) == 1:
            ((name, kind),) = columns.items()
            source = f"json_array_elements_text({placeholder}::json) AS e(item)"
            return f"(SELECT item::{kind} AS {name} FROM {source}) AS {alias}"
        picked = ", ".join(
            f"(item->>{at})::{kind} AS {name}" for at, (name, kind) in enumerate(columns.items())
        )
        source = f"json_array_elements({placeholder}::json) AS e(item)"
        return f"(SELECT {picked} FROM {source}) AS {alias}"

    def seek(self, table: str, alias: str, condition: str) -> str:
        inner = f"SELECT * FROM {table} AS {alias} WHERE {condition} OFFSET 0"
        return f"CROSS JOIN LATERAL ({inner}) AS {alias}"

    def among(self, column: str, select: str) -> str:
        return f"{column} = ANY(ARRAY({select}))"

    def hour_of(self, us: str) -> str:
        return f"{us} / {US_PER_HOUR}"

    def finish(self, statement: str) -> str:
        return statement


_PLACEHOLDER = re.compile(r"\$(\d)")


@lru_cache(maxsize=512)
def insert_text(table: str, names: tuple[str, ...], *, rows: int, on_conflict: str) -> str:
    """Write SQLite's INSERT of many rows, of which those that are all NULL are padding.

    ``OR ROLLBACK`` where a conflict undoes everything anyway: it spares the statement journal, half
    the time.
    """
    verb = "INSERT" if on_conflict else "INSERT OR ROLLBACK"
    row = f"({', '.join('?' * len(names))})"
    return (
        f"{verb} INTO {table} ({', '.join(names)}) SELECT * FROM (VALUES {', '.join([row] * rows)})"
        f" WHERE column1 IS NOT NULL {on_conflict}"
    )
