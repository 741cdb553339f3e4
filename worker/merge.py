"""One order out of several partitions, without any I/O.

The producer sends no key, so operations on one row lie in different partitions and only their timestamps tell their
order. The merge releases the record with the smallest (timestamp, partition, offset) among the partitions' heads, once
every partition has a head or is known to be read to its end: so each partition's own order is kept, and a partition
that lags cannot put old operations behind another's new ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

import msgspec

from entities.envelope import Peek


class FetchedRecord(msgspec.Struct, frozen=True, gc=False):
    """A record as Kafka delivered it, with what the order needs.

    ``order_timestamp`` (ms) is the operation's own timestamp, but never later than Kafka's. ``seen`` is what could be
    read of the envelope.
    """

    topic: str
    partition: int
    offset: int
    kafka_timestamp: int
    order_timestamp: int
    value: bytes
    seen: Peek = Peek()


def order_timestamp(operation_timestamp: int | None, kafka_timestamp: int) -> int:
    """The time (ms) by which a record takes its place: a clock that runs ahead must not hold its partition back.

    Kafka's is 0 where the record has none: then it bounds nothing.
    """
    if operation_timestamp is None or kafka_timestamp == 0:
        return operation_timestamp or kafka_timestamp
    return min(operation_timestamp, kafka_timestamp)


@dataclass(slots=True)
class _Lane:
    """One partition's records that are fetched and not yet released."""

    buffered: deque[FetchedRecord] = field(default_factory=deque)
    size: int = 0
    is_read_to_end: bool = False


class Merge:
    """The assigned partitions of one topic.

    Parameters:
      buffer_limit: how many records a partition may run ahead of the others before ``partitions_ahead`` names it.
      buffer_bytes: the same in bytes of their values.
    """

    def __init__(self, buffer_limit: int, buffer_bytes: int = 16_000_000) -> None:
        self.buffer_limit = buffer_limit
        self.buffer_bytes = buffer_bytes
        self._lanes: dict[int, _Lane] = {}
        self._heads: list[tuple[int, int, int]] = []  # (order timestamp, partition, offset) of each non-empty lane
        self._unknown = 0  # lanes that are empty, and not known to be read to their end

    def assign(self, partitions: Iterable[int]) -> None:
        """Begin anew with these partitions; what was buffered is forgotten (it will be fetched again)."""
        self._lanes = {partition: _Lane() for partition in partitions}
        self._heads = []
        self._unknown = len(self._lanes)

    def add(self, partition: int, records: Iterable[FetchedRecord]) -> None:
        """Buffer records of one partition, in its own order."""
        lane = self._lanes[partition]
        was_empty = not lane.buffered
        for record in records:
            lane.buffered.append(record)
            lane.size += len(record.value)
        if was_empty and lane.buffered:
            self._unknown -= not lane.is_read_to_end
            self._push_head(partition, lane)

    def note_end(self, partition: int, is_read_to_end: bool) -> None:
        """Say whether everything that Kafka holds of this partition has been added."""
        lane = self._lanes[partition]
        if not lane.buffered:
            self._unknown += lane.is_read_to_end - is_read_to_end
        lane.is_read_to_end = is_read_to_end

    def release(self, limit: int, max_bytes: int = 4_000_000) -> list[FetchedRecord]:
        """Up to ``limit`` records whose place in the order is certain; no more once they hold ``max_bytes``."""
        released: list[FetchedRecord] = []
        size = 0
        while self._heads and not self._unknown and len(released) < limit and size < max_bytes:
            _, partition, _ = heappop(self._heads)
            lane = self._lanes[partition]
            record = lane.buffered.popleft()
            lane.size -= len(record.value)
            size += len(record.value)
            released.append(record)
            if lane.buffered:
                self._push_head(partition, lane)
            else:
                self._unknown += not lane.is_read_to_end
        return released

    def partitions_empty(self) -> set[int]:
        """The partitions that have nothing buffered."""
        return {partition for partition, lane in self._lanes.items() if not lane.buffered}

    def partitions_ahead(self) -> set[int]:
        """The partitions that have their buffer full and should be paused."""
        return {
            partition
            for partition, lane in self._lanes.items()
            if len(lane.buffered) >= self.buffer_limit or lane.size >= self.buffer_bytes
        }

    def partitions_drained(self) -> set[int]:
        """The partitions that have drained to half of their buffer and may be resumed."""
        return {
            partition
            for partition, lane in self._lanes.items()
            if len(lane.buffered) <= self.buffer_limit // 2 and lane.size <= self.buffer_bytes // 2
        }

    def __len__(self) -> int:
        return sum(len(lane.buffered) for lane in self._lanes.values())

    def _push_head(self, partition: int, lane: _Lane) -> None:
        head = lane.buffered[0]
        heappush(self._heads, (head.order_timestamp, partition, head.offset))
