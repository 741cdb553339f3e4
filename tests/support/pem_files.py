"""A certificate with its key, made without a program of the system: for tests of settings, which only look into the files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class PemPair:
    """Two files; the certificate signs itself, so it can be an authority too."""

    cert: str
    key: str


def write_pem_pair(
    folder: Path,
    name: str = "own",
    *,
    key_format: PrivateFormat = PrivateFormat.PKCS8,
    passphrase: bytes = b"",
) -> PemPair:
    """`<name>.pem` and `<name>.key` in this folder, a pair of their own."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
    cert = built.not_valid_before(now).not_valid_after(now + timedelta(days=2)).sign(key, hashes.SHA256())
    lock: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    files = PemPair(str(folder / f"{name}.pem"), str(folder / f"{name}.key"))
    Path(files.cert).write_bytes(cert.public_bytes(Encoding.PEM))
    Path(files.key).write_bytes(key.private_bytes(Encoding.PEM, key_format, lock))
    return files


def a_revocation_list(by: PemPair) -> bytes:
    """An empty one in PEM, signed by this authority."""
    authority = x509.load_pem_x509_certificate(Path(by.cert).read_bytes())
    key = load_pem_private_key(Path(by.key).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = datetime.now(UTC)
    built = x509.CertificateRevocationListBuilder(authority.subject, now, now + timedelta(days=2))
    return built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
