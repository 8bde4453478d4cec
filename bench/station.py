"""The station under test: started as users start it, filled through its own doors."""

import asyncio
import http.client
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data import DEVICES, STORED_READINGS_PER_DEVICE, device_readings
from bench.encoding import Identity, body_json, post_readings
from bench.http_load import HttpLoadSpec, send_all
from bench.processes import (
    ProcessFailedError,
    ServerProcess,
    free_port,
)
from bench.spool import write_spool
from fieldstation.core.clock import SystemClock
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore

REQUEST_TIMEOUT_S = 10.0
PRELOAD_BODY_READINGS = 1_000
PRELOAD_CONNECTIONS = 8
PRELOAD_TIMEOUT_S = 600.0
EMAIL = "bench@example.org"
PASSWORD = "interleaved rounds only"  # noqa: S105 - of a station that lives for one benchmark
TELEMETRY_FILE = "telemetry.db"
# Requests are counted and limited as ever, only the limits are out of reach.
ENVIRONMENT = {"LOG_LEVEL": "WARNING", "RATE_LIMIT_FACTOR": "1000000"}
# The data begins this long before the run, so that its last reading lies in the past.
# Younger than what is sealed, so that no round seals what another one does not.
DATA_AGE_S = 3_600
ROLL_UP_DELAY_US = 3_600 * 1_000_000


@dataclass(frozen=True, slots=True)
class Station:
    """A running station."""

    process: ServerProcess
    http_port: int
    mqtt_port: int


@dataclass(frozen=True, slots=True)
class Template:
    """A data directory with stored readings, its devices, and the second its data begins."""

    data_dir: Path
    identities: tuple[Identity, ...]
    base_s: int

    @property
    def telemetry_file(self) -> Path:
        return self.data_dir / TELEMETRY_FILE


@contextmanager
def running_station(
    data_dir: Path,
    *,
    command: Sequence[str],
    log: Path,
    wait: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Station]:
    """Run ``serve`` on a data directory; with ``wait``, from the first healthy answer on."""
    http_port, mqtt_port = free_port(), free_port()
    options = {
        "--host": "127.0.0.1",
        "--port": str(http_port),
        "--mqtt-port": str(mqtt_port),
        "--data-dir": str(data_dir),
    }
    arguments = [word for option in options.items() for word in option]
    with ServerProcess(
        [*command, *arguments],
        log=log,
        environment={**ENVIRONMENT, **(environment or {})},
    ) as process:
        station = Station(process=process, http_port=http_port, mqtt_port=mqtt_port)
        if wait:
            process.wait_until(lambda: is_healthy(http_port))
        yield station


def is_healthy(port: int) -> bool:
    try:
        status, _ = request(port, "GET", "/health")
    except (OSError, http.client.HTTPException):
        return False
    return status == 200


def request(
    port: int, method: str, path: str, *, body: Any = None, token: str | None = None
) -> tuple[int, Any]:
    """Make one HTTP request; return status and decoded JSON."""
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    with closing(
        http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_TIMEOUT_S)
    ) as connection:
        connection.request(method, path, body=json.dumps(body) if body else None, headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")


def demand(port: int, path: str, *, body: Any, token: str | None = None) -> Any:
    """POST what must succeed; raise ``ProcessFailedError`` with the station's answer otherwise."""
    status, answer = request(port, "POST", path, body=body, token=token)
    if status not in {200, 201}:
        raise ProcessFailedError(f"POST {path} was answered with {status}: {answer}")
    return answer


def build_template(
    data_dir: Path,
    *,
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Template:
    """Register the devices and store the first readings, all through HTTP, then stop."""
    base_s = SystemClock().now_us() // 1_000_000 - DATA_AGE_S
    spool = data_dir.with_suffix(".spool")
    with running_station(data_dir, command=command, log=log, environment=environment) as station:
        identities = register_devices(station.http_port)
        messages = write_spool(spool, stored_requests(identities, base_s=base_s))
        send_all(
            HttpLoadSpec(
                port=station.http_port,
                spool=str(spool),
                connections=PRELOAD_CONNECTIONS,
                messages=messages,
                duration_s=PRELOAD_TIMEOUT_S,
            )
        )
    spool.unlink()
    return Template(data_dir=data_dir, identities=identities, base_s=base_s)


def log_in(port: int) -> str:
    """Return an access token of the user who owns the template's devices."""
    login = demand(port, "/api/v1/auth/login", body={"email": EMAIL, "password": PASSWORD})
    return login["access_token"]


def register_devices(port: int, *, devices: int = DEVICES) -> tuple[Identity, ...]:
    """Register a user, log in, and register the first devices of the data set."""
    demand(port, "/api/v1/auth/register", body={"email": EMAIL, "password": PASSWORD})
    token = log_in(port)
    identities = []
    for number in range(devices):
        device = demand(
            port,
            "/api/v1/devices",
            body={"name": f"device {number:04}", "device_type": "esp32"},
            token=token,
        )
        identities.append(Identity(device_id=device["id"], api_key=device["api_key"]))
    return tuple(identities)


def stored_requests(identities: Sequence[Identity], *, base_s: int) -> Iterator[bytes]:
    """Yield what is stored beforehand, all devices side by side as time passes."""
    everything = [
        device_readings(device, start=0, count=STORED_READINGS_PER_DEVICE)
        for device in range(len(identities))
    ]
    for start in range(0, STORED_READINGS_PER_DEVICE, PRELOAD_BODY_READINGS):
        for identity, readings in zip(identities, everything, strict=True):
            part = readings[start : start + PRELOAD_BODY_READINGS]
            yield post_readings(identity, body_json(part, base_s=base_s))


def count_stored(data_dir: Path) -> int:
    """Return how many readings the database of a stopped station holds, all moved into chunks."""
    file = data_dir / TELEMETRY_FILE
    asyncio.run(flush(file))
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        statement = "SELECT (SELECT total(count) FROM chunk) + (SELECT total(count) FROM sealed)"
        return int(connection.execute(statement).fetchone()[0])


async def flush(file: Path) -> None:
    store = SqliteReadingStore(file, node_id="bench", clock=SystemClock())
    await store.open()
    await store.flush()
    await store.close()


def demand_stored(data_dir: Path, *, expected: int) -> None:
    """Raise ``ProcessFailedError`` unless exactly what was acknowledged is stored, each once."""
    stored = count_stored(data_dir)
    if stored != expected:
        raise ProcessFailedError(f"{expected} readings were acknowledged, {stored} are stored")


async def settle(file: Path, *, give_back: bool = False) -> None:
    """Seal and roll up until nothing is due; then give free pages back to the disk if wanted."""
    clock = SystemClock()
    store = SqliteReadingStore(file, node_id="bench", clock=clock)
    await store.open()
    try:
        while await store.seal_slice():
            pass
        await roll_up(store, before_us=clock.now_us() - ROLL_UP_DELAY_US)
        if give_back:
            await give_pages_back(store)
    finally:
        await store.close()


async def give_pages_back(store: SqliteReadingStore) -> None:
    """Shorten the file to what the store keeps: some pages go each time nothing is to be sealed."""
    size = -1
    while size != (size := (await store.totals()).bytes_on_disk):
        await store.seal_slice()


async def roll_up(store: SqliteReadingStore, *, before_us: int) -> None:
    """Roll up until nothing is due, in a build that has rollups."""
    roll_up_slice = getattr(store, "roll_up", None)
    while roll_up_slice is not None and await roll_up_slice(before_us=before_us):
        pass
