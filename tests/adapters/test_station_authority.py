"""A node opens the station's authority, takes over what an earlier version left, and loses none."""

import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fieldstation.adapters.certificates import Authority, make_authority
from fieldstation.adapters.station_authority import StationAuthority
from fieldstation.core.clock import ManualClock
from fieldstation.core.errors import Conflict
from fieldstation.db.database import Database
from fieldstation.db.engines import database_url
from fieldstation.domains.identity.service.authority import KeyPair
from fieldstation.domains.identity.service.sealing import Sealer
from tests.kept_authority import write_directory
from tests.services import fresh_postgresql_database
from tests.station_database import empty_database

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)


@pytest.fixture(scope="module")
def own_postgresql() -> Iterator[str]:
    with fresh_postgresql_database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An open database with the station's tables, empty."""
    address = None if request.param == "sqlite" else request.getfixturevalue("own_postgresql")
    async with empty_database(database_url(address, data_dir=tmp_path)) as database:
        yield database


def node(database: Database, data_dir: Path, *secrets: str) -> StationAuthority:
    sealer = Sealer(secrets or ("secret",), purpose="certificate authority")
    return StationAuthority(database, sealer, data_dir=data_dir, clock=ManualClock(NOW))


def tls_port() -> ssl.SSLContext:
    return ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)


def earlier_authority(data_dir: Path) -> KeyPair:
    pair = make_authority(now=NOW)
    write_directory(data_dir, pair)
    return pair


def certificate_of(authority: Authority) -> tuple[bytes, str]:
    """Return a device's certificate and the key that it stands for."""
    issued = authority.issue_device("d", now=NOW, expires_at=NOW + timedelta(days=1))
    return ssl.PEM_cert_to_DER_cert(issued.certificate), issued.token


async def test_what_one_node_issues_every_node_knows(database: Database, tmp_path: Path) -> None:
    certificate, token = certificate_of(await node(database, tmp_path / "a").signing())
    for name in "ab":
        opened, tls = node(database, tmp_path / name), tls_port()
        assert opened.token_of(certificate) is None
        await opened.open(tls)
        assert opened.token_of(certificate) == token
        assert tls.verify_mode is ssl.CERT_OPTIONAL
        assert len(tls.get_ca_certs()) == 1
        stranger, _ = certificate_of(Authority(make_authority(now=NOW)))
        assert opened.token_of(stranger) is None


async def test_an_earlier_versions_authority_becomes_that_of_all_nodes(
    database: Database, tmp_path: Path
) -> None:
    pair = earlier_authority(tmp_path / "a")
    certificate, token = certificate_of(Authority(pair))
    await node(database, tmp_path / "a").open(None)
    at_b = node(database, tmp_path / "b")
    await at_b.open(tls_port())
    assert at_b.token_of(certificate) == token
    assert (await at_b.signing()).pem == pair.certificate
    assert (tmp_path / "a" / "authority" / "authority.key").read_text() == pair.key


async def test_the_command_takes_it_over_as_well(database: Database, tmp_path: Path) -> None:
    pair = earlier_authority(tmp_path)
    assert (await node(database, tmp_path).signing()).pem == pair.certificate


async def test_a_second_nodes_own_certificates_go_on_there_and_only_there(
    database: Database, tmp_path: Path
) -> None:
    pairs = {name: earlier_authority(tmp_path / name) for name in "ab"}
    nodes = {name: node(database, tmp_path / name) for name in "ab"}
    for each in nodes.values():
        await each.open(tls_port())
    of_a, token_of_a = certificate_of(Authority(pairs["a"]))
    of_b, token_of_b = certificate_of(Authority(pairs["b"]))
    assert (nodes["a"].token_of(of_a), nodes["a"].token_of(of_b)) == (token_of_a, None)
    assert (nodes["b"].token_of(of_a), nodes["b"].token_of(of_b)) == (token_of_a, token_of_b)
    assert (await nodes["b"].signing()).pem == pairs["a"].certificate


async def test_without_the_secret_a_node_asks_for_no_certificates_and_issues_none(
    database: Database, tmp_path: Path
) -> None:
    certificate, _ = certificate_of(await node(database, tmp_path / "a").signing())
    wrong, tls = node(database, tmp_path / "b", "another secret"), tls_port()
    await wrong.open(tls)
    assert tls.verify_mode is ssl.CERT_NONE
    assert wrong.token_of(certificate) is None
    with pytest.raises(Conflict, match="PREVIOUS_SECRET_KEYS"):
        await wrong.signing()


async def test_a_copied_directory_serves_a_node_with_another_secret(
    database: Database, tmp_path: Path
) -> None:
    pair = earlier_authority(tmp_path / "a")
    write_directory(tmp_path / "b", pair)
    await node(database, tmp_path / "a").open(tls_port())
    at_b, tls = node(database, tmp_path / "b", "another secret"), tls_port()
    await at_b.open(tls)
    certificate, token = certificate_of(Authority(pair))
    assert at_b.token_of(certificate) == token
    assert len(tls.get_ca_certs()) == 1
    assert (await at_b.signing()).pem == pair.certificate


async def test_without_a_tls_port_nothing_is_made(database: Database, tmp_path: Path) -> None:
    await node(database, tmp_path).open(None)
    made_now = make_authority(now=NOW)
    write_directory(tmp_path, made_now)
    assert (await node(database, tmp_path).signing()).pem == made_now.certificate


@pytest.mark.parametrize("damage", ["authority.pem", "authority.key"])
async def test_a_damaged_directory_is_one_sentence_and_nothing_is_made(
    database: Database, tmp_path: Path, damage: str
) -> None:
    pair = earlier_authority(tmp_path)
    (tmp_path / "authority" / damage).write_text("a letter to the editor")
    for work in (
        node(database, tmp_path).open(tls_port()),
        node(database, tmp_path).signing(),
    ):
        with pytest.raises(Conflict, match="mend it, or move the directory away"):
            await work
    (tmp_path / "authority" / damage).write_text(
        pair.key if damage.endswith("key") else pair.certificate
    )
    assert (await node(database, tmp_path).signing()).pem == pair.certificate


async def test_half_a_directory_is_none(database: Database, tmp_path: Path) -> None:
    pair = earlier_authority(tmp_path)
    (tmp_path / "authority" / "authority.key").unlink()
    assert (await node(database, tmp_path).signing()).pem != pair.certificate


async def test_a_reset_makes_another_or_takes_the_directorys(
    database: Database, tmp_path: Path
) -> None:
    lost = (await node(database, tmp_path / "a").signing()).pem
    at_b = node(database, tmp_path / "b", "another secret")
    assert not await at_b.reset()
    assert (await at_b.signing()).pem != lost
    pair = earlier_authority(tmp_path / "b")
    assert await at_b.reset()
    assert (await at_b.signing()).pem == pair.certificate
