"""Accounts: registering, one's own profile and password, and the command line's part."""

from typing import Any

import anyio
import pytest
from httpx2 import Response
from sqlalchemy import select

from fieldstation.core.clock import ManualClock
from fieldstation.core.errors import Conflict, Invalid, NotFound
from fieldstation.domains.audit.models import AuditEntry
from fieldstation.domains.identity.schemas import Role
from fieldstation.domains.identity.service import accounts, organizations
from fieldstation.domains.identity.service.accounts import Profile
from tests.domains.identity.stations import (
    PASSWORD,
    Person,
    Station,
    expect,
    open_station,
    refusal,
)
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio
NEW_PASSWORD = "seven-quiet-anvils-drift"


async def actions(station: Station) -> list[tuple[str, str | None]]:
    async with station.database.reading() as session:
        rows = await session.execute(
            select(AuditEntry.action, AuditEntry.actor_id).order_by(AuditEntry.id)
        )
        return [(row[0], row[1]) for row in rows]


async def test_registering_makes_an_organization_of_ones_own(station: Station) -> None:
    body = {"email": "Ada@EXAMPLE.org", "password": PASSWORD, "full_name": "Ada Lovelace"}
    user = expect(await station.client().post("/api/v1/auth/register", json=body), 201)
    assert user["email"] == "Ada@example.org"
    assert "password" not in user
    assert user["created_at"] == "2026-11-22T08:00:00Z"
    ada = await station.enter("ada@example.org")
    me = expect(await ada.client.get("/api/v1/users/me"), 200)
    assert me["is_superuser"] is False
    (own,) = me["organizations"]
    assert (own["name"], own["slug"], own["role"]) == ("Ada Lovelace", "ada-lovelace", "owner")
    assert "org:delete" in own["scopes"]
    assert "system:admin" not in own["scopes"]
    assert await actions(station) == [
        ("user.created", ada.id),
        ("organization.created", ada.id),
        ("session.opened", ada.id),
    ]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_me_is_no_id_of_a_user(ada: Person, method: str) -> None:
    response = await ada.client.request(method, "/api/v1/users/me", json={"role": "viewer"})
    refusal(response, 405, "method_not_allowed")


async def test_two_organizations_of_one_name_get_two_slugs(station: Station) -> None:
    first = await station.register("a@example.org", organization_name="Wetter & Höhe" + "x" * 60)
    second = await station.register("b@example.org", organization_name="Wetter & Höhe" + "x" * 60)
    third = await station.register("c@example.org", organization_name="天気")
    slugs = [
        expect(await person.client.get("/api/v1/auth/me"), 200)["organizations"][0]["slug"]
        for person in (first, second, third)
    ]
    assert slugs[0].startswith("wetter-hohexxx")
    assert slugs[1].startswith("wetter-hohexxx")
    assert slugs[0] != slugs[1]
    assert max(map(len, slugs)) <= 63
    assert slugs[2] == "organization"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"email": "ADA@example.org"}, "email_taken"),
        ({"email": "other@example.org", "username": "ADA"}, "username_taken"),
    ],
)
@pytest.mark.usefixtures("ada")
async def test_taken_names_are_a_conflict(
    station: Station, fields: dict[str, str], code: str
) -> None:
    body = {"password": PASSWORD, **fields}
    refusal(await station.client().post("/api/v1/auth/register", json=body), 409, code)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"email": "no address"}, "validation_error"),
        ({"email": "a@b@c"}, "validation_error"),
        ({"password": "password12"}, "weak_password"),
        ({"password": "new@example.org"}, "weak_password"),
        ({"username": "a b"}, "validation_error"),
        ({"username": "who@where"}, "validation_error"),
        ({"full_name": "line\nfeed"}, "validation_error"),
        ({"is_superuser": True}, "validation_error"),
        ({"role": "owner"}, "validation_error"),
        ({"organization_id": "x"}, "validation_error"),
        ({"is_active": True}, "validation_error"),
    ],
)
async def test_registering_refuses_what_is_not_allowed(
    station: Station, fields: dict[str, object], code: str
) -> None:
    body = {"email": "new@example.org", "password": PASSWORD, **fields}
    problem = refusal(await station.client().post("/api/v1/auth/register", json=body), 422, code)
    assert PASSWORD not in str(problem)


async def test_address_without_a_public_domain_is_taken(station: Station) -> None:
    person = await station.register("root@lab.local")
    assert person.email == "root@lab.local"


async def test_registration_can_be_closed(url: str) -> None:
    async with open_station(url, REGISTRATION="closed") as station:
        body = {"email": "ada@example.org", "password": PASSWORD}
        answer = await station.client().post("/api/v1/auth/register", json=body)
        refusal(answer, 403, "registration_closed")
        assert station.hasher.hashed == 0


