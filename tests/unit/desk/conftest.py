"""A desk in a folder of its own, with no settings but the defaults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.desk.builders import Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    for name in ("OUTBOX_PATH", "DB_ENGINE", "DB_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SUDO_USER", "ana")
    monkeypatch.setenv("DB_PORT", "1")  # nobody listens there
    monkeypatch.setenv("DB_HOST", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    desk = Desk(tmp_path / "outbox.sqlite3")
    yield desk
    desk.outbox.close()
