"""What is parked is offered again from memory: nothing is lost, read twice without need, or overtaken for it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import worker.scheduler
from entities.envelope import decode
from entities.operations import actions_of
from entities.writesets import Writeset, conflicts, writeset
from outbox.records import Entry
from outbox.store import Outbox
from tests.support.mixed import mixed_stream
from tests.unit.worker.test_scheduler import Desk, Sent, update
from worker.messages import Outcome
from worker.planner import Planned
from worker.settings import load_settings
from worker.shelf import Shelf
from worker.tasks import OVERHEAD_BYTES, Task, task_of

#: About what a message of these streams is counted as.
SIZE = OVERHEAD_BYTES + 200


def a_desk(outbox: Outbox, window: int, shelf: int) -> Desk:
    """A scheduler whose window and shelf hold so many operations."""
    operations = {"WINDOW_MAX_OPERATIONS": str(window), "BATCH_MAX_OPERATIONS": "7", "MAX_IN_FLIGHT_BATCHES": "3"}
    most_bytes = dict.fromkeys(("WINDOW_MAX_BYTES", "BATCH_MAX_BYTES"), str(2 * shelf * SIZE))
    return Desk(outbox, load_settings({**operations, **most_bytes}))


class Reads:
    """Notes how often an entry was decoded and validated, and after which seqs the outbox was read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, outbox: Outbox) -> None:
        self.count = 0
        self.after: list[int] = []
        self._window = outbox.window
        monkeypatch.setattr(worker.scheduler, "task_of", self._task_of)
        monkeypatch.setattr(outbox, "window", self._read)

    def _task_of(self, entry: Entry, *, names_rows: bool) -> tuple[Task, Writeset]:
        self.count += 1
        return task_of(entry, names_rows=names_rows)

    def _read(self, after_seq: int, limit: int, max_bytes: int) -> list[Entry]:
        self.after.append(after_seq)
        return self._window(after_seq, limit, max_bytes)


def work_off(desk: Desk, chance: random.Random) -> list[str]:
    """The ids in the order in which they were applied, the batches in flight finishing in any order."""
    applied: list[str] = []
    in_flight: list[Sent] = desk.dispatch()
    while in_flight:
        sent = in_flight.pop(chance.randrange(len(in_flight)))
        applied += sent.ids
        desk.settle(sent, *[Outcome.APPLIED] * len(sent.ids))
        in_flight += desk.dispatch()
    return applied


@pytest.mark.parametrize("shelf", [3, 20, 1_000])
@pytest.mark.parametrize("seed", range(8))
def test_all_are_applied_once_and_none_overtakes(tmp_path: Path, shelf: int, seed: int) -> None:
    messages = {f"op-{number}": raw for number, raw in enumerate(mixed_stream(400, seed))}
    keys = {operation_id: writeset(operation_id, actions_of(decode(raw))) for operation_id, raw in messages.items()}
    with Outbox.open(tmp_path / "outbox.sqlite3") as outbox:
        desk = a_desk(outbox, window=40, shelf=shelf)
        desk.append(*messages.items())

        applied = work_off(desk, random.Random(seed))

    places = {operation_id: place for place, operation_id in enumerate(applied)}
    ids = list(messages)
    assert sorted(applied) == sorted(ids)
    for number, later in enumerate(ids):
        for earlier in ids[:number]:
            assert places[earlier] < places[later] or not conflicts(keys[earlier], keys[later]), (earlier, later)


def test_what_waits_for_a_hot_row_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Outbox.open(tmp_path / "outbox.sqlite3") as outbox:
        reads = Reads(monkeypatch, outbox)
        desk = a_desk(outbox, window=80, shelf=1_000)
        desk.append(*(update(f"op-{number}", row=number % 5 and 1) for number in range(500)))

        applied = work_off(desk, random.Random(1))

    assert len(applied) == 500
    assert reads.count == 500
    assert reads.after == sorted(reads.after)


def test_what_found_no_room_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Outbox.open(tmp_path / "outbox.sqlite3") as outbox:
        reads = Reads(monkeypatch, outbox)
        desk = a_desk(outbox, window=40, shelf=30)
        desk.append(*(update(f"op-{number}", row=1) for number in range(100)))

        applied = work_off(desk, random.Random(1))

    assert len(applied) == 100
    assert reads.count > 100


def test_what_waits_wider_waits_for_what_is_offered_again_and_for_no_more(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "outbox.sqlite3") as outbox:
        desk = a_desk(outbox, window=8, shelf=1_000)
        desk.append(*(update(f"hot-{number}", row=1) for number in range(3)), update("between", 50), update("wide", 99))
        (first,) = desk.dispatch()
        assert first.ids == ["hot-0", "hot-1", "between", "wide"]

        desk.settle(first, Outcome.APPLIED, Outcome.APPLIED, Outcome.APPLIED, Outcome.WAITS)
        (second,) = desk.dispatch()
        desk.settle(second, Outcome.APPLIED)
        (third,) = desk.dispatch()

    assert (second.ids, third.ids) == (["hot-2"], ["wide"])


def test_what_is_parked_behind_a_dead_letter_is_held_when_it_is_offered_again(tmp_path: Path) -> None:
    limits = {"DEAD_LETTER_POLICY": "hold", "WINDOW_MAX_OPERATIONS": "8", "BATCH_MAX_OPERATIONS": "8"}
    with Outbox.open(tmp_path / "outbox.sqlite3") as outbox:
        outbox.note_policy(holds_lanes=True)
        desk = Desk(outbox, load_settings(limits))
        desk.append(*(update(f"hot-{number}", row=1) for number in range(4)))
        (batch,) = desk.dispatch()
        assert batch.ids == ["hot-0", "hot-1"]

        desk.settle(batch, Outcome.DEAD, Outcome.HANDED_BACK)

        assert desk.dispatch() == []
        assert [seq for seq, _ in desk.scheduler.holding.just_held] == [2, 3, 4]


def test_a_shelf_covers_no_further_than_it_holds() -> None:
    shelf: Shelf[str] = Shelf(max_bytes=20)
    first, second, third = (Planned(seq, Writeset(frozenset(), frozenset(), frozenset()), 10, "") for seq in (1, 3, 7))

    shelf.note_read(0, first, 1)
    shelf.note_read(1, second, 3)
    shelf.note_read(3, None, 5)
    shelf.note_read(5, third, 7)
    shelf.note_read(7, None, 8)

    assert shelf.covered_to == 5
    shelf.offer_again()
    assert [shelf.next_offer(), shelf.next_offer(), shelf.next_offer()] == [first, second, None]

    shelf.take_away(first)
    shelf.note_read(5, third, 7)

    assert shelf.covered_to == 7
