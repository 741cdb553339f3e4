"""Outages, duplicates and stops: nothing is lost, nothing is doubled, the order stays, no attempt is burnt."""

from __future__ import annotations

import random
import time

from tests.support.mixed import mixed_stream
from tests.support.pipeline import Pipeline
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually


def assert_serial(pipeline: Pipeline, messages: list[bytes], sent_before_start: bool = True) -> None:
    """The database is as if the messages had been applied one by one, in outbox order.

    That is the order they were sent in, if all lay in Kafka before the service read them. A partition whose records are
    still on their way to Kafka cannot be waited for.
    """
    in_outbox_order = [entry.raw for entry in pipeline.entries()]
    assert sorted(in_outbox_order) == sorted(messages)
    if sent_before_start:
        assert in_outbox_order == messages
    rows, refused = pipeline.serial_rows(in_outbox_order)
    assert pipeline.rows() == rows
    assert sorted(pipeline.dead_letters()) == sorted(refused)
    pipeline.wait_until_the_cache_is_true()


def some_are_applied(pipeline: Pipeline, count: int) -> None:
    eventually(
        lambda: pipeline.counts().applied >= count, 60, lambda: pipeline.service.log_tails(), ignoring=(OSError,)
    )


def test_the_database_is_away_for_twenty_seconds_in_mid_stream(pipeline: Pipeline) -> None:
    messages = mixed_stream(4_000, seed=2)
    pipeline.service.settings["BATCH_MAX_OPERATIONS"] = "20"
    pipeline.service.settings["MAX_RETRY_ATTEMPTS"] = "0"
    pipeline.send(messages[:2_000])
    pipeline.service.start()
    some_are_applied(pipeline, 300)

    pipeline.mariadb.stop()
    stopped_at = time.monotonic()
    pipeline.service.ingest.wait_for_log("Database is now UNHEALTHY")
    pipeline.send(messages[2_000:])
    eventually(lambda: pipeline.counts().total == 4_000, 30, "operations are persisted while the database is down")
    eventually(lambda: time.monotonic() - stopped_at > 20, 30, "twenty seconds of outage")
    before = pipeline.counts()
    after = pipeline.service.ingest.log_position()
    pipeline.mariadb.start()

    pipeline.service.ingest.wait_for_log("Processing", after=after)
    pipeline.wait_until_settled()
    assert before.unsettled > 0
    # Without retries one burnt attempt would be a dead letter that the serial run does not have.
    assert_serial(pipeline, messages, sent_before_start=False)
    assert not any("unavailable" in (letter.error_kind or "") for letter in pipeline.dead_letters().values())


def test_an_operation_that_arrives_twice_has_one_effect(pipeline: Pipeline) -> None:
    messages = mixed_stream(300, seed=3)
    chance = random.Random(3)
    doubled = messages + chance.sample(messages, 100)
    pipeline.send(doubled)

    pipeline.service.start()
    pipeline.wait_until_settled()

    rows, refused = pipeline.serial_rows(messages)
    assert pipeline.rows() == rows
    assert sorted(pipeline.dead_letters()) == sorted(refused)
    [(lines,)] = pipeline.query("SELECT COUNT(*) FROM settled_operations")
    assert lines == 300


def test_an_operation_id_that_comes_with_other_content_is_a_dead_letter(pipeline: Pipeline) -> None:
    pipeline.service.start()
    pipeline.send([a_message("same", "CREATE", "User", a_user("ana@example.co"))])
    pipeline.wait_until_settled()
    pipeline.send([a_message("same", "CREATE", "User", a_user("beto@example.co"))])
    pipeline.wait_until_settled()

    letter = pipeline.dead_letters()["same"]

    assert "same" in (letter.reason or "")
    assert pipeline.query("SELECT email FROM usuarios") == [("ana@example.co",)]


def test_sigterm_in_mid_stream_and_a_restart_lose_and_double_nothing(pipeline: Pipeline) -> None:
    messages = mixed_stream(3_000, seed=4)
    pipeline.service.settings["BATCH_MAX_OPERATIONS"] = "20"
    pipeline.service.settings["MAX_RETRY_ATTEMPTS"] = "0"
    pipeline.send(messages)
    for _ in range(3):
        applied = 0 if pipeline.service.ingest.exit_code is None else pipeline.counts().applied
        pipeline.service.start()
        some_are_applied(pipeline, applied + 200)
        pipeline.service.stop()

    pipeline.service.start()
    pipeline.wait_until_settled()

    assert_serial(pipeline, messages)


