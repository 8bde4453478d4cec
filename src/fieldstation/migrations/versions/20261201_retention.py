"""For how long readings are kept: rules of an organization."""

import sqlalchemy as sa
from alembic import op

from fieldstation.migrations.target import target

revision = "20261201_retention"
down_revision = "20261201_device_groups"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if target() != "station":
        return
    op.create_table(
        "retention_policy",
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("applies_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
            name=op.f("fk_retention_policy_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_retention_policy")),
    )
    op.create_table(
        "retention_rule",
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sensor_type", sa.String(length=50), nullable=True),
        sa.Column("group_id", sa.String(length=36), nullable=True),
        sa.Column("raw_days", sa.Integer(), nullable=True),
        sa.Column("rollup_days", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["group_id"], ["device_group.id"], name=op.f("fk_retention_rule_group_id")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["retention_policy.organization_id"],
            name=op.f("fk_retention_rule_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organization_id", "number", name=op.f("pk_retention_rule")),
    )
    op.create_index(op.f("ix_retention_rule_group_id"), "retention_rule", ["group_id"])


def downgrade() -> None:
    if target() == "station":
        op.drop_table("retention_rule")
        op.drop_table("retention_policy")
