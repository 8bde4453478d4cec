"""The AsyncAPI document: valid by its own specification, and true to what the station sends."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from jsonschema import Draft7Validator
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from fieldstation.domains.devices.heartbeats import decode_heartbeat
from fieldstation.domains.telemetry.payloads import decode_readings
from tests.adapters.mqtt_server.raw_client import connect_bytes
from tests.clients import StationClient, TestDevice
from tests.live_client import live
from tests.mqtt_client import MqttClient
from tests.station_process import StationProcess
from tests.wait_until import wait_until_blocking

SPECIFICATION = Path(__file__).parent / "schemas" / "asyncapi-3.0.0.json.gz"


@pytest.fixture(scope="module")
def document(station: StationProcess) -> dict[str, Any]:
    return httpx2.get(f"{station.url}/asyncapi.json").json()


@pytest.fixture
def device(client: StationClient) -> TestDevice:
    return client.register_device()


def faults(document: dict[str, Any], message: str, payload: Any) -> list[str]:
    """Return what is wrong with a payload, by the document's schema of the message."""
    schema = {
        **document["components"]["messages"][message]["payload"],
        "components": document["components"],
    }
    return [fault.message for fault in Draft7Validator(schema).iter_errors(payload)]


def test_the_document_is_valid_asyncapi(document: dict[str, Any]) -> None:
    specification = json.loads(gzip.decompress(SPECIFICATION.read_bytes()))

    found = [
        f"{'/'.join(map(str, fault.absolute_path))}: {fault.message[:200]}"
        for fault in Draft7Validator(specification).iter_errors(document)
    ]

    assert found == []


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in references(document):
        part: Any = document
        for name in reference.removeprefix("#/").split("/"):
            assert name in part, reference
            part = part[name]


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def test_every_example_has_the_shape_of_its_message(document: dict[str, Any]) -> None:
    for name, message in document["components"]["messages"].items():
        assert message["examples"], name
        for example in message["examples"]:
            assert faults(document, name, example["payload"]) == [], name


def test_every_field_of_a_message_is_described(document: dict[str, Any]) -> None:
    gaps = [
        f"{model}.{name}"
        for model, schema in document["components"]["schemas"].items()
        for name, field in schema.get("properties", {}).items()
        if not field.get("description") or not field.get("examples")
    ]

    assert [gap for gap in gaps if gap != "SensorPayload.root"] == []


def test_what_a_socket_sends_is_as_described(
    document: dict[str, Any], station: StationProcess, client: StationClient, device: TestDevice
) -> None:
    with live(station.url, token=client.token) as socket:
        pong = socket.ping()
        socket.socket.send('{"type": "what"}')
        error = socket.receive()
        client.send(device, [{"sensor_type": "temperature", "value": 21.5, "metadata": {"raw": 1}}])
        reading = socket.receive()

    described = {
        message["$ref"].rsplit("/", 1)[-1]
        for message in document["operations"]["send_ws"]["messages"]
    }
    for frame in (pong, error, reading):
        assert frame["type"] in described
        assert faults(document, frame["type"], frame) == []
        properties = document["components"]["schemas"][
            document["components"]["messages"][frame["type"]]["payload"]["$ref"].rsplit("/", 1)[-1]
        ]["properties"]
        assert set(frame) == set(properties)


def test_a_batch_is_as_described(
    document: dict[str, Any], station: StationProcess, client: StationClient, device: TestDevice
) -> None:
    path = "/ws/live-data"
    (channel,) = (c for c in document["channels"].values() if c["address"] == path)
    query = channel["bindings"]["ws"]["query"]["properties"]
    asked = [("batch_ms", query["batch_ms"]["examples"][0])]
    with live(station.url, token=client.token, path=path, query=asked) as socket:
        socket.ping()
        client.send(device, [{"sensor_type": "t", "value": n} for n in range(3)])
        batch = socket.receive()

    assert batch["type"] in channel["messages"]
    assert faults(document, batch["type"], batch) == []
    assert set(batch) == set(document["components"]["schemas"]["SensorDataBatch"]["properties"])


