"""Runs the chain of schema changes with Alembic, and compares what came out with the models."""

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from fieldstation.tables import METADATA


def run_upgrade(connection: Connection, target: str) -> None:
    """Apply what is missing in the connection's transaction."""
    command.upgrade(configuration(connection, target), "head")


def differences(connection: Connection, target: str) -> list[object]:
    """Return how the tables differ from the models; empty when a migration covers every model."""
    context = MigrationContext.configure(
        connection,
        opts={
            "version_table": f"schema_version_{target}",
            "include_name": lambda name, kind, _: (
                kind != "table" or name in METADATA[target].tables
            ),
        },
    )
    return list(compare_metadata(context, METADATA[target]))


def configuration(connection: Connection, target: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    config.attributes["target"] = target
    return config
