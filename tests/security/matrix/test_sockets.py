"""Every live socket times every caller; a socket without a line in ``rules`` fails elsewhere."""

from uuid import uuid4

import pytest

from fieldstation.main import CHANNELS
from tests.live_client import live
from tests.security.matrix.rules import SOCKETS
from tests.security.matrix.world import ROLES, Caller, World

LIVE = [path for path, scope in SOCKETS.items() if scope]
READING = {"sensor_type": "t", "value": 2}


def test_every_described_socket_has_its_line() -> None:
    assert {channel.address for channel in CHANNELS if channel.door == "websocket"} <= set(SOCKETS)


@pytest.mark.parametrize("path", LIVE)
def test_a_socket_opens_for_its_scope_and_for_nobody_else(world: World, path: str) -> None:
    callers = [world.callers[name] for name in ("nobody", "device", "foreign device")]
    callers += [world.key_with("org:read"), world.callers["somebody with a wrong token"]]
    for caller in callers:
        with live(world.station.url, path=path, token=caller.token or None) as socket:
            assert socket.wait_until_closed()[0] == 1008, caller.name
    for caller in (*(world.callers[role] for role in ROLES), world.key_with(SOCKETS[path])):
        with live(world.station.url, path=path, token=caller.token) as socket:
            assert socket.ping()["type"] == "pong", caller.name


@pytest.mark.parametrize("path", LIVE)
def test_a_stranger_s_socket_shows_nothing_of_ours(world: World, path: str) -> None:
    stranger, ours = world.callers["stranger"], world.ours
    named = [("device_id", ours.device.id)] if path != "/ws" else []
    with live(world.station.url, path=path, token=stranger.token, query=named) as nosy:
        nosy.ping()
        ours.owner.send(ours.device, READING)
        world.theirs.owner.send(world.theirs.device, READING)
        if path == "/ws":
            assert nosy.readings(1)[0]["device_id"] == world.theirs.device.id
        assert nosy.ping()["type"] == "pong"


@pytest.mark.parametrize("path", LIVE)
def test_naming_a_foreign_organization_is_naming_a_missing_one(world: World, path: str) -> None:
    stranger = world.callers["stranger"]
    closed = {
        closing_of(world, stranger, path, organization)
        for organization in (world.ours.ids["organization_id"], str(uuid4()))
    }
    assert len(closed) == 1
    assert closed.pop()[0] == 1008


def closing_of(world: World, caller: Caller, path: str, organization: str) -> tuple[int, str]:
    headers = {"X-Organization": organization}
    with live(world.station.url, path=path, token=caller.token, headers=headers) as socket:
        return socket.wait_until_closed()
