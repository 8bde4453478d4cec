"""Organizations and members: who sees, changes, joins and leaves which."""

import anyio
import pytest
from sqlalchemy import text

from fieldstation.core.clock import ManualClock, SystemClock
from fieldstation.domains.identity.models import Membership, Organization
from fieldstation.domains.identity.service.authenticator import ORGANIZATIONS_PER_USER_MAX
from tests.domains.identity.stations import Person, Station, expect, open_station, refusal

pytestmark = pytest.mark.anyio
UNKNOWN = "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a99"


async def test_owner_makes_renames_and_deletes(station: Station, ada: Person) -> None:
    body = {"name": "Robotics club", "slug": "robots"}
    made = expect(await ada.client.post("/api/v1/organizations", json=body), 201)
    path = f"/api/v1/organizations/{made['id']}"
    assert expect(await ada.client.get(path), 200) == made
    by_slug = {"x-organization": "robots"}
    assert (
        expect(await ada.client.get("/probe", headers=by_slug), 200)["organization_id"]
        == (made["id"])
    )
    renamed = expect(await ada.client.put(path, json={"name": "Robots", "slug": "bots"}), 200)
    assert (renamed["name"], renamed["slug"]) == ("Robots", "bots")
    refusal(await ada.client.get("/probe", headers=by_slug), 404, "not_found")
    expect(await ada.client.get("/probe", headers={"x-organization": "bots"}), 200)
    same = expect(await ada.client.put(path, json={"name": "Robots"}), 200)
    assert same == renamed
    expect(await ada.client.delete(path), 204)
    refusal(await ada.client.get(path), 404, "not_found")
    assert made["id"] in station.revoked


async def test_slugs_are_unique_and_well_formed(ada: Person, eve: Person) -> None:
    body = {"name": "Robots", "slug": "robots"}
    expect(await ada.client.post("/api/v1/organizations", json=body), 201)
    refusal(await eve.client.post("/api/v1/organizations", json=body), 409, "slug_taken")
    path = f"/api/v1/organizations/{eve.organization_id}"
    refusal(await eve.client.put(path, json=body), 409, "slug_taken")
    for slug in ("Robots", "-robots", "robots-", "ro bots", "r" * 64, ""):
        answer = await eve.client.post("/api/v1/organizations", json={"name": "x", "slug": slug})
        refusal(answer, 422, "validation_error")
    answer = await eve.client.post("/api/v1/organizations", json={"name": "x", "owner_id": ada.id})
    refusal(answer, 422, "validation_error")


@pytest.mark.usefixtures("eve")
async def test_list_shows_ones_own_in_pages(ada: Person) -> None:
    for name in ("One", "Two"):
        expect(await ada.client.post("/api/v1/organizations", json={"name": name}), 201)
    first = expect(await ada.client.get("/api/v1/organizations?limit=2&include_total=true"), 200)
    assert [item["name"] for item in first["items"]] == ["Harbour", "One"]
    assert first["total"] == 3
    rest = expect(await ada.client.get(f"/api/v1/organizations?cursor={first['next_cursor']}"), 200)
    assert [item["name"] for item in rest["items"]] == ["Two"]
    assert rest["next_cursor"] is None


async def test_named_organization_must_be_ones_own(ada: Person, eve: Person) -> None:
    said = []
    for named in (eve.organization_id, "elsewhere", "nowhere", UNKNOWN, ""):
        answer = await ada.client.get("/probe", headers={"x-organization": named})
        said.append(refusal(answer, 404, "not_found")["detail"])
    assert len(set(said)) == 1


async def test_roles_below_owner_do_not_delete_and_below_admin_do_not_write(
    station: Station, ada: Person
) -> None:
    path = f"/api/v1/organizations/{ada.organization_id}"
    for role in ("viewer", "operator", "admin"):
        person = await station.hire(ada, f"{role}@example.org", role)
        expect(await person.client.get(path), 200)
        refusal(await person.client.delete(path), 403, "insufficient_scope")
        if role == "admin":
            continue
        member = f"{path}/members/{ada.id}"
        for answer in (
            await person.client.put(path, json={"name": "Mine"}),
            await person.client.post(
                f"{path}/members", json={"user_id": UNKNOWN, "role": "viewer"}
            ),
            await person.client.put(member, json={"role": "viewer"}),
            await person.client.delete(member),
        ):
            refusal(answer, 403, "insufficient_scope")


async def test_new_member_enters_at_once_with_the_role_given(
    station: Station, ada: Person, eve: Person
) -> None:
    expect(await eve.client.get("/probe"), 200)
    assert isinstance(station.clock, ManualClock)
    station.clock.advance(1)
    path = f"/api/v1/organizations/{ada.organization_id}/members"
    body = {"user_id": eve.id, "role": "operator"}
    member = expect(await ada.client.post(path, json=body), 201)
    assert (member["email"], member["role"]) == (eve.email, "operator")
    refusal(await ada.client.post(path, json=body), 409, "already_member")
    here = {"x-organization": "harbour"}
    seen = expect(await eve.client.get("/probe", headers=here), 200)
    assert "devices:write" in seen["scopes"]
    assert expect(await eve.client.get("/probe"), 200)["organization_id"] == eve.organization_id
    expect(await ada.client.put(f"{path}/{eve.id}", json={"role": "viewer"}), 200)
    seen = expect(await eve.client.get("/probe", headers=here), 200)
    assert "devices:write" not in seen["scopes"]
    listed = expect(await ada.client.get(f"{path}?include_total=true"), 200)
    assert [item["email"] for item in listed["items"]] == [ada.email, eve.email]
    assert listed["total"] == 2


