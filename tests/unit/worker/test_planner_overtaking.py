"""Nothing overtakes what it conflicts with: long mixed streams, small windows that park, failures, and early DELETEs.

The actors see which rows a DELETE really reaches and may settle it before an operation that the planner put first. Such
freedom, and operations that are parked and come in again, must not open a gap through which others slip.
"""

from __future__ import annotations

import random

import pytest

from entities.envelope import decode
from entities.operations import Delete, actions_of
from entities.writesets import Writeset, after_failure, conflicts, writeset
from tests.support.mixed import mixed_stream
from worker.planner import Planned, Planner

OPERATIONS = 1_500
IN_FLIGHT, BATCH = 8, 20


class Overtaking:
    """A run in which operations fail at random and every settlement is checked against all that is unsettled."""

    def __init__(self, seed: int, window: int) -> None:
        self.chance = random.Random(seed)
        self.planner: Planner[int] = Planner(window, 10**12)
        self.keys: dict[int, Writeset] = {}
        self.rows: dict[int, Writeset] = {}
        self.deletes: set[int] = set()
        for seq, raw in enumerate(mixed_stream(OPERATIONS, seed), start=1):
            actions = actions_of(decode(raw))
            keys = writeset(f"op_{seq}", actions)
            is_delete = bool(actions) and isinstance(actions[0], Delete)
            only_rows = Writeset(frozenset(key for key in keys.exclusive if ":" in key), frozenset(), keys.entities)
            self.keys[seq] = keys
            self.rows[seq] = only_rows if is_delete else after_failure(keys)
            if is_delete:
                self.deletes.add(seq)
        self.unsettled = sorted(self.keys)
        self.read_to = 0

    def fill(self) -> None:
        again = self.planner.must_read_again_from
        if again is not None:
            self.planner.unpark()
            self.read_to = again - 1
        for seq in self.unsettled:
            if seq > self.read_to and self.planner.has_room:
                self.read_to = seq
                if seq in self.planner:
                    self.planner.note_read(seq)
                else:
                    self.planner.add(Planned(seq, self.keys[seq], 1, seq))

    def complete(self, batch: list[Planned[int]]) -> None:
        held: list[Writeset] = []
        for planned in batch:
            seq = planned.seq
            keys = self.rows[seq] if seq in self.deletes else self.keys[seq]
            if any(conflicts(keys, other) for other in held):
                held.append(keys)
                self.planner.hand_back(seq)
            elif planned.goes_alone:
                self.settle(seq)
            elif self.chance.random() < 0.1 and seq not in self.deletes:
                held.append(keys)
                has_failed = planned.waits_wider
                if has_failed:
                    self.planner.narrow(seq, after_failure(planned.writeset))
                self.planner.hand_back(seq, waits_wider=True, goes_alone=has_failed)
            else:
                self.settle(seq)

    def settle(self, seq: int) -> None:
        for earlier in self.unsettled:
            if earlier >= seq:
                break
            assert not conflicts(self.rows[earlier], self.rows[seq]), f"{seq} overtakes {earlier}"
        self.unsettled.remove(seq)
        self.planner.finish(seq)


@pytest.mark.parametrize("window", [60, 100, 400])
@pytest.mark.parametrize("seed", range(24))
def test_nothing_overtakes_what_it_conflicts_with_and_something_can_always_run(seed: int, window: int) -> None:
    run = Overtaking(seed, window)
    in_flight: list[list[Planned[int]]] = []

    while run.unsettled:
        run.fill()
        while len(in_flight) < IN_FLIGHT and (batch := run.planner.take(BATCH, 10**12)):
            in_flight.append(batch)
        while (alone := run.planner.take_alone()) is not None:
            in_flight.append([alone])
        assert in_flight, "nothing can run, though operations are unfinished"
        run.complete(in_flight.pop(run.chance.randrange(len(in_flight))))

    assert len(run.planner) == 0
