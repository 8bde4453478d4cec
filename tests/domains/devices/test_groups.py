"""Groups of devices through the door, on a real station."""

from typing import Any

import pytest

from fieldstation.domains.devices.schemas.groups import GROUPS_MAX, MEMBERS_MAX
from tests.clients import StationClient, expect
from tests.domains.audit.test_service import audited
from tests.domains.conftest import Rows

GROUPS = "/api/v1/device-groups"
DEVICES = "/api/v1/devices"
MISSING = "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a99"


def make(client: StationClient, **form: Any) -> str:
    """Make a group; return its path."""
    made = expect(client.http.post(GROUPS, json={"name": "Lab", **form}), 201)
    return f"{GROUPS}/{made['id']}"


def members(client: StationClient, path: str, **query: Any) -> list[str]:
    """Return the names of a group's devices, as both lists give them."""
    found = client.get(f"{path}/devices", **query)["items"]
    group_id = path.rpartition("/")[2]
    assert client.get(DEVICES, group_id=group_id, **query)["items"] == found
    assert client.get(path)["member_count"] == len(found)
    return [device["name"] for device in found]


def refusal(answer: Any, status: int) -> str:
    return expect(answer, status)["error"]


def test_a_group_is_read_as_it_was_made(client: StationClient) -> None:
    device = client.register_device(name="pump")
    form = {"name": "  Greenhouse 2 ", "description": "North", "device_ids": [device.id] * 2}
    made = expect(client.http.post(GROUPS, json=form), 201)
    assert client.get(f"{GROUPS}/{made['id']}") == made
    assert (made["name"], made["description"]) == ("Greenhouse 2", "North")
    assert (made["tag_expression"], made["member_count"]) == (None, 1)
    assert made["created_at"] == made["updated_at"]
    listed = client.get(GROUPS)["items"]
    assert listed == [{name: made[name] for name in made if name != "member_count"}]


def test_a_group_by_tags_has_whatever_fits_at_the_time(client: StationClient) -> None:
    for name, tags in (("a", ["lab"]), ("b", ["lab", "test"]), ("c", ["Lab"]), ("d", [])):
        client.register_device(name=name, tags=tags)
    lab = make(client, tag_expression=" lab AND NOT (retired OR test) ")
    others = make(client, name="Others", tag_expression="NOT lab")
    assert (members(client, lab), members(client, others)) == (["a"], ["d", "c"])
    late = client.register_device(name="late", tags=["lab"])
    assert members(client, lab) == ["late", "a"]
    expect(client.http.patch(f"{DEVICES}/{late.id}", json={"tags": ["retired"]}), 200)
    assert (members(client, lab), members(client, others)) == (["a"], ["late", "d", "c"])
    assert client.get(lab)["tag_expression"] == "lab AND NOT (retired OR test)"


def test_a_group_meets_the_other_filters_of_the_list(client: StationClient) -> None:
    wet = [client.register_device(name=f"wet {n}", tags=["wet"]) for n in range(3)]
    client.register_device(name="wet too")
    group = make(client, device_ids=[device.id for device in wet[:2]]).rpartition("/")[2]
    query = {"group_id": group, "q": "WET", "tag": "wet", "sort": "name", "limit": 1}
    first = client.get(DEVICES, include_total=True, **query)
    rest = client.get(DEVICES, cursor=first["next_cursor"], **query)
    assert [item["name"] for page in (first, rest) for item in page["items"]] == ["wet 0", "wet 1"]
    assert (first["total"], rest["next_cursor"]) == (2, None)
    everything = client.get(f"{GROUPS}/{group}/devices", sort="name", include_total=True, limit=1)
    assert [everything[name] for name in ("items", "total")] == [first["items"], 2]
    assert client.get(DEVICES, group_id=MISSING)["items"] == []


def test_members_come_and_go_one_by_one(client: StationClient) -> None:
    devices = [client.register_device(name=name) for name in "ab"]
    path = make(client, device_ids=[])
    assert members(client, path) == []
    for device in [*devices, devices[0]]:
        expect(client.http.put(f"{path}/members/{device.id}"), 204)
    assert members(client, path) == ["b", "a"]
    expect(client.http.delete(f"{path}/members/{devices[0].id}"), 204)
    assert members(client, path) == ["b"]
    gone = client.http.delete(f"{path}/members/{devices[0].id}")
    assert "not a member" in expect(gone, 404)["detail"]


def test_a_group_by_tags_takes_no_single_members(client: StationClient) -> None:
    device = client.register_device(name="a", tags=["lab"])
    path = make(client, tag_expression="lab")
    for method in ("PUT", "DELETE"):
        answer = client.http.request(method, f"{path}/members/{device.id}")
        assert refusal(answer, 409) == "group_follows_tags"
    assert members(client, path) == ["a"]


def test_a_deleted_device_is_in_no_group(client: StationClient) -> None:
    gone, stays = client.register_device(tags=["x"]), client.register_device(name="s", tags=["x"])
    listed = make(client, device_ids=[gone.id, stays.id])
    tagged = make(client, name="x", tag_expression="x")
    expect(client.http.delete(f"{DEVICES}/{gone.id}"), 204)
    assert members(client, listed) == members(client, tagged) == ["s"]


