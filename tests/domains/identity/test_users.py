"""Users of an organization: who may make, see, change and remove whom."""

from typing import Any

import pytest
from sqlalchemy import select

from fieldstation.core.errors import QuotaExceeded
from fieldstation.db.database import Session
from fieldstation.domains.audit.models import AuditEntry
from tests.domains.identity.stations import (
    PASSWORD,
    Person,
    Station,
    expect,
    open_station,
    refusal,
)

pytestmark = pytest.mark.anyio
UNKNOWN = "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a99"


class FullQuota:
    """A plan with no room left."""

    async def check(
        self, session: Session, organization_id: str, metric: str, *, adding: int
    ) -> None:
        assert session.is_active
        assert organization_id
        members = {"metric": metric, "limit": 1, "used": adding}
        raise QuotaExceeded("The plan has no room for one more.", members=members)


async def test_admin_makes_a_user_with_a_generated_password(station: Station, ada: Person) -> None:
    body = {"email": "grace@example.org", "role": "operator", "full_name": "Grace Hopper"}
    made = expect(await ada.client.post("/api/v1/users", json=body), 201)
    assert (made["role"], made["managed"], made["is_active"]) == ("operator", True, True)
    grace = await station.enter("grace@example.org", made["password"])
    assert grace.organization_id == ada.organization_id
    seen = expect(await grace.client.get("/probe"), 200)
    assert "devices:write" in seen["scopes"]
    assert "org:admin" not in seen["scopes"]
    read = expect(await ada.client.get(f"/api/v1/users/{grace.id}"), 200)
    assert "password" not in read
    assert read["last_login_at"] is not None


async def test_given_password_is_not_shown_and_must_be_strong(ada: Person) -> None:
    body = {"email": "grace@example.org", "password": PASSWORD}
    made = expect(await ada.client.post("/api/v1/users", json=body), 201)
    assert made["password"] is None
    assert made["role"] == "viewer"
    body = {"email": "mary@example.org", "password": "password12"}
    refusal(await ada.client.post("/api/v1/users", json=body), 422, "weak_password")


@pytest.mark.parametrize(
    "extra",
    [
        {"organization_id": UNKNOWN},
        {"is_superuser": True},
        {"id": UNKNOWN},
        {"managing_organization_id": UNKNOWN},
        {"password_hash": "x"},
    ],
)
async def test_mass_assignment_is_refused(
    station: Station, ada: Person, extra: dict[str, Any]
) -> None:
    body = {"email": "grace@example.org", "role": "viewer", **extra}
    refusal(await ada.client.post("/api/v1/users", json=body), 422, "validation_error")
    vic = await station.hire(ada, "vic@example.org", "viewer")
    path = f"/api/v1/users/{vic.id}"
    refusal(await ada.client.put(path, json=body), 422, "validation_error")
    refusal(await ada.client.patch(path, json=extra), 422, "validation_error")


@pytest.mark.usefixtures("eve")
async def test_list_is_paged_filtered_and_counted(ada: Person) -> None:
    for name, role in (("grace", "operator"), ("mary", "viewer"), ("alan%", "viewer")):
        body = {"email": f"{name}@example.org", "role": role, "full_name": f"{name} Example"}
        expect(await ada.client.post("/api/v1/users", json=body), 201)

    async def listed(query: str) -> list[str]:
        page = expect(await ada.client.get(f"/api/v1/users?{query}"), 200)
        return [user["email"].split("@")[0] for user in page["items"]]

    assert await listed("") == ["ada", "grace", "mary", "alan%"]
    assert await listed("role=viewer") == ["mary", "alan%"]
    assert await listed("q=GRACE") == ["grace"]
    assert await listed("q=%25") == ["alan%"]
    assert await listed("q=eve") == []
    assert await listed("is_active=false") == []
    first = expect(await ada.client.get("/api/v1/users?limit=3&include_total=true"), 200)
    assert first["total"] == 4
    body = {"email": "zoe@example.org"}
    expect(await ada.client.post("/api/v1/users", json=body), 201)
    assert await listed(f"limit=3&cursor={first['next_cursor']}") == ["alan%", "zoe"]
    refusal(await ada.client.get("/api/v1/users?cursor=nonsense"), 422, "invalid_cursor")


async def test_lower_roles_read_but_do_not_write(station: Station, ada: Person) -> None:
    for role in ("viewer", "operator"):
        person = await station.hire(ada, f"{role}@example.org", role)
        expect(await person.client.get("/api/v1/users"), 200)
        expect(await person.client.get(f"/api/v1/users/{ada.id}"), 200)
        path = f"/api/v1/users/{ada.id}"
        body = {"email": "new@example.org", "role": "viewer"}
        for answer in (
            await person.client.post("/api/v1/users", json=body),
            await person.client.put(path, json=body),
            await person.client.patch(path, json={"role": "viewer"}),
            await person.client.delete(path),
        ):
            refusal(answer, 403, "insufficient_scope")
            assert 'scope="org:admin"' in answer.headers["www-authenticate"]