async def test_unknown_user_in_the_body_is_an_unknown_reference(ada: Person) -> None:
    path = f"/api/v1/organizations/{ada.organization_id}/members"
    for body in ({"user_id": UNKNOWN}, {"email": "nobody@example.org"}):
        answer = await ada.client.post(path, json={**body, "role": "viewer"})
        refusal(answer, 422, "unknown_reference")
    neither: dict[str, str] = {}
    for body in (neither, {"user_id": UNKNOWN, "email": "nobody@example.org"}):
        answer = await ada.client.post(path, json={**body, "role": "viewer"})
        refusal(answer, 422, "validation_error")


async def test_admin_gives_no_role_above_their_own(
    station: Station, ada: Person, eve: Person
) -> None:
    admin = await station.hire(ada, "admin@example.org", "admin")
    path = f"/api/v1/organizations/{ada.organization_id}/members"
    for answer in (
        await admin.client.post(path, json={"user_id": eve.id, "role": "owner"}),
        await admin.client.put(f"{path}/{ada.id}", json={"role": "admin"}),
        await admin.client.put(f"{path}/{admin.id}", json={"role": "owner"}),
        await admin.client.delete(f"{path}/{ada.id}"),
    ):
        refusal(answer, 403, "role_above_own")
    unknown = await admin.client.put(f"{path}/{eve.id}", json={"role": "viewer"})
    refusal(unknown, 404, "not_found")


async def test_members_leave_but_the_last_owner_does_not(station: Station, ada: Person) -> None:
    path = f"/api/v1/organizations/{ada.organization_id}/members"
    vic = await station.hire(ada, "vic@example.org", "viewer")
    expect(await vic.client.delete(f"{path}/{vic.id}"), 204)
    refusal(await vic.client.get("/probe"), 403, "no_organization")
    refusal(await ada.client.delete(f"{path}/{ada.id}"), 409, "last_owner")
    refusal(await ada.client.put(f"{path}/{ada.id}", json={"role": "viewer"}), 409, "last_owner")


async def test_key_does_not_take_its_user_out(station: Station, ada: Person) -> None:
    vic = await station.hire(ada, "vic@example.org", "viewer")
    body = {"name": "script", "scopes": ["org:read"]}
    key = expect(await vic.client.post("/api/v1/auth/api-keys", json=body), 201)["api_key"]
    path = f"/api/v1/organizations/{ada.organization_id}/members/{vic.id}"
    refusal(await station.client(key).delete(path), 403, "insufficient_scope")


async def test_two_owners_who_leave_at_the_same_time_leave_one(url: str) -> None:
    async with open_station(url, clock=SystemClock()) as station:
        ada = await station.register("ada@example.org")
        bob = await station.hire(ada, "bob@example.org", "owner")
        statuses = []

        async def leave(person: Person) -> None:
            path = f"/api/v1/organizations/{ada.organization_id}/members/{person.id}"
            statuses.append((await person.client.delete(path)).status_code)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leave, ada)
            tasks.start_soon(leave, bob)
        assert sorted(statuses) == [204, 409]


async def test_number_of_organizations_is_limited(station: Station, ada: Person) -> None:
    now = station.clock.now()
    async with station.database.transaction() as session:
        for number in range(ORGANIZATIONS_PER_USER_MAX - 1):
            row = Organization(
                id=f"{number:036}", name="x", slug=f"x{number}", created_at=now, updated_at=now
            )
            session.add(row)
            await session.flush()
            session.add(
                Membership(organization_id=row.id, user_id=ada.id, role="viewer", created_at=now)
            )
    refusal(await ada.client.post("/api/v1/organizations", json={"name": "x"}), 409, "too_many")
    eve = await station.register("eve@example.org")
    path = f"/api/v1/organizations/{eve.organization_id}/members"
    answer = await eve.client.post(path, json={"user_id": ada.id, "role": "viewer"})
    refusal(answer, 409, "too_many")


async def test_organization_that_still_owns_things_stays(station: Station, ada: Person) -> None:
    async with station.database.transaction() as session:
        await session.execute(
            text("CREATE TABLE owned (organization_id VARCHAR(36) REFERENCES organization (id))")
        )
        await session.execute(text("INSERT INTO owned VALUES (:id)"), {"id": ada.organization_id})
    path = f"/api/v1/organizations/{ada.organization_id}"
    refusal(await ada.client.delete(path), 409, "organization_in_use")
    expect(await ada.client.get(path), 200)
    async with station.database.transaction() as session:
        await session.execute(text("DROP TABLE owned"))
    expect(await ada.client.delete(path), 204)


async def test_deleting_an_organization_ends_its_keys(station: Station, ada: Person) -> None:
    body = {"name": "script", "scopes": ["devices:read"]}
    key = expect(await ada.client.post("/api/v1/auth/api-keys", json=body), 201)["api_key"]
    expect(await station.client(key).get("/probe"), 200)
    expect(await ada.client.delete(f"/api/v1/organizations/{ada.organization_id}"), 204)
    refusal(await station.client(key).get("/probe"), 401, "unauthenticated")
    refusal(await ada.client.get("/probe"), 403, "no_organization")
