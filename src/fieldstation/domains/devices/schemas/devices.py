"""What a device looks like at the edge."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from fieldstation.web.docs.examples import examples
from fieldstation.web.instants import NO_NUL, Instant

PROPERTIES_BYTES_MAX = 16_384
HEARTBEAT_INTERVAL_S_DEFAULT = 30
MISSED_HEARTBEATS_MAX = 3

DEVICE_ID = "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a20"
ORGANIZATION_ID = "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a02"
GREENHOUSE = {"label": "Greenhouse 2", "latitude": 52.52, "longitude": 13.405}

Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,49}$")]
Tags = Annotated[list[Tag], Field(max_length=50)]
HeartbeatInterval = Annotated[int, Field(ge=1, le=86_400)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]


class DeviceType(StrEnum):
    """What kind of thing a device is."""

    ESP32 = "esp32"
    ROVER = "rover"
    ARDUINO = "arduino"
    GATEWAY = "gateway"
    EDGE_HOST = "edge_host"
    SENSOR = "sensor"
    GENERIC = "generic"


class DeviceStatus(StrEnum):
    """Whether a device was heard from lately; ``unknown`` until its first message."""

    ONLINE = "online"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DeviceFilter:
    """What a list is narrowed to; ``now`` decides who counts as online."""

    now: datetime
    status: DeviceStatus | None = None
    device_type: str | None = None
    tag: str | None = None
    text: str | None = None
    last_seen_before: datetime | None = None
    group_id: str | None = None


class Location(BaseModel):
    """Where a device stands; degrees, WGS 84."""

    model_config = ConfigDict(extra="forbid")

    label: str | None = Field(
        default=None, max_length=200, description="For people.", examples=["Greenhouse 2"]
    )
    latitude: float | None = Field(
        default=None, ge=-90, le=90, description="Degrees north.", examples=[52.52]
    )
    longitude: float | None = Field(
        default=None, ge=-180, le=180, description="Degrees east.", examples=[13.405]
    )


class DeviceCreate(BaseModel):
    """A device to register, or (with PUT) its new description."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            only_a_name={"name": "Greenhouse 2"},
            sensor_node={
                "name": "Greenhouse 2",
                "device_type": "esp32",
                "location": GREENHOUSE,
                "tags": ["greenhouse", "bed:3"],
                "firmware_version": "1.4.0",
                "heartbeat_interval_s": 60,
            },
            edge_host={
                "name": "Barn gateway",
                "device_type": "edge_host",
                "description": "Mini PC above the workbench",
                "properties": {"cpu": "N100", "ram_gib": 8},
            },
        ),
    )

    name: Name = Field(description="For people; need not be unique.", examples=["Greenhouse 2"])
    device_type: DeviceType = Field(
        default=DeviceType.GENERIC, description="What kind of thing it is.", examples=["esp32"]
    )
    description: str | None = Field(
        default=None, max_length=2000, description="Free text.", examples=["North wall, 1.5 m"]
    )
    location: Location | None = Field(
        default=None, description="Where it stands.", examples=[GREENHOUSE]
    )
    tags: Tags = Field(default_factory=list, description="For filters.", examples=[["greenhouse"]])
    properties: dict[str, Any] = Field(
        default_factory=dict,
        description=f"Anything else, at most {PROPERTIES_BYTES_MAX} bytes as JSON.",
        examples=[{"board": "devkit-c"}],
    )
    firmware_version: str | None = Field(
        default=None, max_length=50, description="What runs on it.", examples=["1.4.0"]
    )
    heartbeat_interval_s: HeartbeatInterval = Field(
        default=HEARTBEAT_INTERVAL_S_DEFAULT,
        description="How often it reports; after three missed ones it counts as offline.",
        examples=[30],
    )


