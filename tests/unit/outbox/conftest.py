"""An outbox in a folder of its own, with a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from outbox import Outbox
from tests.unit.outbox.builders import Clock, sql


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "outbox.sqlite3"


@pytest.fixture
def outbox(path: Path, clock: Clock) -> Iterator[Outbox]:
    with Outbox.open(path, clock) as opened:
        sql(opened, "PRAGMA synchronous = off")  # nobody pulls the plug here
        yield opened
