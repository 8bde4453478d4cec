"""Logging in: by password, by form, with cookies, and what is refused."""

import anyio
import bcrypt
import jwt
import pytest
from sqlalchemy import select, update

from fieldstation.core.clock import ManualClock
from fieldstation.domains.identity.models import LoginThrottle, User
from tests.domains.identity.stations import (
    PASSWORD,
    Person,
    Station,
    expect,
    open_station,
    refusal,
)
from tests.domains.identity.waiting import is_waiting
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio


def manual(station: Station) -> ManualClock:
    assert isinstance(station.clock, ManualClock)
    return station.clock


async def test_login_by_email_in_any_case_and_by_username(station: Station, ada: Person) -> None:
    for name in ({"email": "ADA@Example.ORG"}, {"username": "Ada"}, {"username": ada.email}):
        answer = await station.client().post(
            "/api/v1/auth/login", json={**name, "password": PASSWORD}
        )
        tokens = expect(answer, 200)
        assert tokens["token_type"] == "bearer"
        assert tokens["expires_in"] == 1800
        assert answer.headers["cache-control"] == "no-store"
        assert "set-cookie" not in answer.headers


async def test_unknown_name_and_wrong_password_get_the_same_work_and_answer(
    station: Station, ada: Person
) -> None:
    before = station.hasher.verified
    wrong = refusal(await station.log_in(ada.email, "not the password"), 401, "invalid_credentials")
    assert station.hasher.verified == before + 1
    unknown = refusal(await station.log_in("nobody@example.org"), 401, "invalid_credentials")
    assert station.hasher.verified == before + 2
    for name in ("correlation_id", "request_id", "timestamp"):
        del wrong[name], unknown[name]
    assert wrong == unknown


@pytest.mark.parametrize(
    "body",
    [
        {"password": PASSWORD},
        {"email": "ada@example.org", "username": "ada", "password": PASSWORD},
        {"email": "ada@example.org", "password": PASSWORD, "is_superuser": True},
        {"email": "ada@example.org", "password": "x" * 300},
    ],
)
async def test_login_refuses_other_bodies(station: Station, body: dict[str, str]) -> None:
    refusal(await station.client().post("/api/v1/auth/login", json=body), 422, "validation_error")


async def test_account_locks_after_ten_failures_and_backs_off(
    station: Station, ada: Person
) -> None:
    for _ in range(10):
        refusal(await station.log_in(ada.email, "not the password"), 401, "invalid_credentials")
    verified = station.hasher.verified
    locked = await station.log_in(ada.email)
    problem = refusal(locked, 429, "login_locked")
    assert problem["retry_after"] == int(locked.headers["retry-after"]) == 31
    assert station.hasher.verified == verified
    refusal(
        await station.client().post(
            "/api/v1/auth/login", json={"username": "ada", "password": PASSWORD}
        ),
        429,
        "login_locked",
    )
    manual(station).advance(30)
    refusal(await station.log_in(ada.email, "not the password"), 401, "invalid_credentials")
    manual(station).advance(59)
    refusal(await station.log_in(ada.email), 429, "login_locked")
    manual(station).advance(1)
    expect(await station.log_in(ada.email), 200)
    refusal(await station.log_in(ada.email, "not the password"), 401, "invalid_credentials")
    expect(await station.log_in(ada.email), 200)


async def test_unknown_name_locks_like_an_account(station: Station) -> None:
    for _ in range(10):
        refusal(await station.log_in("nobody@example.org"), 401, "invalid_credentials")
    refusal(await station.log_in("Nobody@example.org"), 429, "login_locked")


async def test_old_failures_are_forgotten(station: Station, ada: Person) -> None:
    for _ in range(9):
        await station.log_in(ada.email, "not the password")
    manual(station).advance(24 * 3600)
    await station.log_in(ada.email, "not the password")
    async with station.database.reading() as session:
        throttle = await session.get(LoginThrottle, ada.id)
    assert throttle is not None
    assert throttle.failures == 1
    assert throttle.locked_until is None


