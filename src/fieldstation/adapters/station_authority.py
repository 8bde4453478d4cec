"""The authority of this station: found in its database, and trusted by the TLS port of each node.

Earlier versions kept one in each data directory. What is there becomes the station's if it has
none; otherwise this node goes on accepting its certificates until the directory is deleted.
"""

import ssl
from pathlib import Path

import structlog

from fieldstation.adapters.certificates import Authority, make_authority
from fieldstation.core.clock import Clock
from fieldstation.core.errors import Conflict
from fieldstation.db.database import Database
from fieldstation.domains.identity.service.authority import (
    KeptAuthority,
    KeyPair,
    ensure_authority,
    replace_authority,
)
from fieldstation.domains.identity.service.sealing import Sealer

log = structlog.get_logger(__name__)

DIRECTORY = "authority"
CERTIFICATE_FILE = "authority.pem"
KEY_FILE = "authority.key"
SEALED = (
    "The certificate authority's key is sealed with another SECRET_KEY (or DATA_DIR/secret_key) "
    "than this node has; give it that of the other nodes, or name the former one in "
    "PREVIOUS_SECRET_KEYS, and start it again; only if that is lost: fieldstation cert reset"
)


class StationAuthority:
    """What the TLS port and ``fieldstation cert`` need; nothing is read before it is needed."""

    def __init__(self, database: Database, sealer: Sealer, *, data_dir: Path, clock: Clock) -> None:
        self._database = database
        self._sealer = sealer
        self._data_dir = data_dir
        self._clock = clock
        self._trusted: list[Authority] = []

    async def open(self, tls: ssl.SSLContext | None) -> None:
        """Have the TLS port ask its clients for a certificate, and trust the station's authority.

        What cannot be opened is logged: its certificates are refused, keys let devices in as ever.
        Raises ``Busy``, and ``Conflict`` for a data directory with an authority that is damaged.
        """
        former = read_directory(self._data_dir)
        if tls is None and former is None:
            return
        kept = await self._ensure(former)
        signing = opened(kept, former)
        self._trusted = [Authority(pair) for pair in (signing, former) if pair is not None]
        if kept.pair is None:
            log.error("certificate_authority_sealed", advice=SEALED)
        if former is not None:
            log.warning(
                "certificate_authority_in_directory",
                directory=str(self._data_dir / DIRECTORY),
                is_the_stations=former.certificate == kept.certificate,
                advice="fieldstation doctor says what to do with it",
            )
        if tls is not None and self._trusted:
            tls.load_verify_locations(cadata="".join(each.pem for each in self._trusted))
            tls.verify_mode = ssl.CERT_OPTIONAL

    def token_of(self, certificate: bytes) -> str | None:
        """Return the device key that a client certificate (DER) stands for, None if it is of
        somebody else."""
        issuers = (each for each in self._trusted if each.has_issued(certificate))
        return next((issuer.token_of(certificate) for issuer in issuers), None)

    async def signing(self) -> Authority:
        """Return the authority that signs here as everywhere; it is made on first use.

        Raises ``Conflict`` when this node cannot open it.
        """
        former = read_directory(self._data_dir)
        pair = opened(await self._ensure(former), former)
        if pair is None:
            raise Conflict(SEALED, code="authority_sealed")
        return Authority(pair)

    async def reset(self) -> bool:
        """Begin again as at the first start; tell whether the data directory had an authority.

        Nodes that run know only the old one until they are started again.
        """
        former = read_directory(self._data_dir)
        now = self._clock.now()
        await replace_authority(
            self._database, self._sealer, former or make_authority(now=now), now=now
        )
        return former is not None

    async def _ensure(self, former: KeyPair | None) -> KeptAuthority:
        now = self._clock.now()
        return await ensure_authority(
            self._database, self._sealer, lambda: former or make_authority(now=now), now=now
        )


def opened(kept: KeptAuthority, former: KeyPair | None) -> KeyPair | None:
    """Return the station's authority: unsealed, or the same one from the data directory."""
    if kept.pair is None and former is not None and former.certificate == kept.certificate:
        return former
    return kept.pair


def read_directory(data_dir: Path) -> KeyPair | None:
    """Return the authority that an earlier version left in a data directory.

    Raises ``Conflict`` when it cannot be read: nobody should lose it unawares.
    """
    directory = data_dir / DIRECTORY
    try:
        pair = KeyPair(
            (directory / CERTIFICATE_FILE).read_text(), (directory / KEY_FILE).read_text()
        )
        return KeyPair(Authority(pair).pem, pair.key)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Conflict(
            f"The certificate authority in {directory} cannot be used ({error}); "
            "mend it, or move the directory away"
        ) from error
