"""gmqtt, an independent client of MQTT 5."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import gmqtt
import pytest

from tests.conformance.space import Space
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio


class Gmqtt:
    """A client of gmqtt that remembers what it was told."""

    def __init__(self, client: gmqtt.Client) -> None:
        self.client = client
        self.messages: list[tuple[str, bytes, dict[str, Any]]] = []
        self.granted: list[int] = []
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe

    def _on_subscribe(
        self, _client: Any, _packet_id: int, codes: list[int], _properties: Any
    ) -> None:
        self.granted.extend(codes)

    async def _on_message(
        self, _client: Any, topic: str, payload: bytes, _qos: int, properties: dict[str, Any]
    ) -> int:
        self.messages.append((topic, payload, properties))
        return 0

    async def subscribe(self, topic: str, qos: int, **wanted: Any) -> None:
        before = len(self.granted)
        self.client.subscribe(topic, qos=qos, **wanted)
        await wait_until(lambda: len(self.granted) > before)

    async def receive(self, count: int) -> list[tuple[str, bytes, dict[str, Any]]]:
        await wait_until(lambda: len(self.messages) >= count)
        taken, self.messages = self.messages[:count], self.messages[count:]
        return taken


@asynccontextmanager
async def connected(space: Space, name: str, **wanted: Any) -> AsyncIterator[Gmqtt]:
    client = gmqtt.Client(space.name(name), **wanted)
    client.set_auth_credentials(space.username, space.key)
    known = Gmqtt(client)
    await client.connect("127.0.0.1", space.broker.mqtt_port, keepalive=30)
    try:
        yield known
    finally:
        await client.disconnect()


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_messages_with_their_properties(space: Space, qos: int) -> None:
    topic = space.topic("a")
    async with connected(space, "c") as client:
        await client.subscribe(topic, qos, subscription_identifier=12)
        client.client.publish(
            topic,
            "x",
            qos=qos,
            content_type="t",
            response_topic="answer",
            correlation_data=b"7",
            message_expiry_interval=60,
            user_property=[("a", "1"), ("a", "2")],
        )
        ((got, payload, properties),) = await client.receive(1)
        assert (got, payload) == (topic, b"x")
        assert properties["content_type"] == ["t"]
        assert properties["response_topic"] == ["answer"]
        assert properties["correlation_data"] == [b"7"]
        assert properties["user_property"] == [("a", "1"), ("a", "2")]
        assert properties["subscription_identifier"] == [12]


async def test_what_came_while_it_was_away(space: Space) -> None:
    topic = space.topic("a")
    session = {"clean_session": False, "session_expiry_interval": 300}
    async with connected(space, "c", **session) as client:
        await client.subscribe(topic, 1)
    async with connected(space, "other") as other:
        await other.subscribe(topic, 1)
        for number in range(5):
            other.client.publish(topic, str(number), qos=1)
        await other.receive(5)
    async with connected(space, "c", **session) as client:
        got = await client.receive(5)
        assert [payload for _, payload, _ in got] == [b"0", b"1", b"2", b"3", b"4"]


async def test_no_local(space: Space) -> None:
    topic = space.topic("a")
    async with connected(space, "one") as one, connected(space, "two") as two:
        await one.subscribe(topic, 1, no_local=True)
        await two.subscribe(topic, 1)
        one.client.publish(topic, "mine", qos=1)
        await two.receive(1)
        two.client.publish(topic, "yours", qos=1)
        assert [payload for _, payload, _ in await one.receive(1)] == [b"yours"]
