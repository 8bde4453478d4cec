"""MariaDB over TLS: verified as the URL says, never without it, and a refusal says why."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from fieldstation.adapters.certificates import Authority, make_authority
from fieldstation.adapters.diagnosis.mariadb import check_server
from fieldstation.adapters.diagnosis.report import Verdict
from fieldstation.core.clock import SystemClock
from fieldstation.core.errors import Busy
from fieldstation.db.engines import database_url, server_engine
from fieldstation.domains.telemetry.store.mariadb import MariadbReadingStore
from fieldstation.migrations.upgrade import pending_revisions, upgrade
from tests.mariadb_process import MariadbProcess

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
UNTRUSTED = "TLS with the server fails: unable to get local issuer certificate"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> MariadbProcess:
    return MariadbProcess(tmp_path_factory.mktemp("mariadb"))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an authority, the server's certificate by it, and another authority."""
    directory = tmp_path_factory.mktemp("certificates")
    authority, other = (Authority(make_authority(now=NOW)) for _ in range(2))
    issued = authority.issue_server("127.0.0.1", now=NOW, expires_at=NOW + timedelta(days=1))
    files = {
        "authority.pem": authority.pem,
        "other.pem": other.pem,
        "server.pem": issued.certificate,
        "server.key": issued.key,
    }
    for name, pem in files.items():
        (directory / name).write_text(pem)
    return directory


@pytest.fixture(scope="module")
def secure(server: MariadbProcess, certificates: Path) -> Iterator[str]:
    """The URL of a server that takes nothing but TLS."""
    options = {"cert": "server.pem", "key": "server.key"}
    files = [f"--ssl-{name}={certificates / file}" for name, file in options.items()]
    with server.running(*files, "--require-secure-transport=ON") as url:
        yield url


def given(url: str, **query: str) -> URL:
    options = "&".join(f"{name}={value}" for name, value in query.items())
    return database_url(f"{url}?{options}", data_dir=Path())


async def refusal(url: URL) -> str:
    """Return what a start says of a server."""
    with pytest.raises(Busy) as refused:
        await pending_revisions(url, "station")
    return refused.value.detail


@pytest.mark.parametrize("verified", [True, False])
async def test_both_ways_of_asking_for_tls_bring_it(
    secure: str, certificates: Path, verified: bool
) -> None:
    query = {"ssl_ca": str(certificates / "authority.pem")} if verified else {"ssl": "true"}
    url = given(secure, **query)
    await upgrade(url, "telemetry")
    engine = server_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        row = (await connection.execute(text("SHOW STATUS LIKE 'Ssl_version'"))).one()
    await engine.dispose()
    assert row[1].startswith("TLSv1.")
    store = MariadbReadingStore(url, node_id="node", clock=SystemClock())
    await store.open()
    assert (await store.totals()).readings == 0
    await store.close()


async def test_another_authority_is_refused_with_what_to_do(
    secure: str, certificates: Path
) -> None:
    url = given(secure, ssl_ca=str(certificates / "other.pem"))
    told = await refusal(url)
    assert UNTRUSTED in told
    assert "ssl_ca in DATABASE_URL" in told
    store = MariadbReadingStore(url, node_id="node", clock=SystemClock())
    with pytest.raises(Busy, match=UNTRUSTED):
        await store.open()
    await store.close()
    (found,) = await check_server(url, "station", ())
    assert found.verdict is Verdict.FAILURE
    assert UNTRUSTED in found.detail


async def test_a_certificate_of_another_host_is_refused(secure: str, certificates: Path) -> None:
    authority = str(certificates / "authority.pem")
    told = await refusal(given(secure, ssl_ca=authority).set(host="localhost"))
    assert "localhost" in told


async def test_without_tls_such_a_server_lets_nobody_in(secure: str) -> None:
    told = await refusal(given(secure))
    assert "Access denied" in told


async def test_who_asks_for_tls_never_goes_on_without_it(tmp_path: Path) -> None:
    with MariadbProcess(tmp_path).running("--skip-ssl") as url:
        assert "TLS with the server fails" in await refusal(given(url, ssl="true"))
