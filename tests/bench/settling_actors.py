"""Actors that settle each batch as applied and do nothing else: `dramatiq tests.bench.settling_actors`.

They show what ingest can carry when applying costs nothing. Never to be run on a database that somebody needs.
"""

from __future__ import annotations

import dramatiq

from worker.broker import build_broker
from worker.logs import configure_logging
from worker.messages import APPLY_OPERATIONS, APPLY_QUEUE, Batch, Outcome, OutcomeLine, Settlement
from worker.settings import settings_or_exit
from worker.settlements import push

settings = settings_or_exit()
configure_logging(settings)
broker = build_broker(settings)
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=APPLY_QUEUE, actor_name=APPLY_OPERATIONS)
def apply_operations(batch: Batch) -> None:
    """Tell ingest that all was applied."""
    lines = tuple(OutcomeLine(one.origin, one.incarnation, Outcome.APPLIED) for one in batch.operations)
    push(broker.client, batch.outbox_id, Settlement(batch.batch_id, batch.epoch, lines))
