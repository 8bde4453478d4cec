"""Keeps the key pair that signs client certificates: one for all nodes, its key sealed."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from fieldstation.core.errors import Conflict
from fieldstation.db.database import Database, Session
from fieldstation.domains.audit.schemas import STATION, Change
from fieldstation.domains.audit.service import record
from fieldstation.domains.identity.models import CertificateAuthority
from fieldstation.domains.identity.queries import authority as queries
from fieldstation.domains.identity.service.sealing import Sealer

PURPOSE = "certificate authority"
ONLY_ID = 1


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, both as PEM."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeptAuthority:
    """What the database holds; ``pair`` is None when this node's secrets do not open the key."""

    certificate: str
    pair: KeyPair | None


async def find_authority(session: Session, sealer: Sealer) -> KeptAuthority | None:
    """Return the station's authority, None before it was needed."""
    row = await queries.authority(session)
    if row is None:
        return None
    key = sealer.open(row.sealed_key)
    pair = None if key is None else KeyPair(row.certificate, key.decode())
    return KeptAuthority(row.certificate, pair)


async def ensure_authority(
    database: Database, sealer: Sealer, make: Callable[[], KeyPair], *, now: datetime
) -> KeptAuthority:
    """Return the station's authority; the first node that needs it has it made.

    A key that a former secret sealed is sealed with the current one.
    """
    with suppress(Conflict):  # another node was faster, and its authority is everybody's
        async with database.transaction() as session:
            row = await queries.authority(session)
            if row is None:
                await keep(session, sealer, make(), action="certificate_authority.made", now=now)
            else:
                await renew_seal(session, sealer, row.sealed_key, now=now)
    async with database.reading() as session:
        kept = await find_authority(session, sealer)
    if kept is None:
        raise Conflict("The certificate authority was deleted meanwhile; try again.")
    return kept


async def replace_authority(
    database: Database, sealer: Sealer, pair: KeyPair, *, now: datetime
) -> None:
    """Forget the station's authority for another one, also if its key cannot be opened."""
    async with database.transaction() as session:
        await queries.delete_authority(session)
        await keep(session, sealer, pair, action="certificate_authority.replaced", now=now)


async def keep(
    session: Session, sealer: Sealer, pair: KeyPair, *, action: str, now: datetime
) -> None:
    row = CertificateAuthority(
        id=ONLY_ID,
        certificate=pair.certificate,
        sealed_key=sealer.seal(pair.key.encode(), now=now),
        created_at=now,
    )
    await queries.insert_authority(session, row)
    made = Change(
        action,
        "certificate_authority",
        str(ONLY_ID),
        after={"certificate": pair.certificate},
    )
    record(session, made, actor=STATION, organization_id=None, now=now)


async def renew_seal(session: Session, sealer: Sealer, sealed_key: str, *, now: datetime) -> None:
    key = sealer.open(sealed_key)
    if key is not None and not sealer.is_current(sealed_key):
        await queries.reseal(session, sealed_key, new=sealer.seal(key, now=now))
