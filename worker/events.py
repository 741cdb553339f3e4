"""What the threads of ingest tell its main loop. Only the main loop touches the outbox and the planner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from entities.generations import LogGeneration
from entities.ledger import SettledOperation
from outbox.announcements import Audience
from worker.assignment import Commit, LogRange, Start
from worker.merge import FetchedRecord
from worker.messages import Settlement


@dataclass(frozen=True)
class Fetched:
    """Records in their final order, to be persisted. Each holds one of the intake's permits until it is."""

    assignment: int
    records: Sequence[FetchedRecord]


@dataclass(frozen=True)
class Assigned:
    """Partitions were assigned; the answer says where to read each from."""

    assignment: int
    commits: Mapping[int, Commit | None]
    ranges: Mapping[int, LogRange]
    answer: Future[dict[int, Start]] = field(default_factory=Future)


@dataclass(frozen=True)
class Starting:
    """The starts are verified against Kafka; the answer comes once the outbox is ready to take their records."""

    assignment: int
    starts: Mapping[int, Start]
    answer: Future[None] = field(default_factory=Future)


@dataclass(frozen=True)
class LogStarts:
    """The first offset that Kafka still holds, by partition: what lies below cannot be read again."""

    assignment: int
    offsets: Mapping[int, int]


@dataclass(frozen=True)
class Revoked:
    """The partitions are no longer ours: nothing of them may be dispatched."""

    assignment: int


@dataclass(frozen=True)
class EpochRaised:
    """The database knows this ingest as the group's active one: from now on older messages stop there."""

    assignment: int
    epoch: int


@dataclass(frozen=True)
class LettersFound:
    """Dead letters that the database's ledger holds; those this outbox does not know are taken in."""

    assignment: int
    letters: Sequence[SettledOperation]


@dataclass(frozen=True)
class MemoryFound:
    """What the database remembers of the topic's logs, by partition: asked for where the group's commits do not tell."""

    assignment: int
    logs: Mapping[int, LogGeneration]


@dataclass(frozen=True)
class Told:
    """The outbox's announcements that have reached their audience for good."""

    audience: Audience
    announcement_ids: Sequence[int]


@dataclass(frozen=True)
class Lost:
    """Batches of which Redis holds no message, or whose worker has been silent past its lease."""

    batch_ids: Sequence[str]


@dataclass(frozen=True)
class Settled:
    """Settlements that actors pushed."""

    settlements: Sequence[Settlement]


@dataclass(frozen=True)
class Wake:
    """Something changed that the loop should look at: health, a free slot, a stop."""


Event = (
    Fetched
    | Assigned
    | Starting
    | LogStarts
    | Revoked
    | EpochRaised
    | LettersFound
    | MemoryFound
    | Told
    | Lost
    | Settled
    | Wake
)
