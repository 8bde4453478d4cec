"""What MariaDB's SQL says differently."""

from fieldstation.db.base import telemetry_metadata
from fieldstation.db.mariadb import COLLATION
from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR

TYPES = {
    "text": f"VARCHAR(1024) CHARACTER SET utf8mb4 COLLATE {COLLATION}",
    "bigint": "BIGINT",
    "integer": "INT",
}


class MariadbDialect:
    """MariaDB: ``STRAIGHT_JOIN`` keeps the written order, JSON is read by ``JSON_TABLE``.

    ``$n`` stays in the statements until they run: the driver numbers no placeholders.
    """

    row_lock = "FOR UPDATE"
    description = "SELECT CONCAT('MariaDB ', VERSION())"

    def __init__(self) -> None:
        names = ", ".join(f"'{name}'" for name in telemetry_metadata.tables)
        self.bytes_on_disk = (
            "SELECT CAST(COALESCE(SUM(data_length + index_length), 0) AS UNSIGNED)"
            " FROM information_schema.tables"
            f" WHERE table_schema = DATABASE() AND table_name IN ({names})"
        )

    def rows(self, placeholder: str, alias: str, **columns: str) -> str:
        paths = ["$"] if len(columns) == 1 else [f"$[{at}]" for at in range(len(columns))]
        listed = ", ".join(
            f"{name} {TYPES[kind]} PATH '{path}'"
            for (name, kind), path in zip(columns.items(), paths, strict=True)
        )
        return f"JSON_TABLE({placeholder}, '$[*]' COLUMNS ({listed})) AS {alias}"

    def seek(self, table: str, alias: str, condition: str) -> str:
        return f"STRAIGHT_JOIN {table} AS {alias} ON {condition}"

    def among(self, column: str, select: str) -> str:
        """Leave it to ``mariadb_statements``, which writes the list out."""
        return f"{column} IN ({select})"

    def hour_of(self, us: str) -> str:
        return f"{us} DIV {US_PER_HOUR}"

    def finish(self, statement: str) -> str:
        return statement