@pytest.mark.usefixtures("eve")
async def test_profile_is_changed_by_its_user(station: Station, ada: Person) -> None:
    body = {"full_name": "Ada King", "username": None, "email": "ADA@example.net"}
    me = expect(await ada.client.patch("/api/v1/users/me", json=body), 200)
    assert (me["full_name"], me["username"], me["email"]) == ("Ada King", None, "ADA@example.net")
    expect(await station.log_in("ada@example.net"), 200)
    refusal(await station.log_in("ada@example.org"), 401, "invalid_credentials")
    taken = await ada.client.patch("/api/v1/users/me", json={"email": "Eve@example.org"})
    refusal(taken, 409, "email_taken")
    refused: list[dict[str, Any]] = [
        {"email": None},
        {"is_active": False},
        {"is_superuser": True},
        {"role": "owner"},
    ]
    for body in refused:
        answer = await ada.client.patch("/api/v1/users/me", json=body)
        refusal(answer, 422, "validation_error")
    logged = len(await actions(station))
    expect(await ada.client.patch("/api/v1/users/me", json={"full_name": "Ada King"}), 200)
    assert len(await actions(station)) == logged


async def change(person: Person, current: str, new: str) -> Response:
    body = {"current_password": current, "new_password": new}
    return await person.client.post("/api/v1/auth/password/change", json=body)


async def test_new_password_ends_other_sessions_only(station: Station, ada: Person) -> None:
    other = await station.enter(ada.email)
    expect(await change(ada, PASSWORD, NEW_PASSWORD), 204)
    expect(await ada.client.get("/api/v1/auth/me"), 200)
    refusal(await other.client.get("/api/v1/auth/me"), 401, "unauthenticated")
    body = {"refresh_token": other.tokens["refresh_token"]}
    renewal = await station.client().post("/api/v1/auth/refresh", json=body)
    refusal(renewal, 401, "unauthenticated")
    refusal(await station.log_in(ada.email, PASSWORD), 401, "invalid_credentials")
    expect(await station.log_in(ada.email, NEW_PASSWORD), 200)
    assert ("user.password_changed", ada.id) in await actions(station)


async def test_wrong_current_password_changes_nothing_and_counts(
    station: Station, ada: Person
) -> None:
    for _ in range(10):
        refusal(await change(ada, "not the password", NEW_PASSWORD), 403, "wrong_password")
    refusal(await change(ada, PASSWORD, NEW_PASSWORD), 429, "login_locked")
    refusal(await station.log_in(ada.email), 429, "login_locked")
    assert isinstance(station.clock, ManualClock)
    station.clock.advance(60)
    refusal(await change(ada, PASSWORD, "password12"), 422, "weak_password")
    expect(await change(ada, PASSWORD, NEW_PASSWORD), 204)


async def test_two_changes_of_the_password_at_the_same_time_have_one_winner(
    station: Station, ada: Person
) -> None:
    answers: list[int] = []

    async def replace(new: str) -> None:
        answers.append((await change(ada, PASSWORD, new)).status_code)

    async with anyio.create_task_group() as tasks:
        station.hasher.held_password = PASSWORD
        for new in (NEW_PASSWORD, "K9!vulcan-tarn-pod"):
            tasks.start_soon(replace, new)
        await wait_until(lambda: station.hasher.verified == 3)
        station.hasher.release.set()
    assert sorted(answers) == [204, 403]


async def test_command_line_makes_users(station: Station) -> None:
    async with station.database.transaction() as session:
        first = await organizations.ensure_first_organization(
            session, name="The station", now=station.clock.now()
        )
        again = await organizations.ensure_first_organization(
            session, name="Another name", now=station.clock.now()
        )
    assert first == again
    user, password = await accounts.create_user(
        station.database,
        station.passwords,
        Profile("admin@lab.local", "admin"),
        clock=station.clock,
        organization_id=first.id,
        role=Role.OWNER,
        superuser=True,
    )
    assert len(password) == 20
    admin = await station.enter("admin@lab.local", password)
    me = expect(await admin.client.get("/api/v1/auth/me"), 200)
    assert me["is_superuser"] is True
    assert "system:admin" in me["organizations"][0]["scopes"]
    async with station.database.reading() as session:
        assert await accounts.list_users(session) == [
            user.model_copy(update={"last_login_at": station.clock.now()})
        ]
        assert await accounts.list_users(session, after_id=user.id) == []


async def test_command_line_refuses_taken_weak_and_foreign(station: Station, ada: Person) -> None:
    async def create(
        email: str,
        organization_id: str,
        password: str | None = None,
        username: str | None = None,
    ) -> None:
        await accounts.create_user(
            station.database,
            station.passwords,
            Profile(email, username),
            clock=station.clock,
            organization_id=organization_id,
            password=password,
        )

    with pytest.raises(Conflict):
        await create("ADA@example.org", ada.organization_id)
    with pytest.raises(NotFound):
        await create("new@example.org", "nowhere")
    with pytest.raises(Invalid):
        await create("new@example.org", ada.organization_id, "password12")
    with pytest.raises(Invalid, match="email"):
        await create("no address", ada.organization_id)
    with pytest.raises(Invalid, match="username"):
        await create("new@example.org", ada.organization_id, username="a b")


async def test_command_line_sets_a_password_and_unlocks(station: Station, ada: Person) -> None:
    for _ in range(10):
        await station.log_in(ada.email, "not the password")
    password = await accounts.set_password(
        station.database, station.passwords, "ADA", clock=station.clock
    )
    expect(await station.log_in(ada.email, password), 200)
    refusal(await ada.client.get("/api/v1/auth/me"), 401, "unauthenticated")
    with pytest.raises(NotFound):
        await accounts.set_password(
            station.database,
            station.passwords,
            "nobody",
            clock=station.clock,
            password=NEW_PASSWORD,
        )
