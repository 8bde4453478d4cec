"""The station has one certificate authority, whoever makes it, and its key only sealed."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import pytest
from sqlalchemy import func, select, update

from fieldstation.core.settings import DatabaseSettings
from fieldstation.db.database import Database
from fieldstation.db.engines import create_engines, database_url
from fieldstation.domains.audit.models import AuditEntry
from fieldstation.domains.identity.models import CertificateAuthority
from fieldstation.domains.identity.service.authority import (
    KeptAuthority,
    KeyPair,
    ensure_authority,
    find_authority,
    replace_authority,
)
from fieldstation.domains.identity.service.sealing import Sealer
from tests.station_database import ignore_event

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
PAIR = KeyPair("a certificate", "the key of it")
OTHER = KeyPair("another certificate", "another key")
NODES = 3
TOGETHER_S = 1.0


def sealer(*secrets: str) -> Sealer:
    return Sealer(secrets, purpose="certificate authority")


async def find(database: Database, *secrets: str) -> KeptAuthority | None:
    async with database.reading() as session:
        return await find_authority(session, sealer(*secrets))


def never() -> KeyPair:
    raise AssertionError("there is one already")


async def test_it_is_made_once_and_found_from_then_on(own_database: Database) -> None:
    assert await find(own_database, "secret") is None
    made = await ensure_authority(own_database, sealer("secret"), lambda: PAIR, now=NOW)
    assert made == KeptAuthority(PAIR.certificate, PAIR)
    assert await ensure_authority(own_database, sealer("secret"), never, now=NOW) == made
    assert await find(own_database, "secret") == made


async def test_nodes_that_start_together_end_with_the_same_one(
    own_database: Database, own_address: str | None, tmp_path: Path
) -> None:
    url = database_url(own_address, data_dir=tmp_path)
    together = Barrier(NODES)

    async def start_node(number: int) -> KeptAuthority:
        def make() -> KeyPair:
            with suppress(BrokenBarrierError):  # SQLite lets one node at a time come here
                together.wait(TOGETHER_S)
            return KeyPair(f"certificate {number}", f"key {number}")

        node = Database(create_engines(url, DatabaseSettings()), ignore_event)
        try:
            return await ensure_authority(node, sealer("secret"), make, now=NOW)
        finally:
            await node.close()

    found = await asyncio.gather(
        *(asyncio.to_thread(asyncio.run, start_node(number)) for number in range(NODES))
    )
    assert len({node.certificate for node in found}) == 1
    (pair,) = {node.pair for node in found}
    assert pair is not None
    assert pair.key == pair.certificate.replace("certificate", "key")
    async with own_database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(CertificateAuthority)) == 1
        entries = (await session.scalars(select(AuditEntry))).all()
    assert [entry.action for entry in entries] == ["certificate_authority.made"]


async def test_no_column_shows_the_key_and_nothing_repeats_it(own_database: Database) -> None:
    made = await ensure_authority(own_database, sealer("secret"), lambda: PAIR, now=NOW)
    async with own_database.reading() as session:
        row = (await session.scalars(select(CertificateAuthority))).one()
        entry = (await session.scalars(select(AuditEntry))).one()
    assert PAIR.key not in f"{vars(row)}{vars(entry)}{made}"
    assert sealer("secret").open(row.sealed_key) == PAIR.key.encode()


async def test_a_node_with_another_secret_sees_it_closed_and_leaves_it_so(
    own_database: Database,
) -> None:
    await ensure_authority(own_database, sealer("secret"), lambda: PAIR, now=NOW)
    closed = KeptAuthority(PAIR.certificate, None)
    assert await ensure_authority(own_database, sealer("wrong"), never, now=NOW) == closed
    assert await find(own_database, "secret") == KeptAuthority(PAIR.certificate, PAIR)


async def test_a_former_seal_is_renewed_so_that_the_former_secret_can_go(
    own_database: Database,
) -> None:
    await ensure_authority(own_database, sealer("former"), lambda: PAIR, now=NOW)
    made = await ensure_authority(own_database, sealer("current", "former"), never, now=NOW)
    assert made.pair == PAIR
    assert await find(own_database, "current") == made
    assert await find(own_database, "former") == KeptAuthority(PAIR.certificate, None)


async def test_one_that_nobody_can_open_is_replaced_by_order(own_database: Database) -> None:
    await ensure_authority(own_database, sealer("lost"), lambda: PAIR, now=NOW)
    await replace_authority(own_database, sealer("secret"), OTHER, now=NOW)
    assert await find(own_database, "secret") == KeptAuthority(OTHER.certificate, OTHER)
    async with own_database.reading() as session:
        actions = await session.scalars(select(AuditEntry.action).order_by(AuditEntry.id))
        assert actions.all() == ["certificate_authority.made", "certificate_authority.replaced"]


async def test_a_damaged_seal_is_closed(own_database: Database) -> None:
    await ensure_authority(own_database, sealer("secret"), lambda: PAIR, now=NOW)
    async with own_database.transaction() as session:
        await session.execute(update(CertificateAuthority).values(sealed_key="ä damaged one"))
    assert await find(own_database, "secret") == KeptAuthority(PAIR.certificate, None)
