"""Sealed chunks: older readings, compressed. Chunks that stand are sealed in time by the job."""

import sqlalchemy as sa
from alembic import op

from fieldstation.migrations.target import target

revision = "20261130_sealed_chunks"
down_revision = "20261126_certificate_authority"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if target() != "telemetry":
        return
    op.create_table(
        "sealed",
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("start_us", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("series_id", "start_us"),
    )
    op.create_index("ix_sealed_end", "sealed", ["end_us"])


def downgrade() -> None:
    """Refused once anything is sealed: the version before cannot read it."""
    if target() != "telemetry":
        return
    if op.get_bind().scalar(sa.text("SELECT COUNT(*) FROM sealed")):
        raise RuntimeError(
            "Readings are sealed already, and the version before cannot read them; "
            "restore the backup from before the upgrade, or stay."
        )
    op.drop_table("sealed")
