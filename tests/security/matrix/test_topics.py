"""Every topic of the station times every MQTT client; a topic without a line in ``rules`` fails."""

from uuid import uuid4

import pytest

from fieldstation.main import CHANNELS
from tests.mqtt_client import MqttClient
from tests.security.matrix.rules import TOPICS
from tests.security.matrix.world import Caller, World

DENIED = 0x87
PAYLOADS = {"heartbeat": {}, "readings": {"sensor_type": "t", "value": 3}}


def test_every_described_topic_has_its_line() -> None:
    assert {channel.address for channel in CHANNELS if channel.door == "mqtt"} == set(TOPICS)


def client(world: World, caller: Caller) -> MqttClient:
    return MqttClient(world.station.mqtt_port, caller.name, caller.token, version=5)


def topic_of(template: str, device_id: str) -> str:
    return template.format(device_id=device_id, sensor_type="t", sensor_id="s", name="n")


def reason_for(mqtt: MqttClient, topic: str) -> int:
    """Publish and return the reason of the acknowledgement."""
    before = len(mqtt.reasons)
    mqtt.publish(topic, PAYLOADS.get(topic.rpartition("/")[2], 3))
    return mqtt.reasons[before]


@pytest.mark.parametrize("name", ["device", "sibling", "foreign device"])
@pytest.mark.parametrize("template", TOPICS)
def test_a_device_uses_its_own_topics_and_the_shared_ones(
    world: World, name: str, template: str
) -> None:
    caller = world.callers[name]
    use = TOPICS[template]
    may = use == "any device" or (use == "own device" and name == "device")
    with client(world, caller) as mqtt:
        topic = topic_of(template, world.ours.device.id)
        reason = reason_for(mqtt, topic)
        assert (reason < 0x80) is may
        assert may or reason == DENIED
        for wanted in (topic, f"$share/{uuid4().hex}/{topic}"):
            assert mqtt.subscribe(wanted) == (1 if may else DENIED)


@pytest.mark.parametrize("template", TOPICS)
def test_a_user_s_key_does_what_its_scopes_say(world: World, template: str) -> None:
    topic = topic_of(template, world.ours.device.id)
    keys = {scope: world.key_with(scope) for scope in ("telemetry:read", "telemetry:write")}
    for scope, key in {**keys, "org:read": world.key_with("org:read")}.items():
        with client(world, key) as mqtt:
            says = scope == "telemetry:write" and TOPICS[template] != "the broker"
            assert (reason_for(mqtt, topic) == DENIED) is not says
            assert mqtt.subscribe(topic) == (1 if scope == "telemetry:read" else DENIED)


@pytest.mark.parametrize("name", ["nobody", "somebody with a wrong token", "owner", "stranger"])
def test_whoever_brings_no_key_does_not_come_in(world: World, name: str) -> None:
    with client(world, world.callers[name]) as mqtt:
        assert mqtt.refused is not None
