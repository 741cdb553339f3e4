"""A copy of an operation that was held up inside its transaction, while others decided what becomes of the operation.

The late copy runs in a thread with a connection of its own, on a real MariaDB, and is held at a fault point; what others do
meanwhile is done by the test. Whatever they did, and wherever it was held: the operation has one effect at most, and one line.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import peewee
import pytest

from entities import database, ledger
from entities.ledger import Discard
from tests.support.applying import GROUP, a_batch, again, apply, mariadb_database, outcomes, rows, update, verdicts_on
from tests.support.applying import create as create_operation
from tests.support.applying import create_user as create_user_operation
from tests.support.mariadb_server import MariaDBServer
from tests.support.waiting import eventually
from worker import apply as apply_module
from worker import fault_points
from worker.apply import BatchResult, DatabaseUnavailable, Fenced, apply_batch, bury_verdicts
from worker.fault_points import Point
from worker.messages import DispatchedOperation, Outcome

APPLIED, DEAD, HANDED_BACK = Outcome.APPLIED, Outcome.DEAD, Outcome.HANDED_BACK
DISCARDED = Outcome.DISCARDED

#: What the ledger says of the operation: outcome and incarnation.
Lines = list[tuple[str, int]]


@pytest.fixture
def bound(mariadb: MariaDBServer, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An application's database with User 1 and Business 1, and locks waited for as briefly as can be."""
    monkeypatch.setattr(apply_module, "RETRIES_AT_ONCE", 1)
    with mariadb_database(mariadb, database):
        wait_briefly()
        apply(create_user_operation(1, id=1), create_operation("Business", id=1, userId=1, name="Panadería"))
        yield database


def wait_briefly() -> None:
    database.execute("SET SESSION innodb_lock_wait_timeout = 1")


class LateCopy:
    """A copy of an operation that is held at a point of its transaction until `finish`."""

    def __init__(self, result: Future[BatchResult], go_on: threading.Event) -> None:
        self._result = result
        self._go_on = go_on

    def finish(self) -> BatchResult:
        """Let it go on; what it reports. Raises what it raised."""
        self._go_on.set()
        return self._result.result(timeout=30)


@contextmanager
def held(operation: DispatchedOperation, at: Point) -> Iterator[LateCopy]:
    """A copy of the operation that is held at this point, the first time it comes there."""
    is_there, go_on = threading.Event(), threading.Event()

    def hold(point: Point) -> None:
        if point is at and threading.current_thread().name.startswith("late") and not is_there.is_set():
            is_there.set()
            assert go_on.wait(timeout=60)

    def run() -> BatchResult:
        wait_briefly()
        try:
            return apply_batch(a_batch(operation))
        finally:
            database.close()

    with ThreadPoolExecutor(1, thread_name_prefix="late") as thread:
        fault_points.handle(hold)
        try:
            result = thread.submit(run)
            assert is_there.wait(timeout=30)
            yield LateCopy(result, go_on)
        finally:
            go_on.set()
            fault_points.handle(None)


def ledger_lines(operation: DispatchedOperation) -> Lines:
    return rows(
        "SELECT outcome, incarnation FROM settled_operations WHERE operation_id = %s", operation.operation_id.encode()
    )


def ratings() -> int:
    [(count,)] = rows("SELECT count(*) FROM calificaciones")
    return int(count)


def is_applied(operation: DispatchedOperation) -> None:
    """Another copy was faster."""
    assert outcomes(apply(operation)) == [APPLIED]


def is_buried(operation: DispatchedOperation) -> None:
    """Its retries are exhausted."""
    assert outcomes(bury_verdicts(verdicts_on(operation))) == [DEAD]


def is_buried_and_discarded(operation: DispatchedOperation) -> None:
    """The operator wants it no more."""
    is_buried(operation)
    origin = operation.origin
    discarded = Discard(origin.topic, origin.generation, origin.partition, origin.offset, 0, "of no use")
    assert ledger.discard([discarded]) == 1


def is_buried_and_replayed(operation: DispatchedOperation) -> None:
    """The operator's replay is a higher incarnation, and is applied."""
    is_buried(operation)
    assert outcomes(apply(again(operation, incarnation=1))) == [APPLIED]


def is_buried_replayed_and_buried_again(operation: DispatchedOperation) -> None:
    is_buried(operation)
    assert outcomes(bury_verdicts(verdicts_on(again(operation, incarnation=1)))) == [DEAD]


#: What others do meanwhile; what the late copy has to report then; how many effects there are; what the ledger says.
MEANWHILE: list[tuple[Callable[[DispatchedOperation], None], Outcome, int, Lines]] = [
    (is_applied, APPLIED, 1, [("applied", 0)]),
    (is_buried, DEAD, 0, [("dead", 0)]),
    (is_buried_and_discarded, DISCARDED, 0, [("discarded", 0)]),
    (is_buried_and_replayed, APPLIED, 1, [("applied", 1)]),
    (is_buried_replayed_and_buried_again, DEAD, 0, [("dead", 1)]),
]


