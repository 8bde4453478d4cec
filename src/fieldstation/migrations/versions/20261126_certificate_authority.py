"""The authority that signs client certificates is one row, for every node of the station."""

import sqlalchemy as sa
from alembic import op

from fieldstation.migrations.target import target

revision = "20261126_certificate_authority"
down_revision = "20261126_mqtt_nodes"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if target() == "station":
        op.create_table(
            "certificate_authority",
            sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("certificate", sa.String(length=4096), nullable=False),
            sa.Column("sealed_key", sa.String(length=8192), nullable=False),
            sa.Column("created_at", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("id", name=op.f("pk_certificate_authority")),
        )


def downgrade() -> None:
    if target() == "station":
        op.drop_table("certificate_authority")
