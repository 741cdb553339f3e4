"""The broker on a real Redis, with real worker processes: what is killed, restarted or away loses no message."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import dramatiq
import pytest
import redis
from dramatiq.errors import ConnectionClosed

from tests.support.child import Child
from tests.support.redis_server import RedisServer
from tests.support.service import ROOT
from tests.support.waiting import eventually
from worker.broker import HEARTBEAT_TIMEOUT_MS, ServiceBroker, build_broker
from worker.messages import (
    APPLY_QUEUE,
    Batch,
    CacheSync,
    apply_operation_message,
    apply_operations_message,
    sync_cache_message,
)
from worker.settings import load_settings

#: How long a message may take to come back after its worker was killed (in s): the silence, a look, and a slow machine.
COMES_BACK_WITHIN = HEARTBEAT_TIMEOUT_MS / 1000 + 8

#: The database of the broker.
BROKER_DB = 1


class Run(NamedTuple):
    """A line of the actors' record."""

    what: str
    pid: int
    message_id: str
    retries: int
    at: float


class Workers:
    """Worker processes on one Redis, and the record they write."""

    def __init__(self, redis_server: RedisServer, folder: Path) -> None:
        self.server = redis_server
        self.folder = folder
        self.record = folder / "record"
        self._children: list[Child] = []

    def start(self, *, threads: int = 2, processes: int = 1) -> Child:
        """One `dramatiq` command; returns when its workers are ready."""
        name = f"worker{len(self._children)}"
        command = [sys.executable, "-m", "dramatiq", "tests.integration.recording_actors"]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "BROKER_REDIS_URL": self.server.url(BROKER_DB),
            "LOG_DIR": str(self.folder / "logs"),
            "RECORD": str(self.record),
        }
        command += ["-p", str(processes), "-t", str(threads)]
        child = Child(name, command, self.folder / f"{name}.log", environment, self.folder)
        self._children.append(child)
        child.spawn()
        eventually(
            lambda: child.log().count("Worker process is ready for action") == processes, 30, lambda: child.log_tail()
        )
        return child

    def runs(self, what: str = "end", message_id: str | None = None) -> list[Run]:
        """What was recorded so far."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        runs = [
            Run(what, int(pid), id_, int(retries), float(at)) for what, pid, id_, retries, at in map(str.split, lines)
        ]
        return [run for run in runs if run.what == what and message_id in (None, run.message_id)]

    def wait_for(self, what: str, message_id: str, timeout: float = 20, count: int = 1) -> Run:
        """The run that is the `count`-th of this kind."""

        def told() -> str:
            return f"{what} of {message_id}\n" + "\n".join(child.log_tail() for child in self._children)

        eventually(lambda: len(self.runs(what, message_id)) >= count, timeout, told)
        return self.runs(what, message_id)[count - 1]

    def go(self) -> None:
        """Let the actors that wait go on."""
        (self.folder / "go").touch()

    def kill_all(self) -> None:
        for child in self._children:
            child.kill()


@pytest.fixture
def workers(redis_server: RedisServer, tmp_path: Path) -> Iterator[Workers]:
    started = Workers(redis_server, tmp_path)
    yield started
    started.kill_all()


@pytest.fixture
def broker(redis_server: RedisServer) -> Iterator[ServiceBroker]:
    """A broker as ingest has it: it does not wait for Redis."""
    with closing(a_broker(redis_server)) as own:
        yield own


def a_broker(server: RedisServer) -> ServiceBroker:
    settings = load_settings({"BROKER_REDIS_URL": server.url(BROKER_DB)}, Path("/nowhere/.env"))
    return build_broker(settings, is_patient=False)


def a_message(told: str = "run", ms: int = 0) -> dramatiq.Message[None]:
    """A message whose actor does as it is told (see recording_actors)."""
    return apply_operations_message(Batch(uuid.uuid4().hex, "outbox", told, ms, ()))


def unfinished(broker: ServiceBroker) -> int:
    return int(broker.do_qsize(APPLY_QUEUE))


# -- a worker is killed


def test_the_message_of_a_killed_worker_runs_in_another(workers: Workers, broker: ServiceBroker) -> None:
    first = workers.start()
    message = broker.enqueue(a_message("wait"))
    workers.wait_for("begin", message.message_id)
    workers.start()

    first.kill()
    killed_at = time.time()
    workers.go()

    assert workers.wait_for("end", message.message_id).at - killed_at < COMES_BACK_WITHIN
    eventually(lambda: unfinished(broker) == 0)


def test_a_delayed_message_of_a_killed_worker_runs_in_another(workers: Workers, broker: ServiceBroker) -> None:
    first = workers.start()
    message = broker.enqueue(a_message(), delay=3000)
    eventually(lambda: broker.client.llen("dramatiq:apply.DQ") == 0)
    workers.start()

    first.kill()
    killed_at = time.time()

    assert workers.wait_for("end", message.message_id).at - killed_at < COMES_BACK_WITHIN + 3


def test_a_message_waits_for_a_worker_that_starts_later(workers: Workers, broker: ServiceBroker) -> None:
    first = workers.start()
    message = broker.enqueue(a_message("wait"))
    workers.wait_for("begin", message.message_id)
    first.kill()
    workers.go()

    workers.start()

    workers.wait_for("end", message.message_id, COMES_BACK_WITHIN)


def test_a_message_that_runs_longer_than_the_silence_runs_once(workers: Workers, broker: ServiceBroker) -> None:
    # The consumer's hands are full meanwhile, so the heartbeat cannot ride on its fetches.
    workers.start(threads=1)
    workers.start(threads=1)
    messages = [broker.enqueue(a_message("sleep", 3 * HEARTBEAT_TIMEOUT_MS)) for _ in range(2)]

    for message in messages:
        workers.wait_for("end", message.message_id)
    eventually(lambda: unfinished(broker) == 0)

    assert len(workers.runs("begin")) == 2


def test_a_stopping_worker_hands_back_what_it_has_not_begun(workers: Workers, broker: ServiceBroker) -> None:
    first = workers.start()
    delayed = broker.enqueue(a_message(), delay=60_000)
    eventually(lambda: broker.client.llen("dramatiq:apply.DQ") == 0)

    assert first.stop() == 0

    assert broker.client.lrange("dramatiq:apply.DQ", 0, -1) == [delayed.options["redis_message_id"].encode()]


# -- Redis is away


def test_a_delayed_message_survives_a_restart_of_redis(
    workers: Workers, broker: ServiceBroker, redis_server: RedisServer
) -> None:
    workers.start()
    message = broker.enqueue(a_message(), delay=4000)
    eventually(lambda: broker.client.llen("dramatiq:apply.DQ") == 0)

    redis_server.restart()

    workers.wait_for("end", message.message_id)
    eventually(lambda: unfinished(broker) == 0)


def test_a_retry_that_redis_does_not_take_is_not_lost(
    workers: Workers, broker: ServiceBroker, redis_server: RedisServer
) -> None:
    worker = workers.start()
    message = broker.enqueue(a_message("wait and fail", 100))
    workers.wait_for("begin", message.message_id)

    redis_server.stop()
    workers.go()
    worker.wait_for_log("Retrying message")
    worker.wait_for_log("Redis does not answer")
    redis_server.start()

    assert workers.wait_for("end", message.message_id).retries == 1
    eventually(lambda: unfinished(broker) == 0)


def test_a_retry_that_redis_does_not_take_is_not_lost_when_the_worker_stops(
    workers: Workers, broker: ServiceBroker, redis_server: RedisServer
) -> None:
    worker = workers.start()
    message = broker.enqueue(a_message("wait and fail", 100))
    workers.wait_for("begin", message.message_id)

    redis_server.stop()
    workers.go()
    worker.wait_for_log("Retrying message")
    worker.stop(timeout=15)
    redis_server.start()
    workers.start()

    workers.wait_for("end", message.message_id, COMES_BACK_WITHIN)


def test_an_acknowledgement_waits_for_redis(workers: Workers, broker: ServiceBroker, redis_server: RedisServer) -> None:
    worker = workers.start()
    message = broker.enqueue(a_message("wait"))
    workers.wait_for("begin", message.message_id)

    redis_server.stop()
    workers.go()
    workers.wait_for("end", message.message_id)
    worker.wait_for_log("Redis does not answer")
    redis_server.start()

    eventually(lambda: unfinished(broker) == 0, 15)
    assert len(workers.runs()) == 1


def test_a_worker_goes_on_after_redis_hung_and_after_it_lost_everything(
    workers: Workers, broker: ServiceBroker, redis_server: RedisServer
) -> None:
    worker = workers.start()
    redis_server.pause()
    worker.wait_for_log("Redis does not answer", timeout=30)
    redis_server.resume()
    worker.wait_for_log("Redis answers again", timeout=30)
    redis_server.flush()

    message = broker.enqueue(a_message())

    workers.wait_for("end", message.message_id)


def test_a_worker_starts_while_redis_is_away(
    workers: Workers, broker: ServiceBroker, redis_server: RedisServer
) -> None:
    redis_server.stop()
    workers.start()
    redis_server.start()

    message = broker.enqueue(a_message())

    workers.wait_for("end", message.message_id)


def test_an_outage_is_told_once(workers: Workers, redis_server: RedisServer) -> None:
    worker = workers.start()

    redis_server.stop()
    worker.wait_for_log("Redis does not answer")
    with socket.create_server(("127.0.0.1", redis_server.port)) as deaf:
        deaf.settimeout(20)
        for _ in range(20):  # so often the worker tries again
            deaf.accept()[0].close()
    redis_server.start()
    worker.wait_for_log("Redis answers again")

    assert worker.log().count("Redis does not answer") == 1


def test_enqueueing_without_patience_fails_at_once(broker: ServiceBroker, redis_server: RedisServer) -> None:
    redis_server.stop()

    with pytest.raises(ConnectionClosed):
        broker.enqueue(a_message())


# -- what is asked of it


def test_held_are_the_messages_that_wait_run_or_are_delayed(workers: Workers, broker: ServiceBroker) -> None:
    done, running = broker.enqueue(a_message()), broker.enqueue(a_message("wait"))
    workers.start(threads=1)
    workers.wait_for("end", done.message_id)
    workers.wait_for("begin", running.message_id)
    waiting, delayed = broker.enqueue(a_message()), broker.enqueue(a_message(), delay=60_000)
    retried = broker.enqueue(
        apply_operation_message(Batch("retried", "outbox", "run", 0, ()), retries=4, max_retries=5), delay=60_000
    )

    asked = [message.message_id for message in (done, running, waiting, delayed, retried)]

    eventually(lambda: done.message_id not in broker.holds(asked))
    assert broker.holds([*asked, "never sent"]) == set(asked) - {done.message_id}


def test_a_retry_is_held_while_it_waits(workers: Workers, broker: ServiceBroker) -> None:
    workers.start()

    message = broker.enqueue(a_message("fail", 1500))
    workers.wait_for("begin", message.message_id)
    eventually(lambda: broker.client.hexists("dramatiq:apply.DQ.msgs", f"{message.message_id}.1"))

    assert broker.holds([message.message_id]) == {message.message_id}
    assert workers.wait_for("end", message.message_id).retries == 1
    eventually(lambda: broker.holds([message.message_id]) == set())


def test_a_delay_is_kept_to_a_fraction_of_a_second(workers: Workers, broker: ServiceBroker) -> None:
    workers.start()

    messages = [broker.enqueue(a_message(), delay=delay) for delay in (1100, 1250, 1400, 1550)]

    late = [workers.wait_for("end", message.message_id).at - message.options["eta"] / 1000 for message in messages]
    assert min(late) >= 0
    assert max(late) < 0.3  # looking twice a second would find one of them more than 0.35 s late


def test_a_burst_spreads_over_the_processes(workers: Workers, broker: ServiceBroker) -> None:
    messages = [broker.enqueue(a_message("wait")) for _ in range(12)]

    # More than one process can run: all begin only if the one that is up first leaves what it cannot run to the other.
    workers.start(threads=8, processes=2)
    for message in messages:
        workers.wait_for("begin", message.message_id)

    assert len({run.pid for run in workers.runs("begin")}) == 2
    workers.go()


def test_the_queues_do_not_hold_up_each_other(workers: Workers, broker: ServiceBroker) -> None:
    workers.start(threads=2)
    broker.enqueue(a_message("wait"))

    sync = broker.enqueue(sync_cache_message(CacheSync(("User:1",), ("User",))))

    workers.wait_for("end", sync.message_id)


def test_a_requeue_from_the_dashboard_runs(workers: Workers, broker: ServiceBroker) -> None:
    # dramatiq-dashboard sets an eta in the past and enqueues without a delay.
    message = a_message().copy(options={"eta": 1, "retries": 0})

    broker.enqueue(message)
    workers.start()

    workers.wait_for("end", message.message_id)
    eventually(lambda: unfinished(broker) == 0)


def test_a_message_that_is_not_ours_does_not_stop_the_queue(workers: Workers, broker: ServiceBroker) -> None:
    worker = workers.start()
    broker.do_enqueue(APPLY_QUEUE, "foreign", b'{"json": 1}')

    message = broker.enqueue(a_message())

    workers.wait_for("end", message.message_id)
    worker.wait_for_log("A message is not of this service")


# -- one consumer, step by step


def test_a_fetch_whose_answer_was_lost_is_found_again(broker: ServiceBroker) -> None:
    broker.declare_queue(APPLY_QUEUE)
    message = broker.enqueue(a_message())
    assert broker.do_fetch(APPLY_QUEUE, 1)  # Redis has given it to us; nobody has it in hand.

    fetched = next(broker.consume(APPLY_QUEUE, prefetch=1, timeout=100))

    assert fetched is not None
    assert fetched.message_id == message.message_id


def test_what_is_in_hand_is_not_put_back(broker: ServiceBroker) -> None:
    broker.declare_queue(APPLY_QUEUE)
    broker.enqueue(a_message())
    running = next(broker.consume(APPLY_QUEUE, prefetch=2, timeout=100))
    assert running is not None

    after_reconnect = broker.consume(APPLY_QUEUE, prefetch=2, timeout=100)

    assert next(after_reconnect) is None
    after_reconnect.ack(running)
    assert unfinished(broker) == 0


def test_delayed_messages_are_put_back_when_their_queue_is_consumed_again(broker: ServiceBroker) -> None:
    broker.declare_queue(APPLY_QUEUE)
    message = broker.enqueue(a_message(), delay=60_000)
    assert next(broker.consume("apply.DQ", prefetch=2, timeout=100)) is not None

    again = next(broker.consume("apply.DQ", prefetch=2, timeout=100))

    assert again is not None
    assert again.message_id == message.message_id


def test_an_id_that_stands_twice_in_a_queue_runs_once(broker: ServiceBroker) -> None:
    broker.declare_queue(APPLY_QUEUE)
    message = a_message()
    broker.enqueue(message)
    broker.enqueue(message)
    consumer = broker.consume(APPLY_QUEUE, prefetch=2, timeout=100)

    first = next(consumer)
    assert first is not None
    consumer.ack(first)

    assert next(consumer) is None
    assert next(consumer) is None
    assert unfinished(broker) == 0


def test_a_consumer_takes_no_more_than_it_may_have_in_hand(broker: ServiceBroker) -> None:
    broker.declare_queue(APPLY_QUEUE)
    for _ in range(3):
        broker.enqueue(a_message())
    consumer = broker.consume(APPLY_QUEUE, prefetch=2, timeout=100)

    taken = [next(consumer), next(consumer), next(consumer)]
    assert taken[2] is None
    assert taken[0] is not None
    consumer.ack(taken[0])

    assert next(consumer) is not None or next(consumer) is not None


def test_a_consumer_takes_one_message_and_leaves_the_next_to_others(broker: ServiceBroker) -> None:
    broker.declare_queue(APPLY_QUEUE)
    for _ in range(3):
        broker.enqueue(a_message())

    next(broker.consume(APPLY_QUEUE, prefetch=8, timeout=100))

    assert broker.client.llen("dramatiq:apply") == 2


def test_a_message_whose_retry_was_given_up_is_not_acknowledged(
    broker: ServiceBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.declare_queue(APPLY_QUEUE)
    message = broker.enqueue(a_message())
    consumer = broker.consume(APPLY_QUEUE, prefetch=1, timeout=100)
    running = next(consumer)
    assert running is not None

    def refuse(*_: object) -> None:
        raise redis.ConnectionError("away for a moment")

    with monkeypatch.context() as patch:
        patch.setattr(broker, "do_enqueue", refuse, raising=False)
        with pytest.raises(ConnectionClosed):
            broker.enqueue(running.copy(options={"retries": 1}), delay=100)
    consumer.ack(running)

    assert broker.holds([message.message_id]) == {message.message_id}


def test_a_worker_beats_by_itself_until_it_is_done(broker: ServiceBroker) -> None:
    def last_beat() -> float | None:
        return broker.client.zscore("dramatiq:__heartbeats__", broker.broker_id)

    worker = dramatiq.Worker(broker)
    broker.emit_before("worker_boot", worker)
    first = eventually(last_beat)

    broker.emit_before("worker_shutdown", worker)  # what still runs may take its time

    eventually(lambda: (last_beat() or 0) > (first or 0))
    broker.emit_after("worker_shutdown", worker)


def test_hosts_whose_clocks_differ_do_not_think_each_other_dead(
    redis_server: RedisServer, broker: ServiceBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = a_broker(redis_server)
    monkeypatch.setattr("worker.broker.current_millis", lambda: int(time.time() * 1000) - 3_600_000)
    late.heartbeat()
    late.enqueue(a_message())
    late.declare_queue(APPLY_QUEUE)
    assert next(late.consume(APPLY_QUEUE, prefetch=1, timeout=100)) is not None
    monkeypatch.undo()

    broker.declare_queue(APPLY_QUEUE)

    assert next(broker.consume(APPLY_QUEUE, prefetch=1, timeout=100)) is None
    late.close()


def test_the_dead_letters_of_dramatiq_do_not_pile_up(broker: ServiceBroker) -> None:
    broker.declare_queue(APPLY_QUEUE)
    broker.enqueue(a_message())
    consumer = broker.consume(APPLY_QUEUE, prefetch=1, timeout=100)
    failed = next(consumer)
    assert failed is not None
    consumer.nack(failed)
    assert broker.client.hlen("dramatiq:apply.XQ.msgs") == 1

    broker.dead_message_ttl = -1
    next(consumer)

    assert broker.client.hlen("dramatiq:apply.XQ.msgs") == 0


def test_the_main_process_ends_when_a_child_is_killed(workers: Workers) -> None:
    # Dramatiq does not start it again: a supervisor must (see compose/).
    worker = workers.start(processes=1)

    os.kill(worker.children()[0], signal.SIGKILL)

    assert worker.wait_for_exit() != 0
