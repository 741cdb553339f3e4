"""Which batches in flight count as lost."""

from __future__ import annotations

import queue
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest

from worker.dispatcher import Dispatcher
from worker.events import Event, Lost
from worker.settlements import pick_up

LEASE_S = 60.0


class FakeBroker(SimpleNamespace):
    """Holds the messages it is told to hold."""

    def holds(self, batch_ids: Any) -> set[str]:
        return {batch_id for batch_id in batch_ids if batch_id in self.held}


class Bench:
    """A dispatcher with a clock to turn and a Redis to put things into."""

    def __init__(self) -> None:
        self.now = 0.0
        self.inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.broker = FakeBroker(held={"b1"}, client=fakeredis.FakeRedis())
        self.dispatcher = Dispatcher(self.broker, "outbox", self.inbox.put, LEASE_S, lambda: self.now)

    def inspect(self, after_s: float = 5.0) -> list[str]:
        self.now += after_s
        self.dispatcher.inspect(["b1"])
        self.dispatcher.step()
        events = []
        while not self.inbox.empty():
            events.append(self.inbox.get())
        return [batch_id for event in events if isinstance(event, Lost) for batch_id in event.batch_ids]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_message_that_redis_lost_is_sent_again_when_it_is_missed_twice(bench: Bench) -> None:
    bench.broker.held.clear()

    assert bench.inspect() == []
    assert bench.inspect() == ["b1"]


def test_what_waits_in_the_queue_is_not_lost_however_long(bench: Bench) -> None:
    assert [bench.inspect(after_s=10 * LEASE_S) for _ in range(3)] == [[], [], []]


def test_a_batch_that_was_picked_up_is_lost_when_it_is_silent_past_its_lease(bench: Bench) -> None:
    pick_up(bench.broker.client, "outbox", "b1")

    assert bench.inspect() == []
    assert bench.inspect(after_s=LEASE_S / 2) == []
    assert bench.inspect(after_s=LEASE_S) == ["b1"]


def test_another_pick_up_begins_the_lease_anew(bench: Bench) -> None:
    pick_up(bench.broker.client, "outbox", "b1")
    bench.inspect()
    pick_up(bench.broker.client, "outbox", "b1")

    assert bench.inspect(after_s=LEASE_S + 1) == []
    assert bench.inspect(after_s=LEASE_S + 1) == ["b1"]


def test_one_that_was_missing_once_and_is_there_again_is_not_lost(bench: Bench) -> None:
    bench.broker.held.clear()
    bench.inspect()
    bench.broker.held.add("b1")

    assert bench.inspect() == []


def test_deaths_are_the_pick_ups_that_never_ended() -> None:
    client = fakeredis.FakeRedis()

    assert [pick_up(client, "outbox", "b1") for _ in range(3)] == [0, 1, 2]
