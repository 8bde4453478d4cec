"""The first schema: identity, devices, audit, jobs and retained messages; the telemetry store."""

import sqlalchemy as sa
from alembic import op

from fieldstation.db.types import UtcInstant
from fieldstation.migrations.target import target

revision = "20261122_first_schema"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    if target() == "station":
        create_station_tables()
    else:
        create_telemetry_tables()


def downgrade() -> None:
    if target() == "station":
        drop_station_tables()
    else:
        drop_telemetry_tables()


def create_station_tables() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=True),
        sa.Column("at", UtcInstant(), nullable=False),
        sa.Column("actor_kind", sa.String(length=20), nullable=False),
        sa.Column("actor_id", sa.String(length=36), nullable=True),
        sa.Column("peer", sa.String(length=100), nullable=True),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("entity_kind", sa.String(length=40), nullable=False),
        sa.Column("entity_id", sa.String(length=36), nullable=False),
        sa.Column("before", sa.JSON(), nullable=True),
        sa.Column("after", sa.JSON(), nullable=True),
        sa.Column("correlation_id", sa.String(length=128), nullable=False),
        sa.Column("chain_number", sa.Integer(), nullable=True),
        sa.Column("chain_hash", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entry")),
        sa.UniqueConstraint("chain_number", name=op.f("uq_audit_entry_chain_number")),
    )
    op.create_index(
        "ix_audit_entry_organization_id_at", "audit_entry", ["organization_id", "at"], unique=False
    )
    op.create_table(
        "job",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("due_at", UtcInstant(), nullable=False),
        sa.Column("leased_by", sa.String(length=36), nullable=True),
        sa.Column("leased_until", UtcInstant(), nullable=True),
        sa.Column("last_finished_at", UtcInstant(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job")),
    )
    op.create_table(
        "login_throttle",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("locked_until", UtcInstant(), nullable=True),
        sa.Column("updated_at", UtcInstant(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_login_throttle")),
    )
    op.create_index(
        op.f("ix_login_throttle_updated_at"), "login_throttle", ["updated_at"], unique=False
    )
    op.create_table(
        "mqtt_retained",
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("topic", sa.String(length=512), nullable=False),
        sa.Column("payload", sa.LargeBinary(length=1048576), nullable=False),
        sa.Column("qos", sa.Integer(), nullable=False),
        sa.Column("updated_at", UtcInstant(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "topic", name=op.f("pk_mqtt_retained")),
    )
    op.create_table(
        "organization",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("slug", sa.String(length=63), nullable=False),
        sa.Column("created_at", UtcInstant(), nullable=False),
        sa.Column("updated_at", UtcInstant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organization")),
        sa.UniqueConstraint("slug", name=op.f("uq_organization_slug")),
    )
    op.create_table(
        "outbox_message",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("topic", sa.String(length=100), nullable=False),
        sa.Column("payload", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", UtcInstant(), nullable=False),
        sa.Column("due_at", UtcInstant(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox_message")),
    )
    op.create_index(op.f("ix_outbox_message_due_at"), "outbox_message", ["due_at"], unique=False)
    op.create_table(
        "revocation",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("at", UtcInstant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revocation")),
    )
    op.create_index(op.f("ix_revocation_at"), "revocation", ["at"], unique=False)
    op.create_index(op.f("ix_revocation_subject"), "revocation", ["subject"], unique=False)
    op.create_table(
        "api_key",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("subject_id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("prefix", sa.String(length=20), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcInstant(), nullable=False),
        sa.Column("expires_at", UtcInstant(), nullable=True),
        sa.Column("last_used_at", UtcInstant(), nullable=True),
        sa.Column("revoked_at", UtcInstant(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
            name=op.f("fk_api_key_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_api_key_secret_hash")),
    )
    op.create_index(
        op.f("ix_api_key_organization_id"), "api_key", ["organization_id"], unique=False
    )
    op.create_index(
        "ix_api_key_subject_id_organization_id",
        "api_key",
        ["subject_id", "organization_id"],
        unique=False,
    )
    op.create_table(
        "device",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("device_type", sa.String(length=20), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("location", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("properties", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("firmware_version", sa.String(length=50), nullable=True),
        sa.Column("heartbeat_interval_s", sa.Integer(), nullable=False),
        sa.Column("last_seen_at", UtcInstant(), nullable=True),
        sa.Column("last_heartbeat", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("last_heartbeat_at", UtcInstant(), nullable=True),
        sa.Column("created_at", UtcInstant(), nullable=False),
        sa.Column("updated_at", UtcInstant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organization.id"], name=op.f("fk_device_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device")),
    )
    op.create_index(
        "ix_device_organization_id_created_at",
        "device",
        ["organization_id", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_device_organization_id_last_seen_at",
        "device",
        ["organization_id", "last_seen_at"],
        unique=False,
    )
    op.create_table(
        "socket_ticket",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=True),
        sa.Column("device_id", sa.String(length=36), nullable=True),
        sa.Column("role", sa.String(length=20), nullable=True),
        sa.Column("superuser", sa.Boolean(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("subjects", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcInstant(), nullable=False),
        sa.Column("expires_at", UtcInstant(), nullable=False),
        sa.Column("caller_expires_at", UtcInstant(), nullable=True),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
            name=op.f("fk_socket_ticket_organization_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_socket_ticket")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_socket_ticket_token_hash")),
    )
    op.create_index(
        op.f("ix_socket_ticket_expires_at"), "socket_ticket", ["expires_at"], unique=False
    )
    op.create_index(
        op.f("ix_socket_ticket_organization_id"), "socket_ticket", ["organization_id"], unique=False
    )
    op.create_table(
        "user_account",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("email_key", sa.String(length=254), nullable=False),
        sa.Column("username", sa.String(length=50), nullable=True),
        sa.Column("username_key", sa.String(length=50), nullable=True),
        sa.Column("full_name", sa.String(length=200), nullable=True),
        sa.Column("password_hash", sa.String(length=255), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("is_superuser", sa.Boolean(), nullable=False),
        sa.Column("managing_organization_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", UtcInstant(), nullable=False),
        sa.Column("updated_at", UtcInstant(), nullable=False),
        sa.Column("last_login_at", UtcInstant(), nullable=True),
        sa.ForeignKeyConstraint(
            ["managing_organization_id"],
            ["organization.id"],
            name=op.f("fk_user_account_managing_organization_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_account")),
        sa.UniqueConstraint("email_key", name=op.f("uq_user_account_email_key")),
        sa.UniqueConstraint("username_key", name=op.f("uq_user_account_username_key")),
    )
    op.create_index(
        op.f("ix_user_account_managing_organization_id"),
        "user_account",
        ["managing_organization_id"],
        unique=False,
    )
    op.create_table(
        "device_tag",
        sa.Column("device_id", sa.String(length=36), nullable=False),
        sa.Column("tag", sa.String(length=50), nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["device.id"], name=op.f("fk_device_tag_device_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("device_id", "tag", name=op.f("pk_device_tag")),
    )
    op.create_index("ix_device_tag_tag", "device_tag", ["tag"], unique=False)
    op.create_table(
        "membership",
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("created_at", UtcInstant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
            name=op.f("fk_membership_organization_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("fk_membership_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "user_id", name=op.f("pk_membership")),
    )
    op.create_index(op.f("ix_membership_user_id"), "membership", ["user_id"], unique=False)
    op.create_table(
        "refresh_token",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("family_id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=True),
        sa.Column("created_at", UtcInstant(), nullable=False),
        sa.Column("expires_at", UtcInstant(), nullable=False),
        sa.Column("used_at", UtcInstant(), nullable=True),
        sa.Column("revoked_at", UtcInstant(), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["user_account.id"],
            name=op.f("fk_refresh_token_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refresh_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_refresh_token_token_hash")),
    )
    op.create_index(
        op.f("ix_refresh_token_expires_at"), "refresh_token", ["expires_at"], unique=False
    )
    op.create_index(
        op.f("ix_refresh_token_family_id"), "refresh_token", ["family_id"], unique=False
    )
    op.create_index(op.f("ix_refresh_token_user_id"), "refresh_token", ["user_id"], unique=False)


def create_telemetry_tables() -> None:
    op.create_table(
        "intake_batch",
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("committed_at", sa.BigInteger(), nullable=False),
        sa.Column("accepted_total", sa.BigInteger(), nullable=False),
        sa.Column("readings", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", "seq", name=op.f("pk_intake_batch")),
    )
    op.create_table(
        "intake_cursor",
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_intake_cursor")),
    )
    op.create_table(
        "last_value",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ts", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("flags", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("metadata", sa.LargeBinary(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("series_id", name=op.f("pk_last_value")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "reading",
        sa.Column("minute", sa.Integer(), nullable=False),
        sa.Column("flags", sa.Integer(), nullable=False),
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("ts", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("minute", "series_id", "ts", name=op.f("pk_reading")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_reading_anomaly",
        "reading",
        ["series_id", "ts"],
        unique=False,
        sqlite_where=sa.text("(flags & 4) <> 0"),
        postgresql_where=sa.text("(flags & 4) <> 0"),
    )
    op.create_table(
        "reading_detail",
        sa.Column("minute", sa.Integer(), nullable=False),
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("ts", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("metadata", sa.LargeBinary(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("minute", "series_id", "ts", name=op.f("pk_reading_detail")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "refusal",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("device_id", sa.String(length=36), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("topic", sa.String(length=1024), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("error", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refusal")),
    )
    op.create_index(
        "ix_refusal_device", "refusal", ["organization_id", "device_id", "id"], unique=False
    )
    op.create_table(
        "series",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("device_id", sa.String(length=36), nullable=False),
        sa.Column("sensor_type", sa.String(length=50), nullable=False),
        sa.Column("sensor_id", sa.String(length=100), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint(
            "organization_id",
            "device_id",
            "sensor_type",
            "sensor_id",
            name=op.f("uq_series_organization_id_device_id_sensor_type_sensor_id"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "series_hour",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("series_id", "hour", name=op.f("pk_series_hour")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "series_variant",
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("unit", sa.String(length=20), nullable=True),
        sa.Column("origin", sa.String(length=20), nullable=True),
        sa.Column("source_protocol", sa.String(length=20), nullable=False),
        sa.PrimaryKeyConstraint("series_id", "number", name=op.f("pk_series_variant")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tally",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tally")),
    )


def drop_station_tables() -> None:
    drop_index(op.f("ix_refresh_token_user_id"), table_name="refresh_token")
    drop_index(op.f("ix_refresh_token_family_id"), table_name="refresh_token")
    drop_index(op.f("ix_refresh_token_expires_at"), table_name="refresh_token")
    op.drop_table("refresh_token")
    drop_index(op.f("ix_membership_user_id"), table_name="membership")
    op.drop_table("membership")
    drop_index("ix_device_tag_tag", table_name="device_tag")
    op.drop_table("device_tag")
    drop_index(op.f("ix_user_account_managing_organization_id"), table_name="user_account")
    op.drop_table("user_account")
    drop_index(op.f("ix_socket_ticket_organization_id"), table_name="socket_ticket")
    drop_index(op.f("ix_socket_ticket_expires_at"), table_name="socket_ticket")
    op.drop_table("socket_ticket")
    drop_index("ix_device_organization_id_last_seen_at", table_name="device")
    drop_index("ix_device_organization_id_created_at", table_name="device")
    op.drop_table("device")
    drop_index("ix_api_key_subject_id_organization_id", table_name="api_key")
    drop_index(op.f("ix_api_key_organization_id"), table_name="api_key")
    op.drop_table("api_key")
    drop_index(op.f("ix_revocation_subject"), table_name="revocation")
    drop_index(op.f("ix_revocation_at"), table_name="revocation")
    op.drop_table("revocation")
    drop_index(op.f("ix_outbox_message_due_at"), table_name="outbox_message")
    op.drop_table("outbox_message")
    op.drop_table("organization")
    op.drop_table("mqtt_retained")
    drop_index(op.f("ix_login_throttle_updated_at"), table_name="login_throttle")
    op.drop_table("login_throttle")
    op.drop_table("job")
    drop_index("ix_audit_entry_organization_id_at", table_name="audit_entry")
    op.drop_table("audit_entry")


def drop_telemetry_tables() -> None:
    op.drop_table("tally")
    op.drop_table("series_variant")
    op.drop_table("series_hour")
    op.drop_table("series")
    op.drop_index("ix_refusal_device", table_name="refusal")
    op.drop_table("refusal")
    op.drop_table("reading_detail")
    op.drop_index(
        "ix_reading_anomaly",
        table_name="reading",
        sqlite_where=sa.text("(flags & 4) <> 0"),
        postgresql_where=sa.text("(flags & 4) <> 0"),
    )
    op.drop_table("reading")
    op.drop_table("last_value")
    op.drop_table("intake_cursor")
    op.drop_table("intake_batch")


def drop_index(name: str, *, table_name: str) -> None:
    """Drop an index; on MariaDB it goes with its table, since a foreign key may need it."""
    if op.get_bind().dialect.name != "mariadb":
        op.drop_index(name, table_name=table_name)
