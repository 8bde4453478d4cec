"""On PostgreSQL packed columns are compressed by lz4 or not at all: pglz took longer than the rest
of a commit."""

import sqlalchemy as sa
from alembic import op

from fieldstation.migrations.target import target

revision = "20261201_packed_columns"
down_revision = "20261201_retention"
branch_labels = None
depends_on = None

PLAIN = (("intake_batch", "readings"), ("chunk", "data"))
COMPRESSED = (("sealed", "data"), ("rollup", "data"), ("rollup", "sketches"))
"""By the station itself."""
HAS_LZ4 = "SELECT 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"


def upgrade() -> None:
    """Change what is written from now on; rows that stand are read as they are."""
    if target() != "telemetry" or op.get_bind().dialect.name != "postgresql":
        return
    has_lz4 = op.get_bind().scalar(sa.text(HAS_LZ4))
    for table, column in PLAIN:
        how = "COMPRESSION lz4" if has_lz4 else "STORAGE EXTERNAL"
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET {how}")
    for table, column in COMPRESSED:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")


def downgrade() -> None:
    if target() != "telemetry" or op.get_bind().dialect.name != "postgresql":
        return
    has_lz4 = op.get_bind().scalar(sa.text(HAS_LZ4))
    for table, column in (*PLAIN, *COMPRESSED):
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTENDED")
    for table, column in PLAIN if has_lz4 else ():
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET COMPRESSION DEFAULT")
