"""A table for Idempotency-Keys and the results of their first requests."""

import sqlalchemy as sa
from alembic import op

from fieldstation.migrations.target import target

revision = "20261122_idempotency"
down_revision = "20261122_mqtt_sessions"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if target() != "station":
        return
    op.create_table(
        "idempotency_key",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("body_digest", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_idempotency_key")),
    )
    op.create_index(op.f("ix_idempotency_key_expires_at"), "idempotency_key", ["expires_at"])


def downgrade() -> None:
    if target() == "station":
        op.drop_index(op.f("ix_idempotency_key_expires_at"), table_name="idempotency_key")
        op.drop_table("idempotency_key")
