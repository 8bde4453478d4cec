"""What is said to one node is known at the other: readings, duplicates, revocations, deletions."""

import time
from statistics import median
from typing import Any

from tests.clients import StationClient, TestDevice
from tests.live_client import live
from tests.mqtt_client import MqttClient
from tests.nodes.conftest import Nodes, on_both
from tests.wait_until import wait_until_blocking

LATENCY_S_MAX = 0.05


def readings_at(client: StationClient, device: TestDevice) -> list[Any]:
    items = client.get("/api/v1/readings", device_id=device.id)["items"]
    return [reading["value"] for reading in items]


def latest_at(client: StationClient, device: TestDevice) -> list[Any]:
    items = client.get(f"/api/v1/devices/{device.id}/readings/latest")["items"]
    return [reading["value"] for reading in items]


def test_a_reading_sent_to_one_node_is_live_latest_and_listed_at_the_other(nodes: Nodes) -> None:
    with on_both(nodes) as (at_a, at_b):
        device = at_a.register_device()
        with live(nodes.b.url, token=at_b.token) as socket:
            socket.ping()
            at_a.send(device, {"sensor_type": "t", "value": 21.5, "unit": "°C"})
            (shown,) = socket.readings(1)
        assert (shown["value"], shown["unit"], shown["device_id"]) == (21.5, "°C", device.id)
        assert latest_at(at_b, device) == [21.5]
        assert readings_at(at_b, device) == [21.5]


def test_a_reading_is_on_the_other_nodes_sockets_within_50_ms(nodes: Nodes) -> None:
    with on_both(nodes) as (at_a, at_b):
        device = at_a.register_device()
        with live(nodes.b.url, token=at_b.token) as socket:
            socket.ping()
            waits = []
            for value in range(20):
                at_a.send(device, {"sensor_type": "t", "value": value})
                acknowledged = time.monotonic()
                assert socket.readings(1)[0]["value"] == value
                waits.append(time.monotonic() - acknowledged)
        assert median(waits) < LATENCY_S_MAX, waits


def test_readings_to_both_nodes_are_shown_once_each_in_order_of_their_node(nodes: Nodes) -> None:
    with on_both(nodes) as (at_a, at_b):
        device = at_a.register_device()
        with (
            live(nodes.a.url, token=at_a.token) as on_a,
            live(nodes.b.url, token=at_b.token) as on_b,
        ):
            on_a.ping()
            on_b.ping()
            for value in range(30):
                at_a.send(device, {"sensor_type": "a", "value": value})
                at_b.send(device, {"sensor_type": "b", "value": value})
            for socket in (on_a, on_b):
                shown = socket.readings(60)
                for name in "ab":
                    of_node = [r["value"] for r in shown if r["sensor_type"] == name]
                    assert of_node == list(range(30))
                assert socket.ping()["type"] == "pong"


def test_a_socket_resumes_at_the_other_node_without_loss_or_repeat(nodes: Nodes) -> None:
    with on_both(nodes) as (at_a, at_b):
        device = at_a.register_device()
        with live(nodes.a.url, token=at_a.token) as socket:
            socket.ping()
            at_a.send(device, [{"sensor_type": "t", "value": n} for n in range(5)])
            frames = [socket.receive() for _ in range(3)]
        at_b.send(device, {"sensor_type": "t", "value": 5})
        since = [("since", frames[-1]["cursor"])]
        with live(nodes.b.url, token=at_b.token, query=since) as socket:
            shown = [reading["value"] for reading in socket.readings(3)]
            assert sorted(shown) == [3, 4, 5]
            at_a.send(device, {"sensor_type": "t", "value": 6})
            assert [reading["value"] for reading in socket.readings(1)] == [6]


def test_a_duplicate_at_the_other_node_is_a_duplicate(nodes: Nodes) -> None:
    with on_both(nodes) as (at_a, at_b):
        device = at_a.register_device()
        reading = {"sensor_type": "t", "value": 1, "timestamp": "2026-05-01T12:00:00Z"}
        at_a.send(device, reading)
        again = at_b.send(device, reading)
        assert (again["accepted"], again["duplicates"]) == (0, 1)
        other = at_b.send(device, {**reading, "value": 2})
        assert [fault["error"] for fault in other["rejected"]] == ["timestamp_conflict"]
        assert readings_at(at_a, device) == [1]


def test_a_key_revoked_at_one_node_dies_at_the_other_within_a_second(nodes: Nodes) -> None:
    with on_both(nodes) as (at_a, at_b):
        device = at_a.register_device()
        key = at_a.issue_user_key("telemetry:read")
        (found,) = at_a.get("/api/v1/auth/api-keys")["items"]
        at_b.send(device, {"sensor_type": "t", "value": 1})
        with (
            live(nodes.b.url, token=key) as socket,
            MqttClient(nodes.b.mqtt_port, device.id, device.api_key) as publisher,
        ):
            socket.ping()
            begun = time.monotonic()
            assert at_a.http.delete(f"/api/v1/auth/api-keys/{found['id']}").status_code == 204
            assert socket.wait_until_closed() == (1008, "credential revoked")
            assert at_a.http.delete(f"/api/v1/devices/{device.id}").status_code == 204
            wait_until_blocking(lambda: publisher.closed)
            at_b.send(device, {"sensor_type": "t", "value": 2}, status=401)
            assert time.monotonic() - begun < 1


def test_a_deleted_device_is_gone_at_both_nodes(nodes: Nodes) -> None:
    with on_both(nodes) as (at_a, at_b):
        device = at_a.register_device()
        at_b.send(device, {"sensor_type": "t", "value": 1})
        wait_until_blocking(lambda: latest_at(at_a, device) == [1])
        assert latest_at(at_b, device) == [1]
        begun = time.monotonic()
        answer = at_a.http.delete(f"/api/v1/devices/{device.id}", params={"purge": "true"})
        assert answer.status_code == 204
        path = f"/api/v1/devices/{device.id}/readings/latest"
        wait_until_blocking(lambda: at_b.http.get(path).status_code == 404)
        assert time.monotonic() - begun < 1
        for client in (at_a, at_b):
            client.get(f"/api/v1/devices/{device.id}", status=404)
            for path in ("/api/v1/readings/latest", "/api/v1/readings"):
                wait_until_blocking(
                    lambda client=client, path=path: client.get(path)["items"] == []
                )
