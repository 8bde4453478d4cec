"""A certificate authority: it lets devices in by certificate, and names servers."""

import base64
import hashlib
import hmac
import ipaddress
from datetime import datetime, timedelta
from typing import NamedTuple, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fieldstation.domains.identity.service.authority import KeyPair

AUTHORITY_DAYS = 3_650
CLOCKS_APART = timedelta(minutes=5)


class Issued(NamedTuple):
    """A certificate and its key, which the station does not keep; both as PEM."""

    certificate: str
    key: str
    token: str


class Authority:
    """Signs certificates, and knows which key of a device each of them stands for."""

    def __init__(self, pair: KeyPair) -> None:
        """Raises ``ValueError`` for what is no certificate with its key."""
        self._certificate = x509.load_pem_x509_certificate(pair.certificate.encode())
        key = serialization.load_pem_private_key(pair.key.encode(), password=None)
        if key.public_key() != self._certificate.public_key():
            raise ValueError("the key is not that of the certificate")
        self._key = cast("ec.EllipticCurvePrivateKey", key)
        secret = key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self._secret = hmac.digest(secret, b"fieldstation device certificate", "sha256")

    @property
    def expires_at(self) -> datetime:
        """Until when its certificates are accepted."""
        return self._certificate.not_valid_after_utc

    @property
    def pem(self) -> str:
        """The certificate that those who trust this authority need."""
        return pem_of(self._certificate)

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

    def has_issued(self, certificate: bytes) -> bool:
        """Tell whether this authority signed a certificate (DER)."""
        try:
            x509.load_der_x509_certificate(certificate).verify_directly_issued_by(self._certificate)
        except (InvalidSignature, TypeError, ValueError):
            return False
        return True

    def token_of(self, certificate: bytes) -> str:
        """Return the device key that a client certificate (DER) stands for.

        Only who has the authority's key can compute it: a certificate is public.
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
            pem_of(signed),
            pem_of_key(key),
            self.token_of(signed.public_bytes(serialization.Encoding.DER)),
        )


def make_authority(*, now: datetime) -> KeyPair:
    """Make a new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Fieldstation authority")])
    expires_at = now + timedelta(days=AUTHORITY_DAYS)
    certificate = (
        start("Fieldstation authority", name, key, now=now, expires_at=expires_at)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(pem_of(certificate), pem_of_key(key))


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


def pem_of(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def pem_of_key(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def name_of(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
