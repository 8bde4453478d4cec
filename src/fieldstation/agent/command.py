"""Starts the agent from a command line or the environment."""

import os
import re
import signal
import ssl
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from fieldstation.agent.connection import Station, make_tls_context, open_connection
from fieldstation.agent.host_metrics import HostMetrics
from fieldstation.agent.logs import log_event, write_logs_to
from fieldstation.agent.run import Agent
from fieldstation.core.clock import SystemClock
from fieldstation.core.errors import Invalid, StationError

PORT, TLS_PORT = 1883, 8883
KEY_BYTES_MAX = 1024
ADDRESS = re.compile(r"mqtts?://[^/?#@]+/?")
DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def agent(
    *,
    station: Annotated[
        str,
        typer.Option(
            envvar="FIELDSTATION_AGENT_STATION",
            help="Where the station listens: mqtt://HOST[:PORT] or mqtts://HOST[:PORT].",
        ),
    ] = "mqtt://127.0.0.1:1883",
    device_id: Annotated[
        str,
        typer.Option(
            envvar="FIELDSTATION_AGENT_DEVICE_ID",
            help="The id under which this host is registered.",
        ),
    ] = "",
    key_file: Annotated[
        Path | None,
        typer.Option(
            envvar="FIELDSTATION_AGENT_KEY_FILE",
            help="File that holds the device key; or set FIELDSTATION_AGENT_KEY.",
        ),
    ] = None,
    interval_s: Annotated[
        float,
        typer.Option(
            envvar="FIELDSTATION_AGENT_INTERVAL_S",
            min=0.01,
            max=86_400,
            help="Seconds between two samples.",
        ),
    ] = 5.0,
    data_dir: Annotated[
        Path,
        typer.Option(
            envvar="FIELDSTATION_AGENT_DATA_DIR",
            help="Where samples wait until the station has them.",
        ),
    ] = Path(".fieldstation"),
    tls: Annotated[
        bool,
        typer.Option("--tls", envvar="FIELDSTATION_AGENT_TLS", help="Encrypt, as mqtts:// does."),
    ] = False,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            envvar="FIELDSTATION_AGENT_CA_FILE",
            help="Certificate authority of the station (PEM) instead of the system's.",
        ),
    ] = None,
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Deliver one sample and what waits, then end; 1 if that fails."
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", envvar="FIELDSTATION_AGENT_VERBOSE", help="Log each sample and attempt."
        ),
    ] = False,
) -> None:
    """Report this host's metrics to a station; they wait on disk while it is away.

    Example: fieldstation agent --station mqtt://10.0.0.5:1883 --device-id ID --key-file device.key
    """
    write_logs_to(sys.stderr, verbose=verbose)
    try:
        where = parse_station(
            station,
            device_id=check_device_id(device_id),
            key=read_key(key_file, os.environ.get("FIELDSTATION_AGENT_KEY", "")),
            tls=read_authority(ca_file) if tls or station.startswith("mqtts:") else None,
        )
        report_from_here(where, data_dir=data_dir, interval_s=interval_s, once=once)
    except StationError as error:
        typer.echo(f"fieldstation agent: {error.detail}", err=True)
        raise typer.Exit(2 if isinstance(error, Invalid) else 1) from error


def report_from_here(station: Station, *, data_dir: Path, interval_s: float, once: bool) -> None:
    """Run the agent on this host until SIGTERM or SIGINT."""
    clock = SystemClock()
    running = Agent(
        station.device_id,
        data_dir=data_dir,
        interval_s=interval_s,
        metrics=HostMetrics(clock, firmware_version=version("fieldstation")),
        connect=lambda report: open_connection(station, report),
        clock=clock,
        once=once,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: running.stop())
    log_event("info", "agent_started", station=str(station), device_id=station.device_id)
    running.run()


def parse_station(url: str, *, device_id: str, key: str, tls: ssl.SSLContext | None) -> Station:
    """Read ``mqtt[s]://HOST[:PORT]``; raises ``Invalid``."""
    if "@" in url:
        # Refused first, so that no sentence below repeats a key.
        raise Invalid(
            "--station takes only host and port; give the device with --device-id and --key-file."
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port == 0 or not ADDRESS.fullmatch(url):
        raise Invalid(
            f"--station {url} is no address; write mqtt://HOST:PORT or mqtts://HOST:PORT."
        )
    default_port = TLS_PORT if tls else PORT
    return Station(host=host, port=port or default_port, tls=tls, device_id=device_id, key=key)


def check_device_id(device_id: str) -> str:
    """Return the id if it can stand in a topic and a file name; raises ``Invalid``."""
    if not device_id:
        raise Invalid("Say which device this is: --device-id ID or FIELDSTATION_AGENT_DEVICE_ID.")
    if not DEVICE_ID.fullmatch(device_id):
        raise Invalid(
            "--device-id is no device id; copy the one that the station gave at registration."
        )
    return device_id


def read_key(key_file: Path | None, key: str) -> str:
    """Return the device key from the file or else from the environment; raises ``Invalid``."""
    if key_file is not None:
        try:
            with key_file.open("rb") as file:
                key = file.read(KEY_BYTES_MAX + 1).decode("ascii")
        except OSError as error:
            raise Invalid(
                f"Cannot read {key_file} ({error.strerror}); write the device key into it."
            ) from error
        except UnicodeDecodeError as error:
            raise Invalid(
                f"{key_file} holds no device key; write the key into it and nothing else."
            ) from error
    key = key.strip()
    if not key or len(key) > KEY_BYTES_MAX or not key.isprintable() or " " in key:
        raise Invalid(
            "There is no device key; write it into a file and name that with --key-file,"
            " or set FIELDSTATION_AGENT_KEY."
        )
    return key


def read_authority(ca_file: Path | None) -> ssl.SSLContext:
    """Trust the given authority or else the system's; raises ``Invalid``."""
    try:
        return make_tls_context(ca_file)
    except OSError as error:
        raise Invalid(
            f"Cannot use the certificates in {ca_file} ({error}); name a PEM file with --ca-file."
        ) from error
