"""The MQTT door of the real station: whose topic is whose, and what becomes of a message."""

import json
import subprocess
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from tests.clients import StationClient, TestDevice, expect
from tests.live_client import live
from tests.mqtt_client import MqttClient
from tests.station_process import StationProcess
from tests.wait_until import wait_until_blocking

READING = {"sensor_type": "t", "value": 1}
USER = "anybody@example.org"


@pytest.fixture(scope="module")
def owner(station: StationProcess) -> Iterator[StationClient]:
    """An owner that tests share, each with devices of its own."""
    with StationClient(station.url) as owner:
        yield owner.sign_up()


def as_device(station: StationProcess, device: TestDevice) -> MqttClient:
    return MqttClient(station.mqtt_port, device.id, device.api_key)


def as_user(station: StationProcess, client: StationClient, *scopes: str) -> MqttClient:
    key = client.issue_user_key(*(scopes or ("telemetry:read", "telemetry:write")))
    return MqttClient(station.mqtt_port, client.email, key)


def values(client: StationClient, path: str, **query: Any) -> list[Any]:
    found = client.get(path, order="asc", limit=10_000, **query)["items"]
    return [reading["value"] for reading in found]


def refusals(client: StationClient, device_id: str) -> list[dict[str, Any]]:
    return client.get(f"/api/v1/devices/{device_id}/refusals")["items"]


def gateways(client: StationClient) -> list[dict[str, Any]]:
    return client.get("/api/v1/devices", device_type="gateway")["items"]


@pytest.mark.parametrize(
    "payload",
    [READING, [READING], {"readings": [READING]}, {**READING, "note": "unknown"}],
)
def test_an_acknowledgement_means_stored(
    station: StationProcess, owner: StationClient, payload: Any
) -> None:
    device = owner.register_device()
    with as_device(station, device) as mqtt:
        mqtt.publish(f"devices/{device.id}/readings", payload)
        (reading,) = owner.get(device.readings_path)["items"]
    assert (reading["value"], reading["source_protocol"]) == (1, "mqtt")
    assert refusals(owner, device.id) == []


def test_mosquitto_s_own_clients_work_as_the_tour_shows(
    station: StationProcess, client: StationClient
) -> None:
    device = client.register_device()
    common = [
        "-h",
        "127.0.0.1",
        "-p",
        str(station.mqtt_port),
        "-u",
        device.id,
        "-P",
        device.api_key,
    ]
    topic = f"devices/{device.id}/readings"
    publish = ["mosquitto_pub", *common, "-q", "1", "-t", topic, "-m", json.dumps(READING)]
    subprocess.run(publish, check=True, timeout=20)
    assert values(client, device.readings_path) == [1]
    wrong = [*publish[:-6], "-P", "fsd_" + "x" * 43, *publish[-4:]]
    assert subprocess.run(wrong, check=False, timeout=20, capture_output=True).returncode != 0


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        ("21.5", 21.5),
        ("true", True),
        ('"open"', "open"),
        ('{"value": 21.5}', 21.5),
        ('{"value": 3, "unit": "V", "origin": "edge", "timestamp": 1777636800, "x": 1}', 3),
    ],
)
def test_a_device_publishes_on_shared_sensor_topics(
    station: StationProcess, client: StationClient, payload: str, value: Any
) -> None:
    device = client.register_device()
    with as_device(station, device) as mqtt:
        mqtt.publish("sensors/Temperature/shelf 3", payload)
    (reading,) = client.get(device.readings_path)["items"]
    assert reading["value"] == value
    assert (reading["sensor_type"], reading["sensor_id"]) == ("temperature", "shelf 3")
    assert gateways(client) == []
    if "unit" in payload:
        assert (reading["unit"], reading["origin"]) == ("V", "edge")
        assert reading["timestamp"] == "2026-05-01T12:00:00.000000Z"
        assert reading["metadata"] == {"x": 1}


BAD: list[tuple[str | bytes, str]] = [
    ("not json", "malformed"),
    (b"\xff\xfe", "malformed"),
    ("", "malformed"),
    ('{"sensor_type": "t", "unit": "\u00b0C", "value": 1}'.encode("latin-1"), "malformed"),
    ("5", "no_readings"),
    ('{"sensor_type": "t", "value": NaN}', "not_finite"),
    ('{"sensor_type": "t"}', "value_missing"),
    (
        '{"sensor_type": "t", "value": 1, "timestamp": "2126-01-01T00:00:00Z"}',
        "timestamp_in_future",
    ),
    ('{"sensor_type": "t", "value": "\\ud800"}', "value_invalid"),
    ('{"sensor_type": "t", "value": 1, "metadata": {"a": "\\ud800"}}', "metadata_invalid"),
    ('{"sensor_type": "t", "value": 1, "timestamp": ' + "9" * 400 + "}", "timestamp_in_future"),
]


