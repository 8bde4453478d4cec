"""The check of the certificate authority tells whether this node can open it, without a change."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from fieldstation.adapters.certificates import make_authority
from fieldstation.adapters.diagnosis.authority import check_authority
from fieldstation.adapters.diagnosis.report import Check, Verdict
from fieldstation.core.settings import read_settings
from fieldstation.db.engines import database_url
from fieldstation.domains.identity.service.authority import KeyPair, ensure_authority
from fieldstation.domains.identity.service.sealing import Sealer
from tests.kept_authority import write_directory
from tests.services import fresh_postgresql_database
from tests.station_database import empty_database

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
SECRET = "the secret of the station"


@pytest.fixture(scope="module")
def own_postgresql() -> Iterator[str]:
    with fresh_postgresql_database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """A database with the station's tables, empty."""
    address = None if request.param == "sqlite" else request.getfixturevalue("own_postgresql")
    # A blank in the path: SQLite is opened for reading by a URI.
    (tmp_path / "of a station").mkdir()
    url = database_url(address, data_dir=tmp_path / "of a station")
    async with empty_database(url):
        return url


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    return path


def contents(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def make_one(url: URL) -> KeyPair:
    pair = make_authority(now=NOW)
    async with empty_database(url) as database:
        sealer = Sealer([SECRET], purpose="certificate authority")
        await ensure_authority(database, sealer, lambda: pair, now=NOW)
    return pair


async def check(url: URL, data_dir: Path, **environment: str) -> Check:
    given = {"SECRET_KEY": SECRET, "DATA_DIR": str(data_dir), **environment}
    return await check_authority(url, read_settings(given))


async def test_none_is_fine_and_none_is_made(url: URL, data_dir: Path) -> None:
    for environment in ({}, {"SECRET_KEY": ""}):
        found = await check(url, data_dir, **environment)
        assert found.verdict is Verdict.OK
        assert "None yet" in found.detail
    assert contents(data_dir) == []


async def test_one_that_opens_is_fine_and_its_end_is_told(url: URL, data_dir: Path) -> None:
    await make_one(url)
    for environment in ({}, {"SECRET_KEY": "new", "PREVIOUS_SECRET_KEYS": SECRET}):
        found = await check(url, data_dir, **environment)
        assert (found.verdict, found.detail) == (Verdict.OK, "Opens, valid until 2036-11-23")


@pytest.mark.parametrize("secret", ["another secret", ""])
async def test_one_that_does_not_open_is_a_failure_that_says_what_to_do(
    url: URL, data_dir: Path, secret: str
) -> None:
    await make_one(url)
    found = await check(url, data_dir, SECRET_KEY=secret)
    assert found.verdict is Verdict.FAILURE
    assert "SECRET_KEY" in found.detail
    assert "PREVIOUS_SECRET_KEYS" in str(found.advice)
    assert contents(data_dir) == []


async def test_the_directory_of_an_earlier_version_is_told(url: URL, data_dir: Path) -> None:
    earlier = make_authority(now=NOW)
    directory = write_directory(data_dir, earlier)
    found = await check(url, data_dir)
    assert found.verdict is Verdict.OK
    assert found.detail == f"The next start takes that of {directory}"
    pair = await make_one(url)
    found = await check(url, data_dir)
    assert found.verdict is Verdict.WARNING
    assert "this node alone also accepts" in found.detail
    (directory / "authority.pem").write_text(pair.certificate)
    (directory / "authority.key").write_text(pair.key)
    found = await check(url, data_dir)
    assert found.verdict is Verdict.WARNING
    assert "unsealed" in found.detail
    (directory / "authority.key").write_text("a letter to the editor")
    found = await check(url, data_dir)
    assert found.verdict is Verdict.FAILURE
    assert str(found.advice).startswith("Mend it")


async def test_a_database_that_does_not_answer_is_a_warning(data_dir: Path) -> None:
    url = database_url("postgresql://station:hidden@127.0.0.1:1/station", data_dir=data_dir)
    found = await check(url, data_dir)
    assert found.verdict is Verdict.WARNING
    assert "hidden" not in f"{found}"
