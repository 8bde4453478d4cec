"""What readings look like at the edge; the hot paths encode the same shapes with msgspec."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ReadingCreate(BaseModel):
    """One reading as a device sends it; unknown fields are kept in ``metadata``."""

    model_config = ConfigDict(extra="allow")

    sensor_type: str = Field(
        max_length=50, description="What is measured; lower-cased.", examples=["temperature"]
    )
    value: float | bool | str = Field(
        description="A finite number, a boolean, or a text of at most 1 KiB.", examples=[21.5]
    )
    unit: str | None = Field(default=None, max_length=20, description="Unit.", examples=["°C"])
    sensor_id: str | None = Field(
        default=None,
        max_length=100,
        description="Which sensor of that type; the type itself if left out.",
        examples=["bme280-1"],
    )
    timestamp: datetime | float | None = Field(
        default=None,
        description="RFC 3339, or epoch s, ms, µs, ns by magnitude; else the time of receipt.",
        examples=["2026-05-01T12:00:00Z"],
    )
    origin: str | None = Field(
        default=None, max_length=20, description="Where it comes from.", examples=["edge"]
    )
    metadata: dict[str, Any] | None = Field(
        default=None, description="Anything else, at most 4 KiB.", examples=[{"raw": 2150}]
    )


class ReadingsCreate(BaseModel):
    """A batch of readings; a bare list or a single reading is taken as well."""

    readings: list[ReadingCreate] = Field(max_length=10_000, description="At most 10,000.")


class RejectedReading(BaseModel):
    """Why one reading was not stored."""

    index: int = Field(description="Its position in the body.", examples=[3])
    error: str = Field(description="Machine-readable.", examples=["timestamp_in_future"])
    detail: str = Field(description="What to do about it.")


class IntakeResult(BaseModel):
    """What became of a batch, after its commit."""

    accepted: int = Field(description="Stored now.", examples=[2])
    duplicates: int = Field(description="Stored before, with the same value.", examples=[0])
    rejected: list[RejectedReading] = Field(description="Not stored, each with its reason.")


class ReadingRead(BaseModel):
    """A stored reading."""

    id: str = Field(description="Opaque.", examples=["2a-642f1c8a3c1c0"])
    timestamp: datetime = Field(description="When it was measured.")
    device_id: str = Field(description="Who measured it.")
    sensor_type: str = Field(description="What was measured.", examples=["temperature"])
    sensor_id: str = Field(description="Which sensor.", examples=["bme280-1"])
    value: float | bool | str = Field(description="The value.", examples=[21.5])
    unit: str | None = Field(description="Its unit.", examples=["°C"])
    origin: str | None = Field(description="Where it comes from.")
    source_protocol: str = Field(description="By which door it came.", examples=["mqtt"])
    anomaly: bool = Field(description="Whether it did not fit its series.")
    anomaly_score: float | None = Field(description="By how many scales, when flagged.")
    metadata: dict[str, Any] | None = Field(description="What else the device said.")


class ReadingList(BaseModel):
    """One page of readings."""

    items: list[ReadingRead] = Field(description="The readings.")
    next_cursor: str | None = Field(description="Pass as `cursor`; null on the last page.")


class LatestReadings(BaseModel):
    """The newest reading of every series."""

    items: list[ReadingRead] = Field(description="One a series.")


class StatsRead(BaseModel):
    """Statistics of one series over a period; text values are skipped."""

    device_id: str = Field(description="Who measured it.")
    sensor_type: str = Field(description="What was measured.", examples=["temperature"])
    sensor_id: str = Field(description="Which sensor.", examples=["bme280-1"])
    count: int = Field(description="Readings in the period.", examples=[1440])
    min: float = Field(description="Smallest value.", examples=[18.2])
    max: float = Field(description="Largest value.", examples=[24.9])
    mean: float = Field(description="Arithmetic mean.", examples=[21.3])
    stddev: float = Field(description="Standard deviation of the population.", examples=[1.1])
    first: float = Field(description="The oldest value.", examples=[20.0])
    last: float = Field(description="The newest value.", examples=[21.5])
    p50: float = Field(description="Median.", examples=[21.2])
    p95: float = Field(description="95th percentile.", examples=[23.8])
    start: datetime = Field(description="Time of the oldest reading.")
    end: datetime = Field(description="Time of the newest reading.")


class StatsList(BaseModel):
    """Statistics per series."""

    items: list[StatsRead] = Field(description="One a series that has numbers in the period.")


class RefusalRead(BaseModel):
    """A message that was acknowledged but could not be stored, with its reason."""

    id: str = Field(description="UUIDv7.")
    received_at: datetime = Field(description="When it came.")
    topic: str = Field(description="Where it was sent to.")
    payload: str = Field(description="What was sent, cut to 4 KiB; not UTF-8: escaped.")
    error: str = Field(description="Machine-readable.", examples=["not_finite"])
    detail: str = Field(description="What to do about it.")


class Aggregate(StrEnum):
    """What a bucket can tell."""

    AVG = "avg"
    MIN = "min"
    MAX = "max"
    SUM = "sum"
    COUNT = "count"
    FIRST = "first"
    LAST = "last"
    STDDEV = "stddev"


class Fill(StrEnum):
    """What stands in a bucket without readings."""

    NONE = "none"
    NULL = "null"
    PREVIOUS = "previous"
    LINEAR = "linear"


class SortOrder(StrEnum):
    """Direction of a page."""

    ASC = "asc"
    DESC = "desc"
