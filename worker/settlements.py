"""How outcomes travel back: actors push them onto a Redis list, a thread of ingest drains it.

A settlement that is lost on the way costs a redelivery, which the ledger makes harmless; so the list needs no
acknowledgement. Beside it lies a hash that counts how often each batch was picked up and not finished: a batch that is
picked up again and again kills its workers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import redis

from worker.events import Event, Settled
from worker.every import Every
from worker.fault_points import Point, reach
from worker.living_workers import living_workers
from worker.messages import Settlement, decode_settlement, encode_settlement
from worker.redis_link import told

logger = logging.getLogger(__name__)

#: How long (s) the drain blocks for the first settlement, and how many it takes at a time.
BLOCK_S = 1
DRAIN_LIMIT = 200

#: How often (s) it is asked how many workers live.
COUNT_WORKERS_S = 5.0

#: The pause (s) before Redis is tried again.
BACKOFF_S = 0.5


def settlements_key(outbox_id: str) -> str:
    """The list that actors push settlements to."""
    return f"outbox:{outbox_id}:settlements"


def pickups_key(outbox_id: str) -> str:
    """The hash from batch id to how often the batch was picked up without being finished."""
    return f"outbox:{outbox_id}:pickups"


def pick_up(client: redis.Redis[bytes], outbox_id: str, batch_id: str) -> int:
    """Note that a worker begins with the batch. Returns how many began before it and never finished: they died."""
    return int(client.hincrby(pickups_key(outbox_id), batch_id, 1)) - 1


def put_down(client: redis.Redis[bytes], outbox_id: str, batch_id: str) -> None:
    """Take a pick-up back: the worker has not begun with the batch after all."""
    client.hincrby(pickups_key(outbox_id), batch_id, -1)


def push(client: redis.Redis[bytes], outbox_id: str, settlement: Settlement) -> None:
    """Tell ingest the outcomes, and note that the worker has finished with the batch."""
    with client.pipeline(transaction=True) as pipeline:
        pipeline.rpush(settlements_key(outbox_id), encode_settlement(settlement))
        pipeline.hdel(pickups_key(outbox_id), settlement.batch_id)
        pipeline.execute()


class SettlementReader:
    """Drains the list for the main loop, in bulk, waiting out any loss of Redis. ``run`` is a thread's, ``read`` one step.

    Parameters:
      tell: takes events for the main loop.

    ``living_workers`` is how many processes of the actors Redis has heard of lately; None while it cannot be asked.
    """

    def __init__(self, client: redis.Redis[Any], outbox_id: str, tell: Callable[[Event], None]) -> None:
        self._client = client
        self._key = settlements_key(outbox_id)
        self._tell = tell
        self._stopping = threading.Event()
        self._counting = Every(COUNT_WORKERS_S, time.monotonic)
        self.is_connected = False
        self._is_told = False
        self.living_workers: int | None = None

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.read()
            except redis.RedisError as error:
                if self.is_connected or not self._is_told:
                    logger.error("Redis (broker) is not reachable: %s", told(error))
                    self._is_told = True
                self.is_connected = False
                self.living_workers = None
                self._stopping.wait(BACKOFF_S)
            except Exception:  # the outermost loop of this thread: what was drained is dispatched again
                logger.exception("Draining the settlements failed in a way it should not")
                self._stopping.wait(BACKOFF_S)

    def read(self) -> None:
        """Wait a moment for settlements and hand over those there are. Raises Redis's errors."""
        settlements = self._drain()
        if not self.is_connected:
            logger.info("Redis (broker) connected")
            self.is_connected = True
        if settlements:
            reach(Point.DRAINED)
            self._tell(Settled(settlements))
        if self._counting.is_due:
            self.living_workers = living_workers(self._client)

    def _drain(self) -> list[Settlement]:
        first = self._client.blpop(self._key, timeout=BLOCK_S)
        if first is None:
            return []
        rest = self._client.lpop(self._key, DRAIN_LIMIT) or []
        settlements = []
        for data in (first[1], *rest):
            try:
                settlements.append(decode_settlement(data))
            except msgspec.DecodeError:
                # Of a version we do not know: its operations are dispatched again and the ledger answers for them.
                logger.exception("A settlement cannot be read and is dropped")
        return settlements
