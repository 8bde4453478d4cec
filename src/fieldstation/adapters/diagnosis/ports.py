"""Checks of the ports: free, or held by this very station."""

import errno
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

import psutil

from fieldstation.adapters.control import short_path
from fieldstation.adapters.diagnosis.report import Check, failure, ok, warning

CONNECT_TIMEOUT_S = 2.0
PEER_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class RunningStation:
    """The station that answers in a data directory; None is what the system does not tell."""

    process_id: int | None
    ports: frozenset[int] | None


def find_station(control_socket: Path) -> RunningStation | None:
    """Return the station that runs in a data directory, None when none answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(CONNECT_TIMEOUT_S)
        try:
            connection.connect(short_path(control_socket))
        except OSError:
            return None
        process_id = peer_process(connection)
    return RunningStation(process_id, None if process_id is None else listening_ports(process_id))


def peer_process(connection: socket.socket) -> int | None:
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    found = connection.getsockopt(socket.SOL_SOCKET, option, PEER_CREDENTIALS.size)
    # Zero: the station lives in another namespace of processes.
    return PEER_CREDENTIALS.unpack(found)[0] or None


def listening_ports(process_id: int) -> frozenset[int] | None:
    try:
        connections = psutil.Process(process_id).net_connections(kind="tcp")
    except psutil.Error:
        return None
    return frozenset(c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN)


def check_station(station: RunningStation | None) -> Check:
    if station is None:
        return ok("station", "No station runs in this data directory")
    process = "" if station.process_id is None else f" (process {station.process_id})"
    listening = (
        "" if not station.ports else f" on port {', '.join(map(str, sorted(station.ports)))}"
    )
    return ok("station", f"A station runs in this data directory{process}{listening}")


def check_port(
    name: str, host: str, port: int, *, setting: str, station: RunningStation | None
) -> Check:
    """Say whether a station could listen there, or does."""
    if port == 0:
        return ok(name, f"Any free port of {host}")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        return refused_port(
            name, f"{host}:{port}", error, setting=setting, port=port, station=station
        )
    elsewhere = "" if station is None else "; the running station was told another one"
    return ok(name, f"{host}:{port} is free{elsewhere}")


def refused_port(
    name: str,
    where: str,
    error: OSError,
    *,
    setting: str,
    port: int,
    station: RunningStation | None,
) -> Check:
    if error.errno != errno.EADDRINUSE:
        return failure(
            name,
            f"{where} cannot be used ({error.strerror or error})",
            f"Choose an address of this computer and a port above 1023 with {setting}.",
        )
    if station is None:
        return failure(
            name, f"{where} is held by another program", f"Stop it, or choose with {setting}."
        )
    if station.ports is not None and port not in station.ports:
        return warning(
            name,
            f"{where} is held by another program; the running station listens elsewhere",
            f"Stop that program or choose with {setting} before the next start.",
        )
    return ok(name, f"{where} is held by this station")
