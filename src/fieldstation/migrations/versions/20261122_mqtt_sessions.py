"""MQTT sessions with their subscriptions and messages outlive the station's process."""

import sqlalchemy as sa
from alembic import op

from fieldstation.db.types import KeyText
from fieldstation.migrations.target import target

revision = "20261122_mqtt_sessions"
down_revision = "20261122_chunks"
branch_labels = None
depends_on = None

SESSION_TABLES = ("mqtt_session", "mqtt_subscription", "mqtt_message", "mqtt_received")


def upgrade() -> None:
    if target() == "station":
        add_to_retained()
        create_session_tables()


def downgrade() -> None:
    if target() == "station":
        for table in reversed(SESSION_TABLES):
            op.drop_table(table)
        with op.batch_alter_table("mqtt_retained") as retained:
            retained.drop_column("expires_us")
            retained.drop_column("properties")


def add_to_retained() -> None:
    op.add_column("mqtt_retained", sa.Column("properties", sa.LargeBinary(1048576)))
    op.add_column("mqtt_retained", sa.Column("expires_us", sa.BigInteger()))


def of_client() -> list[sa.Column[str]]:
    return [
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("client_id", sa.String(length=256), nullable=False),
    ]


def create_session_tables() -> None:
    op.create_table(
        "mqtt_session",
        *of_client(),
        sa.Column("owner", sa.String(length=36), nullable=False),
        sa.Column("expiry_s", sa.BigInteger(), nullable=False),
        sa.Column("left_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "client_id", name=op.f("pk_mqtt_session")),
    )
    op.create_table(
        "mqtt_subscription",
        *of_client(),
        sa.Column("topic_filter", KeyText(512), nullable=False),
        sa.Column("options", sa.Integer(), nullable=False),
        sa.Column("identifier", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            "organization_id", "client_id", "topic_filter", name=op.f("pk_mqtt_subscription")
        ),
    )
    op.create_table(
        "mqtt_message",
        *of_client(),
        sa.Column("packet_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("topic", sa.String(length=512), nullable=False),
        sa.Column("payload", sa.LargeBinary(length=1048576), nullable=False),
        sa.Column("qos", sa.Integer(), nullable=False),
        sa.Column("retain", sa.Boolean(), nullable=False),
        sa.Column("properties", sa.LargeBinary(length=1048576), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.Column("sent", sa.Boolean(), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint(
            "organization_id", "client_id", "packet_id", name=op.f("pk_mqtt_message")
        ),
    )
    op.create_table(
        "mqtt_received",
        *of_client(),
        sa.Column("packet_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint(
            "organization_id", "client_id", "packet_id", name=op.f("pk_mqtt_received")
        ),
    )
