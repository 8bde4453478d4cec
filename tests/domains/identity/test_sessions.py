"""Sessions: renewing and ending them."""

from datetime import timedelta
from functools import partial

import anyio
import pytest
from httpx2 import Response
from sqlalchemy import select

from fieldstation.core.clock import ManualClock, SystemClock
from fieldstation.domains.identity.models import RefreshToken
from fieldstation.domains.identity.queries import credentials, people
from fieldstation.domains.identity.service.revocations import revoke_families
from fieldstation.domains.identity.service.sessions import SESSIONS_PER_USER_MAX
from tests.domains.identity.stations import (
    START,
    Person,
    Station,
    expect,
    make_tables,
    open_station,
    refusal,
)
from tests.domains.identity.waiting import count_waiting, is_waiting
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio


def manual(station: Station) -> ManualClock:
    assert isinstance(station.clock, ManualClock)
    return station.clock


async def test_refresh_rotates(station: Station, ada: Person) -> None:
    manual(station).advance(1700)
    renewed = expect(await refresh(station, ada.tokens["refresh_token"]), 200)
    assert renewed["refresh_token"] != ada.tokens["refresh_token"]
    manual(station).advance(200)
    refusal(await ada.client.get("/api/v1/auth/me"), 401, "unauthenticated")
    expect(await station.client(renewed["access_token"]).get("/api/v1/auth/me"), 200)


async def refresh(station: Station, token: str | None) -> Response:
    body = {"refresh_token": token}
    return await station.client().post("/api/v1/auth/refresh", json=body)


async def test_reuse_of_an_old_refresh_token_ends_the_family(station: Station, ada: Person) -> None:
    other = expect(await station.log_in(ada.email), 200)
    renewed = expect(await refresh(station, ada.tokens["refresh_token"]), 200)
    expect(await station.client(renewed["access_token"]).get("/api/v1/auth/me"), 200)
    manual(station).advance(1)
    refusal(await refresh(station, ada.tokens["refresh_token"]), 401, "unauthenticated")
    for token in (renewed["access_token"], ada.tokens["access_token"]):
        refusal(await station.client(token).get("/api/v1/auth/me"), 401, "unauthenticated")
    refusal(await refresh(station, renewed["refresh_token"]), 401, "unauthenticated")
    refusal(await refresh(station, ada.tokens["refresh_token"]), 401, "unauthenticated")
    expect(await station.client(other["access_token"]).get("/api/v1/auth/me"), 200)
    expect(await refresh(station, other["refresh_token"]), 200)


async def test_refresh_refuses_unknown_missing_and_expired_tokens(
    station: Station, ada: Person
) -> None:
    for token in ("nonsense", "", None):
        refusal(await refresh(station, token), 401, "unauthenticated")
    empty = await station.client().post("/api/v1/auth/refresh")
    refusal(empty, 401, "unauthenticated")
    manual(station).advance(timedelta(days=30).total_seconds())
    refusal(await refresh(station, ada.tokens["refresh_token"]), 401, "unauthenticated")


async def test_refresh_loses_against_the_end_of_its_session(station: Station, ada: Person) -> None:
    token, verified = ada.tokens["refresh_token"], station.hasher.verified
    answers: list[Response] = []

    async def renew() -> None:
        answers.append(await refresh(station, token))

    async with anyio.create_task_group() as tasks, station.database.transaction() as session:
        await people.locked_user(session, ada.id)
        tasks.start_soon(renew)
        await wait_until(lambda: is_waiting(station, verified=verified))
        families = await credentials.live_families(session, ada.id, now=station.clock.now())
        await revoke_families(session, families, now=station.clock.now())
    refusal(answers[0], 401, "unauthenticated")
    async with station.database.reading() as session:
        assert not await credentials.live_families(session, ada.id, now=station.clock.now())


async def test_two_refreshes_at_the_same_time_have_one_winner(url: str) -> None:
    async with open_station(url, clock=SystemClock()) as station:
        ada = await station.register("ada@example.org")
        answers: list[Response] = []

        async def renew() -> None:
            answers.append(await refresh(station, ada.tokens["refresh_token"]))

        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(renew)
        assert sorted(answer.status_code for answer in answers) == [200, 401]
        won = next(answer for answer in answers if answer.status_code == 200).json()
        expect(await station.client(won["access_token"]).get("/api/v1/auth/me"), 200)
        expect(await refresh(station, won["refresh_token"]), 200)


