"""The station's own certificate authority: it lets devices in by certificate, and names servers."""

import base64
import hashlib
import hmac
import ipaddress
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fieldstation.core.settings import SettingsError

DIRECTORY = "authority"
CERTIFICATE_FILE = "authority.pem"
KEY_FILE = "authority.key"
AUTHORITY_DAYS = 3_650
CLOCKS_APART = timedelta(minutes=5)


class Issued(NamedTuple):
    """A certificate and its key, which the station does not keep; both as PEM."""

    certificate: str
    key: str
    token: str


class Authority:
    """Signs certificates with a key that never leaves the data directory."""

    def __init__(
        self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, file: Path
    ) -> None:
        self._certificate = certificate
        self._key = key
        self.certificate_file = file
        secret = key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self._secret = hmac.digest(secret, b"fieldstation device certificate", "sha256")

    @classmethod
    def of(cls, data_dir: Path, *, now: datetime) -> "Authority":
        """Open the authority of a data directory, made on first use. Raises ``SettingsError``."""
        directory = data_dir / DIRECTORY
        file, key_file = directory / CERTIFICATE_FILE, directory / KEY_FILE
        try:
            if not file.exists():
                directory.mkdir(mode=0o700, exist_ok=True)
                make_authority(file, key_file, now=now)
            certificate = x509.load_pem_x509_certificate(file.read_bytes())
            key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise SettingsError(f"DATA_DIR: {directory} cannot be used ({error})") from error
        return cls(certificate, cast("ec.EllipticCurvePrivateKey", key), file)

    @property
    def pem(self) -> str:
        """The certificate that those who trust this authority need."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue_device(self, device_id: str, *, now: datetime, expires_at: datetime) -> Issued:
        """Issue a client certificate named after a device."""
        return self._issue(
            device_id,
            ExtendedKeyUsageOID.CLIENT_AUTH,
            [x509.UniformResourceIdentifier(f"urn:fieldstation:device:{device_id}")],
            now=now,
            expires_at=expires_at,
        )

    def issue_server(self, host: str, *, now: datetime, expires_at: datetime) -> Issued:
        """Issue a certificate for this station's TLS port under a host name or address."""
        return self._issue(
            host,
            ExtendedKeyUsageOID.SERVER_AUTH,
            [name_of(host)],
            now=now,
            expires_at=expires_at,
        )

    def token_of(self, certificate: bytes) -> str:
        """Return the device key that a client certificate (DER) stands for.

        Only this station can compute it: a certificate is public.
        """
        digest = hmac.digest(self._secret, hashlib.sha256(certificate).digest(), "sha256")
        return "fsd_" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def _issue(
        self,
        subject: str,
        usage: x509.ObjectIdentifier,
        names: list[x509.GeneralName],
        *,
        now: datetime,
        expires_at: datetime,
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            start(subject, self._certificate.subject, key, now=now, expires_at=expires_at)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        signed = builder.sign(self._key, hashes.SHA256())
        return Issued(
            signed.public_bytes(serialization.Encoding.PEM).decode(),
            pem_of(key).decode(),
            self.token_of(signed.public_bytes(serialization.Encoding.DER)),
        )


def make_authority(file: Path, key_file: Path, *, now: datetime) -> None:
    """Write a new authority; the key first, readable by its owner only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Fieldstation authority")])
    expires_at = now + timedelta(days=AUTHORITY_DAYS)
    certificate = (
        start("Fieldstation authority", name, key, now=now, expires_at=expires_at)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(pem_of(key))
    draft = file.with_suffix(".new")
    draft.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    draft.replace(file)


def start(
    subject: str,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    *,
    now: datetime,
    expires_at: datetime,
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]),
        issuer_name=issuer,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - CLOCKS_APART,
        not_valid_after=expires_at,
    )


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def name_of(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