def test_ingest_and_the_actors_are_killed_in_mid_stream(pipeline: Pipeline) -> None:
    messages = mixed_stream(3_000, seed=5)
    pipeline.service.settings["BATCH_MAX_OPERATIONS"] = "20"
    pipeline.service.settings["MAX_RETRY_ATTEMPTS"] = "0"
    pipeline.send(messages)
    pipeline.service.start()
    some_are_applied(pipeline, 200)
    pipeline.service.kill()
    pipeline.service.start()
    some_are_applied(pipeline, pipeline.counts().applied + 200)
    pipeline.service.actors.kill()
    pipeline.service.start_actors()

    pipeline.wait_until_settled()

    assert_serial(pipeline, messages)


def test_redis_loses_everything_in_mid_stream(pipeline: Pipeline) -> None:
    messages = mixed_stream(2_000, seed=6)
    pipeline.service.settings |= {
        "BATCH_MAX_OPERATIONS": "20",
        "MAX_RETRY_ATTEMPTS": "0",
        "RECONCILE_INTERVAL_MS": "300",
    }
    pipeline.send(messages)
    pipeline.service.start()
    some_are_applied(pipeline, 200)

    pipeline.redis_server.client(1).flushdb()

    pipeline.wait_until_settled()
    assert_serial(pipeline, messages)


def test_everything_is_down_at_the_start_and_comes_up_later(pipeline: Pipeline) -> None:
    pipeline.send([a_message("op_1", "CREATE", "User", a_user("ana@example.co", id=1))])
    pipeline.mariadb.stop()
    pipeline.redis_server.stop()
    pipeline.kafka.stop()

    pipeline.service.spawn(pipeline.service.ingest)
    pipeline.service.ingest.wait_for_log("Kafka is not reachable")
    pipeline.service.ingest.wait_for_log("Database is now UNHEALTHY")
    pipeline.service.start_actors()
    pipeline.kafka.start()
    # a new group reads nothing until the database has said whether it knows the topic
    pipeline.service.ingest.wait_for_log("asking the database what it knows")
    pipeline.mariadb.start()
    eventually(lambda: pipeline.counts().total == 1, 60, "the operation is persisted", ignoring=(OSError,))
    pipeline.redis_server.start()

    pipeline.wait_until_settled()
    pipeline.wait_until_the_cache_is_true()
    assert pipeline.query("SELECT id FROM usuarios") == [(1,)]


def test_a_dead_letter_outlives_the_outbox(pipeline: Pipeline) -> None:
    messages = [
        a_message("bad", "DELETE", "User", {"id": 0}),
        a_message("good", "CREATE", "User", a_user("ana@example.co", id=1)),
    ]
    pipeline.send(messages)
    pipeline.service.start()
    pipeline.wait_until_settled()
    pipeline.service.stop()
    for file in pipeline.service.folder.glob("outbox.sqlite3*"):
        file.unlink()

    pipeline.service.start()
    eventually(lambda: pipeline.counts().dead == 1, 30, "the letter is taken over", ignoring=(OSError,))

    assert "User.id" in (pipeline.dead_letters()["bad"].reason or "")
    assert pipeline.query("SELECT COUNT(*) FROM usuarios") == [(1,)]


def test_a_full_outbox_pauses_kafka_and_goes_on_by_itself(pipeline: Pipeline) -> None:
    pipeline.service.settings |= {"OUTBOX_MAX_PENDING": "500", "STATUS_INTERVAL_MS": "200", "MAX_RETRY_ATTEMPTS": "0"}
    messages = mixed_stream(6_000, seed=8)
    pipeline.send(messages)
    pipeline.service.start_ingest()
    eventually(lambda: pipeline.counts().total >= 500, 30, pipeline.service.log_tails, ignoring=(OSError,))
    for _ in range(3):
        after = pipeline.service.ingest.log_position()
        pipeline.service.ingest.wait_for_log("Worker Status", after=after)
    held_back = pipeline.counts()

    pipeline.service.start_actors()
    pipeline.wait_until_settled()

    assert held_back.total <= 1_500  # the limit, and the portion that crossed it
    assert_serial(pipeline, messages)
