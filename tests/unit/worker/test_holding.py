"""DEAD_LETTER_POLICY=hold: what follows a dead letter on its row waits, in order, for a person; on a real outbox file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from outbox.records import NO_TIMESTAMP, EntryFilter, ImportedLetter
from outbox.states import State
from outbox.store import Outbox
from tests.support.streams import a_message, a_user
from tests.unit.worker.test_scheduler import Desk
from worker.messages import BURY, Outcome
from worker.settings import load_settings

APPLIED, DEAD, HANDED_BACK = Outcome.APPLIED, Outcome.DEAD, Outcome.HANDED_BACK


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Outbox.open(tmp_path / "outbox.sqlite3") as outbox:
        outbox.note_policy(holds_lanes=True)
        yield Desk(outbox, load_settings({"DEAD_LETTER_POLICY": "hold", "BATCH_MAX_OPERATIONS": "100"}))


def update(operation_id: str, row_id: object, **data: object) -> tuple[str, bytes]:
    return operation_id, a_message(operation_id, "UPDATE", "User", {"id": row_id, **(data or {"firstName": "Eva"})})


def mark_held(desk: Desk) -> None:
    """As the main loop does in its next turn."""
    desk.outbox.hold(desk.scheduler.holding.just_held)
    desk.scheduler.holding.just_held.clear()


def let_go(desk: Desk) -> None:
    """As the main loop does when it notices that an operator has written."""
    letters = desk.scheduler.holding.decided()
    desk.outbox.release_held(letters)
    desk.scheduler.let_go(letters)


def states(desk: Desk) -> dict[str, State]:
    return {entry.operation_id: entry.state for entry in desk.outbox.entries(EntryFilter())}


def a_letter_with_followers(desk: Desk) -> int:
    """A dead letter on User 1; an operation that follows on that row is held, one on another row is applied. Its id."""
    desk.append(update("dies", 1), update("follows", 1), update("other", 2))
    (batch,) = desk.dispatch()
    desk.settle(batch, DEAD, HANDED_BACK, APPLIED)
    mark_held(desk)
    (letter,) = desk.outbox.entry_ids(EntryFilter(state=State.DEAD))
    return letter


def test_what_follows_a_dead_letter_on_its_row_is_held_and_nothing_else(desk: Desk) -> None:
    a_letter_with_followers(desk)

    desk.append(update("later", 1), update("another", 3))
    sent = desk.dispatch()
    mark_held(desk)

    assert [message.ids for message in sent] == [["another"]]
    assert states(desk) == {
        "dies": State.DEAD,
        "follows": State.HELD,
        "other": State.APPLIED,
        "later": State.HELD,
        "another": State.PENDING,
    }


def test_a_batch_says_that_lanes_are_held(desk: Desk) -> None:
    desk.append(update("one", 1))

    (batch,) = desk.dispatch()

    assert batch.argument.holds_lanes


def test_a_replayed_letter_runs_before_what_it_held(desk: Desk) -> None:
    letter = a_letter_with_followers(desk)
    desk.append(update("later", 1))
    desk.dispatch()
    mark_held(desk)

    desk.outbox.replay([letter], "Ana", "mended")
    let_go(desk)
    sent = desk.dispatch()

    assert [message.ids for message in sent] == [["dies", "follows", "later"]]


def test_a_replayed_letter_that_held_no_row_runs_again(desk: Desk) -> None:
    desk.append(("dies", a_message("dies", "CREATE", "User", a_user("ana@example.co"))), update("other", 2))
    (batch,) = desk.dispatch()
    desk.settle(batch, DEAD, APPLIED)

    desk.outbox.replay(list(desk.outbox.entry_ids(EntryFilter(state=State.DEAD))), "Ana", "mended")
    let_go(desk)

    assert [message.ids for message in desk.dispatch()] == [["dies"]]


def test_a_letter_that_dies_again_holds_again(desk: Desk) -> None:
    letter = a_letter_with_followers(desk)
    desk.outbox.replay([letter], "Ana", "mended")
    let_go(desk)
    (batch,) = desk.dispatch()

    desk.settle(batch, DEAD, HANDED_BACK)
    mark_held(desk)

    assert desk.dispatch() == []
    assert states(desk)["follows"] is State.HELD


def test_a_discarded_letter_lets_go_what_it_held(desk: Desk) -> None:
    letter = a_letter_with_followers(desk)

    desk.outbox.discard([letter], "Ana", "not wanted")
    let_go(desk)

    assert [message.ids for message in desk.dispatch()] == [["follows"]]


def test_a_letter_decided_on_before_its_followers_were_marked_lets_them_go_too(desk: Desk) -> None:
    desk.append(update("dies", 1), update("follows", 1))
    (batch,) = desk.dispatch()
    desk.settle(batch, DEAD, HANDED_BACK)
    (letter,) = desk.outbox.entry_ids(EntryFilter(state=State.DEAD))

    desk.outbox.discard([letter], "Ana", "not wanted")
    let_go(desk)
    mark_held(desk)

    assert [message.ids for message in desk.dispatch()] == [["follows"]]


def test_after_a_start_the_letters_hold_what_they_held(desk: Desk) -> None:
    a_letter_with_followers(desk)

    desk.outbox.release_held()
    desk.scheduler.forget()
    desk.scheduler.open(8)
    sent = desk.dispatch()
    mark_held(desk)

    assert sent == []
    assert states(desk)["follows"] is State.HELD


def test_a_letter_from_the_ledger_holds_what_this_outbox_had_before_it(desk: Desk) -> None:
    name, raw = update("from the ledger", 1)
    desk.append(update("follows", 1))
    desk.outbox.import_dead(
        [ImportedLetter("topic", 0, 1, 5, name, "User", "UPDATE", raw, 0, 1, "refused", "why", NO_TIMESTAMP)]
    )

    desk.scheduler.forget()
    desk.scheduler.open(8)

    assert desk.dispatch() == []


def test_a_letter_from_the_ledger_lets_go_what_this_outbox_had_before_it(desk: Desk) -> None:
    test_a_letter_from_the_ledger_holds_what_this_outbox_had_before_it(desk)
    mark_held(desk)

    desk.outbox.discard(list(desk.outbox.entry_ids(EntryFilter(state=State.DEAD))), "Ana", "not wanted")
    let_go(desk)

    assert [message.ids for message in desk.dispatch()] == [["follows"]]


def test_an_invalid_operation_holds_the_row_that_it_names(desk: Desk) -> None:
    desk.append(update("invalid", 1, colour="green"), update("follows", 1))

    sent = desk.dispatch()

    assert [(message.actor, message.ids) for message in sent] == [(BURY, ["invalid"])]
    desk.settle(sent[0], DEAD)
    mark_held(desk)
    assert desk.dispatch() == []
    assert states(desk)["follows"] is State.HELD


def test_a_child_of_a_dead_parent_waits_for_it(desk: Desk) -> None:
    parent = ("parent", a_message("parent", "CREATE", "User", a_user("ana@example.co", id=7)))
    child = ("child", a_message("child", "CREATE", "Business", {"userId": 7, "name": "Panadería"}))
    desk.append(parent, child)
    (batch,) = desk.dispatch()

    desk.settle(batch, DEAD, HANDED_BACK)
    mark_held(desk)

    assert states(desk)["child"] is State.HELD


def test_a_hundred_thousand_followers_do_not_fill_the_window(tmp_path: Path) -> None:
    settings = load_settings({"DEAD_LETTER_POLICY": "hold", "WINDOW_MAX_OPERATIONS": "1000"})
    with Outbox.open(tmp_path / "small.sqlite3") as outbox:
        desk = Desk(outbox, settings)
        desk.append(update("dies", 1))
        (batch,) = desk.dispatch()
        desk.settle(batch, DEAD)

        desk.append(*(update(f"follows-{number}", 1) for number in range(5_000)), update("free", 2))
        sent = desk.dispatch()

        assert [message.ids for message in sent] == [["free"]]
