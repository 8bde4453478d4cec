"""Partial results per hour and day, and which of them are stale."""

import sqlalchemy as sa
from alembic import op

from fieldstation.migrations.target import target

revision = "20261130_rollups"
down_revision = "20261130_exports"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if target() != "telemetry":
        return
    op.create_table(
        "rollup",
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("hours", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("sketches", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("series_id", "hours", "number", name=op.f("pk_rollup")),
    )
    op.create_table(
        "rollup_stale",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("series_id", "hour", name=op.f("pk_rollup_stale")),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO rollup_stale (series_id, hour) SELECT series_id, hour FROM series_hour")


def downgrade() -> None:
    if target() == "telemetry":
        op.drop_table("rollup_stale")
        op.drop_table("rollup")
        op.execute("DELETE FROM tally WHERE name = 'rolled_up_before'")
