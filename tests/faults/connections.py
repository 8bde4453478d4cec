"""What a station's process holds: its open TCP connections and its memory."""

import psutil

from tests.station_process import StationProcess


def open_connections(station: StationProcess, port: int) -> int:
    """Count the clients' connections to one of its ports, listening sockets left out."""
    return sum(
        connection.laddr.port == port and bool(connection.raddr)
        for connection in psutil.Process(station.process.pid).net_connections("tcp")
    )


def memory_bytes(station: StationProcess) -> int:
    return psutil.Process(station.process.pid).memory_info().rss
