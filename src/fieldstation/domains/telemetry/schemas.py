"""What readings look like at the edge; the hot paths encode the same shapes with msgspec."""

import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from fieldstation.web.bodies import is_storable, texts_of
from fieldstation.web.docs.examples import examples

SENSOR_TYPE_CHARACTERS_MAX = 50
TEXT_BYTES_MAX = 1024
METADATA_BYTES_MAX = 4096
DEVICE_ID = "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a20"


def printable(text: str) -> str:
    """Refuse control characters and such."""
    if not text.isprintable():
        raise ValueError("no control characters")
    return text


def stored_type(text: str) -> str:
    """Check a type in the form in which it is stored."""
    name = text.strip().lower()
    if not name or len(name) > SENSOR_TYPE_CHARACTERS_MAX:
        raise ValueError(f"1 to {SENSOR_TYPE_CHARACTERS_MAX} characters")
    return printable(name)


def storable_text(value: str) -> str:
    """Refuse texts that cannot be stored."""
    if not is_storable(value) or len(value.encode()) > TEXT_BYTES_MAX:
        raise ValueError(f"at most {TEXT_BYTES_MAX} bytes, no NUL characters, no half surrogates")
    return value


Finite = Annotated[float, Field(allow_inf_nan=False)]
SensorType = Annotated[str, AfterValidator(stored_type)]
Label = Annotated[str, AfterValidator(printable)]


class ReadingCreate(BaseModel):
    """One reading as a device sends it; unknown fields are kept in ``metadata``.

    It describes what ``payloads.Incoming`` decodes; a test holds the two together.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    sensor_type: SensorType | None = Field(
        default=None,
        description="What is measured; lower-cased. Required, unless `reading_type` is there.",
        examples=["temperature"],
        json_schema_extra={"maxLength": SENSOR_TYPE_CHARACTERS_MAX},
    )
    reading_type: SensorType | None = Field(
        default=None,
        description="Another name of `sensor_type`.",
        examples=["temperature"],
        json_schema_extra={"maxLength": SENSOR_TYPE_CHARACTERS_MAX},
    )
    value: Finite | bool | Annotated[str, AfterValidator(storable_text)] = Field(
        description="A finite number, a boolean, or a text of at most 1 KiB.", examples=[21.5]
    )
    unit: Label | None = Field(default=None, max_length=20, description="Unit.", examples=["°C"])
    sensor_id: Label | None = Field(
        default=None,
        max_length=100,
        description="Which sensor of that type; the type itself if left out.",
        examples=["bme280-1"],
    )
    timestamp: float | str | None = Field(
        default=None,
        description="RFC 3339, or epoch s, ms, µs, ns by magnitude; else the time of receipt.",
        examples=["2026-05-01T12:00:00Z"],
    )
    origin: Label | None = Field(
        default=None, max_length=20, description="Where it comes from.", examples=["edge"]
    )
    metadata: dict[str, Any] | None = Field(
        default=None, description="Anything else, at most 4 KiB.", examples=[{"raw": 2150}]
    )

    @model_validator(mode="after")
    def has_a_type(self) -> "ReadingCreate":
        if not (self.sensor_type or self.reading_type):
            raise ValueError("every reading needs a sensor_type")
        return self

    @model_validator(mode="after")
    def has_metadata_that_fits(self) -> "ReadingCreate":
        metadata = {**(self.model_extra or {}), **(self.metadata or {})}
        if not all(map(is_storable, texts_of(metadata))):
            raise ValueError("metadata: no NUL characters, no half surrogates")
        encoded = json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode()
        if len(encoded) > METADATA_BYTES_MAX:
            raise ValueError(f"metadata: at most {METADATA_BYTES_MAX} bytes")
        return self


class ReadingsCreate(BaseModel):
    """A batch of readings; a bare list or a single reading is taken as well."""

    model_config = ConfigDict(
        json_schema_extra=examples(
            one_reading={"readings": [{"sensor_type": "temperature", "value": 21.5, "unit": "°C"}]},
            several_sensors={
                "readings": [
                    {
                        "sensor_type": "temperature",
                        "value": 21.5,
                        "unit": "°C",
                        "sensor_id": "bme280-1",
                        "timestamp": "2026-05-01T12:00:00Z",
                    },
                    {"sensor_type": "humidity", "value": 48, "unit": "%", "timestamp": 1777636800},
                    {"sensor_type": "door", "value": True, "timestamp": 1777636800125},
                ]
            },
            with_metadata={
                "readings": [
                    {
                        "sensor_type": "soil",
                        "value": "dry",
                        "origin": "edge",
                        "metadata": {"raw": 2150},
                    }
                ]
            },
        ),
    )

    readings: list[ReadingCreate] = Field(
        max_length=10_000,
        description="At most 10,000.",
        examples=[[{"sensor_type": "temperature", "value": 21.5, "unit": "°C"}]],
    )


class RejectedReading(BaseModel):
    """Why one reading was not stored."""

    index: int = Field(description="Its position in the body.", examples=[3])
    error: str = Field(description="Machine-readable.", examples=["timestamp_in_future"])
    detail: str = Field(
        description="What to do about it.",
        examples=["timestamp: more than one day ahead; set the clock."],
    )


class IntakeResult(BaseModel):
    """What became of a batch, after its commit."""

    accepted: int = Field(description="Stored now.", examples=[2])
    duplicates: int = Field(description="Stored before, with the same value.", examples=[0])
    rejected: list[RejectedReading] = Field(
        description="Not stored, each with its reason.", examples=[[]]
    )


class ReadingRead(BaseModel):
    """A stored reading."""

    id: str = Field(description="Opaque.", examples=["2a-642f1c8a3c1c0"])
    timestamp: datetime = Field(
        description="When it was measured.", examples=["2026-05-01T12:00:00Z"]
    )
    device_id: str = Field(description="Who measured it.", examples=[DEVICE_ID])
    sensor_type: str = Field(description="What was measured.", examples=["temperature"])
    sensor_id: str = Field(description="Which sensor.", examples=["bme280-1"])
    value: float | bool | str = Field(description="The value.", examples=[21.5])
    unit: str | None = Field(description="Its unit.", examples=["°C"])
    origin: str | None = Field(description="Where it comes from.", examples=["edge"])
    source_protocol: str = Field(description="By which door it came.", examples=["mqtt"])
    anomaly: bool = Field(description="Whether it did not fit its series.", examples=[False])
    anomaly_score: float | None = Field(
        description="By how many scales, when flagged.", examples=[None]
    )
    metadata: dict[str, Any] | None = Field(
        description="What else the device said.", examples=[{"raw": 2150}]
    )


class ReadingList(BaseModel):
    """One page of readings."""

    items: list[ReadingRead] = Field(description="The readings.")
    next_cursor: str | None = Field(
        description="Pass as `cursor`; null on the last page.", examples=[None]
    )


class BucketRead(BaseModel):
    """What the readings of one series come to in one interval: the aggregates asked for."""

    start: datetime = Field(
        description="When the interval begins, in UTC.", examples=["2026-05-01T12:00:00Z"]
    )
    device_id: str = Field(description="Who measured it.", examples=[DEVICE_ID])
    sensor_type: str = Field(description="What was measured.", examples=["temperature"])
    sensor_id: str = Field(description="Which sensor.", examples=["bme280-1"])
    avg: float | None = Field(default=None, description="Arithmetic mean.", examples=[21.3])
    min: float | None = Field(default=None, description="Smallest value.", examples=[20.9])
    max: float | None = Field(default=None, description="Largest value.", examples=[21.8])
    sum: float | None = Field(default=None, description="Of all values.", examples=[1278.0])
    count: int | None = Field(default=None, description="Readings, 0 in a gap.", examples=[60])
    first: float | None = Field(default=None, description="The oldest value.", examples=[21.0])
    last: float | None = Field(default=None, description="The newest value.", examples=[21.5])
    stddev: float | None = Field(
        default=None, description="Standard deviation of the population.", examples=[0.2]
    )


class BucketList(BaseModel):
    """The buckets of every series, all of them on one page."""

    model_config = ConfigDict(extra="forbid")

    items: list[BucketRead] = Field(description="By series, then by time.")


class PointRead(BaseModel):
    """One of the readings that keep the shape of a series' line."""

    timestamp: datetime = Field(
        description="When it was measured.", examples=["2026-05-01T12:00:00Z"]
    )
    device_id: str = Field(description="Who measured it.", examples=[DEVICE_ID])
    sensor_type: str = Field(description="What was measured.", examples=["temperature"])
    sensor_id: str = Field(description="Which sensor.", examples=["bme280-1"])
    value: float = Field(description="The value; a boolean as 0 or 1.", examples=[21.5])