@pytest.mark.parametrize("at", [Point.FENCE_PASSED, Point.ROWS_WRITTEN])
@pytest.mark.parametrize(
    ("meanwhile", "outcome", "effects", "lines"), MEANWHILE, ids=[case[0].__name__ for case in MEANWHILE]
)
def test_a_late_copy_does_not_apply_what_was_decided_meanwhile(
    bound: str,
    at: Point,
    meanwhile: Callable[[DispatchedOperation], None],
    outcome: Outcome,
    effects: int,
    lines: Lines,
) -> None:
    """A rating has no unique value, so nothing but the ledger keeps a second one out."""
    operation = create_operation("Rating", businessId=1, totalScore=50)

    with held(operation, at) as late:
        meanwhile(operation)
        result = late.finish()

    assert outcomes(result) == [outcome]
    assert ratings() == effects
    assert ledger_lines(operation) == lines


@pytest.mark.parametrize("at", [Point.FENCE_PASSED, Point.ROWS_WRITTEN, Point.LINES_WRITTEN])
def test_a_late_replay_does_not_apply_after_its_copy_was_buried(bound: str, at: Point) -> None:
    """The letter is dead again, and was discarded perhaps: only a further replay may bring it back."""
    operation = create_operation("Rating", businessId=1, totalScore=50)
    is_buried(operation)
    replay = again(operation, incarnation=1)

    with held(replay, at) as late:
        if at is Point.LINES_WRITTEN:  # its line is turned and locked: who would bury it must wait, and comes too late
            assert outcomes(bury_verdicts(verdicts_on(replay))) == [HANDED_BACK]
        else:
            is_buried(replay)
        result = late.finish()

    expected = [APPLIED] if at is Point.LINES_WRITTEN else [DEAD]
    assert outcomes(result) == outcomes(bury_verdicts(verdicts_on(replay))) == expected
    assert ratings() == (1 if at is Point.LINES_WRITTEN else 0)
    assert ledger_lines(operation) == [("applied" if at is Point.LINES_WRITTEN else "dead", 1)]


@pytest.mark.parametrize("decide", [apply_batch, bury_verdicts])
def test_nobody_decides_past_a_copy_whose_line_is_written(bound: str, decide: Callable[..., BatchResult]) -> None:
    """Others wait for the line's lock, are sent back with no harm done, and then find the line."""
    operation = create_operation("Rating", businessId=1, totalScore=50)
    message = a_batch(operation) if decide is apply_batch else verdicts_on(operation)

    with held(operation, Point.LINES_WRITTEN) as late:
        assert outcomes(decide(message)) == [HANDED_BACK]
        late_result = late.finish()
    result = decide(message)

    assert outcomes(late_result) == outcomes(result) == [APPLIED]
    assert ratings() == 1
    assert ledger_lines(operation) == [("applied", 0)]


@pytest.mark.parametrize("at", [Point.FENCE_PASSED, Point.ROWS_WRITTEN, Point.LINES_WRITTEN])
def test_the_epoch_is_not_raised_past_a_transaction_that_has_read_the_older_one(bound: str, at: Point) -> None:
    """Else the new ingest would read what the old one's worker is about to change."""
    operation = update("User", 1, firstName="Eva")

    with held(operation, at) as late:
        with pytest.raises(peewee.OperationalError, match="1205"):
            ledger.raise_epoch(GROUP, "outbox-2")
        late_result = late.finish()
    ledger.raise_epoch(GROUP, "outbox-2")

    assert outcomes(late_result) == [APPLIED]
    assert rows("SELECT nombre FROM usuarios") == [("Eva",)]
    with pytest.raises(Fenced):
        apply(update("User", 1, firstName="Luz"))


def test_a_verdict_that_comes_late_buries_neither_what_was_applied_nor_what_was_replayed(bound: str) -> None:
    applied = create_operation("Rating", businessId=1, totalScore=1)
    replayed = create_operation("Rating", businessId=1, totalScore=2)
    is_applied(applied)
    is_buried_and_replayed(replayed)

    late = bury_verdicts(verdicts_on(applied, replayed, reason="its retries are exhausted"))

    assert outcomes(late) == [APPLIED, APPLIED]
    assert ledger_lines(applied) + ledger_lines(replayed) == [("applied", 0), ("applied", 1)]


@pytest.mark.parametrize("at", [Point.FENCE_PASSED, Point.ROWS_WRITTEN, Point.LINES_WRITTEN])
def test_what_a_hanging_worker_has_locked_comes_free_and_nothing_of_it_stays(
    mariadb: MariaDBServer, bound: str, at: Point, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its host hangs or is cut off: the server waits for its next statement, and must not do so for hours."""
    monkeypatch.setattr(database.current(), "_idle_transaction_timeout_s", 1)
    operation = update("User", 1, firstName="Eva")

    with held(operation, at) as late:
        eventually(lambda: ledger.raise_epoch(GROUP, "outbox-2"), 30, ignoring=(peewee.OperationalError,))
        assert rows("SELECT nombre FROM usuarios") == [("Ana",)]
        with pytest.raises(DatabaseUnavailable):
            late.finish()

    assert rows("SELECT nombre FROM usuarios") == [("Ana",)]
    assert ledger_lines(operation) == []
