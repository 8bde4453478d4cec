"""Runs the chain on the connection and for the target (``station`` or ``telemetry``) that it is
given."""

from alembic import context

from fieldstation.tables import METADATA

connection = context.config.attributes["connection"]
target = context.config.attributes["target"]

context.configure(
    connection=connection,
    target_metadata=METADATA[target],
    version_table=f"schema_version_{target}",
    render_as_batch=True,
    compare_type=True,
    # Both targets may live in one database; each looks only at its own tables.
    include_name=lambda name, kind, _parents: kind != "table" or name in METADATA[target].tables,
)

with context.begin_transaction():
    context.run_migrations()
