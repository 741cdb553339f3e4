"""What a history leaves to the judge, beside what stands in its stores: what was sent, settled and decided, and when."""

from __future__ import annotations

from dataclasses import dataclass

from entities import ledger
from tests.simulation.plan import Kind, Operation
from worker.messages import Origin

#: The virtual clock's beginning, in milliseconds since 1970.
EPOCH_MS = 1_700_000_000_000

#: Kafka's timestamps of a topic that was made anew are later by this (ms), so that they tell the one from the other.
LIFE_MS = 1_000_000


@dataclass(frozen=True)
class Produced:
    """A message that was sent, and where it came to stand. ``life``: how often the topic had been made anew by then."""

    operation: Operation
    life: int
    offset: int

    @property
    def place(self) -> tuple[int, int, int]:
        return self.life, self.operation.partition, self.offset


@dataclass(frozen=True)
class Committed:
    """A line of the ledger: the outbox whose message wrote it, in which epoch, and the operation's seq there."""

    outbox_id: str
    epoch: int
    seq: int | None
    line: ledger.SettledOperation


@dataclass(frozen=True)
class Decision:
    """A dead letter was replayed or discarded at the desk of an outbox, after so many lines of the ledger had been written."""

    after: int
    outbox_id: str
    operation_id: str
    incarnation: int
    kind: Kind


def origin_of(line: ledger.SettledOperation) -> Origin:
    """Where the operation stood that this line is about."""
    return Origin(line.topic, line.generation, line.partition, line.offset)


def life_at(kafka_timestamp: int) -> int:
    """In which life of the topic a record with Kafka's timestamp (ms) was sent."""
    return (kafka_timestamp - EPOCH_MS) // LIFE_MS
