"""Whatever is done in whatever order, and whatever fails in between: the counters, the marks and the order stay true."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from outbox import FailedAttempt, HandedBack, ImportedLetter, Outbox, Settled, State
from tests.unit.outbox.builders import TOPIC, Clock, a_record, counters_are_true, sql

#: Few, so that what is done often meets what was done before; some do not exist.
some_seqs = st.lists(st.integers(1, 25), max_size=6)
some_incarnations = st.integers(0, 2)


class Failure(Exception):
    """The process fails within a transaction."""


class OutboxMachine(RuleBasedStateMachine):
    """Everything an outbox can be told to do, true or not, with a model of the settled offsets beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "outbox.sqlite3"
        self.clock = Clock()
        self.outbox = self.opened()

    def opened(self) -> Outbox:
        outbox = Outbox.open(self.path, self.clock)
        sql(outbox, "PRAGMA synchronous = off")
        return outbox

    def teardown(self) -> None:
        self.outbox.close()
        self.folder.cleanup()

    @rule(offsets=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), max_size=6))
    def append(self, offsets: list[tuple[int, int]]) -> None:
        records = [
            a_record(offset, partition=partition, operation_id=f"op-{offset % 3}") for partition, offset in offsets
        ]
        before = self.outbox.counts().pending
        seqs = self.outbox.append(records)
        assert self.outbox.counts().pending == before + len(seqs) - seqs.count(None)

    @rule(seqs=some_seqs)
    def dispatch(self, seqs: list[int]) -> None:
        self.outbox.mark_dispatched(seqs)

    @rule(seqs=some_seqs, incarnation=some_incarnations, state=st.sampled_from([State.APPLIED, State.DEAD]))
    def settle(self, seqs: list[int], incarnation: int, state: State) -> None:
        self.clock.now_ms += 1
        self.outbox.settle([Settled(seq, incarnation, state, 1, "invalid", "why") for seq in seqs])

    @rule(seqs=some_seqs, incarnation=some_incarnations)
    def hand_back(self, seqs: list[int], incarnation: int) -> None:
        self.outbox.hand_back([HandedBack(seq, incarnation, error_kind="order", why="why") for seq in seqs])

    @rule(seqs=some_seqs, incarnation=some_incarnations)
    def note_attempts(self, seqs: list[int], incarnation: int) -> None:
        self.outbox.note_attempts([FailedAttempt(seq, incarnation, 1, "order", "why") for seq in seqs])

    @rule()
    def release(self) -> None:
        self.outbox.release_dispatched()
        assert self.outbox.counts().dispatched == 0

    @rule(ids=some_seqs)
    def replay(self, ids: list[int]) -> None:
        tail = max((entry.seq for entry in self.outbox.window(0, 100, 10**6)), default=0)
        for result in self.outbox.replay(ids, "who", "why"):
            assert not result.is_done or (result.seq or 0) > tail

    @rule(ids=some_seqs)
    def discard(self, ids: list[int]) -> None:
        self.outbox.discard(ids, "who", "why")

    @rule(offset=st.integers(0, 12), incarnation=some_incarnations)
    def import_dead(self, offset: int, incarnation: int) -> None:
        letter = ImportedLetter(TOPIC, 0, 0, offset, "op-1", None, None, b"", incarnation, 1, "invalid", "why", 1)
        self.outbox.import_dead([letter])

    @rule(partition=st.integers(0, 1))
    def archive(self, partition: int) -> None:
        self.outbox.archive_partition(TOPIC, partition, "why")

    @rule(limit=st.integers(1, 5))
    def prune(self, limit: int) -> None:
        marks = self.outbox.marks()
        self.outbox.prune(self.clock.now_ms + 1, limit)
        assert self.outbox.marks() == marks

    @rule(seqs=some_seqs)
    def fail_in_a_transaction(self, seqs: list[int]) -> None:
        before = self.outbox.counts()
        try:
            with self.outbox.transaction():
                self.append([(0, seq) for seq in seqs])
                self.settle(seqs, 0, State.DEAD)
                self.replay(seqs)
                raise Failure
        except Failure:
            pass
        assert self.outbox.counts() == before

    @precondition(lambda self: self.outbox.counts().total > 0)
    @rule()
    def restart(self) -> None:
        self.outbox.close()
        self.outbox = self.opened()

    @invariant()
    def the_counters_are_true(self) -> None:
        assert counters_are_true(self.outbox)

    @invariant()
    def the_window_holds_all_that_is_unsettled(self) -> None:
        window = self.outbox.window(0, 1_000, 10**6)
        assert len(window) == self.outbox.counts().unsettled
        assert [entry.seq for entry in window] == sorted(entry.seq for entry in window)

    @invariant()
    def the_marks_are_the_first_unsettled_offsets(self) -> None:
        owed: dict[int, Any] = {}
        for entry in self.outbox.window(0, 1_000, 10**6):
            if entry.incarnation == 0:
                owed[entry.partition] = min(owed.get(entry.partition, entry.offset), entry.offset)
        for partition in (0, 1):
            assert self.outbox.low_water_mark(TOPIC, 0, partition) == owed.get(partition)

    @invariant()
    def no_incarnation_of_an_operation_is_under_way_twice(self) -> None:
        replayed = Counter(
            (entry.operation_id, entry.incarnation)
            for entry in self.outbox.window(0, 1_000, 10**6)
            if entry.incarnation > 0
        )
        assert set(replayed.values()) <= {1}


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