async def test_a_managed_account_that_joined_another_organization_keeps_its_password(
    station: Station, ada: Person, eve: Person
) -> None:
    vic = await station.hire(ada, "vic@example.org", "viewer")
    members = f"/api/v1/organizations/{eve.organization_id}/members"
    expect(await eve.client.post(members, json={"user_id": vic.id, "role": "admin"}), 201)
    path = f"/api/v1/users/{vic.id}"
    for changes in ({"password": "another bicycle in the snow"}, {"email": "mine@example.org"}):
        refusal(await ada.client.patch(path, json=changes), 403, "account_not_managed")
    expect(await ada.client.patch(path, json={"role": "operator"}), 200)


async def test_nobody_gives_changes_or_removes_a_role_above_their_own(
    station: Station, ada: Person
) -> None:
    admin = await station.hire(ada, "admin@example.org", "admin")
    vic = await station.hire(ada, "vic@example.org", "viewer")
    body = {"email": "new@example.org", "role": "owner"}
    for answer in (
        await admin.client.post("/api/v1/users", json=body),
        await admin.client.patch(f"/api/v1/users/{vic.id}", json={"role": "owner"}),
        await admin.client.patch(f"/api/v1/users/{admin.id}", json={"role": "owner"}),
        await admin.client.patch(f"/api/v1/users/{ada.id}", json={"role": "viewer"}),
        await admin.client.delete(f"/api/v1/users/{ada.id}"),
    ):
        refusal(answer, 403, "role_above_own")
    expect(await admin.client.patch(f"/api/v1/users/{vic.id}", json={"role": "admin"}), 200)


async def test_foreign_user_looks_like_a_missing_one(ada: Person, eve: Person) -> None:
    body = {"email": "x@example.org", "role": "viewer"}
    calls: list[tuple[str, dict[str, Any] | None]] = [
        ("GET", None),
        ("PUT", body),
        ("PATCH", {"role": "viewer"}),
        ("DELETE", None),
    ]
    for method, sent in calls:
        problems = []
        for user_id in (eve.id, UNKNOWN, "no-id-at-all"):
            answer = await ada.client.request(method, f"/api/v1/users/{user_id}", json=sent)
            problem = refusal(answer, 404, "not_found")
            for name in ("instance", "correlation_id", "request_id", "timestamp"):
                del problem[name]
            problems.append(problem)
        assert problems[0] == problems[1] == problems[2]


async def test_admin_changes_all_of_a_managed_account(station: Station, ada: Person) -> None:
    vic = await station.hire(ada, "vic@example.org", "viewer")
    path = f"/api/v1/users/{vic.id}"
    body = {"email": "victor@example.org", "role": "operator", "username": "victor"}
    changed = expect(await ada.client.put(path, json=body), 200)
    assert (changed["email"], changed["role"]) == ("victor@example.org", "operator")
    answer = await ada.client.patch(path, json={"password": "seven-quiet-anvils-drift"})
    expect(answer, 200)
    refusal(await vic.client.get("/api/v1/auth/me"), 401, "unauthenticated")
    expect(await station.log_in("victor@example.org", "seven-quiet-anvils-drift"), 200)
    for sent, code in (
        ({"email": ada.email}, "email_taken"),
        ({"username": "ADA"}, "username_taken"),
        ({"email": ada.email, "is_active": False}, "email_taken"),
    ):
        refusal(await ada.client.patch(path, json=sent), 409, code)
    for name in ("email", "role", "is_active", "password"):
        refusal(await ada.client.patch(path, json={name: None}), 422, "validation_error")
    async with station.database.reading() as session:
        rows = await session.scalars(
            select(AuditEntry).where(AuditEntry.entity_id == vic.id).order_by(AuditEntry.id)
        )
        trail = {row.action: (row.before, row.after) for row in rows}
    assert trail["member.role_changed"] == ({"role": "viewer"}, {"role": "operator"})
    assert trail["user.updated"][1] == {"email": "victor@example.org", "username": "victor"}
    assert trail["user.password_changed"] == (None, None)


async def test_account_of_ones_own_is_not_the_organizations_to_change(
    station: Station, ada: Person, eve: Person
) -> None:
    body = {"email": eve.email, "role": "operator"}
    path = f"/api/v1/organizations/{ada.organization_id}/members"
    expect(await ada.client.post(path, json=body), 201)
    path = f"/api/v1/users/{eve.id}"
    for changes in (
        {"email": "mine@example.org"},
        {"is_active": False},
        {"password": "seven-quiet-anvils-drift"},
    ):
        refusal(await ada.client.patch(path, json=changes), 403, "account_not_managed")
    changed = expect(await ada.client.patch(path, json={"role": "viewer"}), 200)
    assert (changed["role"], changed["managed"]) == ("viewer", False)
    expect(await station.log_in(eve.email), 200)


