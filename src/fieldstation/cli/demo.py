"""``fieldstation demo``: a station with an administrator and this very host as its first device."""

import asyncio
import gc
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fieldstation.cli.options import DataDir, Host, MqttPort, Port, settings_of

if TYPE_CHECKING:
    from fieldstation.runtime import Runtime
    from fieldstation.serving import Ready

ADMINISTRATOR = "admin"
ADMINISTRATOR_EMAIL = "admin@fieldstation.internal"
AGENT_INTERVAL_S = 2
AGENT_RESTART_S = 5
AGENT_STOP_TIMEOUT_S = 6
PORTS_TRIED_MAX = 50


def demo(
    *, host: Host = None, port: Port = None, mqtt_port: MqttPort = None, data_dir: DataDir = None
) -> None:
    """Run a station to look at: takes the next free ports, makes an administrator, reports this
    host.

    Example: fieldstation demo --port 8000
    """
    gc.disable()  # what is imported stays: no collection need look at it; serving turns it on
    from fieldstation.cli.station import run_station

    settings = settings_of(host=host, port=port, mqtt_port=mqtt_port, data_dir=data_dir)
    chosen_port = port if port is not None else free_port(settings.http.host, settings.http.port)
    taken = {chosen_port}
    chosen_mqtt = mqtt_port
    if chosen_mqtt is None:
        chosen_mqtt = free_port(settings.mqtt.host, settings.mqtt.port, taken=taken)
    say_if_moved("HTTP", wanted=settings.http.port, taken=chosen_port, asked=port)
    say_if_moved("MQTT", wanted=settings.mqtt.port, taken=chosen_mqtt, asked=mqtt_port)
    run_station(
        settings_of(host=host, port=chosen_port, mqtt_port=chosen_mqtt, data_dir=data_dir),
        show_around,
    )


def free_port(host: str, wanted: int, *, taken: set[int] | None = None) -> int:
    """Return the first free port from ``wanted`` on; the last one tried when none is free."""
    for port in range(wanted, wanted + PORTS_TRIED_MAX):
        if port in (taken or ()):
            continue
        with suppress(OSError), socket.create_server((host, port)):
            return port
    return wanted


def say_if_moved(name: str, *, wanted: int, taken: int, asked: int | None) -> None:
    if asked is None and taken != wanted:
        print(f"{name} port {wanted} is in use; taking {taken}.")


async def show_around(ready: "Ready") -> None:
    """Make sure of the administrator and this host's device, say what to try, and keep the agent
    running."""
    runtime = ready.runtime
    password = await ensure_administrator(runtime)
    print(welcome(ready, password, data_dir=runtime.settings.station.data_dir), flush=True)
    if ready.mqtt_port is None:
        return
    device_id, key_file = await ensure_own_device(runtime)
    await supervise_agent(ready.mqtt_port, device_id, key_file)


async def ensure_administrator(runtime: "Runtime") -> str | None:
    """Return the password of the administrator if it was made just now."""
    from fieldstation.core.errors import Conflict
    from fieldstation.operations import station_operations

    operations = station_operations(runtime)
    if await operations["user.list"]():
        return None
    try:
        created = await operations["user.create"](
            email=ADMINISTRATOR_EMAIL,
            username=os.environ.get("DEMO_USER", ADMINISTRATOR),
            password=os.environ.get("DEMO_PASS"),
            superuser=True,
        )
    except Conflict:
        return None
    return str(created["password"])


async def ensure_own_device(runtime: "Runtime") -> tuple[str, Path]:
    """Return this host's device and the file with its key; both are made once."""
    from fieldstation.domains.audit.schemas import STATION
    from fieldstation.domains.devices.schemas.devices import DeviceCreate, DeviceType
    from fieldstation.domains.devices.service import devices
    from fieldstation.domains.identity.service import keys, organizations
    from fieldstation.operations import FIRST_ORGANIZATION

    folder = runtime.settings.station.data_dir / "agent"
    folder.mkdir(mode=0o700, exist_ok=True)
    id_file, key_file = folder / "device_id", folder / "device_key"
    if id_file.exists() and key_file.exists():
        return id_file.read_text().strip(), key_file
    now = runtime.clock.now()
    form = DeviceCreate(
        name=socket.gethostname()[:100] or "this host",
        device_type=DeviceType.EDGE_HOST,
        description="The computer that this station runs on.",
        tags=["host"],
    )
    async with runtime.database.transaction() as session:
        organization = await organizations.ensure_first_organization(
            session, name=FIRST_ORGANIZATION, now=now
        )
        device = devices.add_device(session, organization.id, form, actor=STATION, now=now)
        await session.flush()
        _, secret = await keys.issue_key(
            session,
            organization.id,
            kind="device",
            subject_id=device.id,
            name="agent",
            actor=STATION,
            now=now,
        )
        device_id = device.id
    write_private(key_file, secret)
    write_private(id_file, device_id)
    return device_id, key_file


def write_private(file: Path, content: str) -> None:
    file.touch(mode=0o600)
    file.write_text(content)


async def supervise_agent(mqtt_port: int, device_id: str, key_file: Path) -> None:
    """Run the agent as a process of its own, again if it ends, until cancelled."""
    command = (
        *(sys.executable, "-m", "fieldstation.agent"),
        *("--station", f"mqtt://127.0.0.1:{mqtt_port}", "--device-id", device_id),
        *("--key-file", str(key_file), "--data-dir", str(key_file.parent)),
        *("--interval-s", str(AGENT_INTERVAL_S)),
    )
    while True:
        process = await asyncio.create_subprocess_exec(*command, start_new_session=True)
        try:
            await process.wait()
        finally:
            await end(process)
        await asyncio.sleep(AGENT_RESTART_S)


async def end(process: asyncio.subprocess.Process) -> None:
    """Ask a process to finish; end it when it takes too long."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(AGENT_STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()


def welcome(ready: "Ready", password: str | None, *, data_dir: Path) -> str:
    """Return what a new user needs to know."""
    user = os.environ.get("DEMO_USER", ADMINISTRATOR)
    shown = password or "as shown at the first start; fieldstation user set-password changes it"
    return f"""
Fieldstation ready: {ready.url} (MQTT port {ready.mqtt_port})

  API and documentation   {ready.url}/docs
  User                    {user}
  Password                {shown}
  Data                    {data_dir}

This host reports its CPU, memory, disk, network and temperature every {AGENT_INTERVAL_S} s. Try:

  TOKEN=$(curl -s {ready.url}/api/v1/auth/login -H 'Content-Type: application/json' \\
    -d '{{"username": "{user}", "password": "{password or "…"}"}}' \\
    | python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])')
  curl -s {ready.url}/api/v1/readings/latest -H "Authorization: Bearer $TOKEN"

The five-minute tour is in README.md. Ctrl-C stops the station; nothing acknowledged is lost.
"""
