"""Why an operation waits: for which others, for which keys, which attempt, and when next."""

from __future__ import annotations

import msgspec

from entities.writesets import conflicts
from outbox import FailedAttempt, HandedBack
from tests.support.streams import a_user
from tests.unit.desk.builders import Desk
from worker.desk.waiting import MOST_EARLIER, Waiting, Why, why
from worker.ingest_note import INGEST_NOTE, IngestNote
from worker.tasks import task_of


def asked(
    desk: Desk, entry_id: int, *, paused_because: tuple[str, ...] = (), window: int = 0, most: int = MOST_EARLIER
) -> Waiting:
    entry = desk.outbox.entry(entry_id)
    assert entry is not None
    note = IngestNote("host-a", 4711, desk.now, paused_because=paused_because, window=window)
    return why(desk.outbox, entry, note, most)


def test_an_operation_waits_for_earlier_ones_on_its_row_and_on_its_parent(desk: Desk) -> None:
    parent = desk.pending("CREATE", "User", a_user("ana@example.co", id=3))
    row = desk.pending("CREATE", "Business", {"id": 5, "userId": 3, "name": "x"})
    desk.pending("UPDATE", "Business", {"id": 6, "name": "another row"})
    asked_for = desk.pending("UPDATE", "Business", {"id": 5, "userId": 3})

    waiting = asked(desk, asked_for)

    assert (waiting.why, waiting.blocked_by, waiting.earlier) == (Why.BLOCKED, 2, 3)
    assert [(one.entry_id, one.keys) for one in waiting.blockers] == [(parent, ("User:3",)), (row, ("Business:5",))]


def test_those_told_are_exactly_those_that_the_planners_rule_names(desk: Desk) -> None:
    for number in range(40):
        desk.pending("UPDATE", "Business", {"id": number % 5 + 1, "userId": number % 3 + 1})
        desk.pending("DELETE", "User", {"id": number % 4 + 1})
    entries = desk.outbox.window(0, 1_000, 10**9)

    for entry in entries[::7]:
        _, keys = task_of(entry)
        expected = [other.seq for other in entries if other.seq < entry.seq and conflicts(task_of(other)[1], keys)]
        waiting = asked(desk, entry.entry_id)
        assert waiting.blocked_by == len(expected)
        assert [one.seq for one in waiting.blockers] == expected[:10]


def test_one_that_is_retried_is_told_with_its_attempt_and_when_next(desk: Desk) -> None:
    first = desk.pending("UPDATE", "Business", {"id": 5, "name": "x"})
    second = desk.pending("UPDATE", "Business", {"id": 5, "name": "y"})
    desk.outbox.mark_dispatched([first])
    next_at = desk.now + 40_000
    desk.outbox.note_attempts([FailedAttempt(first, 0, 3, "order", "Business 5 is not there", next_at)])

    waiting, retried = asked(desk, second), asked(desk, first)

    (blocker,) = waiting.blockers
    assert (blocker.attempts, blocker.next_attempt_at, blocker.reason) == (3, next_at, "Business 5 is not there")
    assert retried.why is Why.RETRIES
    told = desk.done("why", second)
    assert "3 failed, the next in 40 s" in told
    assert "Business:5" in told


def test_one_that_is_retried_holds_its_rows_only(desk: Desk) -> None:
    retried = desk.pending("UPDATE", "User", {"id": 1, "email": "ana@example.co"})
    other = desk.pending("UPDATE", "User", {"id": 2, "email": "beto@example.co"})
    assert asked(desk, other).blocked_by == 1, "an unknown address may become free"

    desk.outbox.note_attempts([FailedAttempt(retried, 0, 1, "order", "User 1 is not there")])

    assert asked(desk, other).why is Why.NEXT


def test_the_chain_leads_to_what_everything_hangs_on(desk: Desk) -> None:
    root = desk.pending("CREATE", "User", a_user("ana@example.co", id=3))
    middle = desk.pending("CREATE", "Business", {"id": 5, "userId": 3, "name": "x"})
    last = desk.pending("CREATE", "Rating", {"businessId": 5})

    waiting = asked(desk, last)

    assert [one.entry_id for one in waiting.blockers] == [middle]
    assert [one.entry_id for one in waiting.chain] == [root]


