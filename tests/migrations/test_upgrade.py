"""The chain of migrations builds exactly the models' tables, on each database, however often."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import URL

from fieldstation import migrations
from fieldstation.core.errors import Busy, Conflict
from fieldstation.db.engines import database_url
from fieldstation.migrations.chain import configuration, differences
from fieldstation.migrations.revisions import REVISIONS
from fieldstation.migrations.upgrade import on_connection, pending_revisions, upgrade
from fieldstation.tables import METADATA
from tests.services import fresh_mariadb_database, fresh_server_database, on_mariadb

pytestmark = pytest.mark.anyio

TARGETS = ("station", "telemetry")


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    """An empty database; both targets live in it, as on one server."""
    if request.param == "sqlite":
        yield database_url(None, data_dir=tmp_path)
    else:
        with fresh_server_database(request.param) as address:
            yield database_url(address, data_dir=tmp_path)


async def tables(url: URL) -> set[str]:
    found: set[str] = set()
    await on_connection(url, lambda connection: found.update(inspect(connection).get_table_names()))
    return found


def upgrade_to(revision: str) -> Callable[[Connection], None]:
    return lambda connection: command.upgrade(configuration(connection, "station"), revision)


async def found_differences(url: URL, target: str) -> list[object]:
    found: list[object] = []
    await on_connection(url, lambda connection: found.extend(differences(connection, target)))
    return found


async def downgrade(url: URL, target: str) -> None:
    def run(connection: Connection) -> None:
        command.downgrade(configuration(connection, target), "base")

    await on_connection(url, run)


async def test_an_empty_database_lacks_everything_and_gets_the_models_tables(url: URL) -> None:
    for target in TARGETS:
        assert await pending_revisions(url, target)
        await upgrade(url, target)
        assert await pending_revisions(url, target) == []
        assert await found_differences(url, target) == []
    expected = {name for target in TARGETS for name in METADATA[target].tables}
    versions = {f"schema_version_{target}" for target in TARGETS}
    assert await tables(url) == expected | versions


async def test_upgrading_again_changes_nothing(url: URL) -> None:
    await upgrade(url, "station")
    before = await tables(url)
    await upgrade(url, "station")
    assert await tables(url) == before
    assert await found_differences(url, "station") == []


async def test_each_target_leaves_the_other_alone(url: URL) -> None:
    await upgrade(url, "telemetry")
    assert not await tables(url) & set(METADATA["station"].tables)
    await upgrade(url, "station")
    await downgrade(url, "station")
    assert set(METADATA["telemetry"].tables) <= await tables(url)
    assert await found_differences(url, "telemetry") == []


async def test_every_step_back_and_forth_again(url: URL) -> None:
    for target in TARGETS:
        await upgrade(url, target)
    for target in TARGETS:
        await downgrade(url, target)
    assert await tables(url) <= {f"schema_version_{target}" for target in TARGETS}
    for target in TARGETS:
        await upgrade(url, target)
        assert await found_differences(url, target) == []


async def test_a_column_that_no_migration_made_shows_as_a_difference(url: URL) -> None:
    await upgrade(url, "station")
    await on_connection(
        url, lambda c: c.execute(text("ALTER TABLE device ADD COLUMN colour VARCHAR(20)"))
    )
    (found,) = await found_differences(url, "station")
    assert "colour" in repr(found)


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
async def test_a_failed_upgrade_leaves_no_half_of_it(url: URL) -> None:
    await on_connection(url, lambda c: c.execute(text("CREATE TABLE device_tag (x INTEGER)")))
    with pytest.raises(Exception, match="device_tag"):
        await upgrade(url, "station")
    assert await tables(url) <= {"device_tag"}


async def test_an_upgrade_of_mariadb_that_was_cut_off_says_what_to_do(tmp_path: Path) -> None:
    with fresh_mariadb_database() as address:
        url = database_url(address, data_dir=tmp_path)
        await on_connection(url, lambda c: c.execute(text("CREATE TABLE device_tag (x INTEGER)")))
        with pytest.raises(Exception, match="device_tag"):
            await upgrade(url, "station")
        half = await tables(url)
        assert {"schema_upgrade_station", "device"} <= half
        for again in (upgrade, pending_revisions):
            with pytest.raises(Conflict, match="was cut off"):
                await again(url, "station")
        assert await tables(url) == half
        await upgrade(url, "telemetry")
        assert await found_differences(url, "telemetry") == []


async def test_mariadb_keeps_texts_and_bytes_as_long_as_any(tmp_path: Path) -> None:
    """Whatever the database's own character set and types are."""
    with fresh_mariadb_database() as address:
        url = database_url(address, data_dir=tmp_path)
        for target in TARGETS:
            await upgrade(url, target)
        name = str(url.database)
        assert (
            await on_mariadb(
                "SELECT table_name, column_name, column_type, collation_name FROM"
                " information_schema.columns WHERE table_schema = %s AND (data_type IN"
                " ('blob', 'text', 'tinytext', 'tinyblob') OR (data_type = 'varchar'"
                " AND collation_name <> 'utf8mb4_nopad_bin'))"
                " AND table_name NOT LIKE 'schema_version%%'",
                name,
            )
            == ()
        )
        assert (
            await on_mariadb(
                "SELECT table_name FROM information_schema.tables"
                " WHERE table_schema = %s AND engine <> 'InnoDB'",
                name,
            )
            == ()
        )


