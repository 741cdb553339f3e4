"""Replaying and discarding dead letters: what would be done to each, and doing it, in portions and no faster than told.

A replay that would go back in time (later.py) is refused unless it is forced. A page in a browser does it by the same
functions: ``plan`` says what is in the way, ``replay`` and ``discard`` do it and tell of each letter as it is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from outbox import DeskResult, Entry, Outbox, State
from worker.desk.later import Since, since

#: Letters read, looked at and changed at a time: their payloads may be large.
PORTION = 100


class Planned(msgspec.Struct, frozen=True):
    """A letter that is to be replayed, without its payload, and what has happened to its rows since it died."""

    letter: Entry
    since: Since

    @property
    def needs_force(self) -> bool:
        return self.letter.state == State.DEAD and not self.since.is_clear


def plan(outbox: Outbox, letters: Sequence[Entry], *, has_database: bool) -> Iterator[Planned]:
    """What stands against the replay of each; letters may come without their payloads, which are read here.

    Parameters:
      has_database: Whether the ledger may be asked for what the outbox does not hold any more.
    """
    for start in range(0, len(letters), PORTION):
        portion = [
            one for letter in letters[start : start + PORTION] if (one := outbox.entry(letter.entry_id)) is not None
        ]
        known = since(outbox, portion, has_database=has_database)
        for letter in portion:
            yield Planned(msgspec.structs.replace(letter, raw=b""), known[letter.entry_id])


def parted(planned: Sequence[Planned], *, force: bool) -> tuple[list[Entry], list[Entry]]:
    """The letters that are replayed, and those that are left alone since they would go back in time and are not forced."""
    going = [one.letter for one in planned if force or not one.needs_force]
    return going, [one.letter for one in planned if one.needs_force and not force]


@dataclass
class Tally:
    """How many letters were changed, and how many were not."""

    done: int = 0
    refused: int = 0

    def count(self, result: DeskResult) -> None:
        self.done += result.is_done
        self.refused += not result.is_done


@contextmanager
def audited(outbox: Outbox, who: str, action: str, why: str, meant: str, refused: int = 0) -> Iterator[Tally]:
    """Leave a line of audit for what is counted inside, also if it is broken off.

    Parameters:
      meant: What was chosen, in words.
      refused: How many of these could not be tried at all.
    """
    tally = Tally(refused=refused)
    try:
        yield tally
    finally:
        if tally.done or tally.refused:
            outbox.remember_action(who, action, why, meant, tally.done, tally.refused)


@dataclass(frozen=True)
class Pace:
    """No more than so many letters a second; None: as fast as it goes. A portion then is what one moment may take."""

    per_s: float | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def portions(self, entry_ids: Sequence[int]) -> Iterator[Sequence[int]]:
        """The ids in portions, each when its time has come."""
        if self.per_s is None:
            for start in range(0, len(entry_ids), PORTION):
                yield entry_ids[start : start + PORTION]
            return
        began = self.clock()
        size = max(1, min(PORTION, int(self.per_s)))
        for start in range(0, len(entry_ids), size):
            wait = began + start / self.per_s - self.clock()
            if wait > 0:
                self.sleep(wait)
            yield entry_ids[start : start + size]


def replay(
    outbox: Outbox, entry_ids: Sequence[int], who: str, why: str, pace: Pace | None = None
) -> Iterator[DeskResult]:
    """Send dead letters round again, in this order; each is told as it is done."""
    for portion in (pace or Pace()).portions(entry_ids):
        yield from outbox.replay(portion, who, why)


def discard(
    outbox: Outbox, entry_ids: Sequence[int], who: str, why: str, pace: Pace | None = None
) -> Iterator[DeskResult]:
    """Put dead letters aside for good; each is told as it is done."""
    for portion in (pace or Pace()).portions(entry_ids):
        yield from outbox.discard(portion, who, why)
