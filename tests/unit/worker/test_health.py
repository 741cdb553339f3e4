"""The database's verdict: locks in the way of a chore are no outage, and what is out of the ordinary never ends the thread."""

from __future__ import annotations

from typing import Any

import peewee
import pytest

from entities import ledger
from entities.database import DatabaseConfig, open_database
from worker.events import EpochRaised, Event
from worker.health import DatabaseMonitor, PrunableLog
from worker.settings import load_settings


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def monitor(tmp_path: Any, told: list[Event]) -> Any:
    database = open_database(DatabaseConfig(engine="sqlite", name=str(tmp_path / "database.sqlite3")))
    yield DatabaseMonitor(load_settings({}), told.append, database, "outbox")
    database.close()


def test_a_probe_makes_the_tables_and_opens_the_gate_with_an_epoch(monitor: DatabaseMonitor, told: list[Event]) -> None:
    monitor.want_epoch(3)

    monitor.look()

    assert monitor.is_healthy
    assert [event for event in told if isinstance(event, EpochRaised)] == [EpochRaised(3, 1)]


def test_locks_in_the_way_of_the_epoch_are_no_outage_and_it_is_raised_later(
    monitor: DatabaseMonitor, told: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: Any) -> int:
        raise peewee.OperationalError(1205, "Lock wait timeout exceeded")

    monitor.want_epoch(3)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "raise_epoch", locked)
        monitor.look()

    assert monitor.is_healthy
    monitor.look()
    assert EpochRaised(3, 1) in told


@pytest.mark.parametrize("error", [peewee.OperationalError(2013, "Lost connection"), RuntimeError("of the driver")])
def test_a_probe_that_fails_shuts_the_gate(
    monitor: DatabaseMonitor, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monitor.look()
    monkeypatch.setattr(ledger, "probe", fails)

    monitor.look()

    assert not monitor.is_healthy


def test_the_ledger_is_pruned_by_the_partition_up_to_its_log_s_start(
    monitor: DatabaseMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(ledger, "prune", lambda *bounds: asked.append(bounds[:4]) or 0)
    monitor.prune_ledger([PrunableLog(0, 1, 70), PrunableLog(2, 0, 5)])

    for _ in range(3):
        monitor.look()

    assert asked == [("db-operations-buffer", 0, 1, 70), ("db-operations-buffer", 2, 0, 5)]
