"""The thread that has the Kafka consumer goes on with another one, whatever went wrong with the last."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.simulation.kafka_model import ModelConsumer, Topic
from worker import consumer as consumer_module
from worker.consumer import KafkaIntake
from worker.events import Event, Revoked
from worker.settings import load_settings


class Consumer(ModelConsumer):
    """Fails in a way that no library should, in the methods it is told to."""

    def __init__(self, broken: tuple[str, ...]) -> None:
        super().__init__(Topic("topic", 1), random.Random(0))
        for name in broken:
            setattr(self, name, self._break)

    def _break(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("of the library")

    def subscribe(self, topics: list[str], listener: Any) -> None: ...

    def close(self, autocommit: bool) -> None: ...


@pytest.mark.parametrize("broken", [("subscribe",), ("subscribe", "close"), ("poll",), ("poll", "close")])
def test_a_consumer_that_fails_is_replaced_by_another_also_if_it_cannot_be_closed(
    monkeypatch: pytest.MonkeyPatch, broken: tuple[str, ...]
) -> None:
    told, made = run_with(monkeypatch, lambda: Consumer(broken))

    assert made == 3
    assert len([event for event in told if isinstance(event, Revoked)]) >= 3


def test_whatever_keeps_a_consumer_from_being_made_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Consumer:
        raise RuntimeError("of the library")

    _, made = run_with(monkeypatch, fail)

    assert made == 3


def run_with(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Consumer]) -> tuple[list[Event], int]:
    """Let the thread's loop run until it has asked for a third consumer; what it told, and how often it asked."""
    told: list[Event] = []
    intake = KafkaIntake(load_settings({}), told.append, "instance")
    made = 0

    def connected(*_: Any, **__: Any) -> Consumer:
        nonlocal made
        made += 1
        if made == 3:
            intake.stop()
        return make()

    monkeypatch.setattr(consumer_module, "connected", connected)
    monkeypatch.setattr(consumer_module, "FIRST_BACKOFF_S", 0.0)
    intake.run()
    return told, made
