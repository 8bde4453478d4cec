"""Describes the live sockets for AsyncAPI and the page that explains them."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from fieldstation.domains.telemetry.schemas import ReadingRead
from fieldstation.web.docs.asyncapi import Channel, Message, Parameter

CURSOR = "edge-1.42.0"
READING = {
    "id": "2a-642f1c8a3c1c0",
    "timestamp": "2026-05-01T12:00:00Z",
    "device_id": "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a20",
    "sensor_type": "temperature",
    "sensor_id": "bme280-1",
    "value": 21.5,
    "unit": "°C",
    "origin": None,
    "source_protocol": "mqtt",
    "anomaly": False,
    "anomaly_score": None,
    "metadata": None,
}

Place = Field(description="Where this frame stands; send it back as `since`.", examples=[CURSOR])


class Ping(BaseModel):
    """Asks whether the station is still there."""

    type: Literal["ping"] = Field(description="Always `ping`.", examples=["ping"])


class Pong(BaseModel):
    """Answers a ping."""

    type: Literal["pong"] = Field(description="Always `pong`.", examples=["pong"])
    cursor: str = Place


class SensorData(BaseModel):
    """One reading, a moment after its commit."""

    type: Literal["sensor_data"] = Field(
        description="Always `sensor_data`.", examples=["sensor_data"]
    )
    data: ReadingRead = Field(description="The reading, as lists show it.", examples=[READING])
    timestamp: datetime = Field(
        description="When it was committed.", examples=["2026-05-01T12:00:00.125Z"]
    )
    cursor: str = Place


class SensorDataBatch(BaseModel):
    """Several readings in one message; it stands where its last one stands."""

    type: Literal["sensor_data_batch"] = Field(
        description="Always `sensor_data_batch`.", examples=["sensor_data_batch"]
    )
    data: list[ReadingRead] = Field(
        description="The readings, in the order of their commits.", examples=[[READING]]
    )
    timestamp: datetime = Field(
        description="When the last one was committed.", examples=["2026-05-01T12:00:00.125Z"]
    )
    cursor: str = Place


class Gap(BaseModel):
    """Says that readings are missing here; they can be had over HTTP."""

    type: Literal["gap"] = Field(description="Always `gap`.", examples=["gap"])
    dropped: int | None = Field(
        description="How many readings a slow client missed; null: nobody counted them.",
        examples=[12],
    )
    cursor: str = Place


class Misunderstood(BaseModel):
    """Answers a message of a type that the station does not know."""

    type: Literal["error"] = Field(description="Always `error`.", examples=["error"])
    message: str = Field(description="What to send.", examples=['Send {"type": "ping"}.'])
    cursor: str = Place


TAKES = (Message("ping", "Are you there?", Ping, [{"type": "ping"}]),)
SENSOR_DATA = Message(
    "sensor_data",
    "A new reading.",
    SensorData,
    [
        {
            "type": "sensor_data",
            "data": READING,
            "timestamp": "2026-05-01T12:00:00.125Z",
            "cursor": CURSOR,
        }
    ],
)
SENSOR_DATA_BATCH = Message(
    "sensor_data_batch",
    "New readings, collected for `batch_ms`.",
    SensorDataBatch,
    [
        {
            "type": "sensor_data_batch",
            "data": [READING, {**READING, "sensor_id": "bme280-2", "value": 22.0}],
            "timestamp": "2026-05-01T12:00:00.125Z",
            "cursor": CURSOR,
        }
    ],
)
SENDS = (
    SENSOR_DATA,
    Message("pong", "The answer to a ping.", Pong, [{"type": "pong", "cursor": CURSOR}]),
    Message(
        "gap",
        "Readings are missing here.",
        Gap,
        [
            {"type": "gap", "dropped": 12, "cursor": CURSOR},
            {"type": "gap", "dropped": None, "cursor": CURSOR},
        ],
    ),
    Message(
        "error",
        "The message was not understood.",
        Misunderstood,
        [{"type": "error", "message": 'Send {"type": "ping"}.', "cursor": CURSOR}],
    ),
)
QUERY = {
    "ticket": Parameter(
        "A single-use ticket of `POST /api/v1/auth/ws-ticket`.", "xK3v9QmJv2bqf0C7o1rS4tUuVwXyZ"
    ),
    "since": Parameter("Resume behind the frame with this `cursor`, without loss.", CURSOR),
}
FILTERS = {
    "device_id": Parameter("Only this device; repeatable.", "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a20"),
    "sensor_type": Parameter("Only this type; repeatable.", "temperature"),
    "batch_ms": Parameter(
        "Collect readings for so many milliseconds (0 to 10,000) into one `sensor_data_batch`;"
        " without it each comes as `sensor_data`.",
        "200",
    ),
}

CHANNELS = (
    Channel(
        "ws",
        "websocket",
        "/ws",
        "Everything new of the caller's organization. Needs the scope `telemetry:read`.",
        takes=TAKES,
        sends=SENDS,
        query=QUERY,
    ),
    Channel(
        "ws_live_data",
        "websocket",
        "/ws/live-data",
        "New readings, narrowed by device and type. Needs the scope `telemetry:read`.",
        takes=TAKES,
        sends=(*SENDS, SENSOR_DATA_BATCH),
        query={**QUERY, **FILTERS},
    ),
)
