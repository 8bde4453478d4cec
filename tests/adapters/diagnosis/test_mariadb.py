"""Checks of MariaDB fail on a server that may lose what it has confirmed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL

from fieldstation.adapters.diagnosis.mariadb import check_server, judge_server
from fieldstation.adapters.diagnosis.report import Check, Verdict
from fieldstation.db.engines import database_url
from fieldstation.migrations.revisions import REVISIONS
from fieldstation.migrations.upgrade import on_connection, upgrade
from tests.services import fresh_mariadb_database

SAFE = {
    "innodb_doublewrite": "ON",
    "innodb_flush_log_at_trx_commit": "1",
    "log_bin": "ON",
    "max_allowed_packet": str(16 * 1024 * 1024),
    "sync_binlog": "1",
    "version": "10.11.6-MariaDB-0+deb12u1",
}
HALF = "CREATE TABLE schema_upgrade_station (x INTEGER)"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[URL]:
    with fresh_mariadb_database() as address:
        yield database_url(address, data_dir=tmp_path)


def by_name(checks: list[Check]) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in checks}


@pytest.mark.anyio
async def test_server_is_judged_by_its_version_its_settings_and_its_schema(url: URL) -> None:
    before = await check_server(url, "station", REVISIONS)
    await upgrade(url, "station")
    after = await check_server(url, "station", REVISIONS)

    assert by_name(before) == {
        "station database": Verdict.OK,
        "station durability": Verdict.OK,
        "station schema": Verdict.WARNING,
    }
    assert set(by_name(after).values()) == {Verdict.OK}
    assert "-MariaDB" in after[0].detail
    assert after[1].detail.startswith("innodb_flush_log_at_trx_commit=1")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("innodb_flush_log_at_trx_commit", "2"), ("innodb_doublewrite", "OFF"), ("sync_binlog", "0")],
)
def test_each_setting_that_may_lose_a_commit_is_a_failure(setting: str, value: str) -> None:
    assert by_name(judge_server("station", SAFE))["station durability"] is Verdict.OK

    _, found = judge_server("station", {**SAFE, setting: value})

    assert found.verdict is Verdict.FAILURE
    assert f"{setting}={value}" in found.detail
    assert f"{setting}={SAFE[setting]}" in str(found.advice)


def test_a_binary_log_that_is_not_kept_need_not_be_synchronous() -> None:
    found = judge_server("station", {**SAFE, "log_bin": "OFF", "sync_binlog": "0"})

    assert by_name(found)["station durability"] is Verdict.OK


def test_small_packets_are_a_warning() -> None:
    found = judge_server("station", {**SAFE, "max_allowed_packet": "1048576"})

    assert by_name(found)["station database"] is Verdict.WARNING


@pytest.mark.anyio
async def test_an_upgrade_that_was_cut_off_is_a_failure_that_says_what_to_do(url: URL) -> None:
    await on_connection(url, lambda connection: connection.execute(text(HALF)))

    found = (await check_server(url, "station", REVISIONS))[-1]

    assert (found.name, found.verdict) == ("station schema", Verdict.FAILURE)
    assert "Drop the database" in str(found.advice)


@pytest.mark.anyio
async def test_server_that_does_not_answer_is_a_failure_without_its_password() -> None:
    url = database_url("mysql://station:hidden@127.0.0.1:1/station", data_dir=Path())

    (found,) = await check_server(url, "station", REVISIONS)

    assert found.verdict is Verdict.FAILURE
    assert "cannot be used" in found.detail
    assert "hidden" not in found.detail


@pytest.mark.anyio
async def test_database_that_does_not_exist_is_a_failure(url: URL) -> None:
    (found,) = await check_server(url.set(database="no_such_database"), "telemetry", REVISIONS)

    assert found.verdict is Verdict.FAILURE
    assert "Unknown database" in found.detail
