"""Certificates stand for keys that only the authority's key can tell, as in earlier versions."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fieldstation.adapters.certificates import Authority, make_authority, pem_of_key, start
from fieldstation.domains.identity.service.authority import KeyPair

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
LATER = NOW + timedelta(days=30)


def in_der(pem: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem)


def test_a_certificate_stands_for_the_same_key_as_when_the_directory_held_the_authority() -> None:
    """The expected key was computed by the version before."""
    key = ec.derive_private_key(20_261_126, ec.SECP256R1())
    name = x509.Name([])
    certificate = start("Any", name, key, now=NOW, expires_at=LATER).sign(key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    authority = Authority(KeyPair(pem, pem_of_key(key)))
    expected = "fsd_ISb-0uhPKRc6VQaAaOi-NGLf8f9BsiLhhlAecwOEsas"
    assert authority.token_of(b"a certificate in DER") == expected


def test_an_authority_knows_its_own_certificates_from_others() -> None:
    one, other = (Authority(make_authority(now=NOW)) for _ in range(2))
    issued = one.issue_device("a-device", now=NOW, expires_at=LATER)
    certificate = in_der(issued.certificate)
    assert one.has_issued(certificate)
    assert not other.has_issued(certificate)
    assert not one.has_issued(b"no certificate")
    assert one.token_of(certificate) == issued.token != other.token_of(certificate)


def test_a_certificate_with_the_key_of_another_is_no_authority() -> None:
    one, other = (make_authority(now=NOW) for _ in range(2))
    with pytest.raises(ValueError, match="not that of the certificate"):
        Authority(KeyPair(one.certificate, other.key))
