"""Readings move from one row each into chunks, and the intake log gets one order over all nodes."""

import struct
from array import array
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from alembic import op

from fieldstation.migrations.target import target

revision = "20261122_chunks"
down_revision = "20261122_first_schema"
branch_labels = None
depends_on = None

US_PER_HOUR = 3_600_000_000
READINGS_PER_CHUNK = 8_192
ROWS_PER_INSERT = 1_000
IS_ANOMALY = "(flags & 4) <> 0"

Row = Sequence[Any]


def upgrade() -> None:
    if target() == "telemetry":
        create_chunk()
        fill_chunks()
        move_details()
        op.drop_table("reading")
        order_the_log()


def downgrade() -> None:
    if target() == "telemetry":
        refuse_unflushed()
        restore_log()
        restore_readings()
        restore_details()
        op.drop_table("chunk")


def create_chunk() -> None:
    op.create_table(
        "chunk",
        sa.Column("hour", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("start_us", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "series_id", "start_us", name=op.f("pk_chunk")),
    )


def fill_chunks() -> None:
    """Pack the rows hour by hour, each hour in the order of the key."""
    connection = op.get_bind()
    hours = connection.execute(sa.text("SELECT DISTINCT hour FROM series_hour ORDER BY hour"))
    insert = sa.text(
        "INSERT INTO chunk (hour, series_id, start_us, end_us, count, data)"
        " VALUES (:hour, :series_id, :start_us, :end_us, :count, :data)"
    )
    for (hour,) in hours.fetchall():
        rows = connection.execute(
            sa.text(
                "SELECT series_id, ts, value, flags FROM reading"
                " WHERE minute >= :first AND minute < :last ORDER BY series_id, ts"
            ),
            {"first": hour * 60, "last": hour * 60 + 60},
        )
        packed = list(pack_hour(hour, rows.fetchall()))
        for start in range(0, len(packed), ROWS_PER_INSERT):
            connection.execute(insert, packed[start : start + ROWS_PER_INSERT])


def pack_hour(hour: int, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield the chunks of one hour: form, width of flags, offsets, values, flags."""
    for series_id, group in groupby(rows, key=lambda row: row[0]):
        own = list(group)
        for start in range(0, len(own), READINGS_PER_CHUNK):
            part = own[start : start + READINGS_PER_CHUNK]
            count = len(part)
            offsets = struct.pack(f"<{count}I", *(row[1] - hour * US_PER_HOUR for row in part))
            values = struct.pack(f"<{count}d", *(row[2] for row in part))
            flags = struct.pack(f"<{count}I", *(row[3] for row in part))
            yield {
                "hour": hour,
                "series_id": series_id,
                "start_us": part[0][1],
                "end_us": part[-1][1],
                "count": count,
                "data": b"\x01\x04" + offsets + values + flags,
            }


def move_details() -> None:
    set_aside("reading_detail")
    op.create_table(
        "reading_detail",
        sa.Column("hour", sa.Integer(), nullable=False),
        sa.Column("flags", sa.Integer(), nullable=False),
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("ts", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("metadata", sa.LargeBinary(), nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("hour", "series_id", "ts", name=op.f("pk_reading_detail")),
        sqlite_with_rowid=False,
    )
    hour = whole("d.minute", 60)
    op.execute(
        "INSERT INTO reading_detail (hour, flags, series_id, ts, value, text, metadata, score)"  # noqa: S608 - our own names
        f" SELECT {hour}, r.flags, d.series_id, d.ts, r.value, d.text, d.metadata, d.score"
        " FROM old_reading_detail AS d JOIN reading AS r"
        " ON r.minute = d.minute AND r.series_id = d.series_id AND r.ts = d.ts"
    )
    op.drop_table("old_reading_detail")
    op.create_index(
        "ix_reading_detail_anomaly",
        "reading_detail",
        ["series_id", "ts"],
        unique=False,
        sqlite_where=sa.text(IS_ANOMALY),
        postgresql_where=sa.text(IS_ANOMALY),
    )


def order_the_log() -> None:
    """Number all entries by the time of their commit; their readings are in chunks already."""
    set_aside("intake_batch")
    op.create_table(
        "intake_batch",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("committed_at", sa.BigInteger(), nullable=False),
        sa.Column("accepted_total", sa.BigInteger(), nullable=False),
        sa.Column("readings", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intake_batch")),
        sa.UniqueConstraint("node_id", "seq", name=op.f("uq_intake_batch_node_id_seq")),
    )
    op.execute(
        "INSERT INTO intake_batch (id, node_id, seq, committed_at, accepted_total, readings)"
        " SELECT ROW_NUMBER() OVER (ORDER BY committed_at, node_id, seq),"
        " node_id, seq, committed_at, accepted_total, readings FROM old_intake_batch"
    )
    op.drop_table("old_intake_batch")
    op.execute(
        "INSERT INTO tally (name, amount)"
        " SELECT 'flushed_through', COALESCE(MAX(id), 0) FROM intake_batch"
    )


def whole(dividend: str, divisor: int) -> str:
    """Divide whole numbers, rounding down."""
    sign = "DIV" if op.get_bind().dialect.name == "mariadb" else "/"
    return f"{dividend} {sign} {divisor}"


def set_aside(name: str) -> None:
    """Rename a table; on PostgreSQL its keys too, for their names are the schema's."""
    op.rename_table(name, f"old_{name}")
    if op.get_bind().dialect.name != "postgresql":
        return
    keys = sa.inspect(op.get_bind()).get_pk_constraint(f"old_{name}")["name"]
    op.execute(f"ALTER TABLE old_{name} RENAME CONSTRAINT {keys} TO pk_old_{name}")


def refuse_unflushed() -> None:
    """Stop where readings are only in the log: this version's station moves them when it stops."""
    waiting = op.get_bind().execute(
        sa.text(
            "SELECT COUNT(*) FROM intake_batch WHERE id >"
            " (SELECT COALESCE(MAX(amount), 0) FROM tally WHERE name = 'flushed_through')"
        )
    )
    if waiting.scalar_one():
        raise RuntimeError("Readings wait in the intake log; start the station and stop it first.")


def restore_log() -> None:
    set_aside("intake_batch")
    op.create_table(
        "intake_batch",
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("committed_at", sa.BigInteger(), nullable=False),
        sa.Column("accepted_total", sa.BigInteger(), nullable=False),
        sa.Column("readings", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", "seq", name=op.f("pk_intake_batch")),
    )
    op.execute(
        "INSERT INTO intake_batch SELECT node_id, seq, committed_at, accepted_total, readings"
        " FROM old_intake_batch"
    )
    op.drop_table("old_intake_batch")
    op.execute("DELETE FROM tally WHERE name IN ('flushed_through', 'flushing_through', 'turn')")


def restore_readings() -> None:
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
        sqlite_where=sa.text(IS_ANOMALY),
        postgresql_where=sa.text(IS_ANOMALY),
    )
    connection = op.get_bind()
    insert = sa.text(
        "INSERT INTO reading (minute, series_id, ts, value, flags)"
        " VALUES (:minute, :series_id, :ts, :value, :flags)"
    )
    found = connection.execute(
        sa.text("SELECT hour, series_id, start_us FROM chunk ORDER BY hour, series_id, start_us")
    )
    for key in found.fetchall():
        row = connection.execute(
            sa.text(
                "SELECT count, data FROM chunk"
                " WHERE hour = :hour AND series_id = :series_id AND start_us = :start_us"
            ),
            dict(zip(("hour", "series_id", "start_us"), key, strict=True)),
        ).one()
        connection.execute(insert, list(unpack(key[0], key[1], *row)))


def unpack(hour: int, series_id: int, count: int, data: bytes) -> Iterator[dict[str, Any]]:
    width = data[1]
    offsets = struct.unpack_from(f"<{count}I", data, 2)
    values = struct.unpack_from(f"<{count}d", data, 2 + 4 * count)
    end = 2 + 12 * count
    if width:
        flags = struct.unpack_from(f"<{count}{'_BH_I'[width]}", data, end)
    else:
        flags = tuple(array("I", data[end : end + 4])) * count
    for offset, value, flag in zip(offsets, values, flags, strict=True):
        ts = hour * US_PER_HOUR + offset
        yield {
            "minute": ts // 60_000_000,
            "series_id": series_id,
            "ts": ts,
            "value": value,
            "flags": flag,
        }


def restore_details() -> None:
    set_aside("reading_detail")
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
    minute = f"CAST({whole('ts', 60_000_000)} AS INTEGER)"
    op.execute(
        f"INSERT INTO reading_detail SELECT {minute}, series_id, ts, text, metadata, score"  # noqa: S608 - our own names
        " FROM old_reading_detail"
    )
    op.drop_table("old_reading_detail")
