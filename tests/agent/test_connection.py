"""One connection to a real broker: opened, refused, lost, encrypted."""

import socket
import ssl
from pathlib import Path

from fieldstation.agent.connection import (
    Acknowledged,
    ConnectionEvent,
    Lost,
    Opened,
    Refused,
    Station,
    make_tls_context,
    open_connection,
)
from tests.agent.broker import Broker, free_port
from tests.agent.certificates import write_certificates
from tests.agent.tap import Tap
from tests.wait_until import wait_until_blocking


def station(port: int, *, tls: ssl.SSLContext | None = None, key: str = "secret") -> Station:
    return Station(host="127.0.0.1", port=port, tls=tls, device_id="d1", key=key)


def test_station_is_printed_without_its_key() -> None:
    here = station(1883, key="fsd_hidden")
    assert str(here) == "mqtt://127.0.0.1:1883"
    assert "fsd_hidden" not in repr(here)


def test_published_message_is_acknowledged_by_its_id(tmp_path: Path) -> None:
    events: list[ConnectionEvent] = []
    with Broker(tmp_path / "broker") as broker:
        connection = open_connection(station(broker.port), events.append)
        wait_until_blocking(lambda: Opened() in events)
        message_id = connection.publish("devices/d1/readings", b"{}")
        wait_until_blocking(lambda: Acknowledged(message_id) in events)
        connection.close()
    assert isinstance(events[-1], Lost)


def test_wrong_key_is_a_refusal_of_credentials(tmp_path: Path) -> None:
    events: list[ConnectionEvent] = []
    with Broker(tmp_path / "broker", passwords={"d1": "other"}) as broker:
        connection = open_connection(station(broker.port), events.append)
        wait_until_blocking(lambda: len(events) == 2)
        connection.abort()
    refusal, end = events
    assert isinstance(refusal, Refused)
    assert refusal.credentials
    assert isinstance(end, Lost)


def test_nobody_there_is_told_with_the_address() -> None:
    events: list[ConnectionEvent] = []
    port = free_port()
    connection = open_connection(station(port), events.append)
    wait_until_blocking(lambda: bool(events))
    connection.close()
    assert events == [Lost(f"cannot reach mqtt://127.0.0.1:{port}: Connection refused")]


def test_connection_given_up_while_connecting_ends(tmp_path: Path) -> None:
    events: list[ConnectionEvent] = []
    with Broker(tmp_path / "broker") as broker, Tap(broker.port) as tap:
        open_connection(station(tap.port), events.append).abort()
        wait_until_blocking(lambda: any(isinstance(event, Lost) for event in events))


def test_station_that_reads_nothing_can_be_left() -> None:
    events: list[ConnectionEvent] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        connection = open_connection(station(server.getsockname()[1]), events.append)
        deaf, _ = server.accept()
        with deaf:
            deaf.recv(1_024)
            deaf.sendall(b"\x20\x02\x00\x00")
            wait_until_blocking(lambda: Opened() in events)
            for _ in range(20):
                connection.publish("devices/d1/readings", bytes(1_000_000))
            connection.close()
    wait_until_blocking(lambda: isinstance(events[-1], Lost))


def test_encrypted_station_with_the_right_authority_opens(tmp_path: Path) -> None:
    events: list[ConnectionEvent] = []
    certificates = write_certificates(tmp_path / "certificates")
    tls = make_tls_context(certificates / "authority.pem")
    with Broker(tmp_path / "broker", tls=certificates) as broker:
        connection = open_connection(station(broker.port, tls=tls), events.append)
        wait_until_blocking(lambda: Opened() in events)
        message_id = connection.publish("devices/d1/readings", bytes(200_000))
        wait_until_blocking(lambda: Acknowledged(message_id) in events)
        connection.close()


def test_encrypted_station_of_an_unknown_authority_is_not_trusted(tmp_path: Path) -> None:
    events: list[ConnectionEvent] = []
    certificates = write_certificates(tmp_path / "certificates")
    with Broker(tmp_path / "broker", tls=certificates) as broker:
        here = station(broker.port, tls=make_tls_context(None))
        connection = open_connection(here, events.append)
        wait_until_blocking(lambda: bool(events))
        connection.abort()
    [end] = events
    assert isinstance(end, Lost)
    assert "certificate verify failed" in end.reason
    assert end.reason.startswith("cannot reach mqtts://")