def test_mqtt_is_spoken_at_the_described_path(
    document: dict[str, Any], station: StationProcess, device: TestDevice
) -> None:
    server = document["servers"]["mqtt_websocket"]
    with connect(
        f"ws://127.0.0.1:{station.port}{server['pathname']}", subprotocols=[Subprotocol("mqtt")]
    ) as socket:
        socket.send(connect_bytes(username=device.id, password=device.api_key))
        assert socket.recv(timeout=10) == b"\x20\x02\0\0"

    assert server["protocol"] == "ws"
    for channel in document["channels"].values():
        servers = [reference["$ref"].rsplit("/", 1)[-1] for reference in channel["servers"]]
        assert servers in (["websocket"], ["mqtt", "mqtt_websocket"])


def test_what_the_broker_says_of_itself_is_as_described(
    document: dict[str, Any], station: StationProcess, client: StationClient
) -> None:
    (channel,) = (c for c in document["channels"].values() if c["address"].startswith("$SYS"))
    place = channel["address"].removesuffix("{name}")
    described = set(re.findall(r"`([a-z/]+)`", channel["parameters"]["name"]["description"]))
    key = client.issue_user_key("telemetry:read")
    with MqttClient(station.mqtt_port, client.email, key) as mqtt:
        mqtt.subscribe("$SYS/#")
        wait_until_blocking(lambda: len(mqtt.messages) >= len(described))

    assert {message.topic for message in mqtt.messages} == {place + name for name in described}
    for text in mqtt.texts:
        assert faults(document, "broker_state", text) == []


def test_a_gap_is_as_described(
    document: dict[str, Any], station: StationProcess, client: StationClient
) -> None:
    since = [("since", "elsewhere.7.0")]
    with live(station.url, token=client.token, query=since) as socket:
        gap = socket.receive()

    assert gap["type"] == "gap"
    assert faults(document, "gap", gap) == []


def test_what_the_examples_publish_is_stored(
    document: dict[str, Any], station: StationProcess, client: StationClient, device: TestDevice
) -> None:
    messages = document["components"]["messages"]
    with MqttClient(station.mqtt_port, device.id, device.api_key) as mqtt:
        for example in messages["readings"]["examples"]:
            mqtt.publish(f"devices/{device.id}/readings", json.dumps(example["payload"]))
        for example in messages["heartbeat"]["examples"]:
            mqtt.publish(f"devices/{device.id}/heartbeat", json.dumps(example["payload"]))
        for number, example in enumerate(messages["sensor_value"]["examples"]):
            mqtt.publish(f"sensors/flow/{number}", json.dumps(example["payload"]))

    kept = client.get(f"/api/v1/devices/{device.id}/refusals")["items"]
    stored = client.get(f"/api/v1/devices/{device.id}/readings")["items"]
    assert kept == []
    assert {reading["sensor_type"] for reading in stored} == {"temperature", "door", "flow"}


def test_the_examples_of_devices_are_read_as_they_are(document: dict[str, Any]) -> None:
    messages = document["components"]["messages"]
    for example in messages["readings"]["examples"]:
        assert decode_readings(json.dumps(example["payload"]).encode()).rejected == []
    for example in messages["heartbeat"]["examples"]:
        assert decode_heartbeat(json.dumps(example["payload"]).encode()) is not None


def test_the_page_tells_of_every_channel_and_message(
    document: dict[str, Any], station: StationProcess
) -> None:
    page = httpx2.get(f"{station.url}/docs/websocket")

    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    for channel in document["channels"].values():
        assert f"<code>{channel['address']}</code>" in page.text
    for name in document["components"]["messages"]:
        assert f"<code>{name}</code>" in page.text