def test_one_that_waits_wider_waits_for_all_on_its_entities(desk: Desk) -> None:
    earlier = desk.pending("UPDATE", "Business", {"id": 6, "name": "x"})
    wide = desk.pending("UPDATE", "Business", {"id": 5, "name": "y"})
    desk.outbox.mark_dispatched([wide])
    desk.outbox.hand_back([HandedBack(wide, 0, waits_wider=True)])

    waiting = asked(desk, wide)

    assert [(one.entry_id, one.keys) for one in waiting.blockers] == [(earlier, ())]


def test_one_that_waits_wider_does_not_wait_for_one_that_is_retried_alone(desk: Desk) -> None:
    alone = desk.pending("UPDATE", "Business", {"id": 6, "name": "x"})
    wide = desk.pending("UPDATE", "Business", {"id": 5, "name": "y"})
    desk.outbox.mark_dispatched([alone, wide])
    desk.outbox.hand_back([HandedBack(alone, 0, goes_alone=True), HandedBack(wide, 0, waits_wider=True)])

    assert asked(desk, wide).blocked_by == 0


def test_what_is_settled_or_under_way_or_next_says_so(desk: Desk) -> None:
    applied = desk.applied("UPDATE", "Business", {"id": 5, "name": "x"})
    dead = desk.dead()
    free = desk.pending("UPDATE", "Business", {"id": 5, "name": "x"})
    sent = desk.pending("UPDATE", "Business", {"id": 7, "name": "x"})
    desk.outbox.mark_dispatched([sent])

    reasons = {entry: asked(desk, entry).why for entry in (applied, dead, free, sent)}

    assert reasons == {applied: Why.SETTLED, dead: Why.DEAD, free: Why.NEXT, sent: Why.UNDER_WAY}
    assert asked(desk, free, paused_because=("the database is down",)).why is Why.PAUSED
    last = desk.pending("UPDATE", "Business", {"id": 8, "name": "x"})
    assert [asked(desk, last, window=size).why for size in (2, 3)] == [Why.BEYOND_WINDOW, Why.NEXT]


def test_no_more_are_looked_at_than_asked_for(desk: Desk) -> None:
    for _ in range(5):
        desk.pending("UPDATE", "Business", {"id": 6, "name": "x"})
    last = desk.pending("UPDATE", "Business", {"id": 6, "name": "x"})

    waiting = asked(desk, last, most=3)

    assert (waiting.earlier, waiting.is_cut, waiting.blocked_by) == (3, True, 3)


def test_the_command_tells_what_is_paused_by_the_word_of_ingest_while_that_is_fresh(desk: Desk) -> None:
    entry = desk.pending("UPDATE", "Business", {"id": 6, "name": "x"})
    assert "no ingest runs on this file" in desk.done("why", entry)

    note = IngestNote("host-a", 4711, desk.now, paused_because=("the database is down",), window=1_000)
    desk.outbox.leave_note(INGEST_NOTE, msgspec.json.encode(note).decode())

    assert "the database is down" in desk.done("why", entry)
    (told,) = [desk.document("why", entry)]
    assert (told["why"], told["paused_because"]) == ("paused", ["the database is down"])
    assert desk.run("why", "op_nobody").exit_code == 1


def test_a_secret_in_the_reason_of_a_blocker_is_masked(desk: Desk) -> None:
    first = desk.pending("UPDATE", "Business", {"id": 5, "name": "x"})
    second = desk.pending("UPDATE", "Business", {"id": 5, "name": "y"})
    desk.outbox.note_attempts([FailedAttempt(first, 0, 1, "order", "passwordHash='hunter2hunter2' \x1b[2J")])

    for told in (desk.done("why", second), desk.done("why", second, "--json")):
        assert "hunter2" not in told
        assert "\x1b" not in told