async def test_two_refreshes_on_two_nodes_have_one_winner_and_the_session_goes_on(
    postgresql_url: str,
) -> None:
    await make_tables(postgresql_url)
    async with (
        open_station(postgresql_url, clock=SystemClock()) as here,
        open_station(postgresql_url, clock=SystemClock()) as there,
    ):
        ada = await here.register("ada@example.org")
        answers: list[Response] = []

        async def renew(station: Station) -> None:
            answers.append(await refresh(station, ada.tokens["refresh_token"]))

        async def both_wait() -> bool:
            return await count_waiting(here) == 2

        async with (
            anyio.create_task_group() as tasks,
            here.database.transaction() as session,
        ):
            await people.locked_user(session, ada.id)
            tasks.start_soon(renew, here)
            tasks.start_soon(renew, there)
            await wait_until(both_wait)
        assert sorted(answer.status_code for answer in answers) == [200, 401]
        won = next(answer for answer in answers if answer.status_code == 200).json()
        expect(await refresh(there, won["refresh_token"]), 200)


async def test_a_race_between_nodes_whose_clocks_differ_ends_no_session(
    postgresql_url: str,
) -> None:
    """The loser arrives before the exchange, though its node's clock is a minute ahead."""
    await make_tables(postgresql_url)
    ahead = ManualClock(START + timedelta(minutes=1))
    async with (
        open_station(postgresql_url) as here,
        open_station(postgresql_url, clock=ahead) as there,
    ):
        ada = await here.register("ada@example.org")
        answers: list[Response] = []

        async def renew(station: Station) -> None:
            answers.append(await refresh(station, ada.tokens["refresh_token"]))

        async def are_waiting(count: int) -> bool:
            return await count_waiting(here) == count

        async with (
            anyio.create_task_group() as tasks,
            here.database.transaction() as session,
        ):
            await people.locked_user(session, ada.id)
            for count, station in enumerate((here, there), start=1):
                tasks.start_soon(renew, station)
                await wait_until(partial(are_waiting, count))
        assert [answer.status_code for answer in answers] == [200, 401]
        won = answers[0].json()
        expect(await refresh(there, won["refresh_token"]), 200)
        refusal(await refresh(here, won["refresh_token"]), 401, "unauthenticated")
        refusal(await refresh(here, won["refresh_token"]), 401, "unauthenticated")
        async with here.database.reading() as session:
            assert not await credentials.live_families(session, ada.id, now=here.clock.now())


async def test_logout_ends_this_session_only_and_for_good(
    url: str, station: Station, ada: Person
) -> None:
    other = expect(await station.log_in(ada.email), 200)
    expect(await ada.client.get("/api/v1/auth/me"), 200)
    expect(await ada.client.post("/api/v1/auth/logout"), 204)
    refusal(await ada.client.get("/api/v1/auth/me"), 401, "unauthenticated")
    refusal(await refresh(station, ada.tokens["refresh_token"]), 401, "unauthenticated")
    expect(await station.client(other["access_token"]).get("/api/v1/auth/me"), 200)
    await station.close()
    async with open_station(url) as restarted:
        client = restarted.client(ada.tokens["access_token"])
        refusal(await client.get("/api/v1/auth/me"), 401, "unauthenticated")


async def test_session_ends_for_the_oldest_beyond_the_limit(station: Station, ada: Person) -> None:
    now = station.clock.now()
    async with station.database.transaction() as session:
        session.add_all(
            RefreshToken(
                id=f"{number:036}",
                family_id=f"family-{number}",
                user_id=ada.id,
                token_hash=f"{number:064}",
                scopes=None,
                created_at=now,
                expires_at=now + timedelta(days=1),
                used_at=None,
                revoked_at=None,
            )
            for number in range(SESSIONS_PER_USER_MAX)
        )
    expect(await station.log_in(ada.email), 200)
    async with station.database.reading() as session:
        live = await session.scalars(
            select(RefreshToken.family_id).where(
                RefreshToken.user_id == ada.id, RefreshToken.revoked_at.is_(None)
            )
        )
        families = set(live.all())
    assert len(families) == SESSIONS_PER_USER_MAX
    assert "family-0" not in families
    assert f"family-{SESSIONS_PER_USER_MAX - 1}" in families
