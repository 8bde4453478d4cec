"""A node or the bus goes away: what was acknowledged is served, and what lives goes on."""

import threading
import time
from typing import Any

from tests.clients import StationClient, expect
from tests.live_client import live
from tests.mqtt_client import MqttClient
from tests.nodes.conftest import Nodes, on_both
from tests.wait_until import wait_until_blocking


def bus_status(client: StationClient) -> Any:
    return client.get("/health")["services"]["bus"]["status"]


def test_without_redis_everything_goes_on_and_health_says_so(own_nodes: Nodes) -> None:
    nodes = own_nodes
    assert nodes.redis is not None
    with on_both(nodes) as (at_a, at_b):
        device = at_a.register_device()
        wait_until_blocking(lambda: bus_status(at_a) == bus_status(at_b) == "ok")
        nodes.redis.kill()
        wait_until_blocking(lambda: bus_status(at_a) == bus_status(at_b) == "down", timeout_s=10)
        assert at_a.get("/health")["status"] == "degraded"
        with (
            live(nodes.b.url, token=at_b.token) as socket,
            MqttClient(nodes.b.mqtt_port, device.id, device.api_key) as publisher,
        ):
            socket.ping()
            begun = time.monotonic()
            for value in range(10):
                at_a.send(device, {"sensor_type": "t", "value": value})
            assert [r["value"] for r in socket.readings(10)] == list(range(10))
            publisher.publish(f"devices/{device.id}/readings", {"sensor_type": "t", "value": 10})
            assert len(at_a.get("/api/v1/readings", device_id=device.id)["items"]) == 11
            assert time.monotonic() - begun < 3, "a request waited for Redis"
            revoked = time.monotonic()
            assert at_a.http.delete(f"/api/v1/devices/{device.id}").status_code == 204
            wait_until_blocking(lambda: publisher.closed)
            assert time.monotonic() - revoked < 1, "the revocation was not polled in time"
        nodes.redis.start()
        wait_until_blocking(lambda: bus_status(at_a) == bus_status(at_b) == "ok", timeout_s=15)
        assert at_a.get("/health")["status"] == "healthy"


def test_what_a_killed_node_acknowledged_is_served_by_the_other(own_nodes: Nodes) -> None:
    nodes = own_nodes
    with on_both(nodes) as (at_a, at_b):
        device = at_a.register_device()
        acknowledged: list[int] = []
        stop = threading.Event()

        def send_forever() -> None:
            with StationClient(nodes.a.url) as sender:
                value = 0
                while not stop.is_set():
                    body = {"sensor_type": "t", "value": value}
                    try:
                        answer = sender.http.post(
                            device.readings_path, json=body, headers=device.headers
                        )
                    except OSError:
                        return
                    except Exception:  # noqa: BLE001 - whatever the client says of a dead server
                        return
                    expect(answer, 201)
                    acknowledged.append(value)
                    value += 1

        with live(nodes.b.url, token=at_b.token) as socket:
            socket.ping()
            sending = threading.Thread(target=send_forever)
            sending.start()
            wait_until_blocking(lambda: len(acknowledged) >= 100)
            nodes.a.kill()
            stop.set()
            sending.join()
            count = len(acknowledged)
            assert [r["value"] for r in socket.readings(count)] == acknowledged
            assert at_b.get(f"/api/v1/devices/{device.id}/readings/latest")["items"][0][
                "value"
            ] in {count - 1, count}
            at_b.send(device, {"sensor_type": "after", "value": 1})
            stored = {
                reading["value"]
                for reading in at_b.get("/api/v1/readings", device_id=device.id, limit=200)["items"]
                if reading["sensor_type"] == "t"
            }
            assert stored >= set(acknowledged[-100:])
        nodes.a.start()
        latest = latest_values(at_b)
        with StationClient(nodes.a.url) as again:
            again.email = at_b.email
            again.log_in()
            assert latest_values(again) == latest


def latest_values(client: StationClient) -> list[Any]:
    items = client.get("/api/v1/readings/latest")["items"]
    return sorted((item["sensor_type"], item["value"], item["timestamp"]) for item in items)
