"""Sends messages to Redis and asks after those already sent: in a thread of its own, so that ingest goes on persisting while
Redis is down or slow.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import dramatiq
import redis

from worker.events import Event, Lost
from worker.fault_points import Point, reach
from worker.redis_link import told
from worker.settlements import pickups_key

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Send:
    """A message to enqueue, at once or after ``delay_ms``."""

    message: dramatiq.Message[None]
    delay_ms: int | None = None


@dataclass(frozen=True)
class Inspect:
    """Batches in flight that ingest has heard nothing of for a while."""

    batch_ids: Sequence[str]


@dataclass
class _Suspicion:
    """What the last inspection saw of a batch."""

    was_missing: bool
    pickups: int
    since: float


class SendingBroker(Protocol):
    """What the dispatcher needs of the broker. Its methods raise when Redis cannot be reached."""

    client: redis.Redis[bytes]

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> object: ...

    def holds(self, message_ids: Collection[str]) -> set[str]: ...


class Dispatcher:
    """Works off what the main loop wants sent, in order. ``run`` is a thread's, ``step`` one job.

    Parameters:
      tell: takes events for the main loop.
      lease_s: how long (s) a batch that was picked up may be silent before it is reported as lost.
      clock: monotonic seconds.
    """

    def __init__(
        self,
        broker: SendingBroker,
        outbox_id: str,
        tell: Callable[[Event], None],
        lease_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._broker = broker
        self._outbox_id = outbox_id
        self._tell = tell
        self._lease_s = lease_s
        self._clock = clock
        self._jobs: queue.SimpleQueue[Send | Inspect | None] = queue.SimpleQueue()
        self._suspicions: dict[str, _Suspicion] = {}
        self._inspections_waiting = threading.Semaphore(1)

    # ------------------------------------------------------------------------------------------ for the main loop

    def send(self, message: dramatiq.Message[None], delay_ms: int | None = None) -> None:
        self._jobs.put(Send(message, delay_ms))

    def inspect(self, batch_ids: Sequence[str]) -> None:
        """Look after these batches; those that are lost come back as a ``Lost`` event. One inspection at a time."""
        if self._inspections_waiting.acquire(blocking=False):
            self._jobs.put(Inspect(batch_ids))

    def stop(self) -> None:
        """End after what is queued; what cannot be sent is dispatched again at the next start."""
        self._jobs.put(None)

    # ------------------------------------------------------------------------------------------------- the thread

    def run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._do(job)

    @property
    def has_jobs(self) -> bool:
        """Whether a job waits."""
        return not self._jobs.empty()

    def step(self) -> None:
        """Do the next job, if there is one."""
        try:
            job = self._jobs.get_nowait()
        except queue.Empty:
            return
        if job is not None:
            self._do(job)

    def _do(self, job: Send | Inspect) -> None:
        try:
            if isinstance(job, Send):
                reach(Point.SENDING)
                self._broker.enqueue(job.message, delay=job.delay_ms)
                reach(Point.SENT)
            else:
                self._inspect(job.batch_ids)
        except Exception:  # the outermost loop of this thread: a batch not sent is found lost by an inspection
            logger.exception("Sending to Redis failed")

    def _inspect(self, batch_ids: Sequence[str]) -> None:
        try:
            held = self._broker.holds(batch_ids)
            counts = self._broker.client.hmget(pickups_key(self._outbox_id), list(batch_ids)) if batch_ids else []
        except redis.RedisError as error:
            logger.warning("Redis cannot be asked after batches in flight: %s", told(error))
            return
        finally:
            self._inspections_waiting.release()
        pickups = {batch_id: int(count or 0) for batch_id, count in zip(batch_ids, counts, strict=True)}
        lost = self._judge(held, pickups)
        if lost:
            self._tell(Lost(lost))

    def _judge(self, held: Collection[str], pickups: Mapping[str, int]) -> list[str]:
        """Lost is what Redis did not hold twice in a row, or what was picked up and did not move for a lease.

        Once is not enough: the settlement may be on its way. What lies in the queue untouched is not lost, or copies
        would pile up while the actors are down.
        """
        now = self._clock()
        suspicions: dict[str, _Suspicion] = {}
        lost = []
        for batch_id, pickup_count in pickups.items():
            before = self._suspicions.get(batch_id)
            if batch_id not in held:
                if before is not None and before.was_missing:
                    lost.append(batch_id)
                    continue
                suspicions[batch_id] = _Suspicion(True, 0, now)
            elif pickup_count == 0:
                suspicions[batch_id] = _Suspicion(False, 0, now)
            elif before is None or before.pickups != pickup_count:
                suspicions[batch_id] = _Suspicion(False, pickup_count, now)
            elif now - before.since > self._lease_s:
                lost.append(batch_id)
            else:
                suspicions[batch_id] = before
        self._suspicions = suspicions
        return lost
