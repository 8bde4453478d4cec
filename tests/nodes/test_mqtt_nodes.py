"""MQTT clients at two nodes: one session, one connection, one set of retained messages."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients import StationClient
from tests.mqtt_client import MqttClient
from tests.nodes.conftest import Nodes, on_both, running_nodes
from tests.station_process import StationProcess
from tests.wait_until import wait_until_blocking

pytestmark = pytest.mark.parametrize("version", [4, 5])

Connect = Callable[..., MqttClient]


@contextmanager
def connecting(nodes: Nodes, version: int) -> Iterator[Connect]:
    """Give what connects an owner's clients to a node."""
    with StationClient(nodes.a.url) as owner:
        key = owner.sign_up().issue_user_key("telemetry:read", "telemetry:write")

        def connect(
            node: StationProcess, client_id: str = "c1", *, keeps: bool = True
        ) -> MqttClient:
            return MqttClient(
                node.mqtt_port,
                owner.email,
                key,
                client_id=client_id,
                keeps_session=keeps,
                version=version,
            )

        yield connect


@pytest.fixture(scope="module")
def nodes_without_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with running_nodes(tmp_path_factory.mktemp("alone"), with_redis=False) as nodes:
        yield nodes


@pytest.fixture(params=["redis", "no redis"])
def either(request: pytest.FixtureRequest) -> Nodes:
    name = "nodes" if request.param == "redis" else "nodes_without_redis"
    found: Nodes = request.getfixturevalue(name)
    return found


def test_a_session_moves_with_its_messages_and_the_former_connection_ends(
    either: Nodes, version: int
) -> None:
    nodes = either
    with connecting(nodes, version) as connect:
        with connect(nodes.a) as at_a:
            assert at_a.subscribe("state/#") == 1
            with connect(nodes.b) as at_b:
                assert at_b.session_present
                at_a.wait_until_closed(timeout_s=2)
                if version == 5:
                    assert at_a.goodbye == 0x8E
        wait_until_blocking(lambda: at_b.closed)
        with connect(nodes.b, "sender", keeps=False) as sender:
            for number in range(20):
                sender.publish("state/lamp", f"{number}")
        begun = time.monotonic()
        with connect(nodes.a) as at_a:
            assert at_a.session_present
            assert time.monotonic() - begun < 2
            wait_until_blocking(lambda: len(at_a.texts) == 20)
            assert at_a.texts == [f"{number}" for number in range(20)]
        with connect(nodes.b) as at_b:
            assert at_b.session_present
            with connect(nodes.b, "sender", keeps=False) as sender:
                sender.publish("state/lamp", "live")
            wait_until_blocking(lambda: at_b.texts == ["live"])


def test_a_clean_session_ends_the_one_at_the_other_node(either: Nodes, version: int) -> None:
    nodes = either
    with connecting(nodes, version) as connect:
        for keeps in (False, True):
            with connect(nodes.a, keeps=keeps) as at_a:
                at_a.subscribe("state/#")
                with connect(nodes.b, keeps=False) as at_b:
                    at_a.wait_until_closed(timeout_s=2)
                    assert not at_b.session_present
                    at_b.publish("state/lamp", "nobody listens")
        with connect(nodes.a) as at_a:
            assert not at_a.session_present


def test_a_killed_nodes_sessions_go_on_at_the_other(own_nodes: Nodes, version: int) -> None:
    nodes = own_nodes
    with connecting(nodes, version) as connect:
        with connect(nodes.a) as at_a:
            at_a.subscribe("state/#")
        with connect(nodes.a, "sender", keeps=False) as sender:
            for number in range(20):
                sender.publish("state/lamp", f"{number}")
        with connect(nodes.a, "there") as there:
            there.subscribe("state/#")
            nodes.a.kill()
        begun = time.monotonic()
        with connect(nodes.b) as at_b:
            assert at_b.session_present
            assert time.monotonic() - begun < 2
            wait_until_blocking(lambda: len(at_b.texts) == 20)
        with connect(nodes.b, "there") as at_b:
            assert at_b.session_present
        nodes.a.start()
        with connect(nodes.a) as at_a:
            assert at_a.session_present
            assert at_a.texts == []


def test_what_is_published_at_one_node_is_heard_and_retained_at_the_other(
    nodes: Nodes, version: int
) -> None:
    with connecting(nodes, version) as connect, connect(nodes.b, "listener") as listener:
        listener.subscribe("state/#")
        with connect(nodes.a, "sender") as sender:
            sender.subscribe("state/#")
            assert listener.messages == []
            wait_until_blocking(lambda: arrives(sender, listener))
            sender.publish("state/kept", "kept", retain=True)
            wait_until_blocking(lambda: "kept" in listener.texts)
            assert listener.texts.count("kept") == sender.texts.count("kept") == 1
            with connect(nodes.b, "late") as late:
                wait_until_blocking(lambda: "kept" in heard(late, "state/kept"))
            sender.publish("state/kept", "", retain=True)
            wait_until_blocking(lambda: "" in listener.texts)
        with connect(nodes.b, "later") as later:
            wait_until_blocking(lambda: "kept" not in heard(later, "state/kept"))


