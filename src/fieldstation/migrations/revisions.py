"""The chain of schema revisions by name: to learn that nothing is missing, nobody loads Alembic."""

from sqlalchemy import Connection, column, inspect, select, table

from fieldstation.core.errors import Conflict

REVISIONS = (
    "20261122_first_schema",
    "20261122_chunks",
    "20261122_mqtt_sessions",
    "20261122_idempotency",
    "20261126_mqtt_nodes",
    "20261126_certificate_authority",
    "20261130_sealed_chunks",
    "20261130_exports",
    "20261130_rollups",
    "20261201_floors",
    "20261201_device_groups",
    "20261201_retention",
    "20261201_packed_columns",
    "20261201_rollups_of_sealed",
)
"""Oldest first; each is a file in ``versions``."""


def missing(connection: Connection, target: str) -> tuple[str, ...]:
    """Return the revisions that a database lacks, oldest first.

    Raises ``Conflict`` for a schema that this version does not know.
    """
    found = applied(connection, f"schema_version_{target}")
    if not found:
        return REVISIONS
    unknown = [revision for revision in found if revision not in REVISIONS]
    if unknown or len(found) > 1:
        raise Conflict(
            f"The {target} database has schema {', '.join(found)}, which this version does not "
            "know; install the version of Fieldstation that it is from, or a newer one."
        )
    return REVISIONS[REVISIONS.index(found[0]) + 1 :]


def applied(connection: Connection, version_table: str) -> list[str]:
    """Return what Alembic noted: one revision, or none in a database that is still empty."""
    if not inspect(connection).has_table(version_table):
        return []
    noted = select(column("version_num")).select_from(table(version_table))
    return [str(revision) for revision in connection.scalars(noted)]
