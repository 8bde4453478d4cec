"""A database URL becomes the engines that fit it, or a sentence."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fieldstation.adapters.certificates import make_authority
from fieldstation.core.settings import DatabaseSettings, SettingsError
from fieldstation.db.engines import create_engines, database_url
from fieldstation.db.mariadb import connect_arguments

HERE = Path("data")


def test_without_a_url_it_is_a_file_in_the_data_directory() -> None:
    url = database_url(None, data_dir=HERE)
    assert url.render_as_string() == "sqlite+aiosqlite:///data/station.db"
    assert database_url(None, data_dir=HERE, file_name="x.db").database == "data/x.db"


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("sqlite:////srv/station.db", "sqlite+aiosqlite"),
        ("postgresql://station@db/station", "postgresql+asyncpg"),
        ("postgres://station@db/station", "postgresql+asyncpg"),
        ("postgresql+psycopg2://station@db/station", "postgresql+asyncpg"),
        ("mysql+pymysql://station@db/station?charset=utf8mb4", "mariadb+asyncmy"),
        ("mysql://station@db/station", "mariadb+asyncmy"),
        ("mariadb://station@db/station?ssl=true", "mariadb+asyncmy"),
    ],
)
def test_each_spelling_gets_its_asynchronous_driver(given: str, driver: str) -> None:
    assert database_url(given, data_dir=HERE).drivername == driver


@pytest.mark.parametrize(
    "given",
    [
        "oracle://user:hunter2-secret@db/station",
        "hunter2-secret",
        "postgresql://user:hunter2-secret@db:port/station",
        "://hunter2-secret",
        "mysql://user:hunter2-secret@db/station?init_command=DROP",
        "mysql://user:hunter2-secret@db/station?ssl=required",
        "mysql://user:hunter2-secret@db/station?ssl_ca=/no/such/file.pem",
        f"mysql://user:hunter2-secret@db/station?ssl_ca={__file__}",
        "",
    ],
)
def test_what_is_no_known_database_is_one_sentence_without_the_password(given: str) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL") as refused:
        database_url(given, data_dir=HERE)
    assert "hunter2-secret" not in str(refused.value)


def test_sqlite_has_one_connection_that_writes_and_postgresql_one_pool() -> None:
    settings = DatabaseSettings()
    sqlite = create_engines(database_url(None, data_dir=HERE), settings)
    postgresql = create_engines(database_url("postgresql://db/x", data_dir=HERE), settings)
    assert sqlite.writer is not sqlite.reader
    assert sqlite.writer.pool.size() == 1  # type: ignore[attr-defined]
    assert postgresql.writer.pool is postgresql.reader.pool
    options = postgresql.reader.sync_engine.get_execution_options()
    assert options["postgresql_readonly"] is True


def test_the_options_of_a_mariadb_url_reach_the_driver(tmp_path: Path) -> None:
    socket = "mysql://station:p%C3%A4ss@db/x?unix_socket=/run/mysqld.sock"
    found = connect_arguments(database_url(socket, data_dir=HERE))
    assert found["unix_socket"] == "/run/mysqld.sock"
    assert found["password"] == "päss".encode()
    assert "ssl" not in found
    authority = tmp_path / "ca.pem"
    authority.write_text(make_authority(now=datetime.now(UTC)).certificate)
    verified = database_url(f"mysql://db/x?ssl_ca={authority}", data_dir=HERE)
    assert connect_arguments(verified)["ssl"] == {"ca": str(authority)}
    assert connect_arguments(database_url("mysql://db/x?ssl=true", data_dir=HERE))["ssl"] is True
    assert "ssl" not in connect_arguments(database_url("mysql://db/x?ssl=off", data_dir=HERE))
