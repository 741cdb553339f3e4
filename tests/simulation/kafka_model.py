"""Kafka as far as the reader sees it: a topic's partitions, the group's commits, and a consumer with the library's quirks.

The quirks that cost records if they are not known are modelled: a pause drops what was fetched, and the next fetch goes on
behind it; a batch that cannot be read raises once and is skipped then; how far a log reaches is known as of the last fetch. A
topic can be deleted and made anew: its records and the group's commits are gone, and a consumer gets nothing until it notices.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from kafka import TopicPartition
from kafka.errors import CommitFailedError, KafkaTimeoutError, OffsetOutOfRangeError, UnsupportedCodecError
from kafka.structs import OffsetAndMetadata

from worker.reading import AssignmentListener

#: Records that one fetch brings.
FETCHED_AT_ONCE = 3


@dataclass(frozen=True)
class Record:
    """A record as kafka-python gives it."""

    partition: int
    offset: int
    timestamp: int
    value: bytes


@dataclass
class Topic:
    """The topic's logs, what the group has committed, and which consumer has the partitions.

    ``life``: how often it was made anew.
    """

    name: str
    partitions: int
    life: int = 0
    logs: list[list[Record]] = field(default_factory=list)
    commits: dict[TopicPartition, OffsetAndMetadata] = field(default_factory=dict)
    owner: ModelConsumer | None = None

    def __post_init__(self) -> None:
        self.logs = [[] for _ in range(self.partitions)]

    def produce(self, partition: int, timestamp: int, value: bytes) -> int:
        log = self.logs[partition]
        log.append(Record(partition, len(log), timestamp, value))
        return len(log) - 1

    def make_anew(self) -> None:
        """Delete the topic and make it again. Its consumer fetches nothing until the next rebalance; what it commits till then
        is taken for a commit to the new one."""
        self.life += 1
        self.logs = [[] for _ in range(self.partitions)]
        self.commits.clear()
        if self.owner is not None:
            self.owner.is_cut_off = True

    def assign_to(self, consumer: ModelConsumer | None) -> None:
        """A rebalance: this consumer gets all partitions, the one that had them loses them when it next polls."""
        if self.owner is not None and self.owner is not consumer:
            self.owner.pending = set()
        self.owner = consumer
        if consumer is not None:
            consumer.pending = {TopicPartition(self.name, partition) for partition in range(self.partitions)}


class ModelConsumer:
    """What the reader uses of kafka-python's consumer."""

    def __init__(self, topic: Topic, chance: random.Random) -> None:
        self._topic = topic
        self._chance = chance
        self._assigned: set[TopicPartition] = set()
        self._paused: set[TopicPartition] = set()
        self._position: dict[TopicPartition, int] = {}
        self._fetched: dict[TopicPartition, list[Record]] = {}
        self._highwater: dict[TopicPartition, int] = {}
        self.pending: set[TopicPartition] | None = None
        self.listener: AssignmentListener | None = None
        self.breaks_next_fetch = False
        self.is_cut_off = False

    @property
    def has_news(self) -> bool:
        """Whether a poll would bring something."""
        if self.pending is not None:
            return True
        for tp in self._assigned:  # noqa: SIM110  # asked at each step of a history: any() would cost a fiftieth of it
            if tp not in self._paused and (self._fetched.get(tp) or self._would_fetch(tp)):
                return True
        return False

    def _would_fetch(self, tp: TopicPartition) -> bool:
        """Whether a fetch would tell something new."""
        if self.is_cut_off:
            return False
        return self._position[tp] != len(self._topic.logs[tp.partition]) or tp not in self._highwater

    def poll(self, timeout_ms: int = 0, max_records: int | None = None) -> Mapping[TopicPartition, list[Record]]:
        if self.pending is not None:
            self._rebalance()
            return {}
        candidates = sorted(self._assigned - self._paused)
        self._chance.shuffle(candidates)
        for tp in candidates:
            if not self._fetched.get(tp) and not self.is_cut_off:
                self._fetch(tp)
            fetched = self._fetched.get(tp)
            if fetched:
                polled, self._fetched[tp] = fetched[:max_records], fetched[max_records or len(fetched) :]
                self._position[tp] = polled[-1].offset + 1
                return {tp: polled}
        return {}

    def _fetch(self, tp: TopicPartition) -> None:
        log = self._log(tp)
        position = self._position[tp]
        if position > len(log):
            raise OffsetOutOfRangeError(f"{tp.partition}: {position} of {len(log)}")
        fetched = log[position : position + self._chance.randint(1, FETCHED_AT_ONCE)]
        if fetched and self.breaks_next_fetch:
            self.breaks_next_fetch = False
            self._position[tp] = fetched[-1].offset + 1  # the library goes on behind what it could not read
            raise UnsupportedCodecError("a batch of a codec that is not there")
        self._fetched[tp] = fetched
        self._highwater[tp] = len(log)

    def _rebalance(self) -> None:
        assigned, self.pending = self.pending or set(), None
        self.is_cut_off = False
        assert self.listener is not None
        self.listener.on_partitions_revoked(set(self._assigned))
        self._assigned = set(assigned)
        self._paused, self._fetched, self._highwater = set(), {}, {}
        self._position = dict.fromkeys(assigned, 0)
        self.listener.on_partitions_assigned(set(assigned))

    def _log(self, tp: TopicPartition) -> list[Record]:
        return self._topic.logs[tp.partition]

    def assignment(self) -> set[TopicPartition]:
        return set(self._assigned)

    def pause(self, *partitions: TopicPartition) -> None:
        for tp in partitions:
            self._paused.add(tp)
            dropped = self._fetched.pop(tp, [])
            if dropped:
                self._position[tp] = dropped[-1].offset + 1  # lost silently, unless one seeks

    def paused(self) -> set[TopicPartition]:
        return set(self._paused)

    def resume(self, *partitions: TopicPartition) -> None:
        self._paused.difference_update(partitions)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._position[partition] = offset
        self._fetched.pop(partition, None)

    def position(self, partition: TopicPartition) -> int:
        return self._position[partition]

    def highwater(self, partition: TopicPartition) -> int | None:
        return self._highwater.get(partition)

    def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: len(self._log(tp)) for tp in partitions}

    def committed(self, partition: TopicPartition, metadata: bool = False) -> Any:
        commit = self._topic.commits.get(partition)
        return commit and SimpleNamespace(offset=commit.offset, metadata=commit.metadata)

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        if self._topic.owner is not self or self.pending is not None:
            raise CommitFailedError("the group has given the partitions to another member")
        self._topic.commits.update(offsets)

    def commit_async(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], callback: Callable[[Any, Any], None]
    ) -> None:
        try:
            self.commit(offsets)
        except CommitFailedError as error:
            callback(offsets, error)
        else:
            callback(offsets, None)


@dataclass
class LetterTopic:
    """The topic of dead letters, as far as it is judged: of which places and incarnations it was told."""

    told: set[tuple[int, int, int, int]] = field(default_factory=set)
    refuses: bool = False


class ModelProducer:
    """What the announcer uses of kafka-python's producer. What is refused may have come in part."""

    def __init__(self, topic: LetterTopic, chance: random.Random) -> None:
        self._topic = topic
        self._chance = chance
        self._sent: list[tuple[int, int, int, int]] = []

    def send(
        self, topic: str, value: bytes | None = None, key: bytes | None = None, *, headers: list[tuple[str, bytes]]
    ) -> SimpleNamespace:
        said = dict(headers)
        self._sent.append(
            (int(said["generation"]), int(said["partition"]), int(said["offset"]), int(said["incarnation"]))
        )
        return SimpleNamespace(get=lambda timeout: None)

    def flush(self, timeout: float | None = None) -> None:
        sent, self._sent = self._sent, []
        if self._topic.refuses:
            self._topic.told.update(sent[: self._chance.randint(0, len(sent))])
            raise KafkaTimeoutError
        self._topic.told.update(sent)

    def close(self, timeout: float | None = None) -> None:
        pass
