"""Sessions of the real station: there after a power cut, gone when they should be."""

from pathlib import Path

import pytest

from tests.clients import StationClient
from tests.mqtt_client import MqttClient
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until_blocking


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_subscriptions_and_queued_messages_survive_a_power_cut(
    tmp_path: Path, request: pytest.FixtureRequest, version: int, database: str
) -> None:
    url = None if database == "sqlite" else request.getfixturevalue("postgresql_url")
    with running_station(tmp_path, database_url=url) as station:
        with StationClient(station.url) as owner:
            owner.sign_up()
            key = owner.issue_user_key("telemetry:read", "telemetry:write")
            device = owner.register_device()

        def subscriber(name: str = "absent") -> MqttClient:
            return MqttClient(
                station.mqtt_port,
                owner.email,
                key,
                client_id=name,
                keeps_session=True,
                version=version,
            )

        with subscriber() as client:
            assert client.subscribe("state/#", qos=2) == 2
            assert client.subscribe(f"devices/{device.id}/readings", qos=1) == 1
        with MqttClient(station.mqtt_port, device.id, device.api_key, version=version) as sender:
            sender.publish(f"devices/{device.id}/readings", {"sensor_type": "t", "value": 1}, qos=2)
        with MqttClient(station.mqtt_port, owner.email, key, version=version) as sender:
            for number in range(20):
                sender.publish("state/lamp", f"{number}", qos=1 + number % 2)
        station.kill()
        station.start()
        with subscriber() as client:
            assert client.session_present
            wait_until_blocking(lambda: len(client.texts) == 21)
            # paho hands out QoS 2 once it is released: the order is each QoS's own.
            assert sorted(client.texts[1:], key=int) == [f"{number}" for number in range(20)]
        station.kill()
        station.start()
        with subscriber() as client, subscriber("new") as new:
            assert client.session_present
            assert not new.session_present
            with MqttClient(station.mqtt_port, owner.email, key, version=version) as sender:
                sender.publish("state/lamp", "live", qos=2)
            wait_until_blocking(lambda: "live" in client.texts)
            assert client.texts == ["live"]


def test_a_session_belongs_to_its_organization(station: StationProcess) -> None:
    with StationClient(station.url) as one, StationClient(station.url) as other:
        clients = []
        for owner in (one.sign_up(), other.sign_up()):
            key = owner.issue_user_key("telemetry:read", "telemetry:write")
            clients.append((owner.email, key))
        for number, (email, key) in enumerate(clients):
            with MqttClient(
                station.mqtt_port, email, key, client_id="same", keeps_session=True
            ) as client:
                assert not client.session_present
                assert client.subscribe(f"only/{number}", qos=1) == 1
        with MqttClient(station.mqtt_port, *clients[0]) as sender:
            sender.publish("only/0", "of one", retain=True)
            sender.publish("only/1", "of one too")
        for number, (email, key) in enumerate(clients):
            with MqttClient(
                station.mqtt_port, email, key, client_id="same", keeps_session=True
            ) as client:
                assert client.session_present
                client.publish(f"only/{number}", "last")
                wait_until_blocking(lambda client=client: "last" in client.texts)
                assert client.texts == (["of one", "last"] if number == 0 else ["last"])


@pytest.mark.parametrize("version", [4, 5])
def test_what_is_no_reading_is_told_to_clients_of_mqtt_5(
    station: StationProcess, version: int
) -> None:
    with StationClient(station.url) as owner:
        device = owner.sign_up().register_device()
        with MqttClient(station.mqtt_port, device.id, device.api_key, version=version) as client:
            topic = f"devices/{device.id}/readings"
            client.publish(topic, "no JSON")
            client.publish(topic, {"sensor_type": "t", "value": 1})
            client.publish(topic, [{"sensor_type": "t", "value": 2}, {"value": 3}])
            wait_until_blocking(lambda: len(client.reasons) == 3)
            assert client.reasons == [0 if version == 4 else 0x99, 0, 0]
        kept = owner.get(f"/api/v1/devices/{device.id}/refusals")["items"]
        assert len(kept) == 2
