"""What the station says of itself."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field


class Health(StrEnum):
    """How well the station serves."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class ServiceHealth(BaseModel):
    """One part of the station."""

    status: str = Field(description="`ok`, `disabled`, `down` or `full`.", examples=["ok"])
    type: str | None = Field(default=None, description="Which kind is used.", examples=["sqlite"])


class HealthRead(BaseModel):
    """The state of the station and its parts."""

    status: Health = Field(description="503 only when `unhealthy`.")
    version: str = Field(description="The station's version.", examples=["0.1.0"])
    environment: str = Field(description="From ENVIRONMENT.", examples=["development"])
    timestamp: datetime = Field(description="The station's clock.")
    services: dict[str, ServiceHealth] = Field(description="Each part.")
    checks: dict[str, str | int] = Field(description="Short answers for probes.")


class StatusRead(BaseModel):
    """The short status."""

    api_version: str = Field(description="The station's version.", examples=["0.1.0"])
    mqtt_connected: bool = Field(description="Whether the MQTT door is open.")
    active_websockets: int = Field(description="Live sockets.", examples=[2])
    latest_readings_count: int = Field(description="Series with a newest reading in memory.")
    uptime: float = Field(description="Seconds.", examples=[86400.5])


class SystemMetrics(BaseModel):
    """Numbers of the process and its doors."""

    uptime: float = Field(description="Seconds.")
    memory_usage: int = Field(description="Resident bytes.")
    cpu_usage: float = Field(description="Percent of one core since the last look.")
    active_connections: int = Field(description="MQTT connections and live sockets.")
    requests_per_minute: int = Field(description="In the last sixty seconds.")
    readings_accepted: int = Field(description="Since the start.")
    readings_queued: int = Field(description="Waiting for their commit.")
    readings_stored: int = Field(description="In the store.")
    series: int = Field(description="In the store.")
    storage_bytes: int = Field(description="Of the telemetry database.")
    event_loop_lag_ms: float = Field(description="How late the event loop is, lately.")


class VersionRead(BaseModel):
    """What runs."""

    version: str = Field(description="The station's version.", examples=["0.1.0"])
    python: str = Field(description="The interpreter.", examples=["3.11.7"])
    database: str = Field(description="The kind of database.", examples=["sqlite"])
    sqlite: str = Field(description="The linked SQLite library.", examples=["3.40.1"])
