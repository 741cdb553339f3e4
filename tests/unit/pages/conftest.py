"""A desk's outbox, an embedded database, and a browser before the pages over both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from entities import database
from entities.database import DatabaseConfig
from entities.own_tables import create_own_tables
from entities.schema import application_ddl
from tests.unit.desk.builders import Desk
from tests.unit.pages.browsing import Browser
from worker.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("SUDO_USER", "ana")
    environ = {
        "OUTBOX_PATH": str(tmp_path / "outbox.sqlite3"),
        "DB_ENGINE": "sqlite",
        "DB_NAME": str(tmp_path / "application.sqlite3"),
        "METRICS_PORT": "0",
    }
    return load_settings(environ, Path("/nowhere/.env"))


@pytest.fixture
def desk(settings: Settings) -> Iterator[Desk]:
    desk = Desk(Path(settings.outbox_path))
    yield desk
    desk.outbox.close()


@pytest.fixture
def tables(settings: Settings) -> Iterator[None]:
    """The application's tables, with Business 9 in them."""
    database.open_database(DatabaseConfig(engine="sqlite", name=settings.db_name))
    for statement in application_ddl("sqlite"):
        database.execute(statement)
    create_own_tables()
    database.execute(
        "INSERT INTO usuarios (id, nombre, apellido, email, password_hash, contacto_celular) "
        "VALUES (1, 'Ana', 'Ruiz', 'ana@example.co', 'x', '3001234567')"
    )
    database.execute("INSERT INTO emprendimientos (id, usuario_id, nombre_emprendimiento) VALUES (9, 1, 'Vieja')")
    database.close()
    yield
    database.close()


@pytest.fixture
def browser(settings: Settings) -> Browser:
    return Browser(settings)
