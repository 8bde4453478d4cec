"""Checks of PostgreSQL fail on a server that may lose what it has confirmed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.engine import URL

from fieldstation.adapters.diagnosis.postgresql import check_server, judge_server
from fieldstation.adapters.diagnosis.report import Check, Verdict
from fieldstation.core.clock import SystemClock
from fieldstation.db.engines import database_url
from fieldstation.domains.telemetry.store.postgresql import PostgresqlReadingStore
from fieldstation.migrations.revisions import REVISIONS
from fieldstation.migrations.upgrade import upgrade
from tests.services import fresh_postgresql_database, on_postgresql

SAFE = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "server_version": "15.14",
    "server_version_num": "150014",
}

TIMESCALE = (
    "SET allow_system_table_mods = on; INSERT INTO pg_extension"
    " (oid, extname, extowner, extnamespace, extrelocatable, extversion)"
    " VALUES (99999, 'timescaledb', 10, 'public'::regnamespace, false, '2.11.2')"
)


@pytest.fixture(scope="module")
def own_database() -> Iterator[str]:
    """A database whose settings a test may change."""
    with fresh_postgresql_database() as url:
        yield url


def asynchronous(url: str) -> URL:
    return make_url(url).set(drivername="postgresql+asyncpg")


def by_name(checks: list[Check]) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in checks}


@pytest.mark.anyio
async def test_server_is_judged_as_a_connection_of_the_station_sees_it(own_database: str) -> None:
    url = asynchronous(own_database)
    name = str(url.database)

    before = await check_server(url, "station", REVISIONS)
    await upgrade(url, "station")
    await on_postgresql(f"ALTER DATABASE {name} SET synchronous_commit = off", database=name)
    after = await check_server(url, "station", REVISIONS)

    assert by_name(before) == {
        "station database": Verdict.OK,
        "station durability": Verdict.OK,
        "station schema": Verdict.WARNING,
    }
    assert by_name(after) == {
        "station database": Verdict.OK,
        "station durability": Verdict.FAILURE,
        "station schema": Verdict.OK,
    }
    assert "Off: synchronous_commit" in after[1].detail


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
def test_each_setting_that_is_off_is_a_failure(setting: str) -> None:
    assert by_name(judge_server("station", SAFE))["station durability"] is Verdict.OK

    found = by_name(judge_server("station", {**SAFE, setting: "off"}))

    assert found["station durability"] is Verdict.FAILURE


def test_server_that_is_no_longer_maintained_is_a_warning() -> None:
    old = {**SAFE, "server_version": "12.22", "server_version_num": "120022"}

    assert by_name(judge_server("station", old))["station database"] is Verdict.WARNING


@pytest.mark.anyio
async def test_timescaledb_is_recognised(own_database: str) -> None:
    """By a row alone: the extension itself cannot be installed where these tests run."""
    url = asynchronous(own_database)
    await upgrade(url, "telemetry")
    store = PostgresqlReadingStore(own_database, node_id="doctor", clock=SystemClock())
    await store.open_beside()
    before = await store.description()
    assert "station extension" not in by_name(await check_server(url, "station", REVISIONS))

    await on_postgresql(TIMESCALE, database=str(url.database))

    checks = {check.name: check for check in await check_server(url, "station", REVISIONS)}
    assert checks["station extension"].verdict is Verdict.OK
    assert checks["station extension"].detail.startswith("TimescaleDB 2.11.2: not used")
    assert await store.description() == f"{before} with TimescaleDB 2.11.2"
    assert before.startswith("PostgreSQL 1")
    await store.close()


@pytest.mark.anyio
async def test_server_that_does_not_answer_is_a_failure_without_its_password() -> None:
    url = database_url("postgresql://station:hidden@127.0.0.1:1/station", data_dir=Path())

    (found,) = await check_server(url, "station", REVISIONS)

    assert found.verdict is Verdict.FAILURE
    assert "does not answer" in found.detail
    assert "hidden" not in found.detail


@pytest.mark.anyio
async def test_database_that_does_not_exist_is_a_failure(own_database: str) -> None:
    (found,) = await check_server(asynchronous(f"{own_database}_none"), "telemetry", REVISIONS)

    assert found.verdict is Verdict.FAILURE
    assert "does not exist" in found.detail