async def test_guesses_at_the_same_time_are_all_counted(station: Station, ada: Person) -> None:
    statuses: list[int] = []

    async def guess() -> None:
        statuses.append((await station.log_in(ada.email, "not the password")).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(15):
            tasks.start_soon(guess)
    assert statuses.count(401) == 10
    assert statuses.count(429) == 5


async def test_first_failures_at_the_same_time_are_both_counted(
    station: Station, ada: Person
) -> None:
    verified = station.hasher.verified
    async with anyio.create_task_group() as tasks, station.database.transaction() as session:
        now = station.clock.now()
        session.add(LoginThrottle(key=ada.id, failures=1, locked_until=None, updated_at=now))
        await session.flush()
        tasks.start_soon(station.log_in, ada.email, "not the password")
        await wait_until(lambda: is_waiting(station, verified=verified + 1))
    async with station.database.reading() as session:
        throttle = await session.get_one(LoginThrottle, ada.id)
    assert throttle.failures == 2


async def test_right_password_is_refused_when_the_account_locked_while_it_was_checked(
    station: Station, ada: Person
) -> None:
    for _ in range(9):
        await station.log_in(ada.email, "not the password")
    station.hasher.held_password = PASSWORD
    statuses: list[int] = []

    async def guess_right() -> None:
        statuses.append((await station.log_in(ada.email)).status_code)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(guess_right)
        await wait_until(station.hasher.holding.is_set)
        refusal(await station.log_in(ada.email, "not the password"), 401, "invalid_credentials")
        station.hasher.release.set()
    assert statuses == [429]


async def test_login_loses_against_a_change_of_the_password_meanwhile(
    station: Station, ada: Person
) -> None:
    station.hasher.held_password = PASSWORD
    statuses: list[int] = []

    async def enter() -> None:
        statuses.append((await station.log_in(ada.email)).status_code)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter)
        await wait_until(station.hasher.holding.is_set)
        await store_hash(station, ada, station.hasher.hash("seven-quiet-anvils-drift"))
        station.hasher.release.set()
    assert statuses == [401]


async def test_bcrypt_hash_still_verifies_and_is_replaced(station: Station, ada: Person) -> None:
    long_password = "an old password that is longer than bcrypt ever looked at, seventy-two bytes!"
    old = bcrypt.hashpw(long_password.encode()[:72], bcrypt.gensalt(4)).decode()
    await store_hash(station, ada, old)
    refusal(await station.log_in(ada.email, "not the password"), 401, "invalid_credentials")
    expect(await station.log_in(ada.email, long_password), 200)
    async with station.database.reading() as session:
        stored = await session.scalar(select(User.password_hash).where(User.id == ada.id))
    assert stored is not None
    assert stored.startswith("$argon2id$")
    expect(await station.log_in(ada.email, long_password), 200)


async def test_hash_of_an_unknown_kind_lets_nobody_in(station: Station, ada: Person) -> None:
    await store_hash(station, ada, "{md5}5f4dcc3b5aa765d61d8327deb882cf99")
    refusal(await station.log_in(ada.email), 401, "invalid_credentials")


async def store_hash(station: Station, person: Person, password_hash: str) -> None:
    async with station.database.transaction() as session:
        await session.execute(
            update(User).where(User.id == person.id).values(password_hash=password_hash)
        )


@pytest.mark.usefixtures("ada")
async def test_form_login_narrows_the_session_for_good(station: Station) -> None:
    form = {"username": "ada", "password": PASSWORD, "scope": "telemetry:read devices:read"}
    tokens = expect(await station.client().post("/api/v1/auth/token", data=form), 200)
    assert tokens["scope"] == "devices:read telemetry:read"
    renewed = expect(
        await station.client().post(
            "/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]}
        ),
        200,
    )
    for token in (tokens["access_token"], renewed["access_token"]):
        client = station.client(token)
        seen = expect(await client.get("/probe"), 200)
        assert seen["scopes"] == ["devices:read", "telemetry:read"]
        problem = await client.get("/api/v1/users")
        refusal(problem, 403, "insufficient_scope")
        assert 'scope="org:read"' in problem.headers["www-authenticate"]
        body = {"name": "more", "scopes": ["devices:read"]}
        refusal(await client.post("/api/v1/auth/api-keys", json=body), 403, "session_required")
    expect(await client.post("/api/v1/auth/logout"), 204)


