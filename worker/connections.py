"""How the settings name the database to connect to, and how a connection is made sure of by TLS."""

from __future__ import annotations

import ssl

from entities.database import DatabaseConfig
from worker.settings import Settings


def database_config(settings: Settings) -> DatabaseConfig:
    """The database of the settings."""
    return DatabaseConfig(
        engine=settings.db_engine,
        host=settings.db_host,
        port=settings.db_port,
        user=settings.db_user,
        password=settings.db_password,
        name=settings.db_name,
        connect_timeout_s=max(1, settings.db_connect_timeout_ms // 1000),
        read_timeout_s=max(1, settings.db_read_timeout_ms // 1000),
        tls=tls_context(settings.db_ssl_ca, settings.db_ssl_cert, settings.db_ssl_key) if settings.db_ssl else None,
        # Well within the lease: when a silent batch is sent again, the locks of the worker that hangs with it are gone.
        idle_transaction_timeout_s=max(1, settings.lease_ms // 2000),
    )


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
