"""Every statement on the certificate authority."""

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from fieldstation.core.errors import Conflict
from fieldstation.domains.identity.models import CertificateAuthority


async def authority(session: AsyncSession) -> CertificateAuthority | None:
    return await session.scalar(select(CertificateAuthority))


async def insert_authority(session: AsyncSession, row: CertificateAuthority) -> None:
    """Insert the row now. Raises ``Conflict`` when there is one."""
    session.add(row)
    try:
        await session.flush()
    except IntegrityError as error:
        raise Conflict("The station has a certificate authority already.") from error


async def reseal(session: AsyncSession, sealed_key: str, *, new: str) -> None:
    """Exchange a sealed key, unless somebody did meanwhile."""
    await session.execute(
        update(CertificateAuthority)
        .where(CertificateAuthority.sealed_key == sealed_key)
        .values(sealed_key=new)
    )


async def delete_authority(session: AsyncSession) -> None:
    await session.execute(delete(CertificateAuthority))