async def test_two_nodes_that_start_together_upgrade_one_after_the_other(url: URL) -> None:
    if url.get_backend_name() == "sqlite":
        await asyncio.gather(
            *(asyncio.to_thread(asyncio.run, upgrade(url, "station")) for _ in range(3))
        )
    else:
        await asyncio.gather(*(upgrade(url, target) for target in TARGETS * 2))
    assert await pending_revisions(url, "station") == []
    assert await found_differences(url, "station") == []


def test_the_names_of_the_revisions_are_those_of_the_chain() -> None:
    chain = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert [step.revision for step in chain.walk_revisions()][::-1] == list(REVISIONS)


async def test_an_older_schema_lacks_what_came_after_it_and_gets_it(url: URL) -> None:
    await on_connection(url, upgrade_to(REVISIONS[1]))
    assert await pending_revisions(url, "station") == list(REVISIONS[2:])
    await upgrade(url, "station")
    assert await pending_revisions(url, "station") == []
    assert await found_differences(url, "station") == []


@pytest.mark.parametrize(
    "noted",
    [
        "UPDATE schema_version_station SET version_num = '20990101_later'",
        "INSERT INTO schema_version_station VALUES ('20261122_chunks')",
    ],
)
async def test_a_schema_that_this_version_does_not_know_is_refused(url: URL, noted: str) -> None:
    await upgrade(url, "station")
    await on_connection(url, lambda connection: connection.execute(text(noted)))
    before = await tables(url)
    with pytest.raises(Conflict, match="does not know; install"):
        await upgrade(url, "station")
    with pytest.raises(Conflict, match="does not know; install"):
        await pending_revisions(url, "station")
    assert await tables(url) == before


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
async def test_a_server_that_does_not_answer_is_busy(tmp_path: Path, scheme: str) -> None:
    url = database_url(f"{scheme}://nobody@127.0.0.1:1/none", data_dir=tmp_path)
    with pytest.raises(Busy, match="does not answer"):
        await upgrade(url, "station")


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
async def test_a_server_without_that_database_is_one_sentence(tmp_path: Path, kind: str) -> None:
    with fresh_server_database(kind) as address:
        url = database_url(f"{address}_missing", data_dir=tmp_path)
        with pytest.raises(Busy, match="DATABASE_URL"):
            await upgrade(url, "station")


async def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "station.db").write_text("a letter to the editor " * 100)
    with pytest.raises(Busy, match=r"station\.db cannot be used"):
        await upgrade(database_url(None, data_dir=tmp_path), "station")


async def test_a_directory_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Busy, match="unable to open"):
        await upgrade(database_url(None, data_dir=tmp_path / "not" / "there"), "station")
