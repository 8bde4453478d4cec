"""CONNECT, its refusals, takeovers and keep-alive."""

from time import monotonic
from typing import Any

import pytest

from tests.adapters.mqtt_server.raw_client import CONNACK
from tests.conformance.doors import DOORS, VERSIONS
from tests.conformance.paho_client import Will
from tests.conformance.space import Space


@DOORS
@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"password": "fsu_" + "x" * 43}, 0x86),
        ({"password": "no key"}, 0x86),
        ({"client_id": "x" * 300}, 0x85),
        ({"will": Will("$SYS/broker/x", "mine")}, 0x87),
    ],
    ids=["unknown key", "no key", "long client id", "foreign will"],
)
def test_a_refused_connect(
    space: Space, version: int, transport: str, wanted: dict[str, Any], code: int
) -> None:
    """MQTT-3.2.2-4, 3.2.2-6 (no session present), 3.1.4-1; paho names the codes 2, 4 and 5 of
    3.1.1 as those of 5."""
    with space.client(version, transport, **wanted) as client:
        assert client.welcome is not None
        assert not client.welcome.present
        assert client.welcome.code == code
        client.wait_until_closed()


@DOORS
def test_a_client_without_a_name_is_given_one(space: Space, version: int, transport: str) -> None:
    """MQTT-3.1.3-6, 3.1.3-7, 3.2.2-16."""
    with (
        space.client(version, transport, client_id="") as one,
        space.client(version, transport, client_id="") as two,
    ):
        assert one.publish(space.topic("a"), "x") == 0
        assert two.publish(space.topic("a"), "x") == 0
        if version == 5:
            assert one.welcome is not None
            assert two.welcome is not None
            names = {
                each.welcome.properties["AssignedClientIdentifier"]
                for each in (one, two)
                if each.welcome
            }
            assert len(names) == 2


def test_in_mqtt_5_a_nameless_client_may_want_a_session(space: Space) -> None:
    """MQTT-3.1.3-6: processed as if it had sent the name it is given."""
    with space.client(5, client_id="", clean=False, SessionExpiryInterval=60) as client:
        assert client.welcome is not None
        assert client.welcome.code == 0
        name = client.welcome.properties["AssignedClientIdentifier"]
        client.subscribe(space.topic("a"))
    with space.client(5, client_id=name, clean=False) as again:
        assert again.session_present


@DOORS
def test_a_second_client_takes_the_name_over(space: Space, version: int, transport: str) -> None:
    """MQTT-3.1.4-2 (3.1.1), 3.1.4-3 (5): the older connection is ended, with 0x8E."""
    name = space.name("c")
    with (
        space.client(version, transport, client_id=name) as first,
        space.client(version, transport, client_id=name) as second,
    ):
        first.wait_until_closed()
        if version == 5:
            assert first.closed_with == 0x8E
        assert second.publish(space.topic("a"), "x") == 0


@pytest.mark.anyio
@VERSIONS
async def test_silence_beyond_the_keep_alive_ends_the_connection(
    space: Space, version: int
) -> None:
    """MQTT-3.1.2-24 (3.1.1), 3.1.2-22 (5): within one and a half keep-alives; 0x8D."""
    async with space.raw() as silent:
        silent.send(space.connect_bytes(version, keep_alive_s=1))
        assert (await silent.read()).first == CONNACK
        began_s = monotonic()
        farewell = await silent.read_to_end()
        assert 1 < monotonic() - began_s < 2.5
        assert farewell[2:3] == (b"\x8d" if version == 5 else b"")


def test_the_client_s_keep_alive_stands(space: Space) -> None:
    """MQTT-3.1.2-21: no Server Keep Alive is sent, so the client's own holds."""
    with space.client(5) as client:
        assert client.welcome is not None
        assert "ServerKeepAlive" not in client.welcome.properties
        assert client.welcome.properties == {
            "ReceiveMaximum": 1024,
            "MaximumPacketSize": 1 << 20,
            "TopicAliasMaximum": 32,
        }