@pytest.mark.parametrize(
    ("payload", "error"), BAD, ids=[f"{n}-{e}" for n, (_, e) in enumerate(BAD)]
)
def test_what_cannot_be_stored_is_acknowledged_and_kept_with_its_reason(
    station: StationProcess, owner: StationClient, payload: str | bytes, error: str
) -> None:
    device = owner.register_device()
    topic = f"devices/{device.id}/readings"
    with as_device(station, device) as mqtt:
        mqtt.publish(topic, payload)
        mqtt.publish(topic, {**READING, "value": 2})
    (refusal,) = refusals(owner, device.id)
    assert (refusal["error"], refusal["topic"]) == (error, topic)
    assert refusal["detail"].endswith(".") or refusal["detail"]
    assert refusal["received_at"].endswith("Z")
    if isinstance(payload, str):
        assert refusal["payload"] == payload
    assert values(owner, device.readings_path) == [2]


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("sensors/t/s", "abc"),
        ("sensors/t/s", "null"),
        ("sensors/t/s", "NaN"),
        ("sensors/t/s", '{"unit": "V"}'),
        ("sensors/" + "x" * 60 + "/s", "1"),
    ],
)
def test_refusals_of_sensor_topics_are_kept_as_well(
    station: StationProcess, owner: StationClient, topic: str, payload: str
) -> None:
    device = owner.register_device()
    with as_device(station, device) as mqtt:
        mqtt.publish(topic, payload)
    (refusal,) = refusals(owner, device.id)
    assert (refusal["topic"], refusal["payload"]) == (topic, payload)


def test_more_readings_than_a_message_may_hold_are_refused_as_a_whole(
    station: StationProcess, owner: StationClient
) -> None:
    device = owner.register_device()
    with as_device(station, device) as mqtt:
        mqtt.publish(f"devices/{device.id}/readings", [{"sensor_type": "t", "value": 1}] * 10_001)
    (refusal,) = refusals(owner, device.id)
    assert refusal["error"] == "too_many_readings"
    assert values(owner, device.readings_path) == []


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("topic", ["devices/{}/readings", "sensors/t/s"])
def test_what_nests_too_deep_ends_the_connection_and_is_kept_with_its_reason(
    station: StationProcess, owner: StationClient, topic: str, version: int
) -> None:
    device = owner.register_device()
    deepest = f'{{"sensor_type":"t","value":1,"x":{"[" * 31}{"]" * 31}}}'
    deeper = f'{{"sensor_type":"t","value":2,"x":{"[" * 32}{"]" * 32}}}'
    with MqttClient(station.mqtt_port, device.id, device.api_key, version=version) as mqtt:
        mqtt.publish(topic.format(device.id), deepest)
        mqtt.send(topic.format(device.id), deeper)
        mqtt.wait_until_closed()
    if version == 5:
        assert mqtt.goodbye == 0x95
    wait_until_blocking(lambda: len(refusals(owner, device.id)) == 1)
    (refusal,) = refusals(owner, device.id)
    assert (refusal["error"], refusal["payload"]) == ("too_deep", deeper)
    assert values(owner, device.readings_path) == [1]


def test_the_good_readings_of_a_message_are_stored_beside_a_refusal(
    station: StationProcess, owner: StationClient
) -> None:
    device = owner.register_device()
    values_sent = ("1", "NaN", "3")
    readings = (f'{{"sensor_type": "t", "value": {value}}}' for value in values_sent)
    body = f"[{','.join(readings)}]"
    with as_device(station, device) as mqtt:
        mqtt.publish(f"devices/{device.id}/readings", body)
    assert sorted(values(owner, device.readings_path)) == [1, 3]
    assert [refusal["error"] for refusal in refusals(owner, device.id)] == ["not_finite"]


def test_a_conflict_is_kept_with_its_reason(station: StationProcess, owner: StationClient) -> None:
    device = owner.register_device()
    with as_device(station, device) as mqtt:
        for value in (1, 2):
            reading = {**READING, "value": value, "timestamp": 1_777_636_800}
            mqtt.publish(f"devices/{device.id}/readings", reading)
        wait_until_blocking(lambda: len(refusals(owner, device.id)) == 1, timeout_s=3)
    assert refusals(owner, device.id)[0]["error"] == "timestamp_conflict"
    assert values(owner, device.readings_path) == [1]