@pytest.mark.usefixtures("ada")
async def test_form_login_names_an_unknown_scope(station: Station) -> None:
    form = {"username": "ada", "password": PASSWORD, "scope": "everything"}
    answer = await station.client().post("/api/v1/auth/token", data=form)
    refusal(answer, 422, "unknown_scope")
    form = {"username": "ada", "password": PASSWORD, "grant_type": "implicit"}
    answer = await station.client().post("/api/v1/auth/token", data=form)
    refusal(answer, 422, "validation_error")


async def test_narrowing_gives_nothing_that_the_role_does_not_have(
    station: Station, ada: Person
) -> None:
    viewer = await station.hire(ada, "vic@example.org", "viewer")
    form = {"username": viewer.email, "password": PASSWORD, "scope": "org:admin system:admin"}
    tokens = expect(await station.client().post("/api/v1/auth/token", data=form), 200)
    seen = expect(await station.client(tokens["access_token"]).get("/probe"), 200)
    assert seen["scopes"] == []


async def test_cookies_carry_the_session(station: Station, ada: Person) -> None:
    client = station.client()
    answer = await client.post(
        "/api/v1/auth/login?cookie=true", json={"email": ada.email, "password": PASSWORD}
    )
    expect(answer, 200)
    for line in answer.headers.get_list("set-cookie"):
        assert "HttpOnly" in line
        assert "SameSite=lax" in line
        assert "Secure" not in line
    expect(await client.get("/api/v1/auth/me"), 200)
    refusal(await client.post("/probe"), 403, "csrf_failed")
    foreign = {"origin": "https://evil.example"}
    refusal(await client.post("/probe", headers=foreign), 403, "csrf_failed")
    refusal(await client.post("/probe", headers={"origin": "null"}), 403, "csrf_failed")
    own = {"origin": "http://station.test"}
    expect(await client.post("/probe", headers=own), 200)
    for headers in (foreign, {"origin": "null"}, {}):
        answer = await client.post("/api/v1/auth/refresh", headers=headers)
        refusal(answer, 403, "csrf_failed")
    given = {"refresh_token": "of somebody who needs no cookie"}
    answer = await client.post("/api/v1/auth/refresh", headers=foreign, json=given)
    refusal(answer, 401, "unauthenticated")
    renewed = await client.post("/api/v1/auth/refresh", headers=own)
    expect(renewed, 200)
    assert len(renewed.headers.get_list("set-cookie")) == 2
    expect(await client.post("/api/v1/auth/logout", headers=own), 204)
    assert not client.cookies
    refusal(await client.get("/api/v1/auth/me"), 401, "unauthenticated")


async def test_foreign_page_cannot_give_a_browser_a_session(station: Station, ada: Person) -> None:
    body = {"email": ada.email, "password": PASSWORD}
    answer = await station.client().post(
        "/api/v1/auth/login?cookie=true", json=body, headers={"origin": "https://evil.example"}
    )
    refusal(answer, 403, "csrf_failed")


async def test_configured_origins_may_write_with_the_cookie_which_is_secure_in_production(
    url: str,
) -> None:
    async with open_station(
        url,
        ENVIRONMENT="production",
        REGISTRATION="open",
        CORS_ORIGINS="https://console.example",
        API_PUBLIC_URL="https://public.example/base",
    ) as station:
        ada = await station.register("ada@example.org")
        answer = await station.client().post(
            "/api/v1/auth/login?cookie=true",
            json={"email": ada.email, "password": PASSWORD},
            headers={"origin": "https://console.example"},
        )
        expect(answer, 200)
        assert all("Secure" in line for line in answer.headers.get_list("set-cookie"))
        for origin in ("https://console.example", "https://public.example"):
            headers = {"origin": origin, "cookie": f"session={ada.tokens['access_token']}"}
            expect(await station.client().post("/probe", headers=headers), 200)


async def test_access_token_names_no_organization(ada: Person) -> None:
    claims = jwt.decode(ada.tokens["access_token"], options={"verify_signature": False})
    assert set(claims) == {"iss", "aud", "sub", "jti", "sid", "iat", "nbf", "exp", "type"}
    assert claims["sub"] == ada.id
