"""A throw-away certificate authority and a certificate of a server, for 127.0.0.1 or a name."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def write_certificates(directory: Path, *, host: str | None = None) -> Path:
    """Write ``authority.pem``, ``station.pem`` and ``station.key``; return the directory."""
    directory.mkdir()
    authority_key, station_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = start_certificate("Test authority", "Test authority", authority_key)
    authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    authority = authority.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), False
    )
    station = start_certificate("Test station", "Test authority", station_key)
    known_as = LOOPBACK if host is None else x509.DNSName(host)
    station = station.add_extension(x509.SubjectAlternativeName([known_as]), False)
    for name, builder in (("authority", authority), ("station", station)):
        signed = builder.sign(authority_key, hashes.SHA256())
        (directory / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (directory / "station.key").write_bytes(
        station_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return directory


def start_certificate(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(minutes=5),
        not_valid_after=now + timedelta(hours=1),
    )