def test_a_conflict_does_not_keep_the_station_from_stopping(own_station: StationProcess) -> None:
    with StationClient(own_station.url) as client:
        device = client.sign_up().register_device()
        with as_device(own_station, device) as mqtt:
            for value in (1, 2):
                reading = {**READING, "value": value, "timestamp": 1_777_636_800}
                mqtt.publish(f"devices/{device.id}/readings", reading)
    asked_at = monotonic()
    assert own_station.stop() == 0
    assert monotonic() - asked_at < 8


def test_refusals_are_paged_newest_first_and_belong_to_their_organization(
    station: StationProcess, client: StationClient, stranger: StationClient
) -> None:
    device = client.register_device()
    with as_device(station, device) as mqtt:
        for n in range(5):
            mqtt.publish(f"devices/{device.id}/readings", f"bad {n}")
    path, found = f"/api/v1/devices/{device.id}/refusals", list[str]()
    query: dict[str, Any] | None = {"limit": 2}
    while query is not None:
        page = client.get(path, **query)
        found += [refusal["payload"] for refusal in page["items"]]
        query = {"limit": 2, "cursor": page["next_cursor"]} if page["next_cursor"] else None
    assert found == [f"bad {n}" for n in reversed(range(5))]
    stranger.get(path, status=404)
    client.get(path, status=422, cursor="foreign")


def test_a_foreign_topic_closes_the_connection(
    station: StationProcess, owner: StationClient
) -> None:
    mine, other = owner.register_device(), owner.register_device()
    for topic in (
        f"devices/{other.id}/readings",
        f"devices/{mine.id}x/readings",
        f"devices/{mine.id}",
        "devices",
        "rovers/1/commands",
        "$SYS/broker",
        "Sensors/t/s",
    ):
        with as_device(station, mine) as mqtt:
            mqtt.send(topic, READING)
            mqtt.wait_until_closed()
    assert values(owner, other.readings_path) == []
    assert values(owner, mine.readings_path) == []


def test_a_device_subscribes_only_where_it_may(
    station: StationProcess, owner: StationClient
) -> None:
    mine, other = owner.register_device(), owner.register_device()
    with as_device(station, mine) as mqtt:
        for topic_filter in (f"devices/{mine.id}/#", "sensors/#", "nodered/status", "system/clock"):
            assert mqtt.subscribe(topic_filter) == 1, topic_filter
        for topic_filter in (
            "#",
            "devices/#",
            "devices/+/readings",
            f"devices/{other.id}/#",
            "+/x",
        ):
            assert mqtt.subscribe(topic_filter) == 128, topic_filter


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("anything", "fsd_" + "x" * 43),
        ("anything", "fsu_" + "x" * 43),
        ("anything", "a password"),
        ("anything", ""),
        ("anything", "fsd_"),
    ],
)
def test_a_wrong_key_is_refused(station: StationProcess, username: str, password: str) -> None:
    with MqttClient(station.mqtt_port, username, password) as mqtt:
        assert mqtt.refused is not None
        assert mqtt.connections == 0


def test_a_session_token_is_no_mqtt_password(station: StationProcess, owner: StationClient) -> None:
    with MqttClient(station.mqtt_port, owner.email, owner.token) as mqtt:
        assert mqtt.refused is not None


def test_the_username_of_a_device_may_be_anything(
    station: StationProcess, owner: StationClient
) -> None:
    device = owner.register_device()
    with MqttClient(station.mqtt_port, "whatever", device.api_key) as mqtt:
        mqtt.publish(f"devices/{device.id}/readings", READING)
    assert values(owner, device.readings_path) == [1]


def test_a_user_s_key_is_a_general_broker_s_within_its_organization(
    station: StationProcess, client: StationClient, stranger: StationClient
) -> None:
    with (
        as_user(station, client) as mine,
        as_user(station, client) as colleague,
        as_user(station, stranger) as foreign,
    ):
        assert colleague.subscribe("#") == 1
        assert foreign.subscribe("#") == 1
        for n, topic in enumerate(("any/thing", "nodered/status", "rovers/1", "system/x")):
            mine.publish(topic, f"message {n}")
        wait_until_blocking(lambda: len(colleague.messages) == 4)
        foreign.publish("any/thing", "theirs")
        wait_until_blocking(lambda: len(foreign.messages) == 1)
        assert sorted(colleague.texts) == [f"message {n}" for n in range(4)]
        assert foreign.texts == ["theirs"]
    assert gateways(client) == []


