"""Entries held behind a dead letter: neither planned nor settled until a person has decided."""

from __future__ import annotations

from pathlib import Path

from outbox import DeskResult, Outbox, State
from outbox.records import Settled
from outbox.states import UNSETTLED
from tests.unit.outbox.builders import (
    TOPIC,
    a_dead_letter,
    a_record,
    appended,
    back_to_version_2,
    counters_are_true,
    sql,
    states,
    the_entry,
)


def test_a_held_entry_is_not_planned_but_still_owed(outbox: Outbox) -> None:
    letter = a_dead_letter(outbox, 0)
    (follower, other) = appended(outbox, a_record(1), a_record(2))

    assert outbox.hold([(follower, letter)]) == 1

    assert [entry.seq for entry in outbox.window(0, 10, 10**6)] == [other]
    assert the_entry(outbox, follower).held_by == letter
    assert outbox.low_water_mark(TOPIC, 0, 0) == 1
    assert outbox.counts().unsettled == 2
    assert counters_are_true(outbox)


def test_what_was_in_a_message_that_is_lost_is_held_too(outbox: Outbox) -> None:
    """Its state says dispatched until it is sent again; left so, it would be released with no letter."""
    letter = a_dead_letter(outbox, 0)
    (lost, pending) = appended(outbox, a_record(1), a_record(2))
    outbox.mark_dispatched([lost])

    assert outbox.hold([(lost, letter), (pending, letter)]) == 2

    assert states(outbox, [lost, pending]) == [State.HELD, State.HELD]
    assert counters_are_true(outbox)


def test_what_is_settled_is_not_held(outbox: Outbox) -> None:
    letter = a_dead_letter(outbox, 0)
    (seq,) = appended(outbox, a_record(1))
    outbox.settle([Settled(seq, 0, State.APPLIED)])

    assert outbox.hold([(seq, letter)]) == 0

    assert states(outbox, [seq]) == [State.APPLIED]


def test_a_letter_lets_go_of_its_own_alone(outbox: Outbox) -> None:
    first, second = a_dead_letter(outbox, 0), a_dead_letter(outbox, 1)
    followers = appended(outbox, a_record(2), a_record(3))
    outbox.hold([(followers[0], first), (followers[1], second)])

    assert outbox.release_held([first]) == 1

    assert states(outbox, followers) == [State.PENDING, State.HELD]
    assert the_entry(outbox, followers[0]).held_by is None
    assert counters_are_true(outbox)


def test_a_start_lets_all_go(outbox: Outbox) -> None:
    letter = a_dead_letter(outbox, 0)
    followers = appended(outbox, a_record(1), a_record(2))
    outbox.hold([(seq, letter) for seq in followers])

    assert outbox.release_held() == 2

    assert states(outbox, followers) == [State.PENDING, State.PENDING]


def test_where_letters_hold_others_a_replay_keeps_its_place(outbox: Outbox) -> None:
    outbox.note_policy(holds_lanes=True)
    letter = a_dead_letter(outbox, 0)
    (follower,) = appended(outbox, a_record(1))
    outbox.hold([(follower, letter)])

    results = outbox.replay([letter], "Ana", "mended")

    assert results == [DeskResult(letter, True, State.PENDING, seq=letter, incarnation=1)]
    outbox.release_held([letter])
    assert [entry.seq for entry in outbox.window(0, 10, 10**6)] == [letter, follower]
    assert counters_are_true(outbox)


def test_a_file_of_version_2_learns_to_hold(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite3"
    with Outbox.open(path) as outbox:
        letter = a_dead_letter(outbox, 0)
        (follower,) = appended(outbox, a_record(1))
        back_to_version_2(outbox)

    with Outbox.open(path) as outbox:
        assert outbox.hold([(follower, letter)]) == 1
        assert outbox.low_water_mark(TOPIC, 0, 0) == 1
        assert counters_are_true(outbox)
        plan = sql(outbox, f"EXPLAIN QUERY PLAN SELECT min(offset) FROM entries WHERE log_id = 1 AND {_owed()}")
        assert "entries_owed" in str(plan.fetchall())


def _owed() -> str:
    return f"state IN ({', '.join(f'{state:d}' for state in UNSETTLED)}) AND incarnation = 0"
