"""The certificate authority as a station's database keeps it, and as earlier versions kept it."""

import asyncio
from pathlib import Path

from alembic import command
from sqlalchemy import Connection
from sqlalchemy.engine import URL

from fieldstation.core.settings import read_settings
from fieldstation.db.database import open_session
from fieldstation.db.engines import database_url, looking_engine
from fieldstation.domains.identity.service.authority import (
    PURPOSE,
    KeptAuthority,
    KeyPair,
    find_authority,
)
from fieldstation.domains.identity.service.sealing import Sealer, known_secrets
from fieldstation.migrations.chain import configuration
from fieldstation.migrations.upgrade import run_on_sqlite

REVISION_BEFORE = "20261126_mqtt_nodes"
"""The newest schema that knew no authority."""


def kept_authority(data_dir: Path, **environment: str) -> KeptAuthority | None:
    """Return what a node with these settings finds; changes nothing."""
    settings = read_settings({"DATA_DIR": str(data_dir), **environment})
    url = database_url(settings.database.url, data_dir=data_dir)
    return asyncio.run(look(url, Sealer(known_secrets(settings), purpose=PURPOSE)))


async def look(url: URL, sealer: Sealer) -> KeptAuthority | None:
    engine = looking_engine(url)
    try:
        async with open_session(engine) as session:
            return await find_authority(session, sealer)
    finally:
        await engine.dispose()


def write_directory(data_dir: Path, pair: KeyPair) -> Path:
    """Write an authority as earlier versions did; return its directory."""
    directory = data_dir / "authority"
    directory.mkdir(mode=0o700, parents=True)
    (directory / "authority.pem").write_text(pair.certificate)
    (directory / "authority.key").write_text(pair.key)
    (directory / "authority.key").chmod(0o600)
    return directory


def take_back(data_dir: Path) -> KeyPair:
    """Make a stopped station on SQLite one of the version before, with the same authority."""
    kept = kept_authority(data_dir)
    assert kept is not None
    assert kept.pair is not None
    write_directory(data_dir, kept.pair)

    def downgrade(connection: Connection) -> None:
        command.downgrade(configuration(connection, "station"), REVISION_BEFORE)

    run_on_sqlite(database_url(None, data_dir=data_dir), downgrade)
    return kept.pair