def test_put_describes_anew_and_patch_changes_only_what_is_sent(client: StationClient) -> None:
    one, two = client.register_device(name="1", tags=["x"]), client.register_device(name="2")
    path = make(client, description="Old", device_ids=[one.id])
    patched = expect(client.http.patch(path, json={"device_ids": [two.id]}), 200)
    assert (patched["name"], patched["description"]) == ("Lab", "Old")
    assert members(client, path) == ["2"]
    expect(client.http.patch(path, json={"tag_expression": "x", "description": None}), 200)
    assert members(client, path) == ["1"]
    expect(client.http.patch(path, json={"device_ids": []}), 200)
    assert (members(client, path), client.get(path)["tag_expression"]) == ([], None)
    replaced = expect(client.http.put(path, json={"name": "New", "device_ids": [one.id]}), 200)
    assert (replaced["name"], replaced["description"]) == ("New", None)
    assert members(client, path) == ["1"]
    assert replaced["created_at"] == patched["created_at"]


def test_a_change_that_changes_nothing_leaves_the_group_as_it_was(client: StationClient) -> None:
    device = client.register_device()
    path = make(client, device_ids=[device.id])
    before = client.get(path)
    nothing: list[dict[str, Any]] = [{}, {"name": "Lab"}, {"device_ids": [device.id]}]
    for same in nothing:
        expect(client.http.patch(path, json=same), 200)
    expect(client.http.put(f"{path}/members/{device.id}"), 204)
    assert client.get(path) == before


def test_names_are_unique_in_the_organization_whatever_their_case(
    client: StationClient, stranger: StationClient
) -> None:
    make(client, name="Straße", device_ids=[])
    other = make(client, name="Other", device_ids=[])
    for name in ("STRASSE", " straße "):
        form = {"name": name, "device_ids": []}
        assert refusal(client.http.post(GROUPS, json=form), 409) == "name_taken"
        assert refusal(client.http.patch(other, json={"name": name}), 409) == "name_taken"
    assert client.get(other)["name"] == "Other"
    expect(client.http.patch(other, json={"name": "OTHER"}), 200)
    make(stranger, name="Straße", device_ids=[])


def test_a_device_of_another_organization_is_an_unknown_one(
    client: StationClient, stranger: StationClient
) -> None:
    own, foreign = client.register_device(tags=["x"]), stranger.register_device(tags=["x"])
    path = make(client, device_ids=[own.id])
    for unknown in (foreign.id, MISSING):
        form = {"name": "Other", "device_ids": [own.id, unknown]}
        for method, address, body in (
            ("POST", GROUPS, form),
            ("PUT", path, form),
            ("PATCH", path, {"device_ids": [unknown]}),
        ):
            answer = client.http.request(method, address, json=body)
            problem = expect(answer, 422)
            assert (problem["error"], unknown in problem["detail"]) == ("unknown_reference", True)
        for method in ("PUT", "DELETE"):
            expect(client.http.request(method, f"{path}/members/{unknown}"), 404)
    assert [group["name"] for group in client.get(GROUPS)["items"]] == ["Lab"]
    tagged = make(client, name="x", tag_expression="x OR NOT x")
    assert members(client, path) == members(client, tagged) == ["greenhouse"]
    group_id = tagged.rpartition("/")[2]
    assert stranger.get(DEVICES, group_id=group_id)["items"] == []
    stranger.get(tagged, status=404)


def test_a_device_sees_of_a_group_only_itself(client: StationClient) -> None:
    me, other = client.register_device(name="me"), client.register_device(name="other")
    both = make(client, device_ids=[me.id, other.id]).rpartition("/")[2]
    without = make(client, name="other", device_ids=[other.id]).rpartition("/")[2]
    for group, found in ((both, ["me"]), (without, [])):
        answer = client.http.get(DEVICES, params={"group_id": group}, headers=me.headers)
        assert [item["name"] for item in expect(answer, 200)["items"]] == found
    expect(client.http.get(GROUPS, headers=me.headers), 403)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": None}, "name"),
        ({"description": "x" * 2_001}, "description"),
        ({"device_ids": [""]}, "device_ids"),
        ({"device_ids": ["x" * 37]}, "device_ids"),
        ({"device_ids": ["x"] * (MEMBERS_MAX + 1)}, "device_ids"),
        ({"device_ids": None}, "device_ids"),
        ({"tag_expression": None}, "tag_expression"),
        ({"tag_expression": ""}, "tag_expression"),
        ({"tag_expression": "x" * 1_001}, "tag_expression"),
        ({"tag_expression": " OR ".join(["a"] * 51)}, "tag_expression"),
        ({"tag_expression": "(" * 17 + "a" + ")" * 17}, "tag_expression"),
        ({"tag_expression": "a AND (b"}, "tag_expression"),
        ({"member_count": 3}, "member_count"),
    ],
)
def test_what_is_not_allowed_is_refused_by_every_method(
    owner: StationClient, fields: dict[str, Any], where: str
) -> None:
    found = owner.get(GROUPS, q="refuses")["items"]
    path = f"{GROUPS}/{found[0]['id']}" if found else make(owner, name="refuses", device_ids=[])
    before = owner.get(path)
    members = {} if fields.keys() & {"device_ids", "tag_expression"} else {"device_ids": []}
    form = {"name": "x", **members, **fields}
    for method, address, body in (
        ("POST", GROUPS, form),
        ("PUT", path, form),
        ("PATCH", path, fields),
    ):
        problem = expect(owner.http.request(method, address, json=body), 422)
        named = [part for error in problem["errors"] for part in error["loc"]]
        assert where in named or (method != "PATCH" and "of the two" in problem["detail"])
    assert owner.get(path) == before


