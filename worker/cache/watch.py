"""Ingest's watch over the voucher: asks for a recheck of the cache when a Redis has lost data, or may have.

A thread of its own, since it waits for two servers. While either is away there is nothing to do: what is due waits in the
queue, or its loss shows when the server is back.
"""

from __future__ import annotations

import logging
import threading
from typing import Protocol

import dramatiq
import redis
from dramatiq.errors import ConnectionClosed

from worker.cache.voucher import Vouchers
from worker.messages import CacheRecheck, recheck_cache_message
from worker.redis_link import told

logger = logging.getLogger(__name__)


class Queue(Protocol):
    """What the watch needs of the broker."""

    def enqueue(self, message: dramatiq.Message[None], *, delay: int | None = None) -> object: ...


class CacheWatch:
    """Looks after the voucher every so many seconds. ``run`` is a thread's, ``look`` one step."""

    def __init__(self, vouchers: Vouchers, queue: Queue, interval_s: float) -> None:
        self._vouchers = vouchers
        self._queue = queue
        self._interval_s = interval_s
        self._stopping = threading.Event()
        self._could_look = True

    def stop(self) -> None:
        """End ``run``."""
        self._stopping.set()

    def run(self) -> None:
        """Look until ``stop``."""
        while not self._stopping.wait(self._interval_s):
            try:
                self.look()
                self._could_look = True
            except (redis.RedisError, ConnectionClosed) as error:
                if self._could_look:
                    logger.warning(
                        "Whether the cache is true cannot be told while Redis does not answer: %s", told(error)
                    )
                self._could_look = False
            except Exception:  # the outermost loop of this thread
                logger.exception("Looking after the cache failed in a way it should not")

    def look(self) -> None:
        """Ask for a recheck unless the cache is vouched for, or one is on its way. Raises Redis's errors."""
        if self._vouchers.is_given() or self._vouchers.is_asked_for():
            return
        logger.warning("Nobody vouches for the cache (new, restarted, or data lost): all of it is compared")
        # Noted before it is sent, or a comparison that is quick has come to its end by then, and would be waited for. Before it
        # is sent the note holds but for a moment: should this process die in between, nobody has sent anything.
        word = self._vouchers.note_asking()
        self._queue.enqueue(recheck_cache_message(CacheRecheck()))
        self._vouchers.note_asked(word)
