"""What an idle worker costs, and how soon it is woken: `tests/run bench -s -k idle`."""

# ruff: noqa: F811 - fixtures are named twice: imported, and asked for

from __future__ import annotations

import statistics
import time

from tests.integration.test_broker import Workers, a_message, broker, workers  # noqa: F401
from worker.broker import ServiceBroker
from worker.broker_consumer import LOOK_EVERY_MS


def test_an_idle_worker_is_woken(workers: Workers, broker: ServiceBroker) -> None:
    workers.start()
    waits = []

    for _ in range(20):
        message, sent_at = a_message(), time.time()
        broker.enqueue(message)
        waits.append(workers.wait_for("end", message.message_id).at - sent_at)
        time.sleep(0.06)

    median = statistics.median(waits)
    print(
        f"\nenqueue to end, idle: median {median * 1000:.1f} ms; without a wake it would be {LOOK_EVERY_MS / 2:.0f} ms"
    )
    assert median < LOOK_EVERY_MS / 1000 / 10


def test_an_idle_worker_asks_redis_little(workers: Workers, broker: ServiceBroker) -> None:
    workers.start()
    broker.enqueue(a_message())
    before = broker.client.info()["total_commands_processed"]

    time.sleep(3)

    # Four queues, each looked into twice a second by a script of five commands, and the heartbeat: about 60. Polling
    # at 20 ms would come to a thousand.
    assert (broker.client.info()["total_commands_processed"] - before) / 3 < 120
