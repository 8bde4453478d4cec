"""The tables of the telemetry database, as SQLAlchemy Core tables on ``telemetry_metadata``.

Instants are BIGINT microseconds since the epoch and ``hour`` is ``ts // 3_600_000_000``. Nothing
here refers to the station database, and no statement joins the two.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from fieldstation.db.base import ID_LENGTH, telemetry_metadata
from fieldstation.domains.telemetry.ports import FLAG_ANOMALY

NODE_ID_LENGTH = 64
SENSOR_TYPE_LENGTH = 50
SENSOR_ID_LENGTH = 100
LABEL_LENGTH = 20
PROTOCOL_LENGTH = 20
TOPIC_LENGTH = 1024
CLIENT_ID_LENGTH = 256
ERROR_LENGTH = 64

series = Table(
    "series",
    telemetry_metadata,
    # AUTOINCREMENT: an id that was deleted never names another series.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("organization_id", String(ID_LENGTH), nullable=False),
    Column("device_id", String(ID_LENGTH), nullable=False),
    Column("sensor_type", String(SENSOR_TYPE_LENGTH), nullable=False),
    Column("sensor_id", String(SENSOR_ID_LENGTH), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # The first hour whose readings are kept, the first of its day: before it only rollups tell.
    Column("raw_from_hour", Integer, nullable=False, server_default="0"),
    UniqueConstraint("organization_id", "device_id", "sensor_type", "sensor_id"),
    sqlite_autoincrement=True,
)

series_variant = Table(
    "series_variant",
    telemetry_metadata,
    Column("series_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("unit", String(LABEL_LENGTH)),
    Column("origin", String(LABEL_LENGTH)),
    Column("source_protocol", String(PROTOCOL_LENGTH), nullable=False),
    sqlite_with_rowid=False,
)

# Which hours hold readings of a series: one row per series and hour lets every query skip the empty
# ones.
series_hour = Table(
    "series_hour",
    telemetry_metadata,
    Column("series_id", BigInteger, primary_key=True, autoincrement=False),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

# Up to 8,192 readings of one series within one hour; ``store.chunks`` says what ``data`` holds.
# Rows stand in the order in which they were written, and are found by the key.
chunk = Table(
    "chunk",
    telemetry_metadata,
    Column("hour", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    Column("series_id", BigInteger, nullable=False),
    Column("start_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("hour", "series_id", "start_us"),
)

# One to 4,096 older readings of one series; ``store.compression`` says what ``data`` holds. Those
# of one series never overlap.
sealed = Table(
    "sealed",
    telemetry_metadata,
    Column("series_id", BigInteger, nullable=False),
    Column("start_us", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("series_id", "start_us"),
)
Index("ix_sealed_end", sealed.c.end_us)

# Partial results per hour and day, derived from the chunks; ``store.rollup_blocks`` says what
# ``data`` holds, ``store.sketches`` what ``sketches`` does, which only days have.
rollup = Table(
    "rollup",
    telemetry_metadata,
    Column("series_id", BigInteger, nullable=False),
    Column("hours", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("sketches", LargeBinary),
    PrimaryKeyConstraint("series_id", "hours", "number"),
)

# Hours whose rollups are not those of their chunks, and last hours of days that have none yet.
# Hours before the watermark (``tally``) that are not here have rollups where they have readings.
rollup_stale = Table(
    "rollup_stale",
    telemetry_metadata,
    Column("series_id", BigInteger, primary_key=True, autoincrement=False),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

# What only some readings have; value and flags stand in their chunk as well.
reading_detail = Table(
    "reading_detail",
    telemetry_metadata,
    Column("hour", Integer, nullable=False),
    Column("flags", Integer, nullable=False),
    Column("series_id", BigInteger, nullable=False),
    Column("ts", BigInteger, nullable=False),
    Column("value", Double, nullable=False),
    Column("text", Text),
    Column("metadata", LargeBinary),
    Column("score", Double),
    PrimaryKeyConstraint("hour", "series_id", "ts"),
    sqlite_with_rowid=False,
)

# Anomalies are rare, so finding them by series costs the intake next to nothing.
IS_ANOMALY = f"(flags & {FLAG_ANOMALY}) <> 0"
Index(
    "ix_reading_detail_anomaly",
    reading_detail.c.series_id,
    reading_detail.c.ts,
    sqlite_where=text(IS_ANOMALY),
    postgresql_where=text(IS_ANOMALY),
)

# One row per group commit: what makes readings durable. ``id`` numbers the entries of all nodes in
# the order of their commits, ``seq`` those of one node. ``accepted_total`` runs on from entry to
# entry: with the newest one kept, counting readings costs nothing.
intake_batch = Table(
    "intake_batch",
    telemetry_metadata,
    Column(
        "id",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("node_id", String(NODE_ID_LENGTH), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("committed_at", BigInteger, nullable=False),
    Column("accepted_total", BigInteger, nullable=False),
    Column("readings", LargeBinary, nullable=False),
    UniqueConstraint("node_id", "seq"),
)

last_value = Table(
    "last_value",
    telemetry_metadata,
    Column("series_id", BigInteger, primary_key=True, autoincrement=False),
    Column("ts", BigInteger, nullable=False),
    Column("value", Double, nullable=False),
    Column("flags", Integer, nullable=False),
    Column("text", Text),
    Column("received_at", BigInteger, nullable=False),
    Column("metadata", LargeBinary),
    Column("score", Double),
    sqlite_with_rowid=False,
)

# Up to which log entry of a node the saved last values hold.
intake_cursor = Table(
    "intake_cursor",
    telemetry_metadata,
    Column("node_id", String(NODE_ID_LENGTH), primary_key=True),
    Column("seq", BigInteger, nullable=False),
)

refusal = Table(
    "refusal",
    telemetry_metadata,
    Column("id", String(ID_LENGTH), primary_key=True),
    Column("organization_id", String(ID_LENGTH), nullable=False),
    Column("device_id", String(ID_LENGTH), nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("topic", String(TOPIC_LENGTH), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("error", String(ERROR_LENGTH), nullable=False),
    Column("detail", Text, nullable=False),
)
Index("ix_refusal_device", refusal.c.organization_id, refusal.c.device_id, refusal.c.id)

# Packet ids of QoS 2 messages, from the commit of what they brought until the client releases them.
# A client's next session has another ``began_us``.
mqtt_exchange = Table(
    "mqtt_exchange",
    telemetry_metadata,
    Column("organization_id", String(ID_LENGTH), primary_key=True),
    Column("client_id", String(CLIENT_ID_LENGTH), primary_key=True),
    Column("began_us", BigInteger, primary_key=True, autoincrement=False),
    Column("packet_id", Integer, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

# Amounts that no other row tells, such as how many readings were deleted.
tally = Table(
    "tally",
    telemetry_metadata,
    Column("name", String(32), primary_key=True),
    Column("amount", BigInteger, nullable=False),
)