def test_a_group_is_by_members_or_by_tags(owner: StationClient) -> None:
    path = make(owner, name="either", device_ids=[])
    both = {"device_ids": [], "tag_expression": "a"}
    for members in ({}, both):
        form = {"name": "neither", **members}
        assert "of the two" in expect(owner.http.post(GROUPS, json=form), 422)["detail"]
        assert "of the two" in expect(owner.http.put(path, json=form), 422)["detail"]
    assert "of the two" in expect(owner.http.patch(path, json=both), 422)["detail"]


def test_a_wrong_expression_says_where(owner: StationClient) -> None:
    answer = owner.http.post(GROUPS, json={"name": "wrong", "tag_expression": "lab AND (a b)"})
    assert "character 12: AND, OR or ) is expected" in expect(answer, 422)["detail"]


def test_the_list_is_searched_by_name_and_description(client: StationClient) -> None:
    make(client, name="Pump 100%", device_ids=[])
    make(client, name="pump_2", description="beside the FAN", device_ids=[])
    make(client, name="Ölfan", tag_expression="a")

    def found(text: str) -> list[str]:
        page = client.get(GROUPS, q=text, include_total=True)
        assert page["total"] == len(page["items"])
        return [group["name"] for group in page["items"]]

    assert found("PUMP") == ["Pump 100%", "pump_2"]
    assert found("fan") == ["pump_2", "Ölfan"]
    assert found("öl") == found("ÖL") == ["Ölfan"]
    assert (found("%"), found("_"), found("/")) == (["Pump 100%"], ["pump_2"], [])


def test_an_organization_has_so_many_groups(client: StationClient) -> None:
    for number in range(GROUPS_MAX):
        make(client, name=f"g{number}", device_ids=[])
    refused = expect(client.http.post(GROUPS, json={"name": "more", "device_ids": []}), 409)
    assert (refused["error"], str(GROUPS_MAX) in refused["detail"]) == ("too_many", True)
    oldest = client.get(GROUPS, limit=1)["items"][0]["id"]
    expect(client.http.delete(f"{GROUPS}/{oldest}"), 204)
    make(client, name="more", device_ids=[])


def test_listed_members_are_part_of_what_a_tag_stands_for(client: StationClient) -> None:
    device = client.register_device()
    path = make(client, device_ids=[])
    seen = {"If-Match": client.http.get(path).headers["etag"]}
    expect(client.http.put(f"{path}/members/{device.id}", headers=seen), 204)
    for method, body in (("PUT", None), ("DELETE", None)):
        answer = client.http.request(method, f"{path}/members/{device.id}", json=body, headers=seen)
        expect(answer, 412)
    expect(client.http.patch(path, json={"device_ids": []}, headers=seen), 412)
    assert members(client, path) == ["greenhouse"]


def test_a_group_by_tags_keeps_its_tag_while_devices_come_and_go(client: StationClient) -> None:
    path = make(client, tag_expression="x")
    tag = client.http.get(path).headers["etag"]
    client.register_device(tags=["x"])
    after = client.http.get(path)
    assert (after.headers["etag"], after.json()["member_count"]) == (tag, 1)


def test_every_change_leaves_a_row_with_who_came_and_went(
    client: StationClient, rows: Rows
) -> None:
    one, two = client.register_device(), client.register_device()
    path = make(client, device_ids=[one.id])
    expect(client.http.put(f"{path}/members/{two.id}"), 204)
    expect(client.http.put(f"{path}/members/{two.id}"), 204)  # changes nothing
    expect(client.http.delete(f"{path}/members/{one.id}"), 204)
    expect(client.http.patch(path, json={"name": "Wet", "tag_expression": "wet"}), 200)
    expect(client.http.delete(path), 204)
    made, added, removed, changed, gone = audited(rows, path.rpartition("/")[2])
    first, second = ({"count": 1, "device_ids": [device.id]} for device in (one, two))
    plain = {"description": None, "tag_expression": None}
    assert made["after"] == {"name": "Lab", **plain, "added": first}
    assert (added["after"], removed["after"]) == ({"added": second}, {"removed": first})
    assert changed["before"] == {"name": "Lab", "tag_expression": None}
    assert changed["after"] == {"name": "Wet", "tag_expression": "wet", "removed": second}
    assert gone["before"]["name"] == "Wet"
    actions = [row["action"].partition(".")[2] for row in (made, added, removed, changed, gone)]
    assert actions == ["created", "updated", "updated", "updated", "deleted"]
