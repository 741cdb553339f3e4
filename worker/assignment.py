"""Where to go on reading when partitions are assigned: pure decisions, and the text kept in a commit's metadata.

Each commit names the outbox that persisted the records and the partition's settled low-water mark. So an ingest that
takes over without the last one's disk knows from where to read again, and one whose disk comes back late knows that
others have gone further. What is read again is harmless: the ledger in the database knows what was done.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

import msgspec

#: Kafka's offsets are 64-bit integers.
LAST_OFFSET = 2**63 - 1


class Fingerprint(msgspec.Struct, frozen=True, array_like=True):
    """What tells a record from another at the same place: a topic made anew has other records at the same offsets."""

    offset: int
    kafka_timestamp: int
    value_hash: bytes


def value_hash(value: bytes) -> bytes:
    """Eight bytes that tell a record's value from another's."""
    return hashlib.blake2b(value, digest_size=8).digest()


class CommitMetadata(
    msgspec.Struct, frozen=True, rename={"outbox_id": "o", "generation": "g", "mark": "m", "last": "l"}
):
    """What a commit's metadata says.

    ``mark`` is the first offset that is not settled (the idea of Confluent's Parallel Consumer); ``generation`` counts
    how often the topic was made anew; ``last`` is the newest record persisted.
    """

    outbox_id: str
    generation: int
    mark: int
    last: Fingerprint | None = None

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()


class Commit(msgspec.Struct, frozen=True):
    """The group's committed offset of a partition; ``metadata`` is None if it was not written by this service."""

    offset: int
    metadata: CommitMetadata | None

    @classmethod
    def decode(cls, offset: int, metadata: str | None) -> Commit:
        try:
            return cls(offset, msgspec.json.decode(metadata or "", type=CommitMetadata))
        except msgspec.MsgspecError:
            return cls(offset, None)


class Known(msgspec.Struct, frozen=True):
    """How far this outbox has got with a partition."""

    generation: int
    next_offset: int
    last: Fingerprint | None


class Remembered(msgspec.Struct, frozen=True):
    """What the database remembers of the partition's newest log. A topic that is deleted takes its commits with it."""

    generation: int
    last: Fingerprint


class LogRange(msgspec.Struct, frozen=True):
    """What Kafka holds of a partition: offsets from ``begin`` up to, not including, ``end``."""

    begin: int
    end: int


class Why(Enum):
    """Why reading starts where it does."""

    NEW = "the group reads this partition for the first time"
    GOES_ON = "this outbox made the last commit"
    TAKES_OVER = "another outbox, or none of ours, made the last commit"
    COMMIT_LOST = "the group's commit is gone"
    MADE_ANEW = "the topic was made anew"


@dataclass(frozen=True)
class Start:
    """Where to read from, and what must be done first.

    ``archives``: this outbox's entries of the partition are put aside and read again.
    ``keeps``: from which offset up to which they stay: they cannot be read again, and may be in no other outbox.
    ``check``: the record that must stand right before; if another stands there the topic was made anew.
    ``skipped``: how many records Kafka deleted (retention) before anybody read them.
    ``in_doubt``: how many it deleted that another outbox had read, and may not have settled.
    """

    why: Why
    generation: int
    offset: int
    archives: bool = False
    check: Fingerprint | None = None
    skipped: int = 0
    keeps: tuple[int, int] | None = None
    in_doubt: int = 0


def needs_memory(commit: Commit | None) -> bool:
    """Whether the database has to be asked what it remembers of a partition: the group's commit does not tell."""
    return commit is None or commit.metadata is None


def where_to_start(
    outbox_id: str, known: Known | None, commit: Commit | None, log: LogRange, remembered: Remembered | None = None
) -> Start:
    """Decide for one partition that has just been assigned.

    Parameters:
      known: this outbox's own position; None if it has never read the partition.
      commit: the group's last commit; None if there is none.
      remembered: what the database knows; only looked at where ``needs_memory``.
    """
    metadata = commit.metadata if commit is not None else None
    if metadata is None and remembered is not None and _has_gone_further(remembered, known):
        return _start_from_memory(remembered, known, commit, log)
    if commit is None and known is None:
        return Start(Why.NEW, generation=0, offset=log.begin)
    if commit is None:
        assert known is not None
        if log.end < known.next_offset:
            return Start(Why.MADE_ANEW, known.generation + 1, log.begin)
        if known.last is None:
            # Without a record to look at, a topic made anew would go unnoticed.
            return Start(Why.COMMIT_LOST, known.generation, log.begin, archives=True)
        # Killed before its first commit, or the commits were deleted; nobody has gone further. Reading all again would give
        # what was already applied another place in the order.
        offset = max(known.next_offset, log.begin)
        return Start(
            Why.COMMIT_LOST,
            known.generation,
            offset,
            check=_within(known.last, log),
            skipped=offset - known.next_offset,
        )
    if metadata is None and known is not None:
        return _start_where_told(known, commit, log)
    is_ours = metadata is not None and metadata.outbox_id == outbox_id
    if known is not None and is_ours and known.next_offset >= commit.offset:
        if log.end < known.next_offset:
            return Start(Why.MADE_ANEW, known.generation + 1, log.begin)
        offset = max(known.next_offset, log.begin)
        return Start(
            Why.GOES_ON,
            known.generation,
            offset,
            check=_within(known.last, log),
            skipped=offset - known.next_offset,
        )
    generation = metadata.generation if metadata is not None else 0
    if log.end < commit.offset:
        return Start(Why.MADE_ANEW, generation + 1, log.begin, archives=known is not None)
    mark = min(metadata.mark, commit.offset) if metadata is not None else commit.offset
    last = metadata.last if metadata is not None else None
    offset = max(mark, log.begin)
    return Start(
        Why.TAKES_OVER,
        generation,
        offset,
        archives=known is not None,
        check=_within(last, log),
        skipped=max(0, log.begin - commit.offset),
        keeps=(mark, offset),
        in_doubt=max(0, min(log.begin, commit.offset) - mark),
    )


def _has_gone_further(remembered: Remembered, known: Known | None) -> bool:
    """Whether others have read what this outbox has not: then its own position says nothing about today's log."""
    if known is None:
        return True
    return (known.generation, known.next_offset) <= (remembered.generation, remembered.last.offset)


def _start_from_memory(remembered: Remembered, known: Known | None, commit: Commit | None, log: LogRange) -> Start:
    archives = known is not None
    why = Why.COMMIT_LOST if commit is None and known is None else Why.TAKES_OVER
    if log.end <= remembered.last.offset:
        # What this outbox has not settled of the old log is nowhere else: whoever has gone further may be lost as well.
        return Start(Why.MADE_ANEW, remembered.generation + 1, log.begin)
    offset = log.begin if commit is None else max(commit.offset, log.begin)
    skipped = 0 if commit is None else max(0, log.begin - commit.offset)
    check = _within(remembered.last, log)
    return Start(why, remembered.generation, offset, archives, check, skipped, keeps=(0, offset))


def _start_where_told(known: Known, commit: Commit, log: LogRange) -> Start:
    """An operator has reset the offsets, or another program has read on in our group: no outbox but this one has what was
    persisted before."""
    if log.end < max(known.next_offset, commit.offset):
        return Start(Why.MADE_ANEW, known.generation + 1, log.begin)
    offset = max(commit.offset, log.begin)
    return Start(
        Why.TAKES_OVER,
        known.generation,
        offset,
        archives=True,
        check=_within(known.last, log),
        skipped=max(0, log.begin - commit.offset),
        keeps=(0, offset),
    )


def made_anew(start: Start, log: LogRange) -> Start:
    """What to do instead when another record stands where ``start.check`` should."""
    archives = start.why is Why.TAKES_OVER and start.archives
    keeps = (start.keeps[0], LAST_OFFSET) if start.keeps is not None else None
    return Start(Why.MADE_ANEW, start.generation + 1, log.begin, archives, keeps=keeps)


def _within(last: Fingerprint | None, log: LogRange) -> Fingerprint | None:
    return last if last is not None and log.begin <= last.offset < log.end else None
