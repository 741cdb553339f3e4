"""What goes in while faults strike: the mixed stream, salted with what a service must also stand: messages that are no JSON,
invalid ones, ones without an id, duplicates, and ids that come again with other content.

Each message is known by its place in Kafka and by what must become of it. All are in one order, by Kafka's timestamps as
by their own, so that the outbox's order is known even when the outbox is lost: what is sent together after the start lies
in one partition, and is settled before more is sent.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.support.kafka_server import KafkaServer, Record
from tests.support.mixed import BUSINESSES, USERS, mixed_stream
from tests.support.streams import a_message

PARTITIONS = 3

#: The stream begins with rows that the others need.
FOUNDATION = USERS + BUSINESSES

#: How far back (ms) the timestamps begin: behind Kafka's clock, and within the topic's retention.
BEGINS_AGO_MS = 3_600_000


@dataclass(frozen=True)
class Sent:
    """A message that Kafka has.

    :ivar line_id: the id of its line in the ledger.
    :ivar serial: the message as the serial reference takes it; None = a dead letter whatever the database says.
    :ivar is_copy: it repeats an earlier message, and has the same line.
    """

    partition: int
    offset: int
    raw: bytes
    line_id: str
    serial: bytes | None
    is_copy: bool = False


@dataclass
class Stream:
    """An endless stream, reproducible by its seed up to Kafka's timestamps.

    :param may_retry: operations are retried before they are dead letters. What is refused at its turn and would pass later is
        left out then: a retry that passes after later operations is outside the promise of a serial end.
    """

    seed: int
    topic: str
    may_retry: bool
    sent: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._first_timestamp = int(time.time() * 1000) - BEGINS_AGO_MS
        self._mixed = self._mixed_messages()
        self._number = 0
        self._partition = 0

    def send_first(self, kafka: KafkaServer, count: int) -> None:
        """Send so many over all partitions. All lie in Kafka before a service reads them, so their order is that of the
        timestamps."""
        self._send(kafka, [(self._chance.randrange(PARTITIONS), message) for message in self._next(count)])

    def send_more(self, kafka: KafkaServer, count: int) -> None:
        """Send so many into one partition, among them one that is refused for ever and one that is no JSON."""
        self._partition = self._chance.randrange(PARTITIONS)
        messages = [*self._next(count), self._refused(), self._junk()]
        self._send(kafka, [(self._partition, message) for message in messages])

    def send_behind(self, kafka: KafkaServer, count: int) -> None:
        """Send so many behind the last ones, which need not be settled: they lie in the same partition."""
        self._send(kafka, [(self._partition, message) for message in self._next(count)])

    @property
    def line_ids(self) -> set[str]:
        """The ids of all lines that the ledger must hold in the end."""
        return {one.line_id for one in self.sent}

    @property
    def always_dead(self) -> set[str]:
        """The ids of those that are dead letters whatever the database says."""
        return {one.line_id for one in self.sent if one.serial is None}

    @property
    def serial(self) -> list[bytes]:
        """What the serial reference is to apply, in order."""
        return [one.serial for one in self.sent if one.serial is not None and not one.is_copy]

    def _send(self, kafka: KafkaServer, messages: Sequence[tuple[int, _Message]]) -> None:
        offsets = kafka.produce(
            self.topic, [Record(partition, message.raw, message.timestamp) for partition, message in messages]
        )
        for (partition, message), offset in zip(messages, offsets, strict=True):
            own_id = f"{self.topic}-{partition}-{offset}"
            serial = message.raw if message.operation_id else _with_id(message.raw, own_id)
            self.sent.append(
                Sent(
                    partition,
                    offset,
                    message.raw,
                    message.operation_id or own_id,
                    None if message.is_dead else serial,
                    message.is_copy,
                )
            )

    def _next(self, count: int) -> Iterator[_Message]:
        for _ in range(count):
            plain = next(self._mixed)
            if self._number < FOUNDATION:
                yield self._stamped(plain)
                continue
            kind = self._chance.random()
            if kind < 0.02:
                yield self._copy()
            elif kind < 0.03:
                yield self._reused()
            elif kind < 0.04:
                yield self._junk()
            elif kind < 0.06:
                yield self._invalid()
            else:
                yield self._stamped(plain, has_id=kind > 0.1)

    def _mixed_messages(self) -> Iterator[bytes]:
        portion = 0
        while True:
            for raw in mixed_stream(FOUNDATION + 1_000, self.seed * 1_000 + portion)[FOUNDATION if portion else 0 :]:
                if not (self.may_retry and _may_pass_later(raw)):
                    yield raw
            portion += 1

    def _stamped(self, raw: bytes, has_id: bool = True) -> _Message:
        message = json.loads(raw)
        timestamp = self._timestamp()
        message["metadata"] = {"timestamp": timestamp}
        operation_id = f"op_{self.seed}_{self._number}" if has_id else None
        if operation_id:
            message["metadata"]["operationId"] = operation_id
        return _Message(json.dumps(message).encode(), timestamp, operation_id)

    def _copy(self) -> _Message:
        first = self._chance.choice([one for one in self.sent if not one.is_copy] or [None])
        if first is None or first.serial is None or first.line_id.startswith(self.topic):
            return self._invalid()
        timestamp = self._timestamp()
        message = json.loads(first.raw)
        message["metadata"]["timestamp"] = timestamp
        return _Message(json.dumps(message).encode(), timestamp, first.line_id, is_copy=True)

    def _reused(self) -> _Message:
        """The id of the first operation with other content: it is a dead letter under its own place."""
        timestamp = self._timestamp()
        message = json.loads(
            a_message(f"op_{self.seed}_1", "DELETE", "User", {"id": 900 + self._number}, timestamp=timestamp)
        )
        return _Message(json.dumps(message).encode(), timestamp, None, is_dead=True)

    def _junk(self) -> _Message:
        timestamp = self._timestamp()
        return _Message(b'{"type": "CREATE", %d' % timestamp, timestamp, None, is_dead=True)

    def _invalid(self) -> _Message:
        timestamp = self._timestamp()
        operation_id = f"bad_{self.seed}_{self._number}"
        raw = a_message(operation_id, "DELETE", "User", {"id": 0}, timestamp=timestamp)
        return _Message(raw, timestamp, operation_id, is_dead=True)

    def _refused(self) -> _Message:
        """What the database refuses each time it is tried."""
        timestamp = self._timestamp()
        operation_id = f"refused_{self.seed}_{self._number}"
        data = {"businessId": 1, "monthlyNetSales": "3_6_smmlv"}
        raw = a_message(operation_id, "CREATE", "Finance", data, timestamp=timestamp)
        return _Message(raw, timestamp, operation_id)

    def _timestamp(self) -> int:
        self._number += 1
        return self._first_timestamp + self._number


@dataclass(frozen=True)
class _Message:
    """A message before it is sent; `operation_id` None: its own place is its id."""

    raw: bytes
    timestamp: int
    operation_id: str | None
    is_dead: bool = False
    is_copy: bool = False


def _with_id(raw: bytes, operation_id: str) -> bytes | None:
    try:
        message = json.loads(raw)
    except ValueError:
        return None
    message["metadata"]["operationId"] = operation_id
    return json.dumps(message).encode()


def _may_pass_later(raw: bytes) -> bool:
    """Whether it frees something that is no row which an operation refused before might be waiting for: an e-mail address."""
    message = json.loads(raw)
    type, entity, data = message["type"], message["entity"], message["data"]
    return entity == "User" and (type == "DELETE" or (type == "UPDATE" and "email" in data))
