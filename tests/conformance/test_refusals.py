"""The table of refusals, and credentials that end while their client is connected."""

import json
from time import monotonic
from typing import Any

import pytest

from tests.clients import StationClient, TestDevice, expect
from tests.conformance.doors import DOORS, VERSIONS
from tests.conformance.paho_client import PahoClient, Will
from tests.conformance.space import TCP, Space
from tests.secure_client import SecureClient, issue
from tests.station_process import StationProcess
from tests.wait_until import wait_until_blocking

READING = json.dumps({"sensor_type": "temperature", "value": 21.5})


@pytest.fixture
def device(owner: StationClient) -> TestDevice:
    return owner.register_device()


def as_device(
    space: Space, device: TestDevice, version: int, transport: str = TCP, **wanted: Any
) -> PahoClient:
    return space.client(version, transport, username=device.id, password=device.api_key, **wanted)


REFUSED = {
    "malformed": ("{", "malformed"),
    "NaN": ('{"sensor_type": "t", "value": NaN}', "not_finite"),
    "future": (
        '{"sensor_type": "t", "value": 1, "timestamp": "2126-01-01T00:00:00Z"}',
        "timestamp_in_future",
    ),
}
# paho goes on with PUBREL after a PUBREC that refuses; PUBCOMP says that nothing is known of it.
CODES_5 = (0, 0x99, 0x92)


@VERSIONS
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("fault", REFUSED)
def test_a_reading_that_is_refused_is_kept_and_reaches_nobody(
    space: Space, owner: StationClient, version: int, qos: int, fault: str
) -> None:
    payload, error = REFUSED[fault]
    device = owner.register_device()
    topic = f"devices/{device.id}/readings"
    with space.client(version) as ear, as_device(space, device, version) as client:
        ear.subscribe(topic)
        code = client.publish(topic, payload, qos, retain=True)
        assert code == (CODES_5[qos] if version == 5 else 0)
        client.publish(topic, READING)
        assert ear.texts(1) == [READING]
        with space.client(version) as later:
            later.subscribe(topic)
            assert later.hears_nothing()
    kept = owner.get(f"/api/v1/devices/{device.id}/refusals")["items"]
    assert [(each["error"], each["payload"]) for each in kept] == [(error, payload)]
    assert len(owner.get(device.readings_path)["items"]) == 1


@VERSIONS
def test_a_retained_reading_is_emptied_like_anything_retained(
    space: Space, owner: StationClient, device: TestDevice, version: int
) -> None:
    topic = f"devices/{device.id}/readings"
    with as_device(space, device, version) as client:
        assert client.publish(topic, READING, retain=True) == 0
        assert client.publish(topic, "", retain=True) == 0
        client.subscribe(topic)
        assert client.publish(topic, READING) == 0
        assert [message.retain for message in client.receive(1)] == [False]
    assert owner.get(f"/api/v1/devices/{device.id}/refusals")["items"] == []


@DOORS
def test_a_foreign_topic(
    space: Space, device: TestDevice, owner: StationClient, version: int, transport: str
) -> None:
    other = owner.register_device()
    with as_device(space, device, version, transport) as client:
        code = client.publish(f"devices/{other.id}/readings", READING)
        if version == 5:
            assert code == 0x87
            assert client.publish(f"devices/{device.id}/readings", READING) == 0
        else:
            client.wait_until_closed()
    assert owner.get(other.readings_path)["items"] == []


@VERSIONS
def test_a_foreign_filter(space: Space, device: TestDevice, version: int) -> None:
    """MQTT-3.8.4-7: each filter has a code of its own."""
    refused = 0x87 if version == 5 else 0x80
    with as_device(space, device, version) as client:
        own = f"devices/{device.id}/#"
        codes = client.subscribe("#", own, "devices/+/readings", "$SYS/#", f"$share/g/{own}", qos=1)
        assert codes == [refused, 1, refused, refused, 1]


@DOORS
def test_a_key_that_is_revoked_ends_its_connections_within_a_second(
    space: Space, owner: StationClient, device: TestDevice, version: int, transport: str
) -> None:
    topic = f"devices/{device.id}/gone"
    (key,) = owner.get(f"/api/v1/devices/{device.id}/keys")["items"]
    properties = {"WillDelayInterval": 1}
    session = {"clean": False, "SessionExpiryInterval": 300} if version == 5 else {}
    will = Will(topic, "bye", 1, False, properties if version == 5 else {})
    with (
        space.client(version) as watcher,
        as_device(space, device, version, transport, will=will, **session) as client,
    ):
        watcher.subscribe(topic)
        asked_s = monotonic()
        expect(owner.http.delete(f"/api/v1/devices/{device.id}/keys/{key['id']}"), 204)
        client.wait_until_closed()
        assert monotonic() - asked_s < 1
        if version == 5:
            assert client.closed_with == 0x98
        else:
            assert watcher.texts(1) == ["bye"]
        with as_device(space, device, version, transport) as again:
            assert again.welcome is not None
            assert again.welcome.code == 0x86


def test_a_device_that_is_deleted_leaves_neither_will_nor_series(
    space: Space, owner: StationClient, device: TestDevice
) -> None:
    topic = f"devices/{device.id}/readings"
    with (
        space.client(5) as watcher,
        as_device(space, device, 5, will=Will(topic, READING)) as client,
    ):
        watcher.subscribe(topic)
        expect(owner.http.delete(f"/api/v1/devices/{device.id}"), 204)
        client.wait_until_closed()
        assert client.closed_with == 0x98
        assert watcher.hears_nothing()
    assert owner.get("/api/v1/readings", device_id=device.id)["items"] == []


def test_a_certificate_that_is_revoked_ends_its_connection_within_a_second(
    broker: StationProcess, owner: StationClient, device: TestDevice, tls_port: int
) -> None:
    certificate = issue(broker.data_dir, "issue", device.id)
    trusts = certificate.with_name("authority.pem")
    with SecureClient(tls_port, trusts, certificate) as client:
        assert client.publish(f"devices/{device.id}/readings", READING) == 0
        keys = owner.get(f"/api/v1/devices/{device.id}/keys")["items"]
        asked_s = monotonic()
        for key in keys:
            expect(owner.http.delete(f"/api/v1/devices/{device.id}/keys/{key['id']}"), 204)
        wait_until_blocking(lambda: client.closed)
        assert monotonic() - asked_s < 1
