"""Judges the station's health and gathers its numbers."""

import asyncio
import platform
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import psutil

from fieldstation import __version__
from fieldstation.bus.ports import Bus
from fieldstation.core.clock import Clock
from fieldstation.core.errors import Busy
from fieldstation.core.settings import Settings
from fieldstation.db.database import Database
from fieldstation.domains.live.sockets import Sockets
from fieldstation.domains.system.metrics import Reading
from fieldstation.domains.system.schemas import (
    Health,
    HealthRead,
    ServiceHealth,
    StatusRead,
    SystemMetrics,
    VersionRead,
)
from fieldstation.domains.telemetry.intake import Intake
from fieldstation.domains.telemetry.jobs import Sealing
from fieldstation.domains.telemetry.last_values import LastValues
from fieldstation.domains.telemetry.ports import ReadingStore
from fieldstation.domains.telemetry.writer import Writer
from fieldstation.web.rate_sharing import RateSharing

PING_TIMEOUT_S = 3.0


class MqttDoor(Protocol):
    """What the system pages need to know of the MQTT server."""

    @property
    def is_open(self) -> bool: ...

    @property
    def connections(self) -> int: ...

    def counters(self) -> Iterable[tuple[str, str, int]]:
        """Yield ``(name, help, value)`` of what was counted since the start."""
        ...


@dataclass(slots=True)
class StationState:
    """The parts of a running station that are looked at; built by the runtime."""

    settings: Settings
    clock: Clock
    database: Database
    store: ReadingStore
    intake: Intake
    writer: Writer
    sealing: Sealing
    last_values: LastValues
    sockets: Sockets
    mqtt: MqttDoor | None
    limits: RateSharing
    bus: Bus
    started_s: float
    process: psutil.Process = field(default_factory=psutil.Process)
    loop_lag_ms: float = 0.0
    draining: bool = False

    @property
    def uptime_s(self) -> float:
        return self.clock.monotonic() - self.started_s


async def health(state: StationState) -> HealthRead:
    """Ask each part; unhealthy only when the station cannot serve."""
    database = await database_status(state)
    intake = state.intake.state
    mqtt = "disabled" if state.mqtt is None else ("ok" if state.mqtt.is_open else "down")
    bus = "ok" if state.bus.is_connected else "down"
    services = {
        "database": ServiceHealth(status=database, type=state.database.dialect),
        "intake": ServiceHealth(status=intake),
        "mqtt": ServiceHealth(status=mqtt, type="built-in"),
        "rate_limiter": rate_limiter_health(state),
        "bus": ServiceHealth(status=bus, type=state.bus.kind),
    }
    if database != "ok" or state.draining:
        status = Health.UNHEALTHY
    elif intake != "ok" or "down" in {mqtt, bus} or not state.limits.shares_as_told:
        status = Health.DEGRADED
    else:
        status = Health.HEALTHY
    return HealthRead(
        status=status,
        version=__version__,
        environment=state.settings.station.environment,
        timestamp=state.clock.now(),
        services=services,
        checks={"database": database, "websocket_clients": len(state.sockets)},
    )


def rate_limiter_health(state: StationState) -> ServiceHealth:
    """Tell where requests are counted: in memory alone while Redis is away."""
    if not state.settings.limits.enabled:
        return ServiceHealth(status="disabled")
    status, kind = state.limits.status
    return ServiceHealth(status=status, type=kind)


async def database_status(state: StationState) -> str:
    try:
        async with asyncio.timeout(PING_TIMEOUT_S):
            await state.database.ping()
    except (Busy, TimeoutError):
        return "down"
    return "ok"


def status(state: StationState) -> StatusRead:
    """Return the short status; no database access."""
    return StatusRead(
        api_version=__version__,
        mqtt_connected=state.mqtt is not None and state.mqtt.is_open,
        active_websockets=len(state.sockets),
        latest_readings_count=len(state.last_values),
        uptime=round(state.uptime_s, 3),
    )


async def system_metrics(state: StationState, *, requests_per_minute: int) -> SystemMetrics:
    """Return the numbers of this process and of the store."""
    totals = await state.store.totals()
    connections = len(state.sockets) + (state.mqtt.connections if state.mqtt else 0)
    return SystemMetrics(
        uptime=round(state.uptime_s, 3),
        memory_usage=state.process.memory_info().rss,
        cpu_usage=state.process.cpu_percent(),
        active_connections=connections,
        requests_per_minute=requests_per_minute,
        readings_accepted=state.writer.counts.accepted,
        readings_queued=state.intake.queued,
        readings_stored=totals.readings,
        series=totals.series,
        storage_bytes=totals.bytes_on_disk,
        event_loop_lag_ms=round(state.loop_lag_ms, 2),
    )


async def version(state: StationState) -> VersionRead:
    """Return what runs."""
    try:
        telemetry = await state.store.description()
    except Busy:
        telemetry = None
    return VersionRead(
        version=__version__,
        python=platform.python_version(),
        database=state.database.dialect,
        telemetry_database=telemetry,
        sqlite=sqlite3.sqlite_version,
    )


def prometheus_readings(state: StationState) -> Iterable[Reading]:
    """Yield the station's own numbers for Prometheus."""
    counts = state.writer.counts
    yield "gauge", "rover_websocket_connections", "Live sockets.", len(state.sockets)
    yield "counter", "fieldstation_readings_accepted", "Readings stored.", counts.accepted
    yield "counter", "fieldstation_readings_duplicate", "Readings known before.", counts.duplicates
    yield "counter", "fieldstation_readings_conflict", "Readings refused.", counts.conflicts
    yield "counter", "fieldstation_readings_anomalous", "Readings flagged.", counts.anomalies
    yield "counter", "fieldstation_readings_sealed", "Readings compressed.", state.sealing.readings
    yield "counter", "fieldstation_messages_refused", "Messages kept as refused.", counts.refused
    yield "counter", "fieldstation_commits", "Group commits.", counts.commits
    yield "counter", "fieldstation_commit_failures", "Commits that failed.", counts.failures
    yield "counter", "fieldstation_intake_full", "Offers refused.", state.intake.refused_full
    yield "gauge", "fieldstation_intake_queued", "Readings waiting.", state.intake.queued
    yield "gauge", "fieldstation_event_loop_lag_ms", "How late the loop is.", state.loop_lag_ms
    if state.mqtt is not None:
        yield "gauge", "fieldstation_mqtt_connections", "Open.", state.mqtt.connections
        for name, explanation, value in state.mqtt.counters():
            yield "counter", f"fieldstation_mqtt_{name}", explanation, value
