"""The numbers of one ingest: what its turns counted, and how things stood when it last looked.

The main loop tells, a turn at a time; a scrape reads a copy. Nothing here does I/O or knows how a number is shown (that is
worker/metrics_page.py). How many series there can be does not depend on what messages say: entities and types that we do not
know are counted together, as `OTHER`.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate
from typing import Protocol

from outbox.file import system_clock

#: The label of entities and types that no model and no handler has.
OTHER = "other"

#: Upper bounds (s) of the latencies' buckets: from an idle service's milliseconds to a day's outage.
LATENCY_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400)

#: Upper bounds (operations) of the batch sizes' buckets; BATCH_MAX_OPERATIONS is 500 unless somebody sets it.
BATCH_BOUNDS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000)

#: How long (s) a turn may take before the process counts as hanging. The longest honest ones archive a partition of millions.
LONGEST_TURN_S = 60.0

Name = str | None
Key = tuple[str, str]


class Event(StrEnum):
    """What is counted of operations, by entity and type. `retried`: an attempt failed and another will follow."""

    RECEIVED = "received"
    APPLIED = "applied"
    RETRIED = "retried"
    DEAD = "dead"


class Pause(StrEnum):
    """Why an ingest that has the partitions does not do all of its work.

    The first two keep operations from being dispatched, the others keep records from being read.
    """

    DATABASE = "database"
    EPOCH = "epoch"
    OUTBOX_FULL = "outbox_full"
    OUTBOX_REFUSES = "outbox_refuses"


class Sighted(Protocol):
    """A record as far as it is counted: what could be read of its envelope."""

    @property
    def entity(self) -> Name: ...

    @property
    def type(self) -> Name: ...


class Done(Sighted, Protocol):
    """An operation that came back. Times in ms since 1970; ``was_replayed``: a person sent it again."""

    @property
    def produced_at(self) -> int: ...

    @property
    def persisted_at(self) -> int: ...

    @property
    def was_replayed(self) -> bool: ...


@dataclass(frozen=True)
class Standing:
    """How things stand, as the main loop sees them now and then.

    Parameters:
      operations: how many the outbox holds, by state.
      oldest_at: when the first unsettled operation in the order was produced (ms since 1970); None: nothing waits.
      lag: records that Kafka holds and we have not read, by partition.
      servers: whether each is up, by name.
      living_workers: actors' processes that Redis has heard of lately; None while it cannot be asked.
      is_active: whether the partitions are ours.
      has_joined: whether we are in the consumer group, with partitions or standing by.
      epoch: of this ingest; 0 while it has none.
    """

    operations: Mapping[str, int] = field(default_factory=dict)
    oldest_at: int | None = None
    lag: Mapping[int, int] = field(default_factory=dict)
    servers: Mapping[str, bool] = field(default_factory=dict)
    living_workers: int | None = None
    is_active: bool = False
    has_joined: bool = False
    epoch: int = 0
    in_flight_operations: int = 0
    in_flight_batches: int = 0


class Histogram:
    """How many values fell below each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, values: Iterable[float]) -> None:
        for value in values:
            self.counts[bisect_left(self.bounds, value)] += 1
            self.sum += value

    def copy(self) -> Histogram:
        copy = Histogram(self.bounds)
        copy.counts, copy.sum = list(self.counts), self.sum
        return copy

    @property
    def cumulative(self) -> list[int]:
        """How many values were at most each bound; the last one, of all values, has no bound."""
        return list(accumulate(self.counts))


@dataclass(frozen=True)
class Reading:
    """A copy of the numbers. Ages are seconds; ``paused`` is the seconds spent in each pause, the current one included."""

    operations: Mapping[Event, Mapping[Key, int]]
    produced_to_applied: Histogram
    persisted_to_applied: Histogram
    batches: Histogram
    paused: Mapping[Pause, float]
    pauses_now: frozenset[Pause]
    standing: Standing
    oldest_age_s: float
    last_turn_age_s: float

    @property
    def is_healthy(self) -> bool:
        """Whether the main loop turns."""
        return self.last_turn_age_s < LONGEST_TURN_S

    @property
    def readiness(self) -> Mapping[str, bool]:
        """What has to be true for this ingest to take records, or to take over when its turn comes."""
        return {
            "the main loop turns": self.is_healthy,
            "in the consumer group": self.standing.has_joined,
            "the outbox can be written": Pause.OUTBOX_REFUSES not in self.pauses_now,
        }