async def test_superuser_account_is_changed_by_superusers_only(station: Station) -> None:
    root = await station.make_superuser("root@example.org")
    admin = await station.hire(root, "admin@example.org", "owner")
    answer = await admin.client.patch(
        f"/api/v1/users/{root.id}", json={"password": "seven-quiet-anvils-drift"}
    )
    refusal(answer, 403, "account_not_managed")
    other = await station.make_superuser("other@example.org")
    path = f"/api/v1/users/{root.id}"
    expect(await other.client.patch(path, json={"is_active": False}), 200)
    refusal(await root.client.get("/api/v1/auth/me"), 401, "unauthenticated")


async def test_inactive_user_is_refused_at_once(station: Station, ada: Person) -> None:
    vic = await station.hire(ada, "vic@example.org", "viewer")
    body = {"name": "script", "scopes": ["devices:read"]}
    key = expect(await vic.client.post("/api/v1/auth/api-keys", json=body), 201)["api_key"]
    expect(await station.client(key).get("/probe"), 200)
    path = f"/api/v1/users/{vic.id}"
    expect(await ada.client.patch(path, json={"is_active": False}), 200)
    for token in (vic.tokens["access_token"], key):
        refusal(await station.client(token).get("/probe"), 401, "unauthenticated")
    refusal(await station.log_in(vic.email), 401, "invalid_credentials")
    body = {"refresh_token": vic.tokens["refresh_token"]}
    renewal = await station.client().post("/api/v1/auth/refresh", json=body)
    refusal(renewal, 401, "unauthenticated")
    listed = expect(await ada.client.get("/api/v1/users?is_active=false"), 200)["items"]
    assert [user["id"] for user in listed] == [vic.id]
    expect(await ada.client.patch(path, json={"is_active": True}), 200)
    refusal(await vic.client.get("/probe"), 401, "unauthenticated")
    expect(await station.client(key).get("/probe"), 200)
    expect(await station.log_in(vic.email), 200)


async def test_last_active_owner_stays(station: Station, ada: Person) -> None:
    path = f"/api/v1/users/{ada.id}"
    refusal(await ada.client.patch(path, json={"role": "admin"}), 409, "last_owner")
    refusal(await ada.client.delete(path), 409, "last_owner")
    second = await station.hire(ada, "second@example.org", "owner")
    second_path = f"/api/v1/users/{second.id}"
    expect(await ada.client.patch(second_path, json={"is_active": False}), 200)
    refusal(await ada.client.delete(path), 409, "last_owner")
    expect(await ada.client.patch(second_path, json={"is_active": True}), 200)
    expect(await ada.client.delete(path), 204)
    second = await station.enter(second.email)
    answer = await second.client.patch(second_path, json={"is_active": False})
    refusal(answer, 409, "last_owner")


async def test_removed_user_loses_this_organization_only(
    station: Station, ada: Person, eve: Person
) -> None:
    members = f"/api/v1/organizations/{ada.organization_id}/members"
    expect(await ada.client.post(members, json={"email": eve.email, "role": "operator"}), 201)
    here = {"x-organization": ada.organization_id}
    body = {"name": "script", "scopes": ["devices:read"]}
    key = expect(await eve.client.post("/api/v1/auth/api-keys", json=body, headers=here), 201)
    expect(await station.client(key["api_key"]).get("/probe"), 200)
    expect(await ada.client.delete(f"/api/v1/users/{eve.id}"), 204)
    refusal(await eve.client.get("/probe", headers=here), 404, "not_found")
    refusal(await station.client(key["api_key"]).get("/probe"), 401, "unauthenticated")
    expect(await eve.client.get("/probe"), 200)


async def test_user_without_an_organization_may_still_make_one(
    station: Station, ada: Person
) -> None:
    vic = await station.hire(ada, "vic@example.org", "viewer")
    expect(await ada.client.delete(f"/api/v1/users/{vic.id}"), 204)
    refusal(await vic.client.get("/probe"), 403, "no_organization")
    me = expect(await vic.client.get("/api/v1/auth/me"), 200)
    assert me["organizations"] == []
    made = expect(await vic.client.post("/api/v1/organizations", json={"name": "Mine"}), 201)
    seen = expect(await vic.client.get("/probe"), 200)
    assert seen["organization_id"] == made["id"]


async def test_full_plan_takes_no_more_members(url: str) -> None:
    async with open_station(url, quota=FullQuota()) as station:
        ada = await station.register("ada@example.org")
        eve = await station.register("eve@example.org")
        answer = await ada.client.post("/api/v1/users", json={"email": "new@example.org"})
        problem = refusal(answer, 402, "quota_exceeded")
        assert (problem["metric"], problem["limit"], problem["used"]) == ("members", 1, 1)
        path = f"/api/v1/organizations/{ada.organization_id}/members"
        answer = await ada.client.post(path, json={"user_id": eve.id, "role": "viewer"})
        refusal(answer, 402, "quota_exceeded")
        listed = expect(await ada.client.get(path), 200)["items"]
        assert [member["user_id"] for member in listed] == [ada.id]
