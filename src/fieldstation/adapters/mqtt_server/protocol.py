"""Describes the MQTT topics for AsyncAPI and the page that explains them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, RootModel

from fieldstation.domains.devices.schemas.devices import HeartbeatBody
from fieldstation.domains.telemetry.schemas import ReadingsCreate
from fieldstation.web.docs.asyncapi import Channel, Message, Parameter


class SensorValue(BaseModel):
    """A value whose type and sensor are in the topic; unknown fields are kept in ``metadata``."""

    model_config = ConfigDict(extra="allow")

    value: float | bool | str = Field(
        description="A finite number, a boolean, or a text of at most 1 KiB.", examples=[21.5]
    )
    unit: str | None = Field(default=None, max_length=20, description="Unit.", examples=["°C"])
    timestamp: str | float | None = Field(
        default=None,
        description="RFC 3339, or epoch s, ms, µs, ns by magnitude; else the time of receipt.",
        examples=["2026-05-01T12:00:00Z"],
    )
    origin: str | None = Field(
        default=None, max_length=20, description="Where it comes from.", examples=["nodered"]
    )
    metadata: dict[str, Any] | None = Field(
        default=None, description="Anything else, at most 4 KiB.", examples=[{"raw": 2150}]
    )


class SensorPayload(RootModel[SensorValue | float | bool | str]):
    """An object with the value, or the bare value."""


class BrokerState(RootModel[str]):
    """A number or a sentence, as plain text."""


class Anything(RootModel[Any]):
    """Any payload; the station hands it on and does not look into it."""


READINGS = Message(
    "readings",
    "Readings of the device; acknowledged (QoS 1, 2) after they are committed to disk.",
    ReadingsCreate,
    [
        {"readings": [{"sensor_type": "temperature", "value": 21.5, "unit": "°C"}]},
        {
            "readings": [
                {
                    "sensor_type": "temperature",
                    "value": 21.5,
                    "sensor_id": "bme280-1",
                    "timestamp": "2026-05-01T12:00:00Z",
                },
                {"sensor_type": "door", "value": True, "timestamp": 1777636800},
            ]
        },
    ],
)
HEARTBEAT = Message(
    "heartbeat",
    "A sign of life.",
    HeartbeatBody,
    [{}, {"uptime_s": 86400, "battery": 87.5, "rssi": -61, "firmware_version": "1.4.0"}],
)
SENSOR = Message(
    "sensor_value",
    "One value of one sensor.",
    SensorPayload,
    [21.5, {"value": 21.5, "unit": "°C"}, {"value": True, "timestamp": 1777636800}],
)
BROKER_STATE = Message(
    "broker_state",
    "What the broker says of itself, retained.",
    BrokerState,
    ["3", "86400 seconds", "fieldstation 0.1.0"],
    content_type="text/plain",
)
MESSAGE = Message("message", "Any payload.", Anything, ["on", {"state": "running"}])
DEVICE_ID = {"device_id": Parameter("The device's id.", "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a20")}

CHANNELS = (
    Channel(
        "device_readings",
        "mqtt",
        "devices/{device_id}/readings",
        "A device publishes its readings here, in the form of the HTTP body: `readings`, a bare"
        " list, or one reading.",
        takes=(READINGS,),
        parameters=DEVICE_ID,
    ),
    Channel(
        "device_heartbeat",
        "mqtt",
        "devices/{device_id}/heartbeat",
        "A device publishes its heartbeats here, in the form of the HTTP body.",
        takes=(HEARTBEAT,),
        parameters=DEVICE_ID,
    ),
    Channel(
        "sensors",
        "mqtt",
        "sensors/{sensor_type}/{sensor_id}",
        "One value, of the device that publishes it; what a user's key publishes belongs to the"
        " organization's gateway device `mqtt`.",
        takes=(SENSOR,),
        parameters={
            "sensor_type": Parameter("What is measured.", "temperature"),
            "sensor_id": Parameter("Which sensor.", "bme280-1"),
        },
    ),
    Channel(
        "nodered_status",
        "mqtt",
        "nodered/status",
        "Whether Node-RED runs; handed on to subscribers and retained if asked for.",
        takes=(MESSAGE,),
        sends=(MESSAGE,),
    ),
    Channel(
        "system",
        "mqtt",
        "system/{name}",
        "Messages of the organization's own systems; handed on to subscribers.",
        takes=(MESSAGE,),
        sends=(MESSAGE,),
        parameters={"name": Parameter("Which system.", "backup")},
    ),
    Channel(
        "broker",
        "mqtt",
        "$SYS/broker/{name}",
        "The state of the broker as far as it concerns the organization, every ten seconds; also"
        " matched by `$SYS/#`. Needs a user's key with `telemetry:read`.",
        sends=(BROKER_STATE,),
        parameters={
            "name": Parameter(
                "`version`, `uptime`, `clients/connected`, `messages/received` or `messages/sent`.",
                "clients/connected",
            )
        },
    ),
)
