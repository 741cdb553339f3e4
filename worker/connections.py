"""How the settings name the database to connect to."""

from __future__ import annotations

from entities.database import DatabaseConfig
from worker.settings import Settings
from worker.tls import tls_context


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
