"""Tells Kafka's topic of dead letters (``TOPIC_DEAD_LETTERS``) of each operation that has become one.

The value is the payload as it came from Kafka, secrets included; what there is to say of it stands in the headers, whose reason
is redacted. The key is the operation's id, so the letters of one operation (a replay may die again) stand in one partition, in
their order; letters of different operations have none. The outbox keeps what is still to be told until Kafka has confirmed it,
so each death is told at least once: a kill at the wrong moment tells it twice, with the same `topic`, `generation`, `partition`,
`offset` and `incarnation`. (Not `operation-id`: one that came again with other content is a letter of its own.)
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from outbox.announcements import Announcement, Audience
from outbox.masking import mask_string
from worker.events import Event, Told
from worker.fault_points import Point, reach
from worker.kafka_client import connected
from worker.settings import Settings

logger = logging.getLogger(__name__)

#: How long (s) Kafka may take to confirm a portion. What is late is sent again.
CONFIRM_TIMEOUT_S = 30.0

#: How long (s) a stop waits for what is on its way to Kafka.
STOP_GRACE_S = 2.0

#: How long (ms) a send waits for the topic's metadata: no longer than a stop may take.
METADATA_TIMEOUT_MS = 5_000

#: The first and the longest pause (s) before Kafka is tried again.
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 10.0

#: The client's own limit (bytes) is out of the way: the topic decides what is too large.
LARGEST_REQUEST_BYTES = 100_000_000

TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)

Headers = list[tuple[str, bytes]]


class Producer(Protocol):
    """What is used of kafka-python's KafkaProducer."""

    def send(self, topic: str, value: bytes | None = None, key: bytes | None = None, *, headers: Headers) -> Any: ...
    def flush(self, timeout: float | None = None) -> None: ...
    def close(self, timeout: float | None = None) -> None: ...


def headers_of(death: Announcement) -> Headers:
    """What there is to say of a dead letter, as text in UTF-8. What is not known is left out, a secret in an id is masked."""
    told = {
        "reason": death.reason,
        "error": death.error_kind,
        "attempts": death.attempts,
        "topic": death.topic,
        "partition": death.partition,
        "offset": death.offset,
        "generation": death.generation,
        "operation-id": mask_string(death.operation_id),
        "incarnation": death.incarnation,
        "entity": death.entity,
        "type": death.type,
        "died-at": datetime.fromtimestamp(death.at / 1000, UTC).isoformat(timespec="milliseconds"),
    }
    return [(name, str(value).encode(errors="replace")) for name, value in told.items() if value is not None]


def key_of(death: Announcement) -> bytes:
    """The operation's id: Kafka keeps the order of what has one key."""
    return death.operation_id.encode(errors="replace")


class Announcer:
    """Produces portions of dead letters. ``run`` is a thread's; ``tell_portion`` is one step of it.

    Parameters:
      tell: takes events for the main loop.
      connect: makes the producer, or raises Kafka's error.
    """

    def __init__(
        self, settings: Settings, tell: Callable[[Event], None], connect: Callable[[], Producer] | None = None
    ) -> None:
        self._topic = settings.topic_dead_letters
        self._tell = tell
        self._connect = connect or (lambda: _producer(settings))
        self._portions: queue.SimpleQueue[Sequence[Announcement] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._producer: Producer | None = None

    def announce(self, deaths: Sequence[Announcement]) -> None:
        """Take a portion; a `Told` follows once Kafka has confirmed all of it, however long that takes."""
        self._portions.put(deaths)

    def stop(self) -> None:
        """End soon; what Kafka has not confirmed is told by the next process."""
        self._stopping.set()
        self._portions.put(None)
        if self._producer is not None:
            self._producer.close(timeout=STOP_GRACE_S)

    def run(self) -> None:
        while (deaths := self._portions.get()) is not None and not self._stopping.is_set():
            self._tell_for_sure(deaths)
        self._disconnect()

    def _tell_for_sure(self, deaths: Sequence[Announcement]) -> None:
        backoff_s = FIRST_BACKOFF_S
        while not self._stopping.is_set():
            try:
                self.tell_portion(deaths)
                return
            except (KafkaError, OSError) as error:
                why = f"{type(error).__name__}: {error}"
                logger.error("%d dead letters wait for topic %s (%s): again soon", len(deaths), self._topic, why)
            except (
                Exception
            ):  # the outermost loop of this thread: dead letters that nobody hears of are still in the outbox
                logger.exception("Telling topic %s of dead letters failed in a way it should not", self._topic)
            self._disconnect()
            self._stopping.wait(backoff_s)
            backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)

    def tell_portion(self, deaths: Sequence[Announcement]) -> None:
        """Send them and wait until Kafka has them all. Raises Kafka's errors: then all of them are to be sent again."""
        reach(Point.ANNOUNCING)
        if self._producer is None:
            self._producer = self._connect()
        producer = self._producer
        sent = [producer.send(self._topic, death.raw, key_of(death), headers=headers_of(death)) for death in deaths]
        producer.flush(CONFIRM_TIMEOUT_S)
        for death, future in zip(deaths, sent, strict=True):
            try:
                future.get(CONFIRM_TIMEOUT_S)
            except TOO_LARGE:
                self._tell_without_payload(producer, death)
        reach(Point.ANNOUNCED)
        self._tell(Told(Audience.DEAD_LETTER_TOPIC, [death.announcement_id for death in deaths]))

    def _tell_without_payload(self, producer: Producer, death: Announcement) -> None:
        """One that the topic has no room for must not keep the others from being told."""
        left_out = f"{len(death.raw or b'')} bytes, more than the topic takes"
        headers = [*headers_of(death), ("payload-left-out", left_out.encode())]
        producer.send(self._topic, b"", key_of(death), headers=headers).get(CONFIRM_TIMEOUT_S)

    def _disconnect(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError, OSError):
                producer.close(timeout=0)


def _producer(settings: Settings) -> Producer:
    producer: Producer = connected(
        KafkaProducer,
        settings,
        acks="all",
        retries=5,
        max_in_flight_requests_per_connection=1,
        batch_size=0,  # a batch that the topic has no room for would tell us nothing of the single letters
        max_block_ms=METADATA_TIMEOUT_MS,
        max_request_size=LARGEST_REQUEST_BYTES,
        buffer_memory=LARGEST_REQUEST_BYTES,
    )
    return producer
