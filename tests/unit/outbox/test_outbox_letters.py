"""Dead letters: replayed at the tail as the next incarnation, discarded, and taken over from the ledger."""

from __future__ import annotations

import pytest

from outbox import DeskResult, FailedAttempt, HandedBack, ImportedLetter, Outbox, State
from outbox import letters as letters_module
from tests.unit.outbox.builders import (
    TOPIC,
    Clock,
    a_dead_letter,
    a_record,
    appended,
    applied,
    counters_are_true,
    dead,
    dispatched,
    states,
    the_entry,
)


def an_imported_letter(offset: int, *, operation_id: str = "op-1", incarnation: int = 0) -> ImportedLetter:
    return ImportedLetter(
        topic=TOPIC,
        generation=0,
        partition=0,
        offset=offset,
        operation_id=operation_id,
        entity="User",
        type="CREATE",
        raw=b"the payload",
        incarnation=incarnation,
        attempts=6,
        error_kind="order",
        reason="User.email: is taken",
        settled_at=1_234,
    )


def test_replayed_letters_go_to_the_tail_in_the_order_asked_for(outbox: Outbox) -> None:
    first, second = a_dead_letter(outbox, 0), a_dead_letter(outbox, 1)
    appended(outbox, a_record(2))

    results = outbox.replay([second, first], "Ana", "the column was mended")

    assert results == [
        DeskResult(second, True, State.PENDING, seq=4, incarnation=1),
        DeskResult(first, True, State.PENDING, seq=5, incarnation=1),
    ]
    assert [(entry.seq, entry.entry_id, entry.offset) for entry in outbox.window(0, 10, 10**6)] == [
        (3, 3, 2),
        (4, second, 1),
        (5, first, 0),
    ]
    assert counters_are_true(outbox)


def test_what_is_appended_after_a_replay_comes_after_it(outbox: Outbox) -> None:
    letter = a_dead_letter(outbox)
    (replayed,) = outbox.replay([letter], "who", "why")

    assert outbox.append([a_record(1)]) == [3]
    assert replayed.seq == 2


def test_a_seq_is_never_given_twice_even_after_the_highest_is_gone(outbox: Outbox, clock: Clock) -> None:
    (replayed,) = outbox.replay([a_dead_letter(outbox)], "who", "why")
    assert replayed.seq == 2
    outbox.settle([applied(2, 1)])
    assert outbox.prune(clock.now_ms + 1, 10) == 1

    assert outbox.append([a_record(1)]) == [3]


def test_a_replay_begins_anew_but_keeps_its_history(outbox: Outbox, clock: Clock) -> None:
    (seq,) = dispatched(outbox, 1)
    outbox.hand_back([HandedBack(seq, 0, waits_wider=True, goes_alone=True, deaths=3)])
    outbox.note_attempts([FailedAttempt(seq, 0, 2, "order", "no parent", 99)])
    outbox.settle([dead(seq)])
    clock.now_ms += 1

    outbox.replay([seq], "Ana", "the column was mended")

    entry = the_entry(outbox, seq)
    assert (entry.attempts, entry.deaths, entry.waits_wider, entry.goes_alone) == (0, 0, False, False)
    assert (entry.next_attempt_at, entry.error_kind, entry.reason) == (None, None, None)
    line = outbox.history(seq)[-1]
    assert (line.from_state, line.to_state, line.incarnation, line.attempts, line.why, line.who, line.at) == (
        *(State.DEAD, State.PENDING, 1, 2, "the column was mended", "Ana"),
        clock.now_ms,
    )


def test_a_letter_is_replayed_again_and_again_as_the_next_incarnation(outbox: Outbox) -> None:
    letter = a_dead_letter(outbox)

    for incarnation in (1, 2, 3):
        (replayed,) = outbox.replay([letter], "who", "why")
        assert replayed.incarnation == incarnation
        assert replayed.seq is not None
        assert outbox.settle([dead(replayed.seq, incarnation)]) == 1


def test_a_duplicate_goes_beyond_every_incarnation_of_its_operation(outbox: Outbox) -> None:
    letter = a_dead_letter(outbox, 0, operation_id="op-1")
    duplicate = a_dead_letter(outbox, 1, operation_id="op-1")
    other = a_dead_letter(outbox, 2, operation_id="op-2")

    results = outbox.replay([letter, duplicate, other], "who", "why")

    assert [result.incarnation for result in results] == [1, 2, 1]


