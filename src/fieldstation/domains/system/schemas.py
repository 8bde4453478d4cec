"""What the station says of itself."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field

UNHEALTHY_EXAMPLE = {
    "status": "unhealthy",
    "version": "0.1.0",
    "environment": "production",
    "timestamp": "2026-05-01T12:00:00Z",
    "services": {"database": {"status": "down", "type": "postgresql"}},
    "checks": {"database": "down", "websocket_clients": 0},
}


class Health(StrEnum):
    """How well the station serves."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class ServiceHealth(BaseModel):
    """One part of the station."""

    status: str = Field(
        description="`ok`, `disabled`, `degraded`, `down` or `full`; of the intake also why its"
        " store takes nothing now, such as `disk_full`.",
        examples=["ok"],
    )
    type: str | None = Field(default=None, description="Which kind is used.", examples=["sqlite"])


class HealthRead(BaseModel):
    """The state of the station and its parts."""

    status: Health = Field(description="503 only when `unhealthy`.", examples=["healthy"])
    version: str = Field(description="The station's version.", examples=["0.1.0"])
    environment: str = Field(description="From ENVIRONMENT.", examples=["development"])
    timestamp: datetime = Field(
        description="The station's clock.", examples=["2026-05-01T12:00:00Z"]
    )
    services: dict[str, ServiceHealth] = Field(
        description="Each part.",
        examples=[{"database": {"status": "ok", "type": "sqlite"}, "mqtt": {"status": "ok"}}],
    )
    checks: dict[str, str | int] = Field(
        description="Short answers for probes.",
        examples=[{"database": "ok", "websocket_clients": 2}],
    )


class StatusRead(BaseModel):
    """The short status."""

    api_version: str = Field(description="The station's version.", examples=["0.1.0"])
    mqtt_connected: bool = Field(description="Whether the MQTT door is open.", examples=[True])
    active_websockets: int = Field(description="Live sockets.", examples=[2])
    latest_readings_count: int = Field(
        description="Series with a newest reading in memory.", examples=[120]
    )
    uptime: float = Field(description="Seconds.", examples=[86400.5])


class SystemMetrics(BaseModel):
    """Numbers of the process and its doors."""

    uptime: float = Field(description="Seconds.", examples=[86400.5])
    memory_usage: int = Field(description="Resident bytes.", examples=[104_857_600])
    cpu_usage: float = Field(description="Percent of one core since the last look.", examples=[3.5])
    active_connections: int = Field(description="MQTT connections and live sockets.", examples=[14])
    requests_per_minute: int = Field(description="In the last sixty seconds.", examples=[240])
    readings_accepted: int = Field(description="Since the start.", examples=[864_000])
    readings_queued: int = Field(description="Waiting for their commit.", examples=[0])
    readings_stored: int = Field(description="In the store.", examples=[25_920_000])
    series: int = Field(description="In the store.", examples=[120])
    storage_bytes: int = Field(description="Of the telemetry database.", examples=[62_914_560])
    event_loop_lag_ms: float = Field(
        description="How late the event loop is, lately.", examples=[0.4]
    )


class VersionRead(BaseModel):
    """What runs."""

    version: str = Field(description="The station's version.", examples=["0.1.0"])
    python: str = Field(description="The interpreter.", examples=["3.11.7"])
    database: str = Field(description="The kind of database.", examples=["sqlite"])
    telemetry_database: str | None = Field(
        description="What keeps the readings, with its version and TimescaleDB if that is there;"
        " null while it does not answer.",
        examples=["PostgreSQL 15.14 with TimescaleDB 2.11.2"],
    )
    sqlite: str = Field(description="The linked SQLite library.", examples=["3.40.1"])


class Liveness(BaseModel):
    """The process runs."""

    status: str = Field(description="Always `alive`.", examples=["alive"])


class Documentation(BaseModel):
    """Where the API is described."""

    scalar: str = Field(description="To read, search and try.", examples=["/docs"])
    swagger: str = Field(description="The same in Swagger UI.", examples=["/swagger"])
    redoc: str = Field(description="The same in ReDoc.", examples=["/redoc"])
    openapi: str = Field(description="The document itself.", examples=["/openapi.json"])


class FrontPage(BaseModel):
    """What this is and where to go on."""

    name: str = Field(description="Always `Fieldstation`.", examples=["Fieldstation"])
    version: str = Field(description="The station's version.", examples=["0.1.0"])
    status: str = Field(description="Always `running`.", examples=["running"])
    environment: str = Field(description="From ENVIRONMENT.", examples=["development"])
    documentation: Documentation = Field(description="Where the API is described.")
    api: str = Field(description="Where its paths begin.", examples=["/api/v1"])
    health: str = Field(description="Where its state is.", examples=["/health"])
