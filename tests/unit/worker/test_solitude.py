"""What a worker died with once works alone in its process: then nobody else can die with it."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest

from tests.support.applying import a_batch, update
from tests.support.waiting import eventually
from worker import applier as applier_module
from worker.applier import Applier
from worker.apply import BatchResult
from worker.messages import Batch
from worker.settings import load_settings
from worker.settlements import pick_up, pickups_key
from worker.solitude import Room


def test_who_wants_to_be_alone_waits_for_those_inside_and_goes_before_those_who_come_later() -> None:
    room, went, let_go = Room(), [], threading.Event()

    def be(inside: Any, name: str) -> None:
        with inside:
            if name == "first":
                let_go.wait(30)
            went.append(name)

    def come(name: str, inside: Any) -> threading.Thread:
        thread = threading.Thread(target=be, args=(inside, name), daemon=True)
        thread.start()
        return thread

    first = come("first", room.beside_others())
    eventually(lambda: room._inside == 1)
    alone = come("alone", room.alone())
    eventually(lambda: waiting(room) == 1 or went)
    later = come("later", room.beside_others())
    eventually(lambda: waiting(room) == 2 or went)
    let_go.set()
    for thread in (first, alone, later):
        thread.join(30)

    assert went == ["first", "alone", "later"]


def waiting(room: Room) -> int:
    return len(room._changed._waiters)  # type: ignore[attr-defined]


@pytest.fixture
def applier(monkeypatch: pytest.MonkeyPatch) -> Applier:
    """With a broker whose Redis is in this process, and nothing to apply."""
    client = fakeredis.FakeRedis()
    broker = SimpleNamespace(client=client, patience=SimpleNamespace(call=lambda command: command()))
    cache = SimpleNamespace(client=client, remove_pending=lambda keys: None)
    monkeypatch.setattr(applier_module, "apply_batch", lambda batch, is_alone=False: BatchResult((), (), (), ()))
    return Applier(load_settings({}), broker, cache)  # type: ignore[arg-type]


class WatchedRoom(Room):
    """Notes how each comes in, and how often its batch counts as picked up then."""

    def __init__(self, applier: Applier, batch: Batch) -> None:
        super().__init__()
        self.came: list[tuple[str, int]] = []
        self._count = lambda: int(applier._broker.client.hget(pickups_key(batch.outbox_id), batch.batch_id) or 0)

    def beside_others(self) -> Any:
        self.came.append(("beside others", self._count()))
        return nullcontext()

    def alone(self) -> Any:
        self.came.append(("alone", self._count()))
        return nullcontext()


def test_a_batch_that_nobody_died_with_works_beside_others(applier: Applier) -> None:
    batch = a_batch(update("User", 1, firstName="Eva"))
    applier._room = room = WatchedRoom(applier, batch)

    applier.apply_operations(batch)

    assert room.came == [("beside others", 0)]


def test_a_batch_that_a_worker_died_with_works_alone_and_is_not_picked_up_while_it_waits_for_that(
    applier: Applier,
) -> None:
    batch = a_batch(update("User", 1, firstName="Eva"))
    pick_up(applier._broker.client, batch.outbox_id, batch.batch_id)
    applier._room = room = WatchedRoom(applier, batch)

    applier.apply_operations(batch)

    assert room.came == [("beside others", 1), ("alone", 1)]
