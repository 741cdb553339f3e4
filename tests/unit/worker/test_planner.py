"""The planner against a serial model: whatever completes when, the end is as if all had been applied one by one."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entities.operations import Delete
from entities.writesets import Writeset, after_failure, conflicts
from tests.support.streams import Refused, StreamOperation, World, a_user, an_operation, serial_outcome, streams
from worker.planner import Planned, Planner

MANY = settings(max_examples=2500, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Run:
    """A run of the planner over a stream, with the actors' rules for failing operations and their followers."""

    def __init__(self, stream: list[StreamOperation], window: int) -> None:
        self.planner: Planner[StreamOperation] = Planner(window, 10**9)
        self.unsettled = dict(enumerate(stream, start=1))
        self.world = World()
        self.dead: list[str] = []
        self.read_to = 0
        self.flags: dict[int, Planned[StreamOperation]] = {}

    def fill(self) -> None:
        again = self.planner.must_read_again_from
        if again is not None:
            self.planner.unpark()
            self.read_to = again - 1
        for seq in sorted(self.unsettled):
            if seq > self.read_to and self.planner.has_room:
                self.read_to = seq
                if seq in self.planner:
                    self.planner.note_read(seq)
                else:
                    self.planner.add(Planned(seq, self.unsettled[seq].writeset, 1, self.unsettled[seq]))

    def complete(self, batch: list[Planned[StreamOperation]], outage: bool = False) -> None:
        held_back: list[Writeset] = []
        for planned in batch:
            writeset = self.as_seen_by_the_database(planned.item)
            if outage or any(conflicts(writeset, other) for other in held_back):
                held_back.append(writeset)
                self.planner.hand_back(planned.seq)
                continue
            if planned.goes_alone:
                # It has failed at its turn. Whether a later attempt may pass is outside the promise: here none does.
                self.dead.append(planned.item.operation_id)
                self.settle(planned.seq)
                continue
            try:
                self.world.apply(planned.item)
            except Refused:
                held_back.append(writeset)
                has_failed = planned.waits_wider
                if has_failed:
                    self.planner.narrow(planned.seq, after_failure(planned.writeset))
                self.planner.hand_back(planned.seq, waits_wider=True, goes_alone=has_failed)
            else:
                self.settle(planned.seq)

    def as_seen_by_the_database(self, operation: StreamOperation) -> Writeset:
        """The operation's keys; a DELETE's are those of the rows that it reaches, as the actors see them."""
        action = next(iter(operation.actions), None)
        if not isinstance(action, Delete):
            return operation.writeset
        doomed = self.world.reached(action.entity.__name__, action.id)
        freed = {
            f"User.email={self.world.rows['User'][key]['email'].lower()}"
            for name, key in doomed
            if name == "User" and key in self.world.rows["User"]
        }
        exclusive = {f"{name}:{key}" for name, key in doomed} | freed
        return Writeset(frozenset(exclusive), frozenset(("User.email",)) - exclusive, operation.writeset.entities)

    def settle(self, seq: int) -> None:
        del self.unsettled[seq]
        self.planner.finish(seq)


@MANY
@given(streams(), st.integers(2, 40), st.integers(0, 2**32))
def test_the_end_is_serial_whatever_completes_when(stream: list[StreamOperation], window: int, seed: int) -> None:
    run, chance = Run(stream, window), random.Random(seed)
    in_flight: list[list[Planned[StreamOperation]]] = []

    while run.unsettled:
        run.fill()
        while len(in_flight) < 3 and (batch := run.planner.take(chance.randint(1, 6), 10**9)):
            in_flight.append(batch)
        while (alone := run.planner.take_alone()) is not None:
            in_flight.append([alone])
        assert in_flight, "nothing can run, though operations are unfinished"
        batch = in_flight.pop(chance.randrange(len(in_flight)))
        run.complete(batch, outage=chance.random() < 0.1)

    world, refused = serial_outcome(stream)
    assert run.world.rows == world.rows
    assert sorted(run.dead) == sorted(refused)
    assert len(run.planner) == 0


@given(streams(), st.integers(1, 8))
def test_a_batch_is_in_order_and_holds_what_its_members_wait_for(stream: list[StreamOperation], size: int) -> None:
    run = Run(stream, window=100)
    run.fill()

    batch = run.planner.take(size, 10**9)

    seqs = [planned.seq for planned in batch]
    left_out = [(seq, op.writeset) for seq, op in run.unsettled.items() if seq not in seqs]
    assert seqs == sorted(seqs)
    for planned in batch:
        assert not any(seq < planned.seq and conflicts(keys, planned.item.writeset) for seq, keys in left_out)