class DeviceUpdate(BaseModel):
    """The fields to change; the others stay."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            new_name={"name": "Greenhouse 3"},
            moved={"location": {"label": "North field"}, "tags": ["field"]},
            slower_heartbeat={"heartbeat_interval_s": 300, "firmware_version": "1.4.1"},
        ),
    )

    name: Name | SkipJsonSchema[None] = Field(
        default=None, description="For people.", examples=["Greenhouse 3"]
    )
    device_type: DeviceType | SkipJsonSchema[None] = Field(
        default=None, description="What kind of thing it is.", examples=["esp32"]
    )
    description: str | None = Field(
        default=None, max_length=2000, description="Free text.", examples=["South wall"]
    )
    location: Location | None = Field(
        default=None, description="Where it stands.", examples=[GREENHOUSE]
    )
    tags: Tags | SkipJsonSchema[None] = Field(
        default=None, description="Replaces all tags.", examples=[["greenhouse"]]
    )
    properties: dict[str, Any] | SkipJsonSchema[None] = Field(
        default=None, description="Replaces all properties.", examples=[{"board": "devkit-c"}]
    )
    firmware_version: str | None = Field(
        default=None, max_length=50, description="What runs on it.", examples=["1.4.1"]
    )
    heartbeat_interval_s: HeartbeatInterval | SkipJsonSchema[None] = Field(
        default=None, description="How often it reports.", examples=[60]
    )


class DeviceRead(BaseModel):
    """A device as the station knows it."""

    model_config = ConfigDict(from_attributes=True)
    etag_ignores: ClassVar[frozenset[str]] = frozenset(
        {"status", "last_seen_at", "last_heartbeat_at", "last_heartbeat", "api_key"}
    )

    id: str = Field(description="UUIDv7.", examples=[DEVICE_ID])
    organization_id: str = Field(description="Whose it is.", examples=[ORGANIZATION_ID])
    name: str = Field(description="For people.", examples=["Greenhouse 2"])
    device_type: DeviceType = Field(description="What kind of thing it is.", examples=["esp32"])
    status: DeviceStatus = Field(
        description="Whether it was heard from lately.", examples=["online"]
    )
    description: str | None = Field(description="Free text.", examples=["North wall, 1.5 m"])
    location: Location | None = Field(description="Where it stands.", examples=[GREENHOUSE])
    tags: list[str] = Field(description="Sorted.", examples=[["greenhouse"]])
    properties: dict[str, Any] = Field(
        description="Anything else.", examples=[{"board": "devkit-c"}]
    )
    firmware_version: str | None = Field(description="What runs on it.", examples=["1.4.0"])
    heartbeat_interval_s: int = Field(description="How often it reports.", examples=[30])
    last_seen_at: datetime | None = Field(
        description="Its newest message; a few seconds late.", examples=["2026-05-01T12:00:00Z"]
    )
    last_heartbeat_at: datetime | None = Field(
        description="Its newest heartbeat.", examples=["2026-05-01T11:59:41Z"]
    )
    last_heartbeat: dict[str, Any] | None = Field(
        description="What that said.", examples=[{"battery": 87.5, "rssi": -61}]
    )
    created_at: datetime = Field(
        description="When it was registered.", examples=["2026-04-02T08:30:00Z"]
    )
    updated_at: datetime = Field(
        description="When its description last changed.", examples=["2026-04-20T16:05:00Z"]
    )


class DeviceRegistration(DeviceRead):
    """A new device with its first key, which is shown only now."""

    api_key: str | None = Field(
        description="Keep it, it is not shown again: null in a repeated answer.",
        examples=["fsd_8yXw3mJv2bqf0C7o1rS4tUuVwXyZ0123456789abcde"],
    )


class KeyCreate(BaseModel):
    """A further key for a device."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            nothing_said={},
            with_a_name={"name": "rotation May"},
            with_an_end={"name": "workshop", "expires_at": "2027-01-01T00:00:00Z"},
        ),
    )

    name: Name = Field(default="key", description="For people.", examples=["rotation May"])
    expires_at: Instant | None = Field(
        default=None, description="Refused from then on.", examples=["2027-01-01T00:00:00Z"]
    )


class KeyRead(BaseModel):
    """A device key, without its secret."""

    model_config = ConfigDict(from_attributes=True)
    etag_ignores: ClassVar[frozenset[str]] = frozenset({"last_used_at", "api_key"})

    id: str = Field(
        description="Names the key when it is revoked.",
        examples=["0198c0de-7a3b-7c11-9b51-3f5a6f2f6a10"],
    )
    name: str = Field(description="For people.", examples=["rotation May"])
    prefix: str = Field(description="How the secret begins.", examples=["fsd_8yXw3m"])
    created_at: datetime = Field(description="When it was made.", examples=["2026-05-01T12:00:00Z"])
    expires_at: datetime | None = Field(
        description="Refused from then on; null: never.", examples=["2027-01-01T00:00:00Z"]
    )
    last_used_at: datetime | None = Field(
        description="About when it was last used.", examples=["2026-05-01T12:00:00Z"]
    )


class KeyIssued(KeyRead):
    """A new key with its secret, which is shown only now."""

    api_key: str | None = Field(
        description="Keep it, it is not shown again: null in a repeated answer.",
        examples=["fsd_8yXw3mJv2bqf0C7o1rS4tUuVwXyZ0123456789abcde"],
    )


class HeartbeatCreate(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A sign of life; every field is optional.

    ``rssi`` in dBm, ``battery`` in percent, ``free_memory`` in bytes.
    """

    uptime_s: Annotated[float, msgspec.Meta(ge=0)] | None = None
    battery: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    rssi: Annotated[float, msgspec.Meta(ge=-200, le=100)] | None = None
    free_memory: Annotated[float, msgspec.Meta(ge=0)] | None = None
    firmware_version: Annotated[str, msgspec.Meta(max_length=50, pattern=NO_NUL)] | None = None
    timestamp: float | Annotated[str, msgspec.Meta(pattern=NO_NUL)] | None = None

    def said(self) -> Mapping[str, Any]:
        """Return what the device said, without the fields it left out."""
        return msgspec.to_builtins(self)


class HeartbeatBody(BaseModel):
    """A sign of life; every field is optional."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra=examples(
            only_alive={},
            battery_powered={"uptime_s": 86400, "battery": 87.5, "rssi": -61},
            with_a_clock={
                "free_memory": 143000,
                "firmware_version": "1.4.0",
                "timestamp": "2026-05-01T12:00:00Z",
            },
        ),
    )

    uptime_s: float | None = Field(default=None, ge=0, description="Seconds.", examples=[86400])
    battery: float | None = Field(
        default=None, ge=0, le=100, description="Percent.", examples=[87.5]
    )
    rssi: float | None = Field(
        default=None, ge=-200, le=100, description="Signal in dBm.", examples=[-61]
    )
    free_memory: float | None = Field(default=None, ge=0, description="Bytes.", examples=[143_000])
    firmware_version: str | None = Field(
        default=None,
        max_length=50,
        pattern=NO_NUL,
        description="What runs on it.",
        examples=["1.4.0"],
    )
    timestamp: float | Annotated[str, StringConstraints(pattern=NO_NUL)] | None = Field(
        default=None, description="The device's clock: RFC 3339 or epoch.", examples=[1790000000]
    )


class HeartbeatAnswer(BaseModel):
    """What the station says back."""

    server_time: datetime = Field(
        description="The station's clock.", examples=["2026-05-01T12:00:00.125Z"]
    )
    pending_commands: int = Field(description="Commands waiting for the device.", examples=[0])
