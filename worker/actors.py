"""``dramatiq worker.actors``: the actors that apply operations to the database and keep the cache true to it.

What each does is said in `worker.applier`; here is what Dramatiq has to know of it: queues, retries, and who comes after the
last retry.
"""

from __future__ import annotations

import os
from typing import Any

import dramatiq

import entities.operations
from entities.database import open_database
from worker.actor_metrics import count_messages
from worker.applier import Applier
from worker.broker import build_broker
from worker.cache import Cache
from worker.connections import database_config
from worker.fault_points import arm
from worker.logs import configure_logging
from worker.messages import APPLY_QUEUE, CACHE_QUEUE, Batch, CacheRecheck, CacheSync, Verdicts
from worker.settings import settings_or_exit

# Dramatiq's command imports this module in each worker process, after the fork, and wants the broker then.
settings = settings_or_exit()
configure_logging(settings)
entities.operations.configure(settings.unknown_attributes)
arm(os.environ)
broker = build_broker(settings)
if settings.actors_metrics_port:
    count_messages(broker)
dramatiq.set_broker(broker)
open_database(database_config(settings))
applier = Applier(settings, broker, Cache.connect(settings))


@dramatiq.actor(queue_name=APPLY_QUEUE, max_retries=None)
def apply_operations(batch: Batch) -> None:
    """Apply a batch."""
    applier.apply_operations(batch)


@dramatiq.actor(queue_name=APPLY_QUEUE, on_retry_exhausted="bury")
def apply_operation(batch: Batch) -> None:
    """Apply one operation that failed before; after its last attempt it is buried."""
    applier.apply_operation(batch)


@dramatiq.actor(queue_name=APPLY_QUEUE, max_retries=None)
def bury(what: Verdicts | dict[str, Any], exhausted: dict[str, Any] | None = None) -> None:
    """Write dead letters into the ledger. Dramatiq brings the message whose retries are exhausted, and how many they were."""
    applier.bury(what)


@dramatiq.actor(queue_name=CACHE_QUEUE, max_retries=None)
def sync_cache(sync: CacheSync) -> None:
    """Make cached rows true to the database."""
    applier.sync_cache(sync)


@dramatiq.actor(queue_name=CACHE_QUEUE, max_retries=None)
def recheck_cache(recheck: CacheRecheck) -> None:
    """Compare a portion of the whole cache with the database, after Redis has lost data."""
    applier.recheck_cache(recheck)
