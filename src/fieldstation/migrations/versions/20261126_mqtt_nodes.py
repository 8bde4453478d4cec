"""MQTT sessions belong to one node; packet ids of QoS 2 readings stand beside the readings."""

import sqlalchemy as sa
from alembic import op

from fieldstation.migrations.target import target

revision = "20261126_mqtt_nodes"
down_revision = "20261122_idempotency"
branch_labels = None
depends_on = None

NEW_COLUMNS = ("began_us", "node_id", "epoch", "former_node_id")


def upgrade() -> None:
    if target() == "station":
        add_owner()
        create_node_tables()
    else:
        create_exchange()


def downgrade() -> None:
    if target() == "station":
        op.drop_table("mqtt_node")
        op.drop_table("mqtt_handover")
        op.drop_index(op.f("ix_mqtt_session_node_id"), table_name="mqtt_session")
        with op.batch_alter_table("mqtt_session") as session:
            for name in reversed(NEW_COLUMNS):
                session.drop_column(name)
    else:
        op.drop_table("mqtt_exchange")


def add_owner() -> None:
    """Sessions that stand belong to no node yet: the first that starts takes them."""
    columns = (
        sa.Column("began_us", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("node_id", sa.String(length=64), nullable=False, server_default=""),
        sa.Column("epoch", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("former_node_id", sa.String(length=64)),
    )
    with op.batch_alter_table("mqtt_session") as session:
        for column in columns:
            session.add_column(column)
    with op.batch_alter_table("mqtt_session") as session:
        for column in columns[:3]:
            session.alter_column(column.name, server_default=None)
    op.create_index(op.f("ix_mqtt_session_node_id"), "mqtt_session", ["node_id"])


def create_node_tables() -> None:
    op.create_table(
        "mqtt_handover",
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("client_id", sa.String(length=256), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fresh", sa.Boolean(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "node_id", "organization_id", "client_id", "epoch", name=op.f("pk_mqtt_handover")
        ),
    )
    op.create_table(
        "mqtt_node",
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("seen_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_mqtt_node")),
    )


def create_exchange() -> None:
    op.create_table(
        "mqtt_exchange",
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("client_id", sa.String(length=256), nullable=False),
        sa.Column("began_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("packet_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint(
            "organization_id",
            "client_id",
            "began_us",
            "packet_id",
            name=op.f("pk_mqtt_exchange"),
        ),
        sqlite_with_rowid=False,
    )
