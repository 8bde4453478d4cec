"""MQTT over WebSocket: the station's HTTP port speaks it to real clients."""

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.adapters.mqtt_server.raw_client import connect_bytes, subscribe_bytes
from tests.clients import StationClient, expect
from tests.mqtt_client import MqttClient
from tests.station_process import StationProcess
from tests.wait_until import wait_until_blocking


def open_socket(
    station: StationProcess, *, subprotocol: str = "mqtt", origin: str | None = None
) -> ClientConnection:
    return connect(
        f"ws://127.0.0.1:{station.port}/mqtt",
        subprotocols=[Subprotocol(subprotocol)],
        additional_headers={"Origin": origin} if origin else {},
        compression=None,
    )


@pytest.mark.parametrize("version", [4, 5])
def test_paho_publishes_and_subscribes_beside_the_mqtt_port(
    station: StationProcess, version: int
) -> None:
    with StationClient(station.url) as owner:
        device = owner.sign_up().register_device()
        key = owner.issue_user_key("telemetry:read", "telemetry:write")
        with (
            MqttClient(
                station.port, owner.email, key, version=version, transport="websockets"
            ) as socket,
            MqttClient(station.mqtt_port, device.id, device.api_key) as tcp,
        ):
            assert socket.subscribe("#", qos=2) == 2
            topic = f"devices/{device.id}/readings"
            for number in range(50):
                tcp.publish(topic, {"sensor_type": "t", "value": number}, qos=1)
            wait_until_blocking(lambda: len(socket.texts) == 50)
            socket.publish("large", "x" * 900_000, qos=2)
            wait_until_blocking(lambda: "x" * 900_000 in socket.texts)
        found = owner.get(device.readings_path, limit=100)["items"]
        assert len(found) == 50


def test_packets_may_be_split_over_messages_and_joined_in_one(station: StationProcess) -> None:
    with StationClient(station.url) as owner, open_socket(station) as socket:
        device = owner.sign_up().register_device()
        stream = connect_bytes(username=device.id, password=device.api_key) + subscribe_bytes(
            (f"devices/{device.id}/commands", 1)
        )
        for place in range(len(stream)):
            socket.send(stream[place : place + 1])
        received = b""
        while len(received) < 9:
            received += bytes(socket.recv(timeout=10, decode=False))
        assert received == b"\x20\x02\0\0" + b"\x90\x03\0\1\1"
        expect(owner.http.delete(f"/api/v1/devices/{device.id}"), 204)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)


def test_a_text_message_closes(station: StationProcess) -> None:
    with open_socket(station) as socket:
        socket.send("hello")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1003


@pytest.mark.parametrize(
    ("subprotocol", "origin"), [("other", None), ("mqtt", "https://elsewhere.example")]
)
def test_another_subprotocol_or_a_foreign_page_is_refused(
    station: StationProcess, subprotocol: str, origin: str | None
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        open_socket(station, subprotocol=subprotocol, origin=origin)
    assert refused.value.response.status_code == 403


def test_a_violation_closes_the_socket(station: StationProcess) -> None:
    with open_socket(station) as socket:
        socket.send(b"\xf0\x00")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
