"""Ingest keeps its place in the consumer group however long its own work takes: Kafka has a thread of its own."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.pipeline import Pipeline
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually

#: The session, and how much longer a turn takes.
SESSION_MS = 1_500
SESSIONS_IN_A_TURN = 4


def test_a_turn_that_takes_longer_than_the_session_loses_no_partition(pipeline: Pipeline) -> None:
    """The turn waits for the outbox's write lock, which a test holds as a long transaction of the desk would.

    More records wait than ingest may have in hand, so the partitions are paused meanwhile.
    """
    pipeline.service.settings |= {
        "CONSUMER_SESSION_TIMEOUT": str(SESSION_MS),
        "CONSUMER_HEARTBEAT_INTERVAL": "200",
        "PARTITION_BUFFER_RECORDS": "500",
    }
    messages = [
        a_message(f"op_{number}", "CREATE", "User", a_user(f"user{number}@example.co"), timestamp=number)
        for number in range(8_000)
    ]
    pipeline.send(messages[:100])
    pipeline.service.start()
    pipeline.wait_until_settled()

    with pipeline.outbox() as outbox, outbox.transaction():
        began = time.monotonic()
        pipeline.send(messages[100:])
        eventually(
            lambda: time.monotonic() - began > SESSIONS_IN_A_TURN * SESSION_MS / 1000,
            60,
            "several sessions have passed",
        )
        persisted_meanwhile = outbox.counts().total
    pipeline.wait_until_settled(timeout=200)

    log = Path(pipeline.service.settings["LOG_DIR"], "combined.log").read_text()
    assert persisted_meanwhile == 100
    assert log.count("this ingest is the active one") == 1
    assert log.count("Partition 0: reading from") == 1
    assert "The partitions are no longer ours" not in log
