"""MQTT of one organization is unheard, unseen and undisturbed by another's, in both versions."""

from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest

from tests.clients import StationClient
from tests.mqtt_client import MqttClient
from tests.station_process import StationProcess
from tests.wait_until import wait_until_blocking

DENIED = 0x87
BOTH = ("telemetry:read", "telemetry:write")


class Tenant:
    """An organization's owner with keys for a dashboard, and its clients."""

    def __init__(self, station: StationProcess, version: int, stack: ExitStack) -> None:
        self.owner = stack.enter_context(StationClient(station.url)).sign_up()
        self.keys = [self.owner.issue_user_key(*BOTH[:count]) for count in (1, 2)]
        self._port, self._version, self._stack = station.mqtt_port, version, stack

    def client(
        self,
        *,
        only_reads: bool = False,
        client_id: str | None = None,
        will: tuple[str, str] | None = None,
    ) -> MqttClient:
        made = MqttClient(
            self._port,
            self.owner.email,
            self.keys[0 if only_reads else 1],
            client_id=client_id,
            version=self._version,
            will=will,
        )
        return self._stack.enter_context(made)

    def device(self, *, will: tuple[str, str] | None = None) -> MqttClient:
        device = self.owner.register_device()
        made = MqttClient(self._port, device.id, device.api_key, version=self._version, will=will)
        return self._stack.enter_context(made)


@pytest.fixture(params=[4, 5], ids=["3.1.1", "5"])
def version(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def tenants(station: StationProcess, version: int) -> Iterator[tuple[Tenant, Tenant]]:
    with ExitStack() as stack:
        yield Tenant(station, version, stack), Tenant(station, version, stack)


def heard(listener: MqttClient, publisher: MqttClient) -> set[str]:
    """Return all topics that came before a last message of the listener's own organization."""
    mark = f"mark/{uuid4().hex}"
    publisher.publish(mark, "x")
    wait_until_blocking(lambda: any(message.topic == mark for message in listener.messages))
    topics = {message.topic for message in listener.messages}
    return {topic for topic in topics if not topic.startswith("mark/")}


@pytest.mark.parametrize("wanted", ["#", "+/#", "+/+", "$share/g/#", "$share/g/+/+"])
def test_no_wildcard_reaches_into_another_organization(
    tenants: tuple[Tenant, Tenant], wanted: str
) -> None:
    ours, theirs = tenants
    device = ours.owner.register_device()
    nosy, publisher = theirs.client(), ours.client()
    assert nosy.subscribe(wanted) == 1
    publisher.publish("plans/secret", "x", retain=True)
    publisher.publish("sensors/t/s", 1)
    publisher.publish(f"devices/{device.id}/commands", "x")
    late = theirs.client()
    assert late.subscribe(wanted.removeprefix("$share/g/")) == 1
    for listener in (nosy, late):
        assert heard(listener, theirs.client()) == set()


def test_the_broker_s_own_topics_count_one_s_own_clients(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants
    clients = [ours.client() for _ in range(3)]
    nosy = theirs.client()
    assert nosy.subscribe("$SYS/#", qos=0) == 0
    topic = "$SYS/broker/clients/connected"
    wait_until_blocking(lambda: any(message.topic == topic for message in nosy.messages))
    counted = {message.topic: message.payload for message in nosy.messages}
    assert counted[topic] == b"1"
    assert all(client.is_connected for client in clients)


def test_what_one_retains_another_neither_sees_nor_clears(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants
    ours.client().publish("state", "ours", retain=True)
    theirs.client().publish("state", "theirs", retain=True)
    theirs.client().publish("state", "", retain=True)
    late, other = ours.client(), theirs.client()
    late.subscribe("#")
    other.subscribe("#")
    wait_until_blocking(lambda: late.texts == ["ours"])
    assert heard(other, other) == set()


def test_one_client_id_in_two_organizations_is_two_clients(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants
    name = uuid4().hex
    witness, nosy = ours.client(), theirs.client()
    for listener in (witness, nosy):
        listener.subscribe("#")
    mine = ours.client(client_id=name, will=("last/words", "gone"))
    mine.subscribe("mine")
    other = theirs.client(client_id=name)
    other.subscribe("mine")
    ours.client().publish("mine", "x")
    wait_until_blocking(lambda: mine.texts == ["x"])
    assert heard(nosy, theirs.client()) == set()
    assert other.texts == []
    assert mine.is_connected
    assert other.is_connected
    ours.client(client_id=name)  # one's own does take over
    mine.wait_until_closed()
    wait_until_blocking(lambda: "gone" in witness.texts)
    assert heard(nosy, theirs.client()) == set()
    assert other.is_connected


def test_a_shared_group_of_the_same_name_is_another_group(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants
    mine, other = ours.client(), theirs.client()
    for member in (mine, other):
        member.subscribe("$share/workers/jobs")
    publisher = ours.client()
    for number in range(4):
        publisher.publish("jobs", str(number))
    wait_until_blocking(lambda: mine.texts == ["0", "1", "2", "3"])
    assert other.texts == []


def test_a_reading_key_hears_and_says_nothing(tenants: tuple[Tenant, Tenant], version: int) -> None:
    ours, _ = tenants
    reader, listener = ours.client(only_reads=True), ours.client()
    assert reader.subscribe("#") == 1
    assert listener.subscribe("#") == 1
    for topic in ("sensors/t/s", "plans/x", "$SYS/broker/version"):
        if version == 5:
            before = len(reader.reasons)
            reader.publish(topic, "1", retain=True)
            assert reader.reasons[before] == DENIED
        else:
            speaker = ours.client(only_reads=True)
            speaker.send(topic, "1", retain=True)
            speaker.wait_until_closed()
    assert heard(listener, ours.client()) == set()
    assert ours.owner.get("/api/v1/readings")["items"] == []
    assert ours.client(only_reads=True, will=("plans/x", "1")).refused is not None


def test_a_will_goes_no_further_than_its_client(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants
    foreign = theirs.owner.register_device()
    sibling = ours.owner.register_device()
    for topic in (f"devices/{foreign.id}/readings", f"devices/{sibling.id}/readings", "plans/x"):
        assert ours.device(will=(topic, '{"sensor_type": "t", "value": 1}')).refused is not None
    for tenant in tenants:
        assert tenant.owner.get("/api/v1/readings")["items"] == []


def test_a_foreign_device_id_in_a_topic_is_only_a_name(tenants: tuple[Tenant, Tenant]) -> None:
    """A user may publish to any topic of their own space; it reaches no device of another."""
    ours, theirs = tenants
    device = theirs.owner.register_device()
    topic = f"devices/{device.id}"
    ours.client().publish(f"{topic}/readings", {"sensor_type": "t", "value": 1})
    ours.client().publish(f"{topic}/commands", "stop", retain=True)
    assert theirs.owner.get(device.readings_path)["items"] == []
    listener = theirs.client()
    listener.subscribe("#")
    assert heard(listener, theirs.client()) == set()