def test_a_user_s_key_does_only_what_its_scopes_say(
    station: StationProcess, client: StationClient
) -> None:
    with as_user(station, client, "telemetry:read") as reader:
        assert reader.subscribe("#") == 1
        reader.send("any/thing", "x")
        reader.wait_until_closed()
    with as_user(station, client, "telemetry:write") as writer:
        assert writer.subscribe("#") == 128
        writer.publish("any/thing", "x")


def test_sensor_topics_of_a_user_belong_to_the_gateway_made_on_first_use(
    station: StationProcess, client: StationClient
) -> None:
    assert gateways(client) == []
    with as_user(station, client) as mqtt:
        sent = [mqtt.send(f"sensors/t/{n % 5}", str(n)) for n in range(50)]
        wait_until_blocking(lambda: all(message.is_published() for message in sent))
    (gateway,) = gateways(client)
    assert (gateway["name"], gateway["device_type"]) == ("mqtt", "gateway")
    assert sorted(values(client, f"/api/v1/devices/{gateway['id']}/readings")) == list(range(50))
    with as_user(station, client) as mqtt:
        mqtt.publish("sensors/t/0", "not a number but malformed")
        mqtt.publish("sensors/a", "1")  # not three levels: a message like any other
    assert len(gateways(client)) == 1
    assert len(refusals(client, gateway["id"])) == 1


def test_a_deleted_gateway_is_made_again(station: StationProcess, client: StationClient) -> None:
    with as_user(station, client) as mqtt:
        mqtt.publish("sensors/t/s", "1")
        (first,) = gateways(client)
        expect(client.http.delete(f"/api/v1/devices/{first['id']}"), 204)
        mqtt.publish("sensors/t/s", "2")
    (second,) = gateways(client)
    assert second["id"] != first["id"]
    assert values(client, f"/api/v1/devices/{second['id']}/readings") == [2]


def test_dashboards_see_what_devices_send(
    station: StationProcess, client: StationClient, stranger: StationClient
) -> None:
    device = client.register_device()
    topic = f"devices/{device.id}/readings"
    with (
        as_user(station, client) as dashboard,
        as_user(station, stranger) as foreign,
        as_device(station, device) as mqtt,
    ):
        dashboard.subscribe("devices/+/readings")
        foreign.subscribe("#")
        mqtt.publish(topic, READING)
        wait_until_blocking(lambda: len(dashboard.messages) == 1)
        assert dashboard.messages[0].topic == topic
        assert json.loads(dashboard.texts[0]) == READING
        assert foreign.messages == []


def test_retained_messages_survive_a_restart_and_a_kill(own_station: StationProcess) -> None:
    with StationClient(own_station.url) as client:
        client.sign_up()
        key = client.issue_user_key("telemetry:read", "telemetry:write")
        with MqttClient(own_station.mqtt_port, client.email, key) as mqtt:
            mqtt.publish("state/door", "open", retain=True)
            mqtt.publish("state/lamp", "on", retain=True)
            mqtt.publish("state/lamp", "", retain=True)
        for end in (own_station.stop, own_station.kill):
            end()
            own_station.start()
            with MqttClient(own_station.mqtt_port, client.email, key) as mqtt:
                mqtt.subscribe("state/#")
                mqtt.subscribe("sentinel")
                mqtt.publish("sentinel", "last")
                wait_until_blocking(lambda mqtt=mqtt: "last" in mqtt.texts)
                assert mqtt.texts == ["open", "last"]
                assert mqtt.messages[0].retain


def test_a_reading_is_on_the_socket_within_a_tenth_of_a_second(
    station: StationProcess, owner: StationClient
) -> None:
    device = owner.register_device()
    delays = []
    with live(station.url, token=owner.token) as socket, as_device(station, device) as mqtt:
        socket.ping()
        for n in range(20):
            sent_at = monotonic()
            mqtt.send(f"devices/{device.id}/readings", {"sensor_type": "t", "value": n})
            assert socket.receive()["data"]["value"] == n
            delays.append(monotonic() - sent_at)
    assert sorted(delays)[10] <= 0.1, delays


def test_many_devices_at_once_lose_nothing(station: StationProcess, owner: StationClient) -> None:
    devices = [owner.register_device() for _ in range(5)]
    connections = [as_device(station, device).__enter__() for device in devices]
    sent = [
        mqtt.send(f"devices/{device.id}/readings", {"sensor_type": "t", "value": n})
        for n in range(100)
        for device, mqtt in zip(devices, connections, strict=True)
    ]
    wait_until_blocking(lambda: all(message.is_published() for message in sent), timeout_s=20)
    for connection in connections:
        connection.__exit__(None, None, None)
    for device in devices:
        assert values(owner, device.readings_path) == list(range(100))
