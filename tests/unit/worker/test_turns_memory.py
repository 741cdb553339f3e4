"""What the main loop waits for so that no topic is taken for another: the database's word before reading and before sending."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from entities.generations import LogGeneration
from outbox.store import Outbox
from tests.support.streams import a_message
from worker.assignment import Commit, CommitMetadata, LogRange, Why
from worker.events import Assigned, EpochRaised, Fetched, LogStarts, MemoryFound, Revoked, Starting
from worker.health import PrunableLog
from worker.merge import FetchedRecord
from worker.settings import load_settings
from worker.turns import Turns

TOPIC = "db-operations-buffer"


class Database(SimpleNamespace):
    """A healthy database that remembers nothing by itself."""

    def __init__(self) -> None:
        super().__init__(is_healthy=True, remembered={}, asked=[], to_remember=[], to_prune=[])

    def want_memory(self, assignment: int) -> None:
        self.asked.append(assignment)

    def remember(self, logs: Mapping[int, LogGeneration]) -> None:
        self.to_remember.append(dict(logs))

    def want_epoch(self, assignment: int | None) -> None: ...

    def prune_ledger(self, logs: Sequence[PrunableLog]) -> None:
        self.to_prune += logs

    def tell_ledger(self, discards: Sequence[Any]) -> None: ...


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def sent() -> list[Any]:
    return []


@pytest.fixture
def turns(tmp_path: Path, database: Database, sent: list[Any]) -> Iterator[Turns]:
    kafka: Any = SimpleNamespace(note_persisted=lambda *_: None, give_back_permit=lambda: None)
    dispatcher: Any = SimpleNamespace(send=lambda message, delay_ms=None: sent.append(message), inspect=lambda _: None)
    with Outbox.open(tmp_path / "outbox.sqlite3") as outbox:
        yield Turns(load_settings({}), outbox, kafka, database, dispatcher)


def assigned(turns: Turns, commit: Commit | None = None) -> Assigned:
    event = Assigned(1, {0: commit}, {0: LogRange(0, 10)})
    turns.take([Revoked(1), event])
    return event


def begun(turns: Turns, generation: int = 0) -> None:
    event = assigned(turns)
    turns.take([MemoryFound(1, {0: LogGeneration(generation, 3, 4, b"12345678")})])
    turns.take([Starting(1, event.answer.result(0)), EpochRaised(1, 1)])


def a_record() -> FetchedRecord:
    return FetchedRecord(TOPIC, 0, 0, 1, 1, a_message("op", "DELETE", "User", {"id": 1}))


def test_a_commit_of_ours_is_enough_to_begin(turns: Turns, database: Database) -> None:
    event = assigned(turns, Commit(7, CommitMetadata("another", 2, 5)))

    assert event.answer.result(0)[0].generation == 2
    assert database.asked == []


def test_without_a_commit_the_answer_waits_for_the_database(turns: Turns, database: Database) -> None:
    event = assigned(turns)
    assert (database.asked, event.answer.done()) == ([1], False)

    turns.take([MemoryFound(1, {0: LogGeneration(4, 3, 4, b"12345678")})])

    start = event.answer.result(0)[0]
    assert (start.why, start.generation) == (Why.COMMIT_LOST, 4)
    assert start.check is not None


def test_nothing_is_read_when_a_stop_comes_before_the_outbox_is_ready(turns: Turns) -> None:
    event = assigned(turns, Commit(7, CommitMetadata("another", 2, 5)))
    turns.ask_to_stop()

    starting = Starting(1, event.answer.result(0))
    turns.take([starting])

    assert not starting.answer.done()


def test_a_memory_for_an_older_assignment_answers_nothing(turns: Turns) -> None:
    assigned(turns)
    turns.take([Revoked(2)])
    later = Assigned(2, {0: None}, {0: LogRange(0, 10)})
    turns.take([later, MemoryFound(1, {})])
    assert not later.answer.done()

    turns.take([MemoryFound(2, {}), MemoryFound(2, {})])

    assert later.answer.result(0)[0].why is Why.NEW


def test_nothing_of_a_log_is_sent_before_the_database_remembers_it(
    turns: Turns, database: Database, sent: list[Any]
) -> None:
    begun(turns, generation=4)

    turns.go_on([Fetched(1, [a_record()])])
    assert (sent, {logs[0].generation for logs in database.to_remember if logs}) == ([], {4})
    database.remembered = {0: 3}
    turns.go_on([])
    assert sent == []
    database.remembered = {0: 4}
    turns.go_on([])

    assert len(sent) == 1


def test_after_a_restart_the_backlog_waits_for_no_chore_to_have_its_logs_remembered(
    turns: Turns, database: Database
) -> None:
    begun(turns)
    turns.take([Fetched(1, [a_record()])])
    turns.take([Revoked(2)])
    database.to_remember.clear()
    ours = Commit(1, CommitMetadata(turns._outbox.outbox_id, 0, 0))
    again = Assigned(2, {0: ours}, {0: LogRange(0, 10)})

    turns.take([again])
    turns.take([Starting(2, again.answer.result(0))])

    assert [sorted(logs) for logs in database.to_remember if logs] == [[0]]


def test_the_ledger_is_not_pruned_of_what_the_outbox_would_run_again(turns: Turns, database: Database) -> None:
    begun(turns)
    turns.take([Fetched(1, [a_record()])])

    turns.take([LogStarts(1, {0: 7, 5: 7})])

    assert database.to_prune == [PrunableLog(0, 0, 0)]


def test_what_is_not_ours_any_more_is_not_remembered(turns: Turns, database: Database) -> None:
    begun(turns)
    turns.go_on([Fetched(1, [a_record()])])

    turns.take([Revoked(2)])

    assert database.to_remember[-1] == {}
