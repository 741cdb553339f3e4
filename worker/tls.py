"""TLS: what a client trusts and shows, and which variable to look at when the two sides do not agree."""

from __future__ import annotations

import ssl


def tls_context(ca: str, cert: str, key: str) -> ssl.SSLContext:
    """What a client of TLS trusts and shows: the server's certificate must be of this authority and of the host's name.

    Parameters:
      ca: The authority's file; empty for the system's.
      cert, key: Our own; empty for none.
    """
    context = ssl.create_default_context(cafile=ca or None)
    if cert:
        context.load_cert_chain(cert, key)
    return context


def tls_trouble(error: BaseException | str, server: str) -> str:
    """What a failed TLS connection complains of, and the variable to look at; empty if it is not about TLS.

    Parameters:
      error: The client's exception, or its text, which holds OpenSSL's.
      server: What the variables begin with: DB, REDIS or KAFKA.
    """
    text = str(error)
    if "mismatch" in text and "CERTIFICATE_VERIFY_FAILED" in text:
        host = "KAFKA_BROKERS" if server == "KAFKA" else f"{server}_HOST"
        return f"its certificate is of another name: see {host}"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"its certificate is not signed by an authority that we trust: see {server}_SSL_CA"
    if "CERTIFICATE_REQUIRED" in text or "UNKNOWN_CA" in text or "BAD_CERTIFICATE" in text:
        return f"it wants another certificate of ours: see {server}_SSL_CERT"
    if any(sign in text for sign in ("KEY_VALUES_MISMATCH", "[X509", "[PEM", "NO_CERTIFICATE_OR_CRL_FOUND")):
        return f"our files do not fit: see {server}_SSL_CA, {server}_SSL_CERT and {server}_SSL_KEY"
    switch = "KAFKA_SECURITY_PROTOCOL" if server == "KAFKA" else f"{server}_SSL"
    # Some servers just close on who shows no certificate of theirs. Python before 3.11.4 tells it otherwise than later ones.
    if "EOF occurred" in text or "closed (EOF)" in text:
        return f"it does not speak TLS on this port, or wants another certificate of ours: see {switch} and {server}_SSL_CERT"
    if "[SSL" in text or isinstance(error, ConnectionError):
        return f"it does not speak TLS on this port: see {switch}"
    return ""
