"""What a worker process does at its beginning and its end for the broker: heartbeat, prefetch, patience.

The other workers take a process for dead after `HEARTBEAT_TIMEOUT_MS` of silence and run its messages. Dramatiq's
heartbeat rides on its other commands, and consumers whose hands are full send none: so here it has a thread of its
own.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import redis
from dramatiq import Middleware, Worker

if TYPE_CHECKING:
    from worker.broker import ServiceBroker

#: Pause between heartbeats (in ms): four in the silence after which a process counts as dead.
HEARTBEAT_EVERY_MS = 500


class WorkerLife(Middleware):
    """Beats while a worker lives, its last messages included; lets it take what it runs; ends the waiting."""

    def __init__(self) -> None:
        self._is_over = threading.Event()

    def before_worker_boot(self, broker: ServiceBroker, worker: Worker) -> None:
        """Before the consumers start."""
        # Dramatiq takes twice as many, and a batch would wait behind a busy thread while another process idles.
        worker.queue_prefetch = worker.worker_threads
        threading.Thread(target=self._beat, args=(broker,), name="heartbeat", daemon=True).start()

    def before_worker_shutdown(self, broker: ServiceBroker, worker: Worker) -> None:
        """What runs now is the last: it is not to wait for a Redis that is away."""
        broker.patience.stop()

    def after_worker_shutdown(self, broker: ServiceBroker, worker: Worker) -> None:
        """All is done or given back."""
        self._is_over.set()

    def _beat(self, broker: ServiceBroker) -> None:
        while True:
            try:
                broker.heartbeat()
            except redis.RedisError as error:
                broker.patience.note_failure(error)
            if self._is_over.wait(HEARTBEAT_EVERY_MS / 1000):
                return
