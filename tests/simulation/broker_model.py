"""Dramatiq's broker and its queues: messages that are delayed, doubled, dropped, taken out of order, and come back when the
worker that had them is dead. Dramatiq's own Retries middleware decides what follows a failed attempt.
"""

# Dramatiq's own functions have no types.
# mypy: allow-untyped-calls

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

import dramatiq
import redis
from dramatiq.middleware import CurrentMessage, Retries

from tests.simulation.redis_model import ModelRedis
from tests.simulation.threads import FOREVER
from worker.settings import Settings

T = TypeVar("T")

#: How long (s) a worker is silent until its messages go back into their queues.
HEARTBEAT_TIMEOUT_S = 2.0


@dataclass(eq=False)
class Queued:
    """A message in Redis. ``due``: virtual time (s); ``taken_by``: the worker that runs it."""

    message: dramatiq.Message[Any]
    due: float
    taken_by: object = None


class ModelQueues:
    """What Redis holds of the queues; lost with everything else there when it is emptied."""

    def __init__(self, server: ModelRedis, now: Callable[[], float], chance: random.Random) -> None:
        self._server = server
        self._now = now
        self._chance = chance
        self.messages: list[Queued] = []

    def put(self, message: dramatiq.Message[Any], delay_ms: int | None) -> None:
        self._server._check()
        self.messages.append(Queued(message, self._now() + (delay_ms or 0) / 1000))

    def due(self) -> float:
        """When the next message may be taken (s)."""
        first = FOREVER
        if not self._server.is_down:
            for queued in self.messages:
                if queued.due < first and queued.taken_by is None:
                    first = queued.due
        return first

    def take(self, worker: object, is_fair: bool) -> Queued | None:
        """A message that is due: the oldest, or any."""
        now = self._now()
        ready = [queued for queued in self.messages if queued.taken_by is None and queued.due <= now]
        if not ready or self._server.is_down:
            return None
        taken = ready[0] if is_fair else self._chance.choice(ready)
        taken.taken_by = worker
        return taken

    def give_back(self, worker: object) -> None:
        """The worker is dead: what it had comes back after its heartbeat's timeout."""
        for queued in self.messages:
            if queued.taken_by is worker:
                queued.taken_by, queued.due = None, self._now() + HEARTBEAT_TIMEOUT_S

    def put_again(self, queued: Queued) -> None:
        """A second copy of a message, as a worker that was thought dead leaves behind."""
        self.messages.append(Queued(queued.message.copy(), queued.due))

    def done(self, queued: Queued) -> None:
        if queued in self.messages:
            self.messages.remove(queued)

    def holds(self, message_ids: Collection[str]) -> set[str]:
        self._server._check()
        return {queued.message.message_id for queued in self.messages}.intersection(message_ids)


class _Patience:
    """Waits for Redis by letting others run."""

    def __init__(self, wait: Callable[[float], None]) -> None:
        self._wait = wait

    def call(self, command: Callable[[], T]) -> T:
        while True:
            try:
                return command()
            except redis.RedisError:
                self._wait(0.5)


class ModelBroker(dramatiq.Broker):
    """A process's broker.

    Parameters:
      wait: lets the thread that calls wait for so many seconds.
    """

    def __init__(self, settings: Settings, client: Any, queues: ModelQueues, wait: Callable[[float], None]) -> None:
        self.retries: Any = Retries(max_retries=settings.max_retry_attempts, min_backoff=settings.retry_delay_ms)
        super().__init__(middleware=[self.retries, CurrentMessage()])
        self.client = client
        self.queues_in_redis = queues
        self.patience = _Patience(wait)

    def declare_queue(self, queue_name: str) -> None:
        pass

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        self.patience.call(lambda: self.queues_in_redis.put(message, delay))
        return message

    def holds(self, message_ids: Collection[str]) -> set[str]:
        return self.queues_in_redis.holds(message_ids)

    def work_off(self, queued: Queued) -> None:
        """Run a message as Dramatiq's worker thread does: the actor, the middleware, the acknowledgement."""
        message = queued.message.copy()
        proxy = dramatiq.broker.MessageProxy(message)
        actor = self.get_actor(message.actor_name)
        token = CurrentMessage._MESSAGE.set(message)
        try:
            actor(*message.args, **message.kwargs)
        except Exception as error:
            self.retries.after_process_message(self, proxy, exception=error)
        finally:
            CurrentMessage._MESSAGE.reset(token)
        self.patience.call(lambda: self._acknowledge(queued))

    def _acknowledge(self, queued: Queued) -> None:
        self.queues_in_redis._server._check()
        self.queues_in_redis.done(queued)