def test_what_is_not_dead_is_neither_replayed_nor_discarded(outbox: Outbox) -> None:
    pending, sent, done = appended(outbox, a_record(0), a_record(1), a_record(2))
    outbox.mark_dispatched([sent])
    outbox.settle([applied(done)])
    letter = a_dead_letter(outbox, 3)

    for change in (outbox.replay, outbox.discard):
        results = change([pending, sent, done, 99], "who", "why")
        assert [(result.is_done, result.state) for result in results] == [
            (False, State.PENDING),
            (False, State.DISPATCHED),
            (False, State.APPLIED),
            (False, None),
        ]

    assert states(outbox, [pending, sent, done, letter]) == [
        State.PENDING,
        State.DISPATCHED,
        State.APPLIED,
        State.DEAD,
    ]
    assert counters_are_true(outbox)


def test_a_letter_asked_for_twice_is_replayed_once(outbox: Outbox) -> None:
    letter = a_dead_letter(outbox)

    assert [result.is_done for result in outbox.replay([letter, letter], "who", "why")] == [True, False]


def test_a_discarded_letter_stays_where_it_is_with_who_and_why(outbox: Outbox) -> None:
    letter = a_dead_letter(outbox)

    (result,) = outbox.discard([letter], "Ana", "the user asked us to")

    assert result == DeskResult(letter, True, State.DISCARDED, letter, 0)
    entry = the_entry(outbox, letter)
    assert (entry.state, entry.reason) == (State.DISCARDED, "User.email: is no e-mail address")
    assert [(line.who, line.why) for line in outbox.history(letter)][-1] == ("Ana", "the user asked us to")
    assert counters_are_true(outbox)


def test_many_letters_take_several_transactions(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters_module, "LETTERS_A_TRANSACTION", 2)
    letters = [a_dead_letter(outbox, offset) for offset in range(5)]

    assert [result.seq for result in outbox.replay(letters, "who", "why")] == [6, 7, 8, 9, 10]
    assert counters_are_true(outbox)


def test_the_ledgers_letters_are_taken_over_as_dead_letters(outbox: Outbox) -> None:
    assert outbox.import_dead([an_imported_letter(5), an_imported_letter(9, operation_id="op-2")]) == 2

    first, second = outbox.dead_letters()
    assert (first.offset, first.raw, first.attempts, first.error_kind, first.reason) == (
        *(5, b"the payload", 6, "order"),
        "User.email: is taken",
    )
    assert (second.operation_id, second.changed_at) == ("op-2", 1_234)
    assert [line.kind for line in outbox.history(first.entry_id)] == ["imported"]
    assert counters_are_true(outbox)


def test_a_letter_whose_place_is_known_is_left_alone(outbox: Outbox) -> None:
    (seq,) = appended(outbox, a_record(5))
    outbox.settle([applied(seq)])

    assert outbox.import_dead([an_imported_letter(5), an_imported_letter(6), an_imported_letter(6)]) == 1

    assert states(outbox, [seq]) == [State.APPLIED]
    assert counters_are_true(outbox)


def test_a_discarded_letter_does_not_come_back_from_the_ledger(outbox: Outbox, clock: Clock) -> None:
    letter = a_dead_letter(outbox, 5)
    outbox.discard([letter], "who", "why")
    outbox.prune(clock.now_ms + 1, 100)

    assert outbox.import_dead([an_imported_letter(5)]) == 0


def test_an_imported_letter_is_known_when_its_record_is_read_again(outbox: Outbox) -> None:
    outbox.import_dead([an_imported_letter(5)])

    assert outbox.append([a_record(5)]) == [None]


def test_an_imported_letter_is_replayed_as_the_incarnation_after_the_ledgers(outbox: Outbox) -> None:
    outbox.import_dead([an_imported_letter(5, operation_id="op-1", incarnation=3)])
    duplicate = a_dead_letter(outbox, 6, operation_id="op-1")

    (replayed,) = outbox.replay([duplicate], "who", "why")

    assert replayed.incarnation == 4