class Metrics:
    """Where the main loop tells its numbers, and scrapes read them.

    Parameters:
      entities, types: the names that get labels of their own.
      clock: monotonic seconds.
      now_ms: milliseconds since 1970.
    """

    def __init__(
        self,
        entities: Collection[str],
        types: Collection[str],
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = system_clock,
    ) -> None:
        self._entities = frozenset(entities)
        self._types = frozenset(types)
        self._clock = clock
        self._now_ms = now_ms
        self._lock = threading.Lock()
        # Zeros from the beginning: a rate sees no rise in a series that begins with its first event.
        keys = [(entity, type) for entity in (*sorted(entities), OTHER) for type in (*sorted(types), OTHER)]
        self._operations = {event: Counter(dict.fromkeys(keys, 0)) for event in Event}
        self._produced_to_applied = Histogram(LATENCY_BOUNDS)
        self._persisted_to_applied = Histogram(LATENCY_BOUNDS)
        self._batches = Histogram(BATCH_BOUNDS)
        self._paused = dict.fromkeys(Pause, 0.0)
        self._paused_since: dict[Pause, float] = {}
        self._standing = Standing()
        self._turned_at = clock()

    # ------------------------------------------------------------------------------------------ for the main loop

    def note_turn(
        self, received: Iterable[Sighted], applied: Sequence[Done], retried: Iterable[Sighted], dead: Iterable[Sighted]
    ) -> None:
        """What a turn has committed."""
        counted = {
            Event.RECEIVED: _counted(received),
            Event.APPLIED: _counted(applied),
            Event.RETRIED: _counted(retried),
            Event.DEAD: _counted(dead),
        }
        now_ms = self._now_ms()
        timely = [done for done in applied if not done.was_replayed]
        with self._lock:
            for event, counts in counted.items():
                totals = self._operations[event]
                for (entity, type), count in counts.items():
                    totals[self._key(entity, type)] += count
            self._produced_to_applied.observe(_seconds(now_ms - done.produced_at) for done in timely)
            self._persisted_to_applied.observe(_seconds(now_ms - done.persisted_at) for done in timely)

    def note_batches(self, sizes: Collection[int]) -> None:
        """How many operations each batch had that was just sent."""
        if sizes:
            with self._lock:
                self._batches.observe(sizes)

    def note_alive(self) -> None:
        """The main loop goes on."""
        self._turned_at = self._clock()

    def note_pauses(self, pauses: Collection[Pause]) -> None:
        """All that keep it from working now; those not named have ended."""
        if pauses == self._paused_since.keys():
            return
        now = self._clock()
        with self._lock:
            for ended in self._paused_since.keys() - set(pauses):
                self._paused[ended] += now - self._paused_since.pop(ended)
            for begun in set(pauses) - self._paused_since.keys():
                self._paused_since[begun] = now

    def note_standing(self, standing: Standing) -> None:
        """How things stand now."""
        self._standing = standing

    # ------------------------------------------------------------------------------------------------ for a scrape

    def read(self) -> Reading:
        """The numbers as they are now, for any thread."""
        with self._lock:
            now, now_ms, standing = self._clock(), self._now_ms(), self._standing
            return Reading(
                {event: dict(counts) for event, counts in self._operations.items()},
                self._produced_to_applied.copy(),
                self._persisted_to_applied.copy(),
                self._batches.copy(),
                {pause: total + now - self._paused_since.get(pause, now) for pause, total in self._paused.items()},
                frozenset(self._paused_since),
                standing,
                _seconds(now_ms - standing.oldest_at) if standing.oldest_at is not None else 0.0,
                now - self._turned_at,
            )

    def _key(self, entity: Name, type: Name) -> Key:
        return (
            entity if entity is not None and entity in self._entities else OTHER,
            type if type is not None and type in self._types else OTHER,
        )


def _counted(sighted: Iterable[Sighted]) -> Counter[tuple[Name, Name]]:
    return Counter((one.entity, one.type) for one in sighted)


def _seconds(ms: int) -> float:
    """A producer's clock may be ahead of ours: then no time has passed."""
    return max(0, ms) / 1000
