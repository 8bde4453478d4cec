"""API keys of users and devices."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select

from fieldstation.core.clock import ManualClock
from fieldstation.core.errors import Conflict
from fieldstation.domains.audit.models import AuditEntry
from fieldstation.domains.audit.schemas import STATION
from fieldstation.domains.identity.jobs import note_key_uses
from fieldstation.domains.identity.models import ApiKey, Membership
from fieldstation.domains.identity.service import keys
from fieldstation.domains.identity.service.keys import KEYS_PER_SUBJECT_MAX
from tests.domains.identity.stations import Person, Station, expect, refusal

pytestmark = pytest.mark.anyio
DEVICE = "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a77"
PATH = "/api/v1/auth/api-keys"


async def issue_device_key(station: Station, organization_id: str) -> tuple[str, str]:
    async with station.database.transaction() as session:
        key, secret = await keys.issue_key(
            session,
            organization_id,
            kind="device",
            subject_id=DEVICE,
            name="first",
            actor=STATION,
            now=station.clock.now(),
        )
    return key.id, secret


async def test_key_acts_for_its_user_within_its_scopes(station: Station, ada: Person) -> None:
    body = {"name": "script", "scopes": ["telemetry:read", "devices:read"]}
    made = expect(await ada.client.post(PATH, json=body), 201)
    secret = made["api_key"]
    assert secret.startswith("fsu_")
    assert len(secret) == 47
    assert secret.startswith(made["prefix"])
    assert len(made["prefix"]) == 10
    seen = expect(await station.client(secret).get("/probe"), 200)
    assert seen["scopes"] == ["devices:read", "telemetry:read"]
    assert (seen["user_id"], seen["organization_id"]) == (ada.id, ada.organization_id)
    me = expect(await station.client(secret).get("/api/v1/auth/me"), 200)
    assert [item["organization_id"] for item in me["organizations"]] == [ada.organization_id]
    async with station.database.reading() as session:
        row = await session.get(ApiKey, made["id"])
        assert row is not None
        assert secret not in (row.secret_hash, row.prefix)
        assert len(row.secret_hash) == 64
        entry = await session.scalar(select(AuditEntry).where(AuditEntry.entity_id == row.id))
    assert entry is not None
    assert entry.action == "api_key.issued"
    assert secret not in str(entry.after)


async def test_key_loses_what_its_user_loses(station: Station, ada: Person) -> None:
    bob = await station.hire(ada, "bob@example.org", "operator")
    body = {"name": "script", "scopes": ["devices:read", "devices:write"]}
    secret = expect(await bob.client.post(PATH, json=body), 201)["api_key"]
    expect(await station.client(secret).get("/probe"), 200)
    expect(await ada.client.patch(f"/api/v1/users/{bob.id}", json={"role": "viewer"}), 200)
    seen = expect(await station.client(secret).get("/probe"), 200)
    assert seen["scopes"] == ["devices:read"]


async def test_key_without_its_users_membership_is_worth_nothing(
    station: Station, ada: Person
) -> None:
    bob = await station.hire(ada, "bob@example.org", "operator")
    body = {"name": "script", "scopes": ["devices:read"]}
    secret = expect(await bob.client.post(PATH, json=body), 201)["api_key"]
    async with station.database.transaction() as session:
        await session.execute(delete(Membership).where(Membership.user_id == bob.id))
    refusal(await station.client(secret).get("/probe"), 401, "unauthenticated")


async def test_scopes_must_exist_and_be_ones_own(station: Station, ada: Person) -> None:
    viewer = await station.hire(ada, "vic@example.org", "viewer")
    for scope in ("devices:write", "org:delete", "system:admin"):
        answer = await viewer.client.post(PATH, json={"name": "x", "scopes": [scope]})
        refusal(answer, 403, "insufficient_scope")
        assert f'scope="{scope}"' in answer.headers["www-authenticate"]
    for scope in ("device", "everything"):
        answer = await ada.client.post(PATH, json={"name": "x", "scopes": [scope]})
        refusal(answer, 422, "unknown_scope")
    bodies: list[dict[str, Any]] = [
        {"name": "x", "scopes": []},
        {"name": "", "scopes": ["devices:read"]},
        {"name": "a\x00b", "scopes": ["devices:read"]},
        {"name": "x", "scopes": ["devices:read"], "subject_id": ada.id},
        {"name": "x", "scopes": ["devices:read"], "expires_at": "tomorrow"},
    ]
    for body in bodies:
        refusal(await ada.client.post(PATH, json=body), 422, "validation_error")


async def test_superuser_key_is_super_only_if_it_says_so(station: Station) -> None:
    root = await station.make_superuser("root@example.org")
    body = {"name": "x", "scopes": ["system:admin", "org:admin"]}
    strong = expect(await root.client.post(PATH, json=body), 201)["api_key"]
    body = {"name": "x", "scopes": ["org:admin"]}
    weak = expect(await root.client.post(PATH, json=body), 201)["api_key"]
    assert (await station.authenticator.authenticate(strong)).superuser
    assert not (await station.authenticator.authenticate(weak)).superuser


async def test_key_cannot_make_keys_or_change_the_account(station: Station, ada: Person) -> None:
    body = {"name": "x", "scopes": ["org:read", "org:admin"]}
    made = expect(await ada.client.post(PATH, json=body), 201)
    client = station.client(made["api_key"])
    expect(await client.get(PATH), 200)
    change = {"current_password": "x", "new_password": "y"}
    for answer in (
        await client.post(PATH, json=body),
        await client.delete(f"{PATH}/{made['id']}"),
        await client.post("/api/v1/auth/password/change", json=change),
        await client.post("/api/v1/auth/logout"),
        await client.patch("/api/v1/users/me", json={"full_name": "x"}),
        await client.post("/api/v1/organizations", json={"name": "x"}),
    ):
        refusal(answer, 403, "session_required")


async def test_key_expires(station: Station, ada: Person) -> None:
    expires_at = station.clock.now() + timedelta(minutes=1)
    body = {"name": "x", "scopes": ["devices:read"], "expires_at": expires_at.isoformat()}
    secret = expect(await ada.client.post(PATH, json=body), 201)["api_key"]
    client = station.client(secret)
    expect(await client.get("/probe"), 200)
    assert isinstance(station.clock, ManualClock)
    station.clock.advance(60)
    assert station.authenticator.cached(secret) is None
    refusal(await client.get("/probe"), 401, "unauthenticated")
    refusal(await ada.client.post(PATH, json=body), 422, "expired")


async def test_revoked_key_is_refused_at_once_and_leaves_the_list(
    station: Station, ada: Person, eve: Person
) -> None:
    ids = []
    for name in ("one", "two", "three"):
        body = {"name": name, "scopes": ["devices:read"]}
        made = expect(await ada.client.post(PATH, json=body), 201)
        ids.append(made["id"])
    client = station.client(made["api_key"])
    expect(await client.get("/probe"), 200)
    refusal(await eve.client.delete(f"{PATH}/{ids[2]}"), 404, "not_found")
    expect(await ada.client.delete(f"{PATH}/{ids[2]}"), 204)
    refusal(await client.get("/probe"), 401, "unauthenticated")
    refusal(await ada.client.delete(f"{PATH}/{ids[2]}"), 404, "not_found")
    first = expect(await ada.client.get(f"{PATH}?limit=1&include_total=true"), 200)
    assert [key["id"] for key in first["items"]] == ids[:1]
    assert first["total"] == 2
    rest = expect(await ada.client.get(f"{PATH}?cursor={first['next_cursor']}"), 200)
    assert [key["id"] for key in rest["items"]] == ids[1:2]
    assert "api_key" not in rest["items"][0]
    assert expect(await eve.client.get(PATH), 200)["items"] == []


async def test_number_of_keys_is_limited(station: Station, ada: Person) -> None:
    body = {"name": "x", "scopes": ["devices:read"]}
    for _ in range(KEYS_PER_SUBJECT_MAX):
        expect(await ada.client.post(PATH, json=body), 201)
    refusal(await ada.client.post(PATH, json=body), 409, "too_many")
    for _ in range(KEYS_PER_SUBJECT_MAX):
        await issue_device_key(station, ada.organization_id)
    with pytest.raises(Conflict):
        await issue_device_key(station, ada.organization_id)


async def test_device_key_is_the_device_and_nothing_else(
    station: Station, ada: Person, eve: Person
) -> None:
    _, secret = await issue_device_key(station, ada.organization_id)
    assert secret.startswith("fsd_")
    client = station.client(secret)
    seen = expect(await client.get("/probe"), 200)
    assert (seen["device_id"], seen["user_id"]) == (DEVICE, None)
    assert seen["scopes"] == ["device"]
    assert seen["actor"][:2] == ["device", DEVICE]
    for path in ("users", f"users/{ada.id}", "auth/api-keys"):
        refusal(await client.get(f"/api/v1/{path}"), 403, "insufficient_scope")
    for path in ("auth/me", "users/me", "organizations"):
        refusal(await client.get(f"/api/v1/{path}"), 403, "session_required")
    own = f"/api/v1/organizations/{ada.organization_id}"
    refusal(await client.get(own), 403, "insufficient_scope")
    foreign = {"x-organization": eve.organization_id}
    refusal(await client.get("/probe", headers=foreign), 404, "not_found")


async def test_device_keys_overlap_and_end_one_by_one_or_together(
    station: Station, ada: Person
) -> None:
    (first_id, first), (_, second), (_, third) = [
        await issue_device_key(station, ada.organization_id) for _ in range(3)
    ]
    for secret in (first, second, third):
        expect(await station.client(secret).get("/probe"), 200)
    async with station.database.transaction() as session:
        await keys.revoke_key(
            session,
            ada.organization_id,
            subject_id=DEVICE,
            key_id=first_id,
            actor=STATION,
            now=station.clock.now(),
        )
    refusal(await station.client(first).get("/probe"), 401, "unauthenticated")
    expect(await station.client(second).get("/probe"), 200)
    async with station.database.transaction() as session:
        await keys.revoke_subject(
            session, ada.organization_id, subject_id=DEVICE, now=station.clock.now()
        )
    async with station.database.reading() as session:
        assert await keys.list_keys(session, ada.organization_id, subject_id=DEVICE) == []
    for secret in (second, third):
        refusal(await station.client(secret).get("/probe"), 401, "unauthenticated")


async def test_last_use_is_noted_in_batches(station: Station, ada: Person) -> None:
    key_id, secret = await issue_device_key(station, ada.organization_id)
    gone_id, gone = await issue_device_key(station, ada.organization_id)
    for token in (secret, gone):
        await station.authenticator.authenticate(token)
    async with station.database.transaction() as session:
        await session.delete(await session.get_one(ApiKey, gone_id))
    assert isinstance(station.clock, ManualClock)
    station.clock.advance(5)
    assert station.authenticator.cached(secret) is not None
    await note_key_uses(station.authenticator, station.database)
    async with station.database.reading() as session:
        row = await session.get_one(ApiKey, key_id)
    assert row.last_used_at == station.clock.now()
    assert station.authenticator.take_key_uses() == {}
    await note_key_uses(station.authenticator, station.database)
