"""The application's part: it sends the stream to Kafka, and writes into the cache what the application writes there.

Operations go out in waves. A wave goes to one partition and is acknowledged before the next one goes, to another partition,
with later timestamps: so one order is the true one although the messages carry no key.
"""

from __future__ import annotations

import json
import threading
import time
from random import Random
from typing import Any, NamedTuple

import redis
from confluent_kafka import KafkaException, Producer

from compose.stream import Operation, Stream
from worker.settings import Settings

#: How long (s) a wave is, and how many operations a wave holds when nobody asks for a rate.
WAVE_S = 0.02
WAVE_OPERATIONS = 500

#: Operations a second once the number asked for has been sent, so that there is something to see.
TRICKLE_RATE = 5.0

#: How long (s) Kafka may take to tell its partitions, and to acknowledge a wave.
ANSWER_S = 10.0
ACKNOWLEDGE_S = 60.0

#: How long (s) a stop waits for a wave.
STOP_S = 5.0

#: How long (s) the application keeps its keys of what it has queued.
PENDING_TTL_S = 3600


class Place(NamedTuple):
    """Where in the topic a message lies."""

    partition: int
    offset: int


class Sender(threading.Thread):
    """Sends in a thread of its own.

    Parameters:
      operations: how many to send at the rate asked for.
      rate: operations a second; 0 sends as fast as Kafka takes them.
      goes_on: whether a trickle follows, until `stop`.
    """

    def __init__(self, settings: Settings, stream: Stream, operations: int, rate: float, goes_on: bool) -> None:
        super().__init__(name="sender", daemon=True)
        self._settings = settings
        self._stream = stream
        self._operations = operations
        self._rate = rate
        self._goes_on = goes_on
        self._random = Random(operations)
        self._stopping = threading.Event()
        self.sent: dict[Place, Operation] = {}
        #: Why it cannot go on; empty while it can.
        self.failure = ""

    @property
    def is_done(self) -> bool:
        """Whether everything that was asked for is sent."""
        return len(self.sent) >= self._operations

    def stop(self) -> None:
        """Send no more, and wait for the wave under way; not for ever, Kafka may be away."""
        self._stopping.set()
        self.join(STOP_S)

    def run(self) -> None:
        try:
            self._send_all()
        except (KafkaException, redis.RedisError) as error:
            self.failure = f"{type(error).__name__}: {error}"

    def _send_all(self) -> None:
        topic = self._settings.topic_db_operations
        settings = self._settings
        cache = redis.Redis(
            settings.redis_host, settings.redis_port, settings.redis_db, settings.redis_password or None
        )
        producer = Producer({"bootstrap.servers": ",".join(settings.kafka_brokers), "linger.ms": 0})
        partitions = self._partitions(producer, topic)
        while not self._stopping.is_set() and (self._goes_on or not self.is_done):
            wave_began = time.monotonic()
            wave = [next(self._stream) for _ in range(self._wave_size())]
            self._note_as_queued(cache, wave)
            self._send(producer, topic, self._random.choice(partitions), wave)
            rate = TRICKLE_RATE if self.is_done else self._rate
            if rate:
                self._stopping.wait(wave_began + len(wave) / rate - time.monotonic())
            else:
                time.sleep(0.001)  # the next wave's timestamps are to be later ones

    def _wave_size(self) -> int:
        left = self._operations - len(self.sent)
        if left <= 0:
            return 1
        return min(left, max(1, round(self._rate * WAVE_S)) if self._rate else WAVE_OPERATIONS)

    def _send(self, producer: Producer, topic: str, partition: int, wave: list[Operation]) -> None:
        for operation in wave:
            producer.produce(
                topic,
                operation.value,
                partition=partition,
                on_delivery=lambda *told, of=operation: self._note(of, *told),
            )
        if producer.flush(ACKNOWLEDGE_S) and not self.failure:
            self.failure = f"Kafka did not acknowledge within {ACKNOWLEDGE_S:.0f} s"
        if self.failure:
            self._stopping.set()

    def _note(self, operation: Operation, error: Any, message: Any) -> None:
        if error is not None:
            self.failure = f"Kafka did not take a message: {error}"
        else:
            self.sent[Place(message.partition(), message.offset())] = operation

    @staticmethod
    def _note_as_queued(cache: redis.Redis, wave: list[Operation]) -> None:
        with cache.pipeline(transaction=False) as pipeline:
            for operation in wave:
                for key in operation.pending_keys:
                    pipeline.set(key, json.dumps({"operationId": operation.operation_id}), ex=PENDING_TTL_S)
            pipeline.execute()

    @staticmethod
    def _partitions(producer: Producer, topic: str) -> list[int]:
        deadline = time.monotonic() + ANSWER_S
        while True:  # a topic that is made by our question may have no partitions in the first answer
            partitions = sorted(producer.list_topics(topic, timeout=ANSWER_S).topics[topic].partitions)
            if partitions or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        if not partitions:
            raise KafkaException(f"the topic {topic} is not there, and Kafka does not make it")
        return partitions
