from __future__ import annotations

import logging
import threading
from pathlib import Path

import dramatiq
import pytest
import redis
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import AgeLimit, Prometheus, TimeLimit

from tests.support.waiting import free_port
from worker.broker import ServiceBroker, _addressed, build_broker
from worker.messages import Batch, apply_operation_message, apply_operations_message
from worker.redis_link import Patience, connect
from worker.settings import load_settings


def a_broker() -> ServiceBroker:
    """A broker whose Redis is not there."""
    return build_broker(
        load_settings({"BROKER_REDIS_URL": f"redis://127.0.0.1:{free_port()}/1"}, Path("/nowhere/.env")),
        is_patient=False,
    )


def a_batch() -> Batch:
    return Batch("batch-1", "outbox", "group", 1, ())


def test_a_message_has_an_id_in_redis_that_ingest_can_ask_for() -> None:
    first = _addressed(apply_operations_message(a_batch()), None)
    third = _addressed(apply_operation_message(a_batch(), retries=2, max_retries=5), None)

    assert first.options["redis_message_id"] == "batch-1.0"
    assert third.options["redis_message_id"] == "batch-1.2"


def test_a_delayed_message_has_its_time_and_the_delay_queue() -> None:
    message = _addressed(apply_operations_message(a_batch()), 60_000)

    assert message.queue_name == "apply.DQ"
    assert message.options["eta"] - message.message_timestamp == pytest.approx(60_000, abs=5000)


def test_a_message_without_a_delay_keeps_no_time() -> None:
    requeued: dramatiq.Message[None] = apply_operations_message(a_batch()).copy(options={"eta": 1})

    assert "eta" not in _addressed(requeued, None).options


def test_a_message_that_is_sent_is_not_changed() -> None:
    message = apply_operations_message(a_batch())

    _addressed(message, 100)

    assert message.options == {}


def test_the_middleware_is_what_we_need_and_no_more() -> None:
    names = [type(middleware).__name__ for middleware in a_broker().middleware]

    assert names == ["Retries", "CurrentMessage", "WorkerLife"]
    assert not {TimeLimit.__name__, AgeLimit.__name__, Prometheus.__name__} & set(names)


def test_building_a_broker_needs_no_redis_and_using_it_says_so() -> None:
    broker = a_broker()

    with pytest.raises(ConnectionClosed):
        broker.enqueue(apply_operations_message(a_batch()))
    with pytest.raises(redis.ConnectionError):
        broker.holds(["batch-1"])


def test_a_worker_takes_what_it_can_run_and_no_more() -> None:
    worker = dramatiq.Worker(a_broker(), worker_threads=3)

    worker.broker.emit_before("worker_boot", worker)
    worker.broker.emit_after("worker_shutdown", worker)

    assert worker.queue_prefetch == 3


class Flaky:
    """A command that fails some times and then answers."""

    def __init__(self, failures: list[redis.RedisError]) -> None:
        self.failures = failures

    def __call__(self) -> str:
        if self.failures:
            raise self.failures.pop(0)
        return "answer"


def test_patience_waits_for_whatever_redis_says() -> None:
    command = Flaky([redis.ConnectionError("gone"), redis.TimeoutError("hung"), redis.ResponseError("OOM")])

    assert Patience().call(command) == "answer"


def test_patience_ends_with_the_process() -> None:
    patience = Patience()
    threading.Timer(0.1, patience.stop).start()

    with pytest.raises(ConnectionClosed):
        patience.call(Flaky([redis.ConnectionError("gone")] * 1000))


def test_an_outage_is_told_at_its_beginning_and_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    patience = Patience()

    with caplog.at_level(logging.INFO):
        patience.call(Flaky([redis.ConnectionError("gone")] * 3))
        patience.call(Flaky([]))

    assert [record.getMessage() for record in caplog.records] == ["Redis does not answer", "Redis answers again"]


def test_a_client_does_not_wait_for_ever() -> None:
    parameters = connect("redis://:geheim@example:7000/3").connection_pool.connection_kwargs

    assert (parameters["host"], parameters["port"], parameters["db"]) == ("example", 7000, 3)
    assert parameters["socket_connect_timeout"]
    assert parameters["socket_timeout"]