class PointList(BaseModel):
    """The chosen points of every series, all of them on one page."""

    model_config = ConfigDict(extra="forbid")

    items: list[PointRead] = Field(description="By series, then by time.")


class LatestReadings(BaseModel):
    """The newest reading of every series."""

    items: list[ReadingRead] = Field(description="One a series.")


class StatsRead(BaseModel):
    """Statistics of one series over a period; text values are skipped."""

    device_id: str = Field(description="Who measured it.", examples=[DEVICE_ID])
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
    start: datetime = Field(
        description="Time of the oldest reading.", examples=["2026-05-01T00:00:00Z"]
    )
    end: datetime = Field(
        description="Time of the newest reading.", examples=["2026-05-01T23:59:00Z"]
    )


class StatsList(BaseModel):
    """Statistics per series."""

    items: list[StatsRead] = Field(description="One a series that has numbers in the period.")


class RefusalRead(BaseModel):
    """A message that was acknowledged but could not be stored, with its reason."""

    id: str = Field(description="UUIDv7.", examples=["0198c0de-7a3b-7c11-9b51-3f5a6f2f6a40"])
    received_at: datetime = Field(description="When it came.", examples=["2026-05-01T12:00:00Z"])
    topic: str = Field(
        description="Where it was sent to.", examples=[f"devices/{DEVICE_ID}/readings"]
    )
    payload: str = Field(
        description="What was sent, cut to 4 KiB; not UTF-8: escaped.",
        examples=['{"sensor_type": "temperature", "value": NaN}'],
    )
    error: str = Field(description="Machine-readable.", examples=["not_finite"])
    detail: str = Field(
        description="What to do about it.",
        examples=["value: NaN and infinities are not readings."],
    )


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
