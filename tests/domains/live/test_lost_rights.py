"""A live socket ends within a second of the right that it was opened with."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest

from tests.clients import PASSWORD, StationClient, expect
from tests.live_client import LiveClient, live
from tests.station_process import StationProcess

CLOSED_S_MAX = 1.0


@dataclass
class Member:
    """A member of an organization that is theirs and an owner's, who manages the account."""

    id: str
    organization_id: str
    owner: StationClient
    client: StationClient

    def manage(self, method: str, path: str, **body: Any) -> None:
        answer = self.owner.http.request(method, path, json=body or None)
        assert answer.status_code < 300, answer.text


@pytest.fixture
def member(station: StationProcess, client: StationClient) -> Iterator[Member]:
    with StationClient(station.url) as hired:
        hired.email = f"member-{uuid4().hex[:12]}@example.org"
        form = {"email": hired.email, "role": "operator", "password": PASSWORD}
        made = expect(client.http.post("/api/v1/users", json=form), 201)
        organization_id = client.get("/api/v1/auth/me")["organizations"][0]["organization_id"]
        yield Member(made["id"], organization_id, client, hired.log_in())


def demote(member: Member) -> None:
    member.manage("PATCH", f"/api/v1/users/{member.id}", role="viewer")


def remove(member: Member) -> None:
    member.manage("DELETE", f"/api/v1/organizations/{member.organization_id}/members/{member.id}")


def deactivate(member: Member) -> None:
    member.manage("PATCH", f"/api/v1/users/{member.id}", is_active=False)


def replace_password(member: Member) -> None:
    member.manage("PATCH", f"/api/v1/users/{member.id}", password="another Fahrrad im Regen 8")


def leave(member: Member) -> None:
    path = f"/api/v1/organizations/{member.organization_id}/members/{member.id}"
    assert member.client.http.delete(path).status_code == 204


def delete_organization(member: Member) -> None:
    member.manage("DELETE", f"/api/v1/organizations/{member.organization_id}")


def opened_by(member: Member, how: str) -> list[tuple[str, str]]:
    if how == "ticket":
        ticket = expect(member.client.http.post("/api/v1/auth/ws-ticket"), 200)["ticket"]
        return [("ticket", ticket)]
    if how == "key":
        return [("token", member.client.issue_user_key("telemetry:read"))]
    return [("token", member.client.token)]


def is_open(socket: LiveClient) -> bool:
    return socket.ping()["type"] == "pong"


@pytest.mark.parametrize("how", ["ticket", "session", "key"])
@pytest.mark.parametrize("lose", [demote, remove, leave, deactivate, delete_organization])
def test_lost_rights_close_the_member_s_socket_and_nobody_else_s(
    station: StationProcess, member: Member, lose: Callable[[Member], None], how: str
) -> None:
    with (
        live(station.url, query=opened_by(member, how)) as socket,
        live(station.url, token=member.owner.token) as other,
    ):
        assert is_open(socket)
        assert is_open(other)
        lost_at = monotonic()
        lose(member)
        assert socket.wait_until_closed() == (1008, "credential revoked")
        assert monotonic() - lost_at < CLOSED_S_MAX
        if lose is delete_organization:
            assert other.wait_until_closed() == (1008, "credential revoked")
        else:
            assert is_open(other)
    with live(station.url, query=[("token", member.client.token)]) as again:
        if lose is demote:  # a viewer may look, with the rights of one
            assert is_open(again)
        else:
            assert again.wait_until_closed()[0] == 1008


@pytest.mark.parametrize("how", ["ticket", "session"])
def test_a_replaced_password_closes_the_sessions_sockets(
    station: StationProcess, member: Member, how: str
) -> None:
    with live(station.url, query=opened_by(member, how)) as socket:
        assert is_open(socket)
        replace_password(member)
        assert socket.wait_until_closed() == (1008, "credential revoked")


def test_a_revoked_key_closes_the_sockets_that_its_tickets_opened(
    station: StationProcess, member: Member
) -> None:
    key = member.client.issue_user_key("telemetry:read")
    (found,) = member.client.get("/api/v1/auth/api-keys")["items"]
    answer = member.client.http.post(
        "/api/v1/auth/ws-ticket", headers={"Authorization": f"Bearer {key}"}
    )
    ticket, late = expect(answer, 200)["ticket"], opened_by(member, "ticket")
    with live(station.url, query=[("ticket", ticket)]) as socket:
        assert is_open(socket)
        member.client.http.delete(f"/api/v1/auth/api-keys/{found['id']}")
        assert socket.wait_until_closed() == (1008, "credential revoked")
    with live(station.url, query=late) as socket:
        assert is_open(socket)
