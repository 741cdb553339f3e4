"""From polls to one order: what the reader hands over, whatever the consumer has to say of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from kafka.errors import CommitFailedError, KafkaTimeoutError, OffsetOutOfRangeError

from tests.simulation.kafka_model import ModelConsumer, Topic
from tests.support.streams import a_message
from worker.assignment import Fingerprint, Start, Why, value_hash
from worker.events import Assigned, Event, Fetched, Starting
from worker.reading import Reading

TOPIC = "db-operations-buffer"
FROM_THE_BEGINNING = Start(Why.NEW, 0, 0)


class Ingest:
    """A reader with as much of a main loop as it needs: each partition begins as it is told, each portion is persisted."""

    def __init__(self, partitions: int, buffer_records: int = 4, start: Start = FROM_THE_BEGINNING) -> None:
        self.start = start
        self.begun: list[Start] = []
        self.topic = Topic(TOPIC, partitions)
        self.consumer = ModelConsumer(self.topic, random.Random(0))
        self.reading = Reading(TOPIC, buffer_records, self._take)
        self.consumer.listener = self.reading.begin(self.consumer)
        self.timestamps: list[int] = []
        self.topic.assign_to(self.consumer)

    def _take(self, event: Event) -> None:
        match event:
            case Assigned():
                event.answer.set_result(dict.fromkeys(event.commits, self.start))
            case Starting():
                self.begun += event.starts.values()
                event.answer.set_result(None)
            case Fetched():
                self.timestamps += [record.order_timestamp for record in event.records]
                self.reading.give_back_permit()

    def produce(self, partition: int, timestamps: Sequence[int]) -> None:
        for timestamp in timestamps:
            self.topic.produce(partition, timestamp, b"{}")

    def committed(self) -> list[str]:
        """The metadata of the commits that Kafka has."""
        return [commit.metadata for commit in self.topic.commits.values()]

    def read(self, count: int) -> None:
        """Take steps until so many records were handed over."""
        for _ in range(50 + 20 * count):
            if len(self.timestamps) >= count:
                return
            self.reading.step()
        raise AssertionError(f"{len(self.timestamps)} of {count} records")


def test_a_partition_that_was_paused_is_not_taken_for_read_to_the_end_it_had_then() -> None:
    """All it has is buffered when it is paused; then its log goes on."""
    ingest = Ingest(partitions=2)
    ingest.produce(0, range(100, 104))
    ingest.produce(1, range(40))
    ingest.read(20)
    assert ingest.consumer.paused()

    ingest.produce(0, range(104, 110))
    ingest.produce(1, range(200, 210))
    ingest.read(60)

    assert ingest.timestamps == [*range(40), *range(100, 110), *range(200, 210)]


def test_a_log_is_not_taken_for_the_old_one_because_kafka_did_not_show_the_record_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ingest = Ingest(1, start=Start(Why.GOES_ON, 0, 3, check=Fingerprint(2, 7, value_hash(b"of the old topic"))))
    ingest.produce(0, range(5))
    ingest.reading.step()

    with monkeypatch.context() as patch:
        patch.setattr(ingest.consumer, "poll", lambda **_: {})
        with pytest.raises(KafkaTimeoutError):
            ingest.reading.step()
    ingest.reading.go_back()
    ingest.read(5)

    assert [(start.why, start.offset) for start in ingest.begun] == [(Why.MADE_ANEW, 0)]


def test_a_commit_that_kafka_did_not_take_is_made_again_though_nothing_new_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ingest = Ingest(1)
    ingest.produce(0, range(2))
    ingest.read(2)

    ingest.reading.note_persisted(1, {0: (2, "first mark")})
    with monkeypatch.context() as patch:
        patch.setattr(ingest.consumer, "commit", refuse)
        ingest.reading.step()
    ingest.reading.note_persisted(1, {})
    ingest.reading.step()

    assert ingest.committed() == ["first mark"]


def test_a_commit_that_failed_does_not_come_after_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ingest = Ingest(1)
    ingest.produce(0, range(2))
    ingest.read(2)
    answers: list[Any] = []
    monkeypatch.setattr(ingest.consumer, "commit_async", lambda offsets, callback: answers.append((callback, offsets)))
    for mark in ("first mark", "second mark"):
        ingest.reading.note_persisted(1, {0: (2, mark)})
        ingest.reading.step()
    monkeypatch.undo()

    first, offsets = answers[0]
    first(offsets, CommitFailedError())
    ingest.reading.note_persisted(1, {})
    ingest.reading.step()

    assert ingest.committed() == []


def refuse(_: Any) -> None:
    raise CommitFailedError


def test_who_is_out_of_the_log_asks_at_once_where_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each poll would raise it again, for one partition after the other."""
    ingest = Ingest(1)
    ingest.produce(0, range(2))
    ingest.read(2)

    with monkeypatch.context() as patch:
        patch.setattr(ingest.consumer, "poll", out_of_range)
        ingest.reading.step()

    assert ingest.consumer.paused() == ingest.consumer.assignment()
    ingest.read(4)
    assert ingest.timestamps == [0, 1, 0, 1]


def out_of_range(**_: Any) -> None:
    raise OffsetOutOfRangeError


def test_records_without_a_timestamp_of_kafka_s_are_merged_by_their_operations_own() -> None:
    ingest = Ingest(2)
    for partition, timestamp in ((0, 2), (0, 4), (1, 1), (1, 3)):
        message = a_message(None, "DELETE", "User", {"id": 1}, timestamp=timestamp)
        ingest.topic.produce(partition, -1, message)

    ingest.read(4)

    assert ingest.timestamps == [1, 2, 3, 4]
