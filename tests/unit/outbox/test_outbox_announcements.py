"""What others are to be told: written with the change, told with all there is to say, forgotten when it was told."""

from __future__ import annotations

from outbox import Announcement, Audience, FailedAttempt, Outbox, Settled, State
from outbox.announcements import Announcements
from tests.unit.outbox.builders import TOPIC, Clock, a_record, appended, applied, dead, dispatched, states
from tests.unit.outbox.test_outbox_letters import an_imported_letter

EVERYTHING = 10**9


def to_topic(outbox: Announcements) -> list[Announcement]:
    return outbox.announcements(Audience.DEAD_LETTER_TOPIC, 100, EVERYTHING)


def to_ledger(outbox: Announcements) -> list[Announcement]:
    return outbox.announcements(Audience.LEDGER, 100, EVERYTHING)


def test_a_death_is_announced_with_all_there_is_to_say(outbox: Outbox, clock: Clock) -> None:
    (seq,) = appended(outbox, a_record(7, partition=2, generation=1, operation_id="op-1", raw=b"the payload"))
    outbox.note_attempts([FailedAttempt(seq, 0, 6, "order", "no parent")])

    outbox.settle([dead(seq, reason="User 1 is not there")], announce=True)

    [told] = to_topic(outbox)
    assert told == Announcement(
        announcement_id=1,
        at=clock.now_ms,
        operation_id="op-1",
        topic=TOPIC,
        generation=1,
        partition=2,
        offset=7,
        entity="User",
        type="UPDATE",
        incarnation=0,
        attempts=6,
        error_kind="invalid",
        reason="User 1 is not there",
        raw=b"the payload",
    )


def test_only_deaths_are_announced_and_only_if_asked_for(outbox: Outbox) -> None:
    first, second, third = dispatched(outbox, 3)

    outbox.settle([applied(first), dead(second)], announce=True)
    outbox.settle([dead(third)])

    assert [told.offset for told in to_topic(outbox)] == [1]


def test_a_late_death_is_not_announced_again(outbox: Outbox) -> None:
    (seq,) = dispatched(outbox, 1)
    outbox.settle([dead(seq)], announce=True)

    outbox.settle([dead(seq)], announce=True)
    outbox.settle([dead(seq, incarnation=3)], announce=True)

    assert len(to_topic(outbox)) == 1


def test_a_replayed_letter_that_dies_again_is_announced_again_and_the_first_death_stays(outbox: Outbox) -> None:
    (seq,) = dispatched(outbox, 1)
    outbox.settle([dead(seq, reason="the first")], announce=True)
    (replayed,) = outbox.replay([seq], "who", "why")
    assert replayed.seq is not None

    outbox.settle([dead(replayed.seq, 1, reason="the second")], announce=True)

    assert [(told.incarnation, told.reason) for told in to_topic(outbox)] == [(0, "the first"), (1, "the second")]


def test_a_death_that_is_rolled_back_is_not_announced(outbox: Outbox) -> None:
    (seq,) = dispatched(outbox, 1)

    with outbox.transaction() as transaction:
        outbox.settle([dead(seq)], announce=True)
        transaction.rollback()

    assert to_topic(outbox) == []
    assert states(outbox, [seq]) == [State.DISPATCHED]


def test_what_was_told_is_forgotten_and_its_number_never_comes_again(outbox: Outbox) -> None:
    seqs = dispatched(outbox, 3)
    outbox.settle([dead(seq) for seq in seqs[:2]], announce=True)
    outbox.forget_announcements([told.announcement_id for told in to_topic(outbox)])
    outbox.forget_announcements([1, 99])

    outbox.settle([dead(seqs[2])], announce=True)

    assert [told.announcement_id for told in to_topic(outbox)] == [3]


def test_announcements_come_oldest_first_in_portions_of_rows_and_bytes(outbox: Outbox) -> None:
    seqs = appended(outbox, *(a_record(offset, raw=bytes(100)) for offset in range(4)))
    outbox.settle([dead(seq) for seq in seqs], announce=True)

    assert [told.offset for told in outbox.announcements(Audience.DEAD_LETTER_TOPIC, 2, EVERYTHING)] == [0, 1]
    assert [told.offset for told in outbox.announcements(Audience.DEAD_LETTER_TOPIC, 9, 300)] == [0, 1, 2]
    assert [told.offset for told in outbox.announcements(Audience.DEAD_LETTER_TOPIC, 9, 1)] == [0]


def test_letters_from_the_ledger_are_announced_if_asked_for_and_new(outbox: Outbox) -> None:
    outbox.import_dead([an_imported_letter(5)])

    outbox.import_dead([an_imported_letter(5), an_imported_letter(6, operation_id="op-2")], announce=True)

    [told] = to_topic(outbox)
    assert (told.operation_id, told.offset, told.raw, told.reason) == (
        "op-2",
        6,
        b"the payload",
        "User.email: is taken",
    )


def test_a_discard_is_announced_to_the_ledger_with_its_reason_and_without_the_payload(outbox: Outbox) -> None:
    first, second = dispatched(outbox, 2)
    outbox.settle([dead(first), dead(second)])

    outbox.discard([first, first], "Ana", "the user asked us to")

    [told] = to_ledger(outbox)
    assert (told.operation_id, told.offset, told.incarnation, told.reason, told.raw) == (
        *("op-0-0-0", 0, 0, "the user asked us to"),
        None,
    )
    assert to_topic(outbox) == []


def test_an_operation_that_another_outbox_discarded_is_settled_as_discarded(outbox: Outbox) -> None:
    (seq,) = dispatched(outbox, 1)
    assert outbox.settle([Settled(seq, 0, State.DISCARDED, 2, "invalid", "not wanted")], announce=True) == 1

    assert states(outbox, [seq]) == [State.DISCARDED]
    assert [line.why for line in outbox.history(seq)] == ["not wanted"]
    assert to_topic(outbox) == to_ledger(outbox) == []
