"""From polls to one order: what the reader hands over, whatever the consumer has to say of it."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.simulation.kafka_model import ModelConsumer, Topic
from worker.assignment import Start, Why
from worker.events import Assigned, Event, Fetched, Starting
from worker.reading import Reading

TOPIC = "db-operations-buffer"


class Ingest:
    """A reader with as much of a main loop as it needs: each partition is read from its beginning, each portion is persisted."""

    def __init__(self, partitions: int, buffer_records: int = 4) -> None:
        self.topic = Topic(TOPIC, partitions)
        self.consumer = ModelConsumer(self.topic, random.Random(0))
        self.reading = Reading(TOPIC, buffer_records, self._take)
        self.consumer.listener = self.reading.begin(self.consumer)
        self.timestamps: list[int] = []
        self.topic.assign_to(self.consumer)

    def _take(self, event: Event) -> None:
        match event:
            case Assigned():
                event.answer.set_result({partition: Start(Why.NEW, 0, 0) for partition in event.commits})
            case Starting():
                event.answer.set_result(None)
            case Fetched():
                self.timestamps += [record.order_timestamp for record in event.records]
                self.reading.give_back_permit()

    def produce(self, partition: int, timestamps: Sequence[int]) -> None:
        for timestamp in timestamps:
            self.topic.produce(partition, timestamp, b"{}")

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
