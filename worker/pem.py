"""Files of TLS in PEM: whether one holds what its setting says, asked when a program starts and not at its first connection.

OpenSSL itself is asked. It reads no key with a passphrase here: a service has nobody who could type it.
"""

from __future__ import annotations

import ssl
from enum import StrEnum
from pathlib import Path

#: What begins a key that needs no passphrase: PKCS #8, or the older forms of RSA and of elliptic curves.
_KEY_MARKS = (b"-----BEGIN PRIVATE KEY-----", b"-----BEGIN RSA PRIVATE KEY-----", b"-----BEGIN EC PRIVATE KEY-----")

#: The older forms tell of a passphrase in a line of their own.
_ENCRYPTED_MARK = b"Proc-Type: 4,ENCRYPTED"


class Pair(StrEnum):
    """What OpenSSL makes of a certificate and its key."""

    FITS = "fits"
    #: Each may be sound, but not together; or the pair is too weak for this OpenSSL.
    DIFFERS = "differs"
    #: The key cannot be read.
    NO_KEY = "no key"


def has_certificates(path: str) -> bool:
    """Whether this file can be read and holds certificates, one at least and none broken."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
    except OSError:  # OpenSSL's errors are such, too
        return False
    return context.cert_store_stats()["x509"] > 0


def has_key(path: str) -> bool:
    """Whether this file can be read and looks as if it held a private key without a passphrase; `pair` asks OpenSSL."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        return False
    return any(mark in content for mark in _KEY_MARKS) and _ENCRYPTED_MARK not in content


def pair(cert: str, key: str) -> Pair:
    """Whether OpenSSL takes this key as the certificate's.

    Parameters:
      cert: A file for which `has_certificates` is true.
      key: A file for which `has_key` is true; it may be the same.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password=_no_passphrase)
    except ssl.SSLError as error:
        return Pair.DIFFERS if error.reason else Pair.NO_KEY  # a PEM that cannot be read has no reason of its own
    except OSError:
        return Pair.NO_KEY
    return Pair.FITS


def _no_passphrase() -> str:
    """Or OpenSSL asks at the terminal, and waits."""
    return ""
