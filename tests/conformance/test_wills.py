"""Last wills: when they are published and when not."""

from typing import Any

import pytest

from fieldstation.adapters.mqtt_server.packets import Publish
from tests.adapters.mqtt_server.raw_client import CONNACK
from tests.conformance.doors import DOORS, VERSIONS
from tests.conformance.paho_client import Will, properties
from tests.conformance.space import Space
from tests.wait_until import wait_until_blocking


@DOORS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_will_is_published_when_the_connection_breaks(
    space: Space, version: int, transport: str, qos: int
) -> None:
    """MQTT-3.1.2-8, 3.1.2-11 to 3.1.2-15."""
    topic = space.topic("gone")
    with space.client(version, transport) as watcher:
        watcher.subscribe(topic)
        with space.client(version, will=Will(topic, "bye", qos, retain=True)) as doomed:
            doomed.cut()
        (message,) = watcher.receive(1)
        assert (message.payload, message.qos, message.retain) == (b"bye", qos, False)
        with space.client(version) as later:
            later.subscribe(topic)
            assert later.receive(1)[0].retain
        watcher.publish(topic, "", retain=True)


@DOORS
def test_a_good_disconnect_leaves_no_will(space: Space, version: int, transport: str) -> None:
    """MQTT-3.1.2-10, 3.14.4-3."""
    topic = space.topic("gone")
    with space.client(version) as watcher:
        watcher.subscribe(topic)
        with space.client(version, transport, will=Will(topic, "bye")):
            pass
        assert watcher.hears_nothing()


@pytest.mark.parametrize("code", [0x04, 0x80, 0x97, 0x99])
def test_a_disconnect_with_another_code_publishes_the_will(space: Space, code: int) -> None:
    """MQTT-3.1.2-8, 3.1.2-10: only 0x00 voids it."""
    topic = space.topic("gone")
    with space.client(5) as watcher:
        watcher.subscribe(topic)
        with space.client(5, will=Will(topic, "bye")) as client:
            client.leave(code)
        assert watcher.texts(1) == ["bye"]


@VERSIONS
def test_a_takeover_publishes_the_will_of_the_older_connection(space: Space, version: int) -> None:
    """MQTT-3.1.4-3, 3.1.2-8."""
    topic, name = space.topic("gone"), space.name("c")
    with space.client(version) as watcher:
        watcher.subscribe(topic)
        with (
            space.client(version, client_id=name, will=Will(topic, "bye")),
            space.client(version, client_id=name),
        ):
            assert watcher.texts(1) == ["bye"]
            assert watcher.hears_nothing()


@pytest.mark.anyio
@VERSIONS
async def test_silence_and_violations_publish_the_will(space: Space, version: int) -> None:
    """MQTT-3.1.2-8: keep-alive time-out, protocol error."""
    topic = space.topic("gone")
    with space.client(version) as watcher:
        watcher.subscribe(topic)
        will: Any = (topic, b"bye", 1, {}) if version == 5 else Publish(topic, b"bye", 0, 1)
        for name, frame in (("silent", b""), ("wrong", b"\xff\x00")):
            async with space.raw() as client:
                client.send(
                    space.connect_bytes(version, space.name(name), keep_alive_s=1, will=will)
                )
                assert (await client.read()).first == CONNACK
                client.send(frame)
                await client.read_to_end()
            assert watcher.texts(1) == ["bye"]


def delayed(topic: str, **properties: int) -> Will:
    return Will(topic, "bye", 1, False, {"WillDelayInterval": 1, **properties})


def test_a_delayed_will_is_void_when_the_client_is_back(space: Space) -> None:
    """MQTT-3.1.3-9."""
    topic, name = space.topic("gone"), space.name("c")
    session = {"client_id": name, "clean": False, "SessionExpiryInterval": 300}
    with space.client(5) as watcher:
        watcher.subscribe(topic, space.topic("end"))
        with space.client(5, will=delayed(topic), **session) as client:
            client.cut()
        with space.client(5, **session) as again:
            assert again.session_present
            with space.client(
                5, will=delayed(space.topic("end")), **{**session, "client_id": space.name("later")}
            ) as later:
                later.cut()
            assert [message.topic for message in watcher.receive(1)] == [space.topic("end")]


@pytest.mark.parametrize("expiry", [0, 300])
def test_a_delayed_will_comes_after_its_delay_or_with_the_end_of_the_session(
    space: Space, expiry: int
) -> None:
    """MQTT-3.1.3-9: whichever is first."""
    topic = space.topic("gone")
    will = Will(topic, "bye", 1, False, {"WillDelayInterval": 1 if expiry else 3_600})
    with space.client(5) as watcher:
        watcher.subscribe(topic)
        with space.client(5, will=will, SessionExpiryInterval=expiry) as client:
            client.cut()
        wait_until_blocking(lambda: len(watcher.messages) == 1, timeout_s=4)


def test_the_properties_of_a_will_reach_its_subscribers(space: Space) -> None:
    topic = space.topic("gone")
    given = {
        "ContentType": "text/plain",
        "MessageExpiryInterval": 60,
        "PayloadFormatIndicator": 1,
    }
    with space.client(5) as watcher:
        watcher.subscribe(topic)
        with space.client(5, will=Will(topic, "bye", 1, False, given)) as client:
            client.cut()
        (message,) = watcher.receive(1)
        assert properties(message).json() == given