def planned(seq: int, operation: StreamOperation, size: int = 1) -> Planned[StreamOperation]:
    return Planned(seq, operation.writeset, size, operation)


def unique_update(seq: int, row: int) -> StreamOperation:
    return an_operation(f"op-{seq}", "UPDATE", "Business", {"id": row, "name": "x"})


def test_an_update_waits_for_the_create_before_it() -> None:
    planner: Planner[StreamOperation] = Planner(100, 10**9)
    planner.add(planned(1, an_operation("a", "CREATE", "User", a_user("a@x.co", id=3))))
    planner.add(planned(2, an_operation("b", "UPDATE", "User", {"id": 3, "firstName": "Eva"})))

    first = planner.take(1, 10**9)

    assert [p.seq for p in first] == [1]
    assert planner.take(1, 10**9) == []
    planner.finish(1)
    assert [p.seq for p in planner.take(1, 10**9)] == [2]


def test_conflicting_operations_ride_in_one_batch_in_order() -> None:
    planner: Planner[StreamOperation] = Planner(100, 10**9)
    for seq in (1, 2, 3):
        planner.add(planned(seq, unique_update(seq, row=7)))

    batch = planner.take(10, 10**9)

    assert [p.seq for p in batch] == [1, 2, 3]


def test_what_waits_wider_waits_for_all_earlier_ones_on_its_entities() -> None:
    planner: Planner[StreamOperation] = Planner(100, 10**9)
    planner.add(planned(1, unique_update(1, row=1)))
    planner.add(planned(2, unique_update(2, row=2)))
    both = [planner.take(1, 10**9), planner.take(1, 10**9)]
    assert [p.seq for batch in both for p in batch] == [1, 2]

    planner.hand_back(2, waits_wider=True)

    assert planner.take(10, 10**9) == []
    planner.finish(1)
    assert [p.seq for p in planner.take(10, 10**9)] == [2]


def test_what_waits_wider_does_not_wait_for_one_that_waits_for_it() -> None:
    """A letter that was replayed keeps its place, before what is in the window already."""
    planner: Planner[StreamOperation] = Planner(100, 1000)
    planner.add(planned(2, an_operation("in the window", "CREATE", "Business", {"id": 2, "userId": 1, "name": "b"})))
    planner.take(10, 1000)
    planner.add(planned(1, an_operation("replayed", "CREATE", "Business", {"id": 1, "userId": 1, "name": "a"})))
    planner.hand_back(2, waits_wider=True)

    batch = planner.take(10, 1000)

    assert [one.item.operation_id for one in batch] == ["in the window", "replayed"]


def test_what_waits_wider_blocks_others_no_wider_than_before() -> None:
    planner: Planner[StreamOperation] = Planner(100, 10**9)
    for seq in (1, 2, 3):
        planner.add(planned(seq, unique_update(seq, row=seq)))
    planner.take(2, 10**9)

    planner.hand_back(2, waits_wider=True)

    assert [p.seq for p in planner.take(10, 10**9)] == [3]


def test_what_goes_alone_never_rides() -> None:
    planner: Planner[StreamOperation] = Planner(100, 10**9)
    planner.add(planned(1, unique_update(1, row=1)))
    planner.add(planned(2, unique_update(2, row=1)))
    planner.take(10, 10**9)

    planner.hand_back(1, goes_alone=True)
    planner.hand_back(2)

    assert planner.take(10, 10**9) == []
    alone = planner.take_alone()
    assert alone is not None and alone.seq == 1


def test_a_batch_is_limited_in_bytes_but_never_empty_for_that() -> None:
    planner: Planner[StreamOperation] = Planner(100, 10**9)
    planner.add(planned(1, unique_update(1, row=1), size=500))
    planner.add(planned(2, unique_update(2, row=2), size=60))
    planner.add(planned(3, unique_update(3, row=3), size=60))

    sizes = [[p.seq for p in planner.take(10, 100)] for _ in range(3)]

    assert sizes == [[1], [2], [3]]


def test_a_hot_row_fills_only_its_share_of_the_window() -> None:
    planner: Planner[StreamOperation] = Planner(80, 10**9)
    stuck = planned(1, unique_update(1, row=1))
    stuck.goes_alone = True
    planner.add(stuck)
    assert planner.take_alone() is stuck
    for seq in range(2, 62):
        planner.add(planned(seq, unique_update(seq, row=1)))
    planner.add(planned(99, unique_update(99, row=2)))

    assert len(planner) <= 80 * 0.125 + 2
    assert [p.seq for p in planner.take(10, 10**9)] == [99]


