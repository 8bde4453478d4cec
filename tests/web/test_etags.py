"""A change of what somebody else changed meanwhile is refused."""

from collections.abc import Callable
from threading import Barrier, Thread

import httpx2
import pytest

from tests.clients import StationClient, expect

Made = tuple[str, dict[str, object]]


def device(client: StationClient) -> Made:
    return f"/api/v1/devices/{client.register_device().id}", {"name": "renamed"}


def user(client: StationClient) -> Made:
    email = f"hired-{client.email}"
    made = expect(client.http.post("/api/v1/users", json={"email": email, "role": "viewer"}), 201)
    body = {"email": email, "role": "operator", "full_name": "R", "username": None}
    return f"/api/v1/users/{made['id']}", {**body, "is_active": True}


def organization(client: StationClient) -> Made:
    made = expect(client.http.post("/api/v1/organizations", json={"name": "Second"}), 201)
    return f"/api/v1/organizations/{made['id']}", {"name": "Renamed"}


def device_group(client: StationClient) -> Made:
    form: dict[str, object] = {"name": "Lab", "device_ids": []}
    made = expect(client.http.post("/api/v1/device-groups", json=form), 201)
    return f"/api/v1/device-groups/{made['id']}", {"name": "Lab", "tag_expression": "lab"}


KINDS: list[Callable[[StationClient], Made]] = [device, device_group, user, organization]


@pytest.mark.parametrize("make", KINDS)
def test_a_single_object_has_a_tag_that_a_change_must_match(
    client: StationClient, make: Callable[[StationClient], Made]
) -> None:
    path, change = make(client)
    tag = client.http.get(path).headers["etag"]
    assert client.http.get(path).headers["etag"] == tag
    changed = client.http.put(path, json=change, headers={"If-Match": tag})
    expect(changed, 200)
    assert changed.headers["etag"] not in {tag, ""}
    assert client.http.get(path).headers["etag"] == changed.headers["etag"]
    for method in ("PUT", "DELETE"):
        body = change if method == "PUT" else None
        answer = client.http.request(method, path, json=body, headers={"If-Match": tag})
        assert expect(answer, 412)["error"] == "precondition_failed"
    several = {"If-Match": f"{tag}, {changed.headers['etag']}"}
    expect(client.http.put(path, json=change, headers=several), 200)
    expect(client.http.delete(path, headers={"If-Match": "*"}), 204)


def test_a_device_keeps_its_tag_while_it_only_reports(client: StationClient) -> None:
    device = client.register_device()
    path = f"/api/v1/devices/{device.id}"
    tag = client.http.get(path).headers["etag"]
    expect(client.http.post(f"{path}/heartbeat", json={"battery": 5}, headers=device.headers), 200)
    assert client.http.get(path).headers["etag"] == tag
    patched = client.http.patch(path, json={"tags": ["a"]}, headers={"If-Match": tag})
    expect(patched, 200)
    stale = client.http.patch(path, json={"tags": ["b"]}, headers={"If-Match": tag})
    assert expect(stale, 412)["status"] == 412


def member(client: StationClient) -> Made:
    path, _ = user(client)
    organization_id = client.get("/api/v1/users/me")["organizations"][0]["organization_id"]
    members = f"/api/v1/organizations/{organization_id}/members"
    return f"{members}/{path.rsplit('/', 1)[-1]}", {"role": "operator"}


def test_a_member_s_role_changes_and_ends_only_as_it_was_seen(client: StationClient) -> None:
    path, change = member(client)
    changed = client.http.put(path, json=change)
    tag = expect(changed, 200) and changed.headers["etag"]
    promoted = client.http.put(path, json={"role": "admin"}, headers={"If-Match": tag})
    expect(promoted, 200)
    for method, body in (("PUT", change), ("DELETE", None)):
        answer = client.http.request(method, path, json=body, headers={"If-Match": tag})
        assert expect(answer, 412)["error"] == "precondition_failed"
    expect(client.http.delete(path, headers={"If-Match": promoted.headers["etag"]}), 204)


def test_the_own_profile_changes_only_as_it_was_seen(client: StationClient) -> None:
    tag = client.http.get("/api/v1/users/me").headers["etag"]
    assert client.http.get("/api/v1/auth/me").headers["etag"] == tag
    changed = client.http.patch(
        "/api/v1/users/me", json={"full_name": "Ada"}, headers={"If-Match": tag}
    )
    expect(changed, 200)
    assert client.http.get("/api/v1/users/me").headers["etag"] == changed.headers["etag"] != tag
    stale = client.http.patch(
        "/api/v1/users/me", json={"full_name": "Bob"}, headers={"If-Match": tag}
    )
    expect(stale, 412)


@pytest.mark.parametrize("kind", ["device", "personal"])
def test_a_key_ends_only_by_its_own_tag(client: StationClient, kind: str) -> None:
    form: dict[str, object] = {"name": "one", "expires_at": "2037-01-01T01:00:00+01:00"}
    path = "/api/v1/auth/api-keys"
    if kind == "device":
        path = f"/api/v1/devices/{client.register_device().id}/keys"
    else:
        form["scopes"] = ["devices:read"]
    made = client.http.post(path, json=form)
    key = f"{path}/{expect(made, 201)['id']}"
    expect(client.http.delete(key, headers={"If-Match": '"another"'}), 412)
    expect(client.http.delete(key, headers={"If-Match": made.headers["etag"]}), 204)


@pytest.mark.parametrize("make", KINDS)
def test_what_was_just_made_has_its_tag_already(
    client: StationClient, make: Callable[[StationClient], Made]
) -> None:
    made: list[httpx2.Response] = []
    client.http.event_hooks["response"].append(made.append)
    path, _ = make(client)
    tag = made[-1].headers["etag"]
    assert client.http.get(path).headers["etag"] == tag


def test_a_change_without_if_match_needs_no_tag(client: StationClient) -> None:
    path, change = device(client)
    expect(client.http.put(path, json=change), 200)


def test_of_two_changes_at_once_that_saw_the_same_one_is_refused(client: StationClient) -> None:
    path, _ = device(client)
    for number in range(5):
        tag = client.http.get(path).headers["etag"]
        found: list[int] = []
        start = Barrier(2)

        def change(
            name: str, tag: str = tag, start: Barrier = start, to: list[int] = found
        ) -> None:
            headers = {**client.http.headers, "If-Match": tag}
            start.wait(10)
            url = client.url + path
            to.append(httpx2.patch(url, json={"name": name}, headers=headers).status_code)

        both = [Thread(target=change, args=(f"{side}{number}",)) for side in "ab"]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join(20)
        assert sorted(found) == [200, 412]
