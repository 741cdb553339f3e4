"""Each transition: what it changes, what it keeps, and when it changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from outbox import FailedAttempt, HandedBack, Outbox, Settled, State
from outbox import transitions as transitions_module
from outbox.states import TRANSITIONS, UNSETTLED, state_named
from tests.unit.outbox.builders import (
    Clock,
    a_record,
    appended,
    applied,
    counters_are_true,
    dead,
    dispatched,
    states,
    the_entry,
)

PENDING, DISPATCHED, APPLIED, DEAD, DISCARDED, HELD = State


def an_entry_in(outbox: Outbox, state: State) -> int:
    (seq,) = appended(outbox, a_record(0))
    if state is DISPATCHED:
        outbox.mark_dispatched([seq])
    if state is APPLIED:
        outbox.settle([applied(seq)])
    if state in (DEAD, DISCARDED):
        outbox.settle([dead(seq)])
    if state is DISCARDED:
        outbox.discard([seq], "an operator", "a test")
    if state is HELD:
        outbox.hold([(seq, 99)])
    assert the_entry(outbox, seq).state is state
    return seq


MOVES: dict[str, tuple[State, Callable[[Outbox, int], int]]] = {
    "mark_dispatched": (DISPATCHED, lambda outbox, seq: outbox.mark_dispatched([seq])),
    "settle applied": (APPLIED, lambda outbox, seq: outbox.settle([applied(seq)])),
    "settle dead": (DEAD, lambda outbox, seq: outbox.settle([dead(seq)])),
    "settle discarded": (DISCARDED, lambda outbox, seq: outbox.settle([Settled(seq, 0, DISCARDED)])),
    "hand_back": (PENDING, lambda outbox, seq: outbox.hand_back([HandedBack(seq, 0)])),
    "release_dispatched": (PENDING, lambda outbox, seq: outbox.release_dispatched()),
    "hold": (HELD, lambda outbox, seq: outbox.hold([(seq, 99)])),
    "release_held": (PENDING, lambda outbox, seq: outbox.release_held()),
    "replay": (PENDING, lambda outbox, seq: sum(one.is_done for one in outbox.replay([seq], "who", "why"))),
    "discard": (DISCARDED, lambda outbox, seq: sum(one.is_done for one in outbox.discard([seq], "who", "why"))),
}


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("move", MOVES)
def test_a_move_is_made_from_the_states_it_is_for_and_from_no_other(outbox: Outbox, move: str, before: State) -> None:
    seq = an_entry_in(outbox, before)
    to, make = MOVES[move]
    by_the_desk, by_release = move in ("replay", "discard"), move == "release_held"
    is_legal = (before, to) in TRANSITIONS and (before is DEAD) == by_the_desk and (before is HELD) == by_release

    changed = make(outbox, seq)

    assert changed == is_legal
    assert the_entry(outbox, seq).state is (to if is_legal else before)
    assert counters_are_true(outbox)


def test_every_transition_of_the_table_is_made_by_a_move() -> None:
    reached = {to for to, _ in MOVES.values()}

    assert reached == {to for _, to in TRANSITIONS}
    assert {state for state in State if not state.is_settled} == set(UNSETTLED)


@pytest.mark.parametrize("incarnation", [1, 7])
def test_a_settlement_for_another_incarnation_changes_nothing(outbox: Outbox, incarnation: int) -> None:
    (seq,) = dispatched(outbox, 1)

    assert outbox.settle([applied(seq, incarnation)]) == 0
    assert outbox.settle([dead(seq, incarnation)]) == 0
    assert outbox.hand_back([HandedBack(seq, incarnation)]) == 0
    assert outbox.note_attempts([FailedAttempt(seq, incarnation, 3, "order", "no parent")]) == 0

    entry = the_entry(outbox, seq)
    assert (entry.state, entry.attempts, entry.error_kind) == (DISPATCHED, 0, None)
    assert outbox.history(seq) == []


def test_the_outcome_of_a_letter_that_was_replayed_meanwhile_changes_nothing(outbox: Outbox) -> None:
    (seq,) = dispatched(outbox, 1)
    outbox.settle([dead(seq)])
    (replayed,) = outbox.replay([seq], "who", "why")
    assert replayed.seq is not None

    assert outbox.settle([applied(seq)]) == 0
    assert outbox.settle([applied(replayed.seq)]) == 0

    assert states(outbox, [seq]) == [PENDING]


def test_the_outcome_of_an_entry_that_is_gone_changes_nothing(outbox: Outbox) -> None:
    assert outbox.settle([applied(99)]) == 0
    assert outbox.mark_dispatched([99]) == 0
    assert outbox.mark_dispatched([]) == 0
    assert outbox.settle([]) == 0


def test_a_settlement_counts_once_however_often_it_comes(outbox: Outbox) -> None:
    seqs = dispatched(outbox, 3)

    assert outbox.settle([applied(seqs[0]), applied(seqs[0]), dead(seqs[1])]) == 2
    assert outbox.settle([dead(seqs[0]), applied(seqs[1]), applied(seqs[2])]) == 1

    assert states(outbox, seqs) == [APPLIED, DEAD, APPLIED]
    assert counters_are_true(outbox)


def test_a_settlement_reaches_an_entry_that_was_handed_back(outbox: Outbox) -> None:
    seqs = dispatched(outbox, 3)
    outbox.hand_back([HandedBack(seqs[1], 0)])

    assert outbox.settle([applied(seq) for seq in seqs]) == 3
    assert counters_are_true(outbox)


def test_thousands_of_mixed_outcomes_at_once(outbox: Outbox) -> None:
    count = 2 * transitions_module.ROWS_A_STATEMENT + 3
    seqs = dispatched(outbox, count)
    settled = [dead(seq, reason=f"reason {seq}") if seq % 3 == 0 else applied(seq) for seq in seqs]

    assert outbox.settle(settled) == count

    assert the_entry(outbox, 600).reason == "reason 600"
    assert [line.why for line in outbox.history(600)] == ["reason 600"]
    assert outbox.counts().dead == count // 3
    assert counters_are_true(outbox)


def test_a_dead_letter_keeps_why_and_after_how_many_attempts(outbox: Outbox, clock: Clock) -> None:
    (seq,) = dispatched(outbox, 1)
    clock.now_ms += 5_000

    outbox.settle([Settled(seq, 0, DEAD, 6, "order", "User.id: there is no row 7")])

    entry = the_entry(outbox, seq)
    assert (entry.attempts, entry.error_kind, entry.reason) == (6, "order", "User.id: there is no row 7")
    assert entry.changed_at == clock.now_ms == entry.appended_at + 5_000
    (line,) = outbox.history(seq)
    assert (line.from_state, line.to_state, line.attempts, line.kind, line.at) == (
        *(DISPATCHED, DEAD, 6, "order"),
        clock.now_ms,
    )


def test_failed_attempts_stay_dispatched_and_are_kept(outbox: Outbox) -> None:
    (seq,) = dispatched(outbox, 1)

    outbox.note_attempts([FailedAttempt(seq, 0, 1, "contention", "deadlock", 12_000)])
    outbox.note_attempts([FailedAttempt(seq, 0, 2, "order", "no parent", 24_000)])

    entry = the_entry(outbox, seq)
    assert (entry.state, entry.attempts, entry.error_kind, entry.next_attempt_at) == (DISPATCHED, 2, "order", 24_000)
    assert [(line.attempts, line.kind, line.why) for line in outbox.history(seq)] == [
        (1, "contention", "deadlock"),
        (2, "order", "no parent"),
    ]
    assert counters_are_true(outbox)


def test_attempts_that_come_together_are_all_kept_and_the_last_one_stands(outbox: Outbox) -> None:
    first, second = dispatched(outbox, 2)

    kept = outbox.note_attempts(
        [
            FailedAttempt(first, 0, 1, "contention", "deadlock", 12_000),
            FailedAttempt(second, 0, 1, "order", "no parent", 12_000),
            FailedAttempt(first, 0, 2, "order", "no parent", 24_000),
            FailedAttempt(first, 0, 3, "contention", "lock wait", 48_000),
        ]
    )

    entry = the_entry(outbox, first)
    assert kept == 4
    assert (entry.attempts, entry.reason, entry.next_attempt_at) == (3, "lock wait", 48_000)
    assert [line.attempts for line in outbox.history(first)] == [1, 2, 3]


def test_the_number_of_attempts_never_falls(outbox: Outbox) -> None:
    (seq,) = dispatched(outbox, 1)
    outbox.note_attempts([FailedAttempt(seq, 0, 3, "order", "no parent")])

    outbox.note_attempts([FailedAttempt(seq, 0, 1, "order", "no parent")])
    outbox.settle([Settled(seq, 0, APPLIED)])

    assert the_entry(outbox, seq).attempts == 3


def test_a_restart_carries_attempts_and_the_next_time_on(outbox: Outbox) -> None:
    seqs = dispatched(outbox, 3)
    outbox.note_attempts([FailedAttempt(seqs[0], 0, 2, "order", "no parent", 24_000, goes_alone=True)])
    outbox.settle([applied(seqs[1])])

    assert outbox.release_dispatched() == 2
    assert outbox.mark_dispatched([seqs[0]]) == 1

    entry = the_entry(outbox, seqs[0])
    assert (entry.attempts, entry.next_attempt_at, entry.goes_alone) == (2, 24_000, True)
    assert states(outbox, seqs) == [DISPATCHED, APPLIED, PENDING]
    assert counters_are_true(outbox)


def test_a_settled_entry_awaits_no_further_attempt(outbox: Outbox) -> None:
    (seq,) = dispatched(outbox, 1)
    outbox.note_attempts([FailedAttempt(seq, 0, 1, "order", "no parent", 24_000)])

    outbox.settle([applied(seq)])

    assert the_entry(outbox, seq).next_attempt_at is None


def test_a_routine_hand_back_leaves_no_line_in_the_history(outbox: Outbox) -> None:
    (seq,) = dispatched(outbox, 1)

    outbox.hand_back([HandedBack(seq, 0)])

    assert states(outbox, [seq]) == [PENDING]
    assert outbox.history(seq) == []


def test_a_hand_back_for_a_failure_is_remembered_and_sets_its_flags(outbox: Outbox) -> None:
    (seq,) = dispatched(outbox, 1)

    outbox.hand_back([HandedBack(seq, 0, waits_wider=True, error_kind="order", why="no parent")])

    entry = the_entry(outbox, seq)
    assert (entry.waits_wider, entry.goes_alone, entry.deaths, entry.attempts) == (True, False, 0, 0)
    assert [(line.from_state, line.to_state, line.kind) for line in outbox.history(seq)] == [
        (DISPATCHED, PENDING, "order")
    ]


def test_flags_stay_and_deaths_are_counted_by_who_sees_them(outbox: Outbox) -> None:
    (seq,) = dispatched(outbox, 1)
    outbox.hand_back([HandedBack(seq, 0, goes_alone=True, deaths=3, error_kind="deadly", why="its worker died")])
    outbox.mark_dispatched([seq])

    outbox.hand_back([HandedBack(seq, 0)])

    entry = the_entry(outbox, seq)
    assert (entry.goes_alone, entry.deaths) == (True, 3)


def test_half_a_surrogate_pair_in_a_reason_becomes_its_escape(outbox: Outbox) -> None:
    (seq,) = dispatched(outbox, 1)

    outbox.settle([dead(seq, reason="User.firstName: \ud800 is half a pair")])

    assert the_entry(outbox, seq).reason == "User.firstName: \\ud800 is half a pair"


def test_all_of_a_transaction_or_nothing(outbox: Outbox) -> None:
    seqs = dispatched(outbox, 2)

    def settle_and_fail() -> None:
        with outbox.transaction():
            outbox.settle([applied(seqs[0]), dead(seqs[1])])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        settle_and_fail()

    assert states(outbox, seqs) == [DISPATCHED, DISPATCHED]
    assert outbox.history(seqs[1]) == []
    assert counters_are_true(outbox)


def test_a_state_is_found_by_its_label() -> None:
    assert [state_named(state.label) for state in State] == list(State)
    with pytest.raises(ValueError, match="pending, dispatched, applied, dead, discarded"):
        state_named("buried")
