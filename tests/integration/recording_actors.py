"""Actors for the broker's tests: they write down each run, and do what a test cannot do from outside.

Run by `dramatiq tests.integration.recording_actors`. `RECORD` names the file to write to: a line a run, with what
happened, the process, the message's id, its retries. A batch's `consumer_group` says what the actor does.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import dramatiq
from dramatiq.middleware import CurrentMessage

from tests.support.waiting import eventually
from worker.broker import build_broker
from worker.logs import configure_logging
from worker.messages import APPLY_OPERATION, APPLY_OPERATIONS, APPLY_QUEUE, CACHE_QUEUE, SYNC_CACHE, Batch, CacheSync
from worker.settings import settings_or_exit

RECORD = Path(os.environ["RECORD"])

settings = settings_or_exit()
configure_logging(settings)
dramatiq.set_broker(build_broker(settings))


@dramatiq.actor(queue_name=APPLY_QUEUE, actor_name=APPLY_OPERATIONS)
def apply_operations(batch: Batch) -> None:
    """As it is told: `run`; `sleep` for `epoch` ms; `wait` for the file `go`; `fail` once, retried in `epoch` ms."""
    record("begin")
    if batch.consumer_group == "sleep":
        time.sleep(batch.epoch / 1000)
    if batch.consumer_group in ("wait", "wait and fail"):
        eventually(RECORD.with_name("go").exists, timeout=60)
    if batch.consumer_group in ("fail", "wait and fail") and retries() == 0:
        raise dramatiq.errors.Retry("as it was told", delay=batch.epoch)
    record("end")


@dramatiq.actor(queue_name=APPLY_QUEUE, actor_name=APPLY_OPERATION)
def apply_operation(batch: Batch) -> None:
    """As `apply_operations`."""
    apply_operations.fn(batch)


@dramatiq.actor(queue_name=CACHE_QUEUE, actor_name=SYNC_CACHE)
def sync_cache(sync: CacheSync) -> None:
    """Nothing but the record."""
    record("end")


def retries() -> int:
    """How many retries the current message has had."""
    message = CurrentMessage.get_current_message()
    assert message is not None
    return int(message.options.get("retries", 0))


def record(what: str) -> None:
    """Add a line to the file, in one write."""
    message = CurrentMessage.get_current_message()
    assert message is not None
    with RECORD.open("a") as file:
        file.write(f"{what} {os.getpid()} {message.message_id} {retries()} {time.time()}\n")