def test_the_first_parked_operation_comes_in_again_once_its_row_drains() -> None:
    planner: Planner[StreamOperation] = Planner(16, 10**9)
    for seq in range(1, 8):
        planner.add(planned(seq, unique_update(seq, row=1)))
    admitted = len(planner)
    assert admitted < 7 and planner.must_read_again_from is None

    for taken in planner.take(admitted, 10**9):
        planner.finish(taken.seq)

    assert planner.must_read_again_from == admitted + 1


def test_the_window_is_bounded_in_operations_and_bytes() -> None:
    by_count: Planner[StreamOperation] = Planner(2, 10**9)
    by_bytes: Planner[StreamOperation] = Planner(100, 10)
    for seq in (1, 2):
        by_count.add(planned(seq, unique_update(seq, row=seq)))
    by_bytes.add(planned(1, unique_update(1, row=1), size=50))

    assert not by_count.has_room
    assert not by_bytes.has_room


@pytest.mark.parametrize("late", ["finish", "hand_back"])
def test_a_late_word_about_a_finished_operation_changes_nothing(late: str) -> None:
    planner: Planner[StreamOperation] = Planner(100, 10**9)
    planner.add(planned(1, unique_update(1, row=1)))
    planner.take(1, 10**9)
    planner.finish(1)

    getattr(planner, late)(1)

    assert len(planner) == 0
    assert planner.take(10, 10**9) == []


def test_what_waits_wider_waits_for_parked_ones_too() -> None:
    planner: Planner[StreamOperation] = Planner(16, 10**9)
    for seq in (1, 2, 3, 4):
        planner.add(planned(seq, unique_update(seq, row=1)))
    planner.add(planned(5, unique_update(5, row=2)))
    assert 4 not in planner and [p.seq for p in planner.take(10, 10**9)] == [1, 2, 3, 5]

    planner.hand_back(5, waits_wider=True)
    for seq in (1, 2, 3):
        planner.finish(seq)

    assert planner.take(10, 10**9) == []
    planner.unpark()
    planner.add(planned(4, unique_update(4, row=1)))
    assert [p.seq for p in planner.take(10, 10**9)] == [4]


def test_while_it_is_retried_an_operation_holds_its_rows_but_no_whole_entity() -> None:
    planner: Planner[StreamOperation] = Planner(100, 10**9)
    planner.add(planned(1, unique_update(1, row=9)))
    planner.add(planned(2, an_operation("delete", "DELETE", "User", {"id": 1})))
    planner.add(planned(3, unique_update(3, row=9)))
    [failing] = planner.take(1, 10**9)

    planner.narrow(1, after_failure(failing.writeset))
    planner.hand_back(1, goes_alone=True)

    assert [p.seq for p in planner.take(10, 10**9)] == [2]
    planner.finish(2)
    assert planner.take(10, 10**9) == []
    planner.finish(1)
    assert [p.seq for p in planner.take(10, 10**9)] == [3]


def test_those_that_wait_wider_do_not_wait_for_one_that_is_being_retried() -> None:
    planner: Planner[StreamOperation] = Planner(100, 10**9)
    for seq in (1, 2):
        planner.add(planned(seq, unique_update(seq, row=seq)))
    planner.take(10, 10**9)

    planner.hand_back(1, waits_wider=True, goes_alone=True)
    planner.hand_back(2, waits_wider=True)

    assert [p.seq for p in planner.take(10, 10**9)] == [2]


def test_what_leaves_early_passes_on_all_that_it_waited_for() -> None:
    def holding(seq: int, **keys: set[str]) -> Planned[str]:
        exclusive, shared = keys.get("exclusive", set()), keys.get("shared", set())
        return Planned(seq, Writeset(frozenset(exclusive), frozenset(shared), frozenset()), 1, "")

    planner: Planner[str] = Planner(100, 10**9)
    planner.add(holding(1, exclusive={"Business"}))
    planner.add(holding(2, shared={"Business"}))
    planner.add(holding(3, exclusive={"Business"}))
    planner.add(holding(4, shared={"Business"}))
    assert [p.seq for p in planner.take(1, 10**9)] == [1]

    planner.finish(3)

    assert planner.take(10, 10**9) == []
    planner.finish(1)
    assert [p.seq for p in planner.take(10, 10**9)] == [2, 4]
