"""Groups of devices, by members or by tags."""

import sqlalchemy as sa
from alembic import op

from fieldstation.migrations.target import target

revision = "20261201_device_groups"
down_revision = "20261201_floors"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if target() != "station":
        return
    op.create_table(
        "device_group",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("name_key", sa.String(length=300), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("tag_expression", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
            name=op.f("fk_device_group_organization_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_group")),
        sa.UniqueConstraint(
            "organization_id", "name_key", name=op.f("uq_device_group_organization_id_name_key")
        ),
    )
    op.create_table(
        "device_group_member",
        sa.Column("group_id", sa.String(length=36), nullable=False),
        sa.Column("device_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"],
            ["device.id"],
            name=op.f("fk_device_group_member_device_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["device_group.id"],
            name=op.f("fk_device_group_member_group_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("group_id", "device_id", name=op.f("pk_device_group_member")),
    )
    op.create_index(op.f("ix_device_group_member_device_id"), "device_group_member", ["device_id"])


def downgrade() -> None:
    if target() == "station":
        op.drop_table("device_group_member")
        op.drop_table("device_group")
