"""What is sent when, and what each outcome means for the order; on a real outbox file, without servers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dramatiq
import pytest

from outbox.records import NewRecord
from outbox.states import State
from outbox.store import Outbox
from tests.support.streams import a_message, a_user
from worker.messages import APPLY_OPERATION, APPLY_OPERATIONS, BURY, Outcome, OutcomeLine, Settlement
from worker.outcomes import backoff_ms
from worker.scheduler import Scheduler
from worker.settings import Settings, load_settings


@dataclass
class Sent:
    """A message that the scheduler sent."""

    actor: str
    argument: Any
    delay_ms: int | None
    options: dict[str, Any]

    @property
    def members(self) -> Any:
        return self.argument.operations if self.actor != BURY else self.argument.verdicts

    @property
    def ids(self) -> list[str]:
        return [member.operation_id for member in self.members]


@dataclass
class Desk:
    """An outbox, a scheduler with its gate open, and the messages sent."""

    outbox: Outbox
    settings: Settings
    now_ms: int = 1_000_000
    clock: float = 0.0
    sent: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.offset = 0
        self.scheduler = Scheduler(
            self.settings, self.outbox, self, clock=lambda: self.clock, now_ms=lambda: self.now_ms
        )
        self.scheduler.epoch = 7

    def send(self, message: dramatiq.Message[None], delay_ms: int | None = None) -> None:
        self.sent.append(Sent(message.actor_name, message.args[0], delay_ms, message.options))

    def append(self, *messages: tuple[str, bytes]) -> None:
        records = []
        for operation_id, raw in messages:
            records.append(NewRecord("topic", 0, 0, self.offset, 0, 0, b"hash", operation_id, "User", "CREATE", raw))
            self.offset += 1
        self.outbox.append(records)
        self.scheduler.note_appended()

    def dispatch(self) -> list[Sent]:
        self.sent.clear()
        self.scheduler.dispatch()
        return list(self.sent)

    def settle(self, sent: Sent, *outcomes: Outcome, **more: Any) -> None:
        lines = tuple(
            OutcomeLine(member.origin, member.incarnation, outcome, **more)
            for member, outcome in zip(sent.members, outcomes, strict=True)
        )
        changes = self.scheduler.weigh([Settlement(sent.argument.batch_id, sent.argument.epoch, lines)])
        with self.outbox.transaction():
            self.outbox.mark_dispatched(self.scheduler.just_sent)
            self.outbox.settle(changes.settled)
            self.outbox.note_attempts(changes.failed)
            self.outbox.hand_back(changes.handed_back)
        self.scheduler.just_sent.clear()
        self.scheduler.adopt(changes)
        self.changes = changes

    def states(self) -> list[State]:
        return [entry.state for n in range(1, self.offset + 1) if (entry := self.outbox.entry(n)) is not None]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Outbox.open(tmp_path / "outbox.sqlite3") as outbox:
        yield Desk(outbox, load_settings({"MAX_IN_FLIGHT_BATCHES": "2", "BATCH_MAX_OPERATIONS": "3"}))


def update(operation_id: str, row: int, name: str = "x") -> tuple[str, bytes]:
    return operation_id, a_message(operation_id, "UPDATE", "Business", {"id": row, "name": name})


def test_a_single_operation_leaves_at_once(desk: Desk) -> None:
    desk.append(update("a", 1))

    (sent,) = desk.dispatch()

    assert (sent.actor, sent.ids, sent.delay_ms) == (APPLY_OPERATIONS, ["a"], None)
    assert (sent.argument.epoch, sent.argument.outbox_id) == (7, desk.outbox.outbox_id)


def test_work_accumulates_while_all_slots_are_taken(desk: Desk) -> None:
    desk.append(update("a", 1))
    first = desk.dispatch()
    desk.append(update("b", 2))
    second = desk.dispatch()
    desk.append(update("c", 3), update("d", 4))

    assert desk.dispatch() == []
    desk.settle(first[0], Outcome.APPLIED)
    (third,) = desk.dispatch()

    assert (second[0].ids, third.ids) == (["b"], ["c", "d"])


def test_applied_operations_are_settled_and_their_followers_run(desk: Desk) -> None:
    desk.append(update("a", 1))
    (sent,) = desk.dispatch()
    desk.append(update("b", 1))
    assert desk.dispatch() == []

    desk.settle(sent, Outcome.APPLIED)

    assert [s.ids for s in desk.dispatch()] == [["b"]]
    assert desk.states() == [State.APPLIED, State.PENDING]


def test_what_cannot_be_decoded_is_buried_with_its_reason(desk: Desk) -> None:
    desk.append(("a", b"no json"), ("b", a_message("b", "CREATE", "User", {**a_user("x"), "role": "king"})))

    (sent,) = desk.dispatch()

    assert sent.actor == BURY
    assert [verdict.error_kind for verdict in sent.members] == ["invalid", "invalid"]
    assert "User.email" in sent.members[1].reason and "User.role" in sent.members[1].reason
    desk.settle(sent, Outcome.DEAD, Outcome.DEAD, reason="why", error_kind="invalid")
    assert desk.states() == [State.DEAD, State.DEAD]


@pytest.mark.parametrize("is_valid_first", [True, False])
def test_of_two_operations_of_one_id_the_later_waits_though_one_is_applied_and_one_buried(
    desk: Desk, is_valid_first: bool
) -> None:
    messages = [update("a", 1), ("a", b"no json")]
    desk.append(*(messages if is_valid_first else reversed(messages)))

    (first,) = desk.dispatch()
    desk.settle(first, Outcome.APPLIED if is_valid_first else Outcome.DEAD)
    (second,) = desk.dispatch()

    assert [first.actor, second.actor] == ([APPLY_OPERATIONS, BURY] if is_valid_first else [BURY, APPLY_OPERATIONS])


def test_a_failed_operation_goes_alone_with_the_schedule_s_wait(desk: Desk) -> None:
    desk.append(update("a", 1))
    (sent,) = desk.dispatch()

    desk.settle(sent, Outcome.FAILED, error_kind="unexpected", reason="boom")
    (retry,) = desk.dispatch()

    assert (retry.actor, retry.ids, retry.delay_ms) == (APPLY_OPERATION, ["a"], 5000)
    assert (retry.options["retries"], retry.options["max_retries"]) == (1, 5)


def test_waits_are_base_times_a_power_of_two() -> None:
    assert [backoff_ms(attempts, 5000) for attempts in range(1, 6)] == [5000, 10_000, 20_000, 40_000, 80_000]


def test_a_restart_carries_the_attempts_and_the_rest_of_the_wait_on(desk: Desk) -> None:
    desk.append(update("a", 1))
    (sent,) = desk.dispatch()
    desk.settle(sent, Outcome.FAILED, error_kind="unexpected", reason="boom")
    (retry,) = desk.dispatch()
    desk.settle(
        retry,
        Outcome.RETRYING,
        attempts=2,
        error_kind="unexpected",
        reason="boom",
        next_attempt_at=desk.now_ms + 10_000,
    )

    desk.outbox.release_dispatched()
    desk.scheduler.forget()
    desk.scheduler.epoch = 8
    desk.now_ms += 4_000
    (again,) = desk.dispatch()

    assert (again.actor, again.delay_ms, again.options["retries"]) == (APPLY_OPERATION, 6_000, 2)


def test_a_time_by_a_clock_that_is_ahead_is_not_waited_for(desk: Desk) -> None:
    desk.append(update("a", 1))
    (sent,) = desk.dispatch()
    desk.settle(sent, Outcome.FAILED, error_kind="unexpected", reason="boom")
    (retry,) = desk.dispatch()
    in_an_hour = desk.now_ms + 3_600_000
    desk.settle(retry, Outcome.RETRYING, attempts=2, error_kind="x", reason="boom", next_attempt_at=in_an_hour)

    desk.scheduler.send_again([retry.argument.batch_id])
    (again,) = desk.dispatch()

    assert again.delay_ms == backoff_ms(3, desk.settings.retry_delay_ms)


def test_a_missing_row_waits_once_without_an_attempt_and_then_fails(desk: Desk) -> None:
    desk.append(update("a", 1))
    (sent,) = desk.dispatch()

    desk.settle(sent, Outcome.WAITS, error_kind="order", reason="Business 1 is not there")
    (again,) = desk.dispatch()
    assert again.actor == APPLY_OPERATIONS
    desk.settle(again, Outcome.WAITS, error_kind="order", reason="Business 1 is not there")
    (retry,) = desk.dispatch()

    assert (retry.actor, retry.options["retries"]) == (APPLY_OPERATION, 1)


def test_an_outage_burns_no_attempt(desk: Desk) -> None:
    desk.append(update("a", 1), update("b", 2))
    (sent,) = desk.dispatch()

    desk.settle(sent, Outcome.UNAVAILABLE, Outcome.UNAVAILABLE)

    assert desk.changes.is_outage
    assert desk.states() == [State.PENDING, State.PENDING]
    assert [entry.attempts for n in (1, 2) if (entry := desk.outbox.entry(n))] == [0, 0]
    (again,) = desk.dispatch()
    assert (again.actor, again.ids) == (APPLY_OPERATIONS, ["a", "b"])


def test_locks_of_others_burn_no_attempt_however_often_they_come(desk: Desk) -> None:
    desk.append(update("a", 1))

    for _ in range(3):
        (sent,) = desk.dispatch()
        desk.settle(sent, Outcome.HANDED_BACK, error_kind="contention", reason="others hold a lock")
        desk.now_ms += 1_000_000

    entry = desk.outbox.entry(1)
    assert entry is not None
    assert (entry.state, entry.attempts) == (State.PENDING, 0)


def test_a_batch_that_kills_its_worker_is_taken_apart_and_the_killer_buried(desk: Desk) -> None:
    desk.append(update("a", 1), update("b", 2))
    (sent,) = desk.dispatch()

    desk.settle(sent, Outcome.DEADLY, Outcome.DEADLY, reason="its worker died 4 times")
    alone = desk.dispatch()
    assert [(s.actor, s.ids, s.delay_ms) for s in alone] == [
        (APPLY_OPERATION, ["a"], None),
        (APPLY_OPERATION, ["b"], None),
    ]
    desk.settle(alone[0], Outcome.DEADLY, reason="its worker died 6 times")
    desk.settle(alone[1], Outcome.APPLIED)
    (burial,) = desk.dispatch()

    assert (burial.actor, burial.ids, burial.members[0].reason) == (BURY, ["a"], "its worker died 6 times")


def test_a_late_outcome_of_a_batch_that_was_sent_again_counts_only_if_it_is_final(desk: Desk) -> None:
    desk.append(update("a", 1), update("b", 2))
    (old,) = desk.dispatch()
    desk.scheduler.send_again([old.argument.batch_id])
    (new,) = desk.dispatch()

    desk.settle(old, Outcome.FAILED, Outcome.APPLIED, error_kind="unexpected", reason="late")

    assert desk.states() == [State.DISPATCHED, State.APPLIED]
    assert desk.dispatch() == []
    desk.settle(new, Outcome.APPLIED, Outcome.APPLIED)
    assert desk.states() == [State.APPLIED, State.APPLIED]
    assert desk.scheduler.is_quiet


def test_an_outcome_of_another_incarnation_changes_nothing(desk: Desk) -> None:
    desk.append(update("a", 1))
    (sent,) = desk.dispatch()
    desk.settle(sent, Outcome.DEAD, error_kind="refused", reason="no")
    desk.outbox.replay([1], who="me", why="mended")
    desk.scheduler.note_appended()
    (replayed,) = desk.dispatch()
    assert replayed.members[0].incarnation == 1

    desk.settle(sent, Outcome.APPLIED)
    assert desk.outbox.counts().dispatched == 1
    assert not desk.scheduler.is_quiet  # the replay is still in flight
    desk.settle(replayed, Outcome.APPLIED)

    assert desk.outbox.counts().applied == 1
    assert desk.scheduler.is_quiet


def test_silent_batches_are_those_that_nothing_was_heard_of(desk: Desk) -> None:
    desk.append(update("a", 1))
    (sent,) = desk.dispatch()
    desk.clock = 6.0

    assert desk.scheduler.silent_batches(5.0) == [sent.argument.batch_id]
    assert desk.scheduler.silent_batches(7.0) == []


def test_a_backlog_far_beyond_the_window_is_worked_off_in_order(desk: Desk) -> None:
    desk.append(*(update(f"op-{n}", n % 7 + 1) for n in range(200)))
    applied: list[str] = []

    while sent := desk.dispatch():
        for message in sent:
            applied += message.ids
            desk.settle(message, *[Outcome.APPLIED] * len(message.ids))

    assert sorted(applied) == sorted(f"op-{n}" for n in range(200))
    for row in range(7):
        of_row = [operation_id for operation_id in applied if int(operation_id[3:]) % 7 == row]
        assert of_row == [f"op-{n}" for n in range(200) if n % 7 == row]


def test_with_enough_at_hand_the_next_batch_leaves_before_more_is_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    window, send = desk.outbox.window, desk.send
    monkeypatch.setattr(desk.outbox, "window", lambda *bounds: order.append("read") or window(*bounds))
    monkeypatch.setattr(desk, "send", lambda *message: order.append("sent") or send(*message))
    desk.append(*(update(f"op-{number}", number) for number in range(30)))
    first, _ = desk.dispatch()
    desk.append(update("late", 99))
    order.clear()

    desk.settle(first, *[Outcome.APPLIED] * len(first.ids))
    desk.dispatch()

    assert order[:2] == ["sent", "read"]