def arrives(sender: MqttClient, listener: MqttClient) -> bool:
    sender.publish("state/lamp", "on")
    return "on" in listener.texts


def heard(client: MqttClient, topic: str) -> list[str]:
    client.messages.clear()
    client.subscribe(topic)
    client.publish("state/after", "after")
    return client.texts


def test_a_shared_group_on_both_nodes_gets_a_message_once(nodes: Nodes, version: int) -> None:
    with (
        connecting(nodes, version) as connect,
        connect(nodes.a, "one") as one,
        connect(nodes.b, "two") as two,
        connect(nodes.b, "plain") as plain,
    ):
        one.subscribe("$share/g/work")
        two.subscribe("$share/g/work")
        plain.subscribe("work")
        with connect(nodes.a, "sender") as sender:
            wait_until_blocking(lambda: (sender.publish("work", "0"), "0" in plain.texts)[1])
            for number in range(1, 11):
                sender.publish("work", f"{number}")
            wait_until_blocking(lambda: "10" in plain.texts)
            assert [text for text in one.texts if text != "0"] == [f"{n}" for n in range(1, 11)]
            assert [text for text in two.texts if text != "0"] == []


def test_a_revoked_key_ends_connections_at_the_other_node_within_a_second(
    either: Nodes, version: int
) -> None:
    nodes = either
    with on_both(nodes) as (at_a, _):
        device = at_a.register_device()
        key = at_a.issue_user_key("telemetry:read")
        (of_user,) = at_a.get("/api/v1/auth/api-keys")["items"]
        (of_device,) = at_a.get(f"/api/v1/devices/{device.id}/keys")["items"]
        for path, credentials in (
            (f"/api/v1/devices/{device.id}/keys/{of_device['id']}", (device.id, device.api_key)),
            (f"/api/v1/auth/api-keys/{of_user['id']}", (at_a.email, key)),
        ):
            with MqttClient(nodes.b.mqtt_port, *credentials, version=version) as client:
                begun = time.monotonic()
                assert at_a.http.delete(path).status_code == 204
                client.wait_until_closed()
                assert time.monotonic() - begun < 1


def test_a_restarted_node_leaves_the_sessions_of_the_other_alone(
    own_nodes: Nodes, version: int
) -> None:
    nodes = own_nodes
    with connecting(nodes, version) as connect:
        with connect(nodes.a) as at_a:
            at_a.subscribe("state/#")
        with connect(nodes.b, "other") as other:
            other.subscribe("state/#")
        nodes.b.kill()
        nodes.b.start()
        with connect(nodes.a, "sender", keeps=False) as sender:
            sender.publish("state/lamp", "on")
        with connect(nodes.a) as at_a:
            assert at_a.session_present
            wait_until_blocking(lambda: at_a.texts == ["on"])
        with connect(nodes.b, "other") as other:
            assert other.session_present


def test_retained_messages_missed_without_redis_are_read_when_it_is_back(
    own_nodes: Nodes, version: int
) -> None:
    nodes = own_nodes
    assert nodes.redis is not None
    with connecting(nodes, version) as connect, connect(nodes.a, "sender") as sender:
        sender.publish("state/old", "old", retain=True)
        with connect(nodes.b, "early") as early:
            wait_until_blocking(lambda: "old" in heard(early, "state/#"))
        nodes.redis.kill()
        sender.publish("state/old", "", retain=True)
        sender.publish("state/new", "new", retain=True)
        nodes.redis.start()
        with connect(nodes.b, "late") as late:
            wait_until_blocking(
                lambda: {"old", "new"} & set(heard(late, "state/#")) == {"new"}, timeout_s=15
            )


def test_a_delayed_will_is_void_when_its_client_comes_back_at_the_other_node(
    tmp_path: Path, nodes: Nodes, version: int
) -> None:
    del tmp_path
    if version == 4:
        return
    with connecting(nodes, version) as connect, connect(nodes.a, "listener") as listener:
        listener.subscribe("wills/#")
        for name, keeps in (("back", True), ("anew", False)):
            client = connect(nodes.a, name)
            client.set_will(f"wills/{name}", "gone", delay_s=60)
            with client:
                client.drop()
            with connect(nodes.b, name, keeps=keeps) as again:
                assert again.session_present == keeps
        wait_until_blocking(lambda: listener.texts == ["gone"])
        assert [message.topic for message in listener.messages] == ["wills/anew"]
