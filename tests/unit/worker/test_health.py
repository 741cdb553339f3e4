"""The database's verdict: locks in the way of a chore are no outage, and what is out of the ordinary never ends the thread."""

from __future__ import annotations

from typing import Any

import peewee
import pytest

from entities import generations, ledger
from entities.database import DatabaseConfig, open_database
from entities.generations import LogGeneration
from outbox.announcements import Announcement, Audience
from worker.events import EpochRaised, Event, MemoryFound, Told
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


def a_log(generation: int, offset: int = 7) -> LogGeneration:
    return LogGeneration(generation, offset, 1_699_876_543_210, b"12345678")


def test_what_the_database_remembers_of_the_logs_is_told_to_who_asks(
    monitor: DatabaseMonitor, told: list[Event]
) -> None:
    monitor.remember({0: a_log(2), 1: a_log(0)})
    monitor.want_memory(5)

    monitor.look()
    monitor.look()

    memories = [event for event in told if isinstance(event, MemoryFound)]
    assert [(memory.assignment, dict(memory.logs)) for memory in memories] == [(5, {})]
    monitor.want_memory(6)
    monitor.look()
    assert told[-1] == MemoryFound(6, {0: a_log(2), 1: a_log(0)})


def test_a_log_counts_as_remembered_once_it_is_written(
    monitor: DatabaseMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: Any) -> int:
        raise peewee.OperationalError(1205, "Lock wait timeout exceeded")

    monitor.remember({0: a_log(1)})
    with monkeypatch.context() as patch:
        patch.setattr(generations, "remember", locked)
        monitor.look()
    assert (monitor.is_healthy, monitor.remembered) == (True, {})

    monitor.look()

    assert monitor.remembered == {0: 1}


def test_a_log_is_written_when_its_newest_record_has_changed_and_only_then(
    monitor: DatabaseMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Any] = []
    monkeypatch.setattr(generations, "remember", lambda topic, logs: written.append(logs))
    for offset in (7, 7, 9):
        monitor.remember({0: a_log(1, offset), 1: a_log(1)})
        monitor.look()

    assert written == [{0: a_log(1, 7), 1: a_log(1)}, {0: a_log(1, 9)}]


def a_discard(number: int) -> Announcement:
    return Announcement(number, 0, "op", "db-operations-buffer", 0, 2, 9, None, None, 1, 0, None, "not wanted", None)


def test_discards_are_entered_once_the_database_can_and_then_told(
    monitor: DatabaseMonitor, told: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[Any] = []
    monkeypatch.setattr(ledger, "discard", entered.extend)
    monitor.tell_ledger([a_discard(4)])
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "probe", lambda _: 1 / 0)
        monitor.look()
    assert entered == []

    monitor.look()
    monitor.look()

    assert entered == [ledger.Discard("db-operations-buffer", 0, 2, 9, 1, "not wanted")]
    assert [event for event in told if isinstance(event, Told)] == [Told(Audience.LEDGER, [4])]
