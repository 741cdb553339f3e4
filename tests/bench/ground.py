"""Where contestants run: real servers, a topic filled once for all of them, and for each run an empty database and cache.

The clock is the same for all. It starts when the program subscribes to the topic, which is full by then: what Python takes to
start is left out, joining the group is not. It stops when the last operation is settled: with the loops when the last offset
is committed, with the service when the outbox has settled all and no cache message is left. Then each run is checked: every
row as one after the other leaves it, and with the service every ledger line and a sample of the cache too.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from confluent_kafka import Producer

from tests.bench.checks import check_cache, check_ledger, check_rows, serial_digest
from tests.bench.streams import Stream
from tests.support.child import Child
from tests.support.kafka_server import KafkaServer
from tests.support.mariadb_server import MariaDBServer
from tests.support.pipeline import PARTITIONS, Pipeline
from tests.support.redis_server import RedisServer
from tests.support.service import ROOT, SHORT_TIMES, Service, settings_for

#: The workers that users run, as compose/ starts them.
PROCESSES, THREADS = 2, 4

#: How often (s) the service is asked whether it is done, and how long (s) a run may take.
LOOK_EVERY_S = 0.01
RUN_TIMEOUT_S = 600.0

#: Where Dramatiq keeps the messages of the cache's queue.
CACHE_MESSAGES = "dramatiq:cache.msgs"


class Ground:
    """The servers, running, and the runs on them.

    :param folder: for the programs' files.
    """

    def __init__(self, folder: Path, kafka: KafkaServer, mariadb: MariaDBServer, redis_server: RedisServer) -> None:
        self.folder = folder
        self.kafka = kafka
        self.mariadb = mariadb
        self.redis_server = redis_server
        self._numbers = itertools.count(1)
        self._topics: dict[tuple[str, int, int], str] = {}
        self._digests: dict[tuple[str, int], dict[str, tuple[int, int]]] = {}

    # ------------------------------------------------------------------------------------------------ what is prepared

    def topic(self, stream: Stream, count: int, partitions: int) -> str:
        """A topic with the stream's first `count` messages, each in some partition; made when it is first asked for."""
        key = (stream.name, count, partitions)
        if key not in self._topics:
            name = f"{stream.name}-{count}-{partitions}-{next(self._numbers)}"
            self.kafka.create_topic(name, partitions)
            self._fill(name, stream.messages[:count], partitions)
            self._topics[key] = name
        return self._topics[key]

    def _fill(self, topic: str, messages: Sequence[bytes], partitions: int) -> None:
        chance = random.Random(0)
        producer = self.producer()
        for message in messages:
            producer.produce(topic, message, partition=chance.randrange(partitions))
            producer.poll(0)
        assert producer.flush(60) == 0
        assert sum(self.kafka.end_offsets(topic).values()) == len(messages)

    def producer(self) -> Producer:
        """A producer that costs the machine little, which is the contestants'."""
        room = {"queue.buffering.max.messages": 1_000_000, "queue.buffering.max.kbytes": 1_000_000}
        return Producer({"bootstrap.servers": self.kafka.bootstrap, "linger.ms": 0, "acks": "all", **room})

    def prepare(self, stream: Stream, one_by_one: int | None = None) -> None:
        """Make ready, outside of all clocks, what the stream's runs need."""
        self.topic(stream, len(stream.messages), PARTITIONS)
        self._expected(stream, len(stream.messages))
        if one_by_one is not None:
            self.topic(stream, one_by_one, 1)
            self._expected(stream, one_by_one)

    def _expected(self, stream: Stream, count: int) -> dict[str, tuple[int, int]]:
        key = (stream.name, count)
        if key not in self._digests:
            with self.pipeline("not read") as pipeline:
                self._digests[key] = serial_digest(self.mariadb, pipeline.database, stream, count)
        return self._digests[key]

    @contextmanager
    def pipeline(self, topic: str, processes: int = PROCESSES) -> Iterator[Pipeline]:
        """A service with its defaults on this topic, an empty database with the tables, an empty Redis. Not started."""
        number = next(self._numbers)
        folder = self.folder / f"run-{number}"
        folder.mkdir()
        database = f"bench_{number}"
        self.mariadb.create_database(database)
        self.redis_server.flush()
        settings = settings_for(self.kafka, self.mariadb, self.redis_server, database, topic, folder)
        settings = {name: value for name, value in settings.items() if name not in SHORT_TIMES}
        settings["KAFKA_GROUP_ID"] = f"group-{number}"
        service = Service(folder, settings, processes, THREADS)
        try:
            yield Pipeline(service, self.kafka, self.mariadb, self.redis_server)
        finally:
            service.kill()
            self.mariadb.drop_database(database)
        shutil.rmtree(folder)  # a run that failed keeps its logs

    # ------------------------------------------------------------------------------------------------------- the runs

    def run_loop(self, contestant: str, stream: Stream, count: int, partitions: int) -> float:
        """Operations a second of "one-by-one" or "batch-loop" on the first `count` messages.

        :raises AssertionError: if the program failed, or left other rows than it should have.
        """
        topic = self.topic(stream, count, partitions)
        with self.pipeline(topic) as pipeline:
            self._set_up(pipeline, stream)
            folder = pipeline.service.folder
            report = folder / "report.json"
            command = [sys.executable, "-m", "tests.bench.contestants", contestant, "--report", str(report)]
            command += ["--kafka", self.kafka.bootstrap, "--topic", topic, "--count", str(count)]
            command += ["--group", pipeline.service.settings["KAFKA_GROUP_ID"], "--database", pipeline.database]
            command += ["--database-port", str(self.mariadb.port), "--redis-port", str(self.redis_server.port)]
            child = Child(contestant, command, folder / "contestant.log", directory=ROOT)
            child.spawn()
            try:
                assert child.wait_for_exit(RUN_TIMEOUT_S) == 0, child.log_tail()
            finally:
                child.kill()
            times = json.loads(report.read_text())
            check_rows(self.mariadb, pipeline.database, self._expected(stream, count))
            if contestant == "one-by-one" and stream.name == "creates":
                check_cache(pipeline, count, compare=False)
            return count / float(times["ended_at"] - times["subscribed_at"])

    def run_service(self, stream: Stream, processes: int = PROCESSES) -> float:
        """Operations a second of this service, its poison not counted, from topic full to all settled and cached.

        :raises AssertionError: if not all is applied, or if rows, ledger or cache are not what they should be.
        """
        topic = self.topic(stream, len(stream.messages), PARTITIONS)
        with self.pipeline(topic, processes) as pipeline:
            self._set_up(pipeline, stream)
            self.start_workers(pipeline, processes)
            pipeline.service.start_ingest()
            ended_at = self._wait_until_done(pipeline, stream)
            subscribed_at = _time_of(pipeline.service.ingest.wait_for_log("Subscribed to topic"))
            check_rows(self.mariadb, pipeline.database, self._expected(stream, len(stream.messages)))
            check_ledger(pipeline, stream.to_apply)
            check_cache(pipeline, stream.cached_rows)
            return stream.to_apply / (ended_at - subscribed_at)

    def run_ingest_alone(self, stream: Stream) -> float:
        """Operations a second that ingest carries while workers settle at once and apply nothing."""
        topic = self.topic(stream, len(stream.messages), PARTITIONS)
        with self.pipeline(topic) as pipeline:
            command = pipeline.service.actors.command
            command[command.index("worker.actors")] = "tests.bench.settling_actors"
            self.start_workers(pipeline)
            pipeline.service.start_ingest()
            wait_until_applied(pipeline, stream.to_apply)
            ended_at = time.time()
            subscribed_at = _time_of(pipeline.service.ingest.wait_for_log("Subscribed to topic"))
            return stream.to_apply / (ended_at - subscribed_at)

    def start_workers(self, pipeline: Pipeline, processes: int = PROCESSES) -> None:
        """Start the actors, and return when each process is ready."""
        actors = pipeline.service.actors
        pipeline.service.start_actors()
        deadline = time.monotonic() + 60
        while actors.log().count("ready for action") < processes:
            assert actors.is_running and time.monotonic() < deadline, actors.log_tail()
            time.sleep(0.05)

    def _set_up(self, pipeline: Pipeline, stream: Stream) -> None:
        for statement in stream.setup:
            self.mariadb.execute(statement, database=pipeline.database)

    def _wait_until_done(self, pipeline: Pipeline, stream: Stream) -> float:
        """When all that can be applied was applied and cached, in seconds since 1970."""
        wait_until_applied(pipeline, stream.to_apply, is_poisoned=bool(stream.poison))
        with self.redis_server.client(1) as broker:
            while broker.hlen(CACHE_MESSAGES):
                time.sleep(LOOK_EVERY_S)
        return time.time()


def wait_until_applied(pipeline: Pipeline, count: int, is_poisoned: bool = False) -> None:
    """Return when the outbox of a running ingest has so many applied operations, and unless there is poison nothing unsettled.

    :raises AssertionError: if that takes longer than `RUN_TIMEOUT_S`, if ingest ends, or if there are dead letters.
    """
    service = pipeline.service
    deadline = time.monotonic() + RUN_TIMEOUT_S
    with pipeline.outbox() as outbox:
        while True:
            counts = outbox.counts()
            if counts.applied >= count and (is_poisoned or counts.unsettled == 0):
                assert is_poisoned or counts.total == count, counts
                return
            assert is_poisoned or counts.dead == 0, f"{counts}\n{service.log_tails()}"
            assert service.ingest.is_running and time.monotonic() < deadline, f"{counts}\n{service.log_tails()}"
            time.sleep(LOOK_EVERY_S)


def _time_of(line: str) -> float:
    """When a log line was written, in seconds since 1970."""
    return datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")).timestamp()
