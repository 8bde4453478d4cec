"""What an export is at the edge: what is asked for, and how far it is."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from fieldstation.domains.telemetry.schemas import DEVICE_ID
from fieldstation.web.docs.examples import examples
from fieldstation.web.instants import NO_NUL, Instant

EXPORT_ID = "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a40"
NAMES_MAX = 100


class ExportFormat(StrEnum):
    """How the readings are written."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    XLSX = "xlsx"


class Column(StrEnum):
    """The fields of a stored reading, in the order of a file's columns."""

    ID = "id"
    TIMESTAMP = "timestamp"
    DEVICE_ID = "device_id"
    SENSOR_TYPE = "sensor_type"
    SENSOR_ID = "sensor_id"
    VALUE = "value"
    UNIT = "unit"
    ORIGIN = "origin"
    SOURCE_PROTOCOL = "source_protocol"
    ANOMALY = "anomaly"
    ANOMALY_SCORE = "anomaly_score"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which readings an export holds, ``[start_us, end_us)``, and how they are written."""

    organization_id: str
    format: ExportFormat
    start_us: int
    end_us: int
    device_ids: tuple[str, ...] | None
    sensor_types: tuple[str, ...] | None
    columns: tuple[Column, ...]


class ExportStatus(StrEnum):
    """How far an export is."""

    PENDING = "pending"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


Name = Annotated[str, StringConstraints(pattern=NO_NUL, min_length=1, max_length=100)]


def named_once(columns: list[Column] | None) -> list[Column] | None:
    """Refuse a column that is named twice."""
    if columns is not None and len(set(columns)) < len(columns):
        raise ValueError("name each column once")
    return columns


class ExportCreate(BaseModel):
    """Which readings to export, and how to write them."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            a_day_for_a_spreadsheet={
                "format": "xlsx",
                "start": "2026-05-01T00:00:00Z",
                "end": "2026-05-02T00:00:00Z",
            },
            everything_to_move_a_station={"format": "jsonl"},
            some_columns_of_two_types={
                "format": "csv",
                "start": "2026-05-01T00:00:00Z",
                "sensor_types": ["temperature", "humidity"],
                "columns": ["timestamp", "sensor_id", "value", "unit"],
            },
        ),
    )

    format: ExportFormat = Field(description="How to write them.", examples=["csv"])
    start: Instant | None = Field(
        default=None,
        description="The first instant of the period; without it everything from the oldest on.",
        examples=["2026-05-01T00:00:00Z"],
    )
    end: Instant | None = Field(
        default=None,
        description="The first instant behind the period; without it everything up to now and a "
        "day ahead, which is how far clocks may be wrong.",
        examples=["2026-05-02T00:00:00Z"],
    )
    device_ids: list[Name] | None = Field(
        default=None,
        min_length=1,
        max_length=NAMES_MAX,
        description="Only these devices.",
        examples=[[DEVICE_ID]],
    )
    sensor_types: list[Name] | None = Field(
        default=None,
        min_length=1,
        max_length=NAMES_MAX,
        description="Only these types; lower-cased.",
        examples=[["temperature"]],
    )
    columns: Annotated[list[Column], AfterValidator(named_once)] | None = Field(
        default=None,
        min_length=1,
        max_length=len(Column),
        json_schema_extra={"uniqueItems": True},
        description="Only these fields, in this order; without it all of them. A file that is to "
        "be imported again needs `timestamp`, `device_id`, `sensor_type`, `sensor_id` and `value`.",
        examples=[["timestamp", "sensor_id", "value", "unit"]],
    )


class ExportRead(BaseModel):
    """One export that is written in the background."""

    etag_ignores: ClassVar[tuple[str, ...]] = ("readings", "progress", "bytes")

    id: str = Field(description="The export's id.", examples=[EXPORT_ID])
    format: ExportFormat = Field(description="How it is written.", examples=["csv"])
    status: ExportStatus = Field(
        description="pending → running → finished, or failed; see `error`.", examples=["running"]
    )
    progress: float = Field(
        description="The part of the period that is written, from 0 to 1; exact at its ends only.",
        ge=0,
        le=1,
        examples=[0.42],
    )
    readings: int = Field(description="How many are written.", ge=0, examples=[1_250_000])
    bytes: int = Field(description="How long the file is by now.", ge=0, examples=[104_857_600])
    error: str | None = Field(description="Why it failed; what to do.", examples=[None])
    start: datetime | None = Field(
        description="The first instant of the period, if one was named.",
        examples=["2026-05-01T00:00:00.000000Z"],
    )
    end: datetime = Field(
        description="The first instant behind the period.", examples=["2026-05-02T00:00:00.000000Z"]
    )
    created_at: datetime = Field(
        description="When it was asked for.", examples=["2026-05-02T08:00:00.000000Z"]
    )
    finished_at: datetime | None = Field(
        description="When it ended.", examples=["2026-05-02T08:01:30.000000Z"]
    )
    expires_at: datetime = Field(
        description="When it is deleted by itself.", examples=["2026-05-03T08:01:30.000000Z"]
    )
