"""A list comes in the order that was asked for, page by page, whatever is inserted meanwhile."""

from collections.abc import Callable
from itertools import product

import pytest

from tests.clients import StationClient, expect

NAMES = ("ash", "beech", "cedar")
TYPES = ("esp32", "rover")


@pytest.fixture
def forest(client: StationClient) -> StationClient:
    for name, device_type in product(NAMES, TYPES):
        client.register_device(name=name, device_type=device_type)
    return client


def pages(
    client: StationClient, sort: str, *, path: str = "/api/v1/devices", limit: int = 2
) -> list[dict[str, str]]:
    """Walk through all pages."""
    found: list[dict[str, str]] = []
    query: dict[str, str | int] = {"sort": sort, "limit": limit}
    while True:
        page = expect(client.http.get(path, params=query), 200)
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


@pytest.mark.parametrize(
    ("sort", "key", "reverse"),
    [
        ("name", ("name",), False),
        ("-name", ("name",), True),
        ("device_type,name", ("device_type", "name"), False),
        ("created_at", ("created_at",), False),
        ("-updated_at", ("updated_at",), True),
    ],
)
def test_pages_follow_the_order(
    forest: StationClient, sort: str, key: tuple[str, ...], reverse: bool
) -> None:
    found = pages(forest, sort)
    assert len({item["id"] for item in found}) == len(found) == 6
    keys = [tuple(item[name] for name in key) for item in found]
    assert keys == sorted(keys, reverse=reverse)


def test_directions_mix(forest: StationClient) -> None:
    found = [(item["device_type"], item["name"]) for item in pages(forest, "-device_type,name")]
    assert found == [(kind, name) for kind in reversed(TYPES) for name in NAMES]


def test_what_is_inserted_meanwhile_moves_nothing(forest: StationClient) -> None:
    first = forest.get("/api/v1/devices", sort="name", limit=4)
    forest.register_device(name="aaa")
    query = {"sort": "name", "limit": 4, "cursor": first["next_cursor"]}
    rest = expect(forest.http.get("/api/v1/devices", params=query), 200)
    ids = [item["id"] for item in (*first["items"], *rest["items"])]
    assert len(ids) == len(set(ids)) == 6


@pytest.mark.parametrize("sort", ["colour", "name,name", "name,", "--name", "-"])
def test_an_unknown_field_is_refused_with_those_that_are_known(
    client: StationClient, sort: str
) -> None:
    body = client.get("/api/v1/devices", status=422, sort=sort)
    assert body["error"] == "invalid_sort"
    assert "created_at, device_type, name, updated_at" in body["detail"]


def test_a_cursor_of_another_order_is_foreign(forest: StationClient) -> None:
    cursor = forest.get("/api/v1/devices", sort="name", limit=2)["next_cursor"]
    body = forest.get("/api/v1/devices", status=422, sort="-name", cursor=cursor)
    assert body["error"] == "invalid_cursor"


def test_the_total_comes_only_when_asked_for(forest: StationClient) -> None:
    assert forest.get("/api/v1/devices", limit=1)["total"] is None
    assert forest.get("/api/v1/devices", limit=1, include_total=True)["total"] == 6


def organizations(client: StationClient) -> str:
    for name in NAMES:
        expect(client.http.post("/api/v1/organizations", json={"name": f"{name} {name}"}), 201)
    return "/api/v1/organizations"


def users(client: StationClient) -> str:
    for name in NAMES:
        form = {"email": f"{name}-{client.email}", "role": "viewer"}
        expect(client.http.post("/api/v1/users", json=form), 201)
    return "/api/v1/users"


def members(client: StationClient) -> str:
    users(client)
    me = client.get("/api/v1/users/me")
    return f"/api/v1/organizations/{me['organizations'][0]['organization_id']}/members"


def personal_keys(client: StationClient) -> str:
    for name in reversed(NAMES):
        form = {"name": name, "scopes": ["devices:read"]}
        expect(client.http.post("/api/v1/auth/api-keys", json=form), 201)
    return "/api/v1/auth/api-keys"


def device_keys(client: StationClient) -> str:
    path = f"/api/v1/devices/{client.register_device().id}/keys"
    for name in reversed(NAMES):
        expect(client.http.post(path, json={"name": name}), 201)
    return path


def device_groups(client: StationClient) -> str:
    for name in reversed(NAMES):
        expect(
            client.http.post("/api/v1/device-groups", json={"name": name, "device_ids": []}), 201
        )
    return "/api/v1/device-groups"


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (organizations, ("created_at", "updated_at", "name", "slug")),
        (users, ("created_at", "updated_at", "email")),
        (members, ("created_at", "email")),
        (personal_keys, ("created_at", "name")),
        (device_keys, ("created_at", "name")),
        (device_groups, ("created_at", "updated_at", "name")),
    ],
)
def test_every_list_is_sorted_counted_and_cut_into_pages(
    client: StationClient, make: Callable[[StationClient], str], fields: tuple[str, ...]
) -> None:
    path = make(client)
    everything = client.get(path, include_total=True)
    assert everything["total"] == len(everything["items"]) >= 3
    for field, sign in product(fields, ("", "-")):
        found = pages(client, f"{sign}{field}", path=path)
        assert len(found) == everything["total"]
        keys = [item[field] for item in found]
        assert keys == sorted(keys, reverse=sign == "-"), (field, sign)
    assert [item["created_at"] for item in everything["items"]] == sorted(
        item["created_at"] for item in everything["items"]
    )
    assert client.get(path, status=422, sort="colour")["error"] == "invalid_sort"
    assert client.get(path, status=422, cursor="WzFd")["error"] == "invalid_cursor"
