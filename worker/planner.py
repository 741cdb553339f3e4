"""Which operations may run now, and which may ride together: the heart of the service, without any I/O.

The planner keeps a bounded window of unfinished operations in outbox order. An operation depends on each earlier
unfinished one whose writeset conflicts with its own (MySQL's writeset rule for parallel replicas, with the intention
locks of a database as shared keys). It may run when nothing it depends on is unfinished, or when all of that rides
before it in the same batch. Time, stores and messages are the scheduler's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

from entities.writesets import Writeset, conflicts

Item = TypeVar("Item")

#: The share of the window that operations waiting behind one key may fill. The rest stays free for others, so that a
#: row whose operation is being retried for minutes does not stop everything that has nothing to do with it.
HOT_KEY_SHARE = 0.125

#: While batches are in flight, this many operations may be parked, and eight more for each one admitted behind them:
#: with a single hot row, reading far ahead again and again would cost more than it finds.
PARKING_WHILE_BUSY = 500
PARKING_FOR_EACH_ADMITTED = 8


@dataclass(eq=False, slots=True)
class Planned(Generic[Item]):
    """An unfinished operation in the window.

    ``waits_wider``: it failed for lack of something an earlier operation may bring (a parent, a freed unique value);
    it now waits for every earlier operation on the entities it touches or names, and blocks others no wider than before.
    ``goes_alone``: it is sent as a message of its own, because it failed or because its batch killed its worker. Others
    that wait wider do not wait for it: retries may last for minutes, and many such would wait one after the other.
    ``is_condemned``: it is to be buried, by another message than its batch's: nothing rides behind it, nor it behind others.
    ``has_waited``: it has waited as wide as it can, see `Planner._end_a_standstill`.
    """

    seq: int
    writeset: Writeset
    size: int
    item: Item
    waits_wider: bool = False
    goes_alone: bool = False
    is_condemned: bool = False
    has_waited: bool = False
    is_taken: bool = False
    depends_on: set[int] = field(default_factory=set)
    followers: list[Planned[Item]] = field(default_factory=list)
    hot_key: str | None = None


@dataclass(slots=True)
class _Key(Generic[Item]):
    """Who holds or awaits one key of a writeset, among the window's unfinished operations."""

    last_exclusive: Planned[Item] | None = None
    sharers: dict[int, Planned[Item]] = field(default_factory=dict)  # nearly always those after last_exclusive
    waiting: int = 0  # operations that wait, directly or not, because of this key


@dataclass(slots=True)
class _Parked:
    """Operations left in the outbox because the key they wait for has filled its share of the window.

    Only their keys are remembered: whatever conflicts with them must be left behind too, or it would overtake them.
    ``first_seq`` is the first of them; while they are read again, the next that is to be read.
    """

    first_seq: int
    exclusive: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)
    hot_keys: set[str] = field(default_factory=set)
    count: int = 0
    admitted_behind: int = 0

    def conflicts_with(self, writeset: Writeset) -> bool:
        return not (
            self.exclusive.isdisjoint(writeset.exclusive)
            and self.exclusive.isdisjoint(writeset.shared)
            and self.shared.isdisjoint(writeset.exclusive)
        )

    def leave(self, writeset: Writeset) -> None:
        self.exclusive |= writeset.exclusive
        self.shared |= writeset.shared
        self.count += 1


class Planner(Generic[Item]):
    """The window and its order.

    Parameters:
      max_operations: how many unfinished operations the window holds at most; as many again may be parked.
      max_bytes: the sum of their sizes; one operation larger than that is still admitted into an empty window.
    """

    def __init__(self, max_operations: int, max_bytes: int) -> None:
        self.max_operations = max_operations
        self.max_bytes = max_bytes
        self.hot_key_limit = max(1, int(max_operations * HOT_KEY_SHARE))
        self._window: dict[int, Planned[Item]] = {}
        self._bytes = 0
        self._keys: dict[str, _Key[Item]] = {}
        self._ready: list[int] = []
        self._ready_alone: list[int] = []
        self._ready_wide: set[int] = set()
        self._in_batches = 0
        self._has_changed_since_unpark = True
        self._seqs_of_entity: dict[str, list[int]] = {}  # heaps, cleaned lazily; for those that wait wider
        self._parked: _Parked | None = None

    def __len__(self) -> int:
        return len(self._window)

    def __contains__(self, seq: int) -> bool:
        return seq in self._window

    def get(self, seq: int) -> Planned[Item] | None:
        return self._window.get(seq)

    @property
    def waiting_count(self) -> int:
        """How many are in the window and in no batch."""
        return len(self._window) - self._in_batches

    def waiting(self) -> list[Planned[Item]]:
        """What is in the window and has not been taken, in outbox order."""
        return sorted((one for one in self._window.values() if not one.is_taken), key=lambda one: one.seq)

    # ------------------------------------------------------------------------------------------- filling the window

    @property
    def has_room(self) -> bool:
        """Whether the next operation of the outbox may be offered to ``add``."""
        return len(self._window) < self.max_operations and self._bytes < self.max_bytes and not self._is_parking_full

    @property
    def _is_parking_full(self) -> bool:
        if self._parked is None:
            return False
        while_busy = PARKING_WHILE_BUSY + PARKING_FOR_EACH_ADMITTED * self._parked.admitted_behind
        return self._parked.count >= (min(while_busy, self.max_operations) if self._in_batches else self.max_operations)

    def read_again(self, seq: int) -> int:
        """Operations from ``seq`` on have become pending: where the outbox is to be read again from, to meet them all."""
        parked, self._parked = self._parked, None
        self._has_changed_since_unpark = True
        return min(seq, parked.first_seq) if parked is not None and parked.count else seq

    @property
    def must_read_again_from(self) -> int | None:
        """The sequence number of the first parked operation, once its hot key has drained enough to take it in.

        The caller then calls ``unpark`` and offers the outbox's unsettled operations from there on. It is also time when
        all that could run waits wider: it may be waiting for parked ones, and the hot key for it.
        """
        if self._parked is None or not self._parked.count or len(self._window) >= self.max_operations:
            return None
        is_stuck = self._ready_wide and not self._ready and not self._in_batches
        if is_stuck and self._has_changed_since_unpark:
            return self._parked.first_seq
        for key in self._parked.hot_keys:
            if key not in self._keys or self._keys[key].waiting <= self.hot_key_limit // 2:
                return self._parked.first_seq
        return None

    def unpark(self) -> None:
        """Forget what is parked: it is about to be offered again, from ``must_read_again_from`` on."""
        if self._parked is not None:
            self._parked = _Parked(self._parked.first_seq)
        self._has_changed_since_unpark = False

    def note_read(self, seq: int) -> None:
        """An operation that is in the window already was met again in the outbox."""
        if self._parked is not None and not self._parked.count:
            self._parked.first_seq = seq + 1

    def add(self, planned: Planned[Item]) -> bool:
        """Offer the next unfinished operation that is not in the window, in outbox order.

        Returns False if it was parked: left in the outbox until its hot key drains.
        """
        parked = self._parked
        if parked is not None and parked.conflicts_with(planned.writeset):
            parked.leave(planned.writeset)
            return False
        hot_key = self._hot_key_for(planned.writeset)
        if hot_key is not None and self._keys[hot_key].waiting >= self.hot_key_limit:
            if parked is None or not parked.count:
                parked = self._parked = _Parked(planned.seq)
            parked.hot_keys.add(hot_key)
            parked.leave(planned.writeset)
            return False
        self.note_read(planned.seq)
        if parked is not None:
            parked.admitted_behind += 1
        self._admit(planned, hot_key)
        return True

    def _hot_key_for(self, writeset: Writeset) -> str | None:
        """The key at the root of what this writeset would wait for; None if it would wait for nothing."""
        for key in writeset.exclusive:
            held = self._keys.get(key)
            if held is not None:
                blocker = next(iter(held.sharers.values()), held.last_exclusive)
                if blocker is not None:
                    return blocker.hot_key or key
        for key in writeset.shared:
            held = self._keys.get(key)
            if held is not None and held.last_exclusive is not None:
                return held.last_exclusive.hot_key or key
        return None

    def _admit(self, planned: Planned[Item], hot_key: str | None) -> None:
        self._window[planned.seq] = planned
        self._bytes += planned.size
        blockers: dict[int, Planned[Item]] = {}
        for key in planned.writeset.exclusive:
            held = self._keys.get(key)
            if held is None:
                self._keys[key] = _Key(planned)
                continue
            if held.sharers:
                blockers.update(held.sharers)
                held.sharers = {}
            if held.last_exclusive is not None:
                blockers[held.last_exclusive.seq] = held.last_exclusive
            held.last_exclusive = planned
        for key in planned.writeset.shared:
            held = self._keys.get(key)
            if held is None:
                held = self._keys[key] = _Key()
            if held.last_exclusive is not None:
                blockers[held.last_exclusive.seq] = held.last_exclusive
            held.sharers[planned.seq] = planned
        for entity in planned.writeset.entities:
            self._note_seq(self._seqs_of_entity.setdefault(entity, []), planned.seq)
        if blockers:
            planned.depends_on.update(blockers)
            for blocker in blockers.values():
                blocker.followers.append(planned)
        if hot_key is not None:
            planned.hot_key = hot_key
            self._keys[hot_key].waiting += 1
        self._queue_if_ready(planned)

    # ------------------------------------------------------------------------------------------------ taking batches

    def take(self, max_operations: int, max_bytes: int) -> list[Planned[Item]]:
        """The next batch, in outbox order: what may run now, and what may ride behind it. Empty if nothing may run.

        A batch is not empty for the sake of ``max_bytes``: an operation larger than that goes as a batch of one.
        """
        self._queue_wide_that_may_run()
        batch: list[Planned[Item]] = []
        riding: set[int] = set()
        riders: list[int] = []
        size = 0
        while len(batch) < max_operations:
            heap = riders if riders and (not self._ready or riders[0] < self._ready[0]) else self._ready
            if not heap:
                break
            planned = self._window.get(heap[0])
            if planned is None or planned.is_taken or not self._may_ride(planned, riding):
                heappop(heap)
                if planned is not None and planned.waits_wider:
                    self._queue_if_ready(planned)
                continue
            if batch and size + planned.size > max_bytes:
                break
            heappop(heap)
            planned.is_taken = True
            self._in_batches += 1
            batch.append(planned)
            if not planned.is_condemned:
                riding.add(planned.seq)
            size += planned.size
            for follower in planned.followers:
                if not follower.is_taken and follower.depends_on <= riding and self._may_ride(follower, riding):
                    heappush(riders, follower.seq)
        return batch

    def take_alone(self) -> Planned[Item] | None:
        """The next operation that goes as a message of its own; None if there is none that may run."""
        self._queue_wide_that_may_run()
        while self._ready_alone:
            planned = self._window.get(heappop(self._ready_alone))
            if planned is None or planned.is_taken or planned.depends_on:
                continue
            if planned.waits_wider and self._must_wait_wider(planned):
                self._ready_wide.add(planned.seq)
                continue
            planned.is_taken = True
            return planned
        return None

    def _may_ride(self, planned: Planned[Item], riding: set[int]) -> bool:
        if planned.goes_alone:
            return False
        if planned.waits_wider:
            return not planned.depends_on and not self._must_wait_wider(planned)
        return not planned.depends_on if planned.is_condemned else planned.depends_on <= riding

    # ------------------------------------------------------------------------------------------- what came of a batch

    def finish(self, seq: int) -> Planned[Item] | None:
        """The operation is settled (applied or dead): it leaves the window and its followers may run.

        It may be settled before one it depends on: who applies a batch sees what a DELETE really reaches, and knows of
        conflicts that are none.
        """
        planned = self._window.pop(seq, None)
        if planned is None:
            return None
        self._bytes -= planned.size
        self._has_changed_since_unpark = True
        self._leave_batch(planned)
        self._let_go(planned, planned.writeset.exclusive)
        self._let_go(planned, planned.writeset.shared)
        if planned.hot_key is not None:
            self._keys[planned.hot_key].waiting -= 1
            self._forget_if_unused(planned.hot_key)
        self._release(planned, planned.followers)
        return planned

    def hand_back(self, seq: int, *, waits_wider: bool = False, goes_alone: bool = False) -> None:
        """The operation was not settled: it waits for its turn again, in its old place in the order."""
        planned = self._window.get(seq)
        if planned is None:
            return
        self._has_changed_since_unpark = True
        self._leave_batch(planned)
        planned.waits_wider |= waits_wider
        planned.goes_alone |= goes_alone
        self._queue_if_ready(planned)

    def narrow(self, seq: int, writeset: Writeset) -> None:
        """The operation failed at its turn and is being retried: from now on it holds only these of its keys."""
        planned = self._window.get(seq)
        if planned is None:
            return
        self._let_go(planned, _keys(planned.writeset) - _keys(writeset))
        planned.writeset = writeset
        followers, planned.followers = planned.followers, []
        released: list[Planned[Item]] = []
        for follower in followers:
            (planned.followers if conflicts(writeset, follower.writeset) else released).append(follower)
        self._release(planned, released)

    def _release(self, planned: Planned[Item], followers: Iterable[Planned[Item]]) -> None:
        """Let followers go, and have them wait instead for what this operation itself still depends on.

        An operation depends only on the last ones before it that want its keys; those behind them it waits for through
        them. So whoever leaves before its own dependencies has to pass them on, to its followers and to those to come.
        """
        unfinished = [self._window[seq] for seq in planned.depends_on if seq in self._window]
        for blocker in unfinished:
            for key in blocker.writeset.shared:
                self._keys.setdefault(key, _Key()).sharers.setdefault(blocker.seq, blocker)
            for key in blocker.writeset.exclusive:
                held = self._keys.setdefault(key, _Key())
                if held.last_exclusive is None or held.last_exclusive.seq < blocker.seq:
                    held.last_exclusive = blocker
        for follower in followers:
            if follower.seq not in self._window:
                continue
            follower.depends_on.discard(planned.seq)
            for blocker in unfinished:
                if blocker.seq not in follower.depends_on and conflicts(blocker.writeset, follower.writeset):
                    follower.depends_on.add(blocker.seq)
                    blocker.followers.append(follower)
            self._queue_if_ready(follower)

    def _let_go(self, planned: Planned[Item], keys: Iterable[str]) -> None:
        for key in keys:
            held = self._keys[key]
            if held.last_exclusive is planned:
                held.last_exclusive = None
            held.sharers.pop(planned.seq, None)
            if held.last_exclusive is None and not held.sharers:
                self._forget_if_unused(key)

    def _leave_batch(self, planned: Planned[Item]) -> None:
        if planned.is_taken and not planned.goes_alone:
            self._in_batches -= 1
        planned.is_taken = False

    def _forget_if_unused(self, key: str) -> None:
        held = self._keys[key]
        if held.last_exclusive is None and not held.sharers and not held.waiting:
            del self._keys[key]

    # --------------------------------------------------------------------------------------------------- who is ready

    def _queue_if_ready(self, planned: Planned[Item]) -> None:
        if planned.is_taken or planned.depends_on or planned.seq not in self._window:
            return
        if planned.waits_wider and self._must_wait_wider(planned):
            self._ready_wide.add(planned.seq)
        else:
            heappush(self._ready_alone if planned.goes_alone else self._ready, planned.seq)

    def _queue_wide_that_may_run(self) -> None:
        for seq in sorted(self._ready_wide):
            planned = self._window.get(seq)
            if planned is None or not self._must_wait_wider(planned):
                self._ready_wide.discard(seq)
                if planned is not None:
                    self._queue_if_ready(planned)
        if self._ready_wide and not self._ready and not self._ready_alone:
            self._end_a_standstill()

    def _end_a_standstill(self) -> None:
        """If all that could run waits wider and nothing is under way, have the first of them wait no longer.

        It waits for an earlier operation that, be it parked, waits for it: for one that came into the window after it. So does a
        dead letter that is replayed in its old place, and what it held.
        """
        if self._parked is not None and self._parked.count and self._has_changed_since_unpark:
            return  # those that are parked are offered again first
        if not any(planned.is_taken for planned in self._window.values()):
            first = self._window[min(self._ready_wide)]
            first.has_waited = True
            self._ready_wide.discard(first.seq)
            self._queue_if_ready(first)

    def _note_seq(self, seqs: list[int], seq: int) -> None:
        if len(seqs) > 4 * self.max_operations:  # finished ones behind an unfinished first would stay for ever
            seqs[:] = [earlier for earlier in seqs if earlier in self._window]
            heapify(seqs)
        heappush(seqs, seq)

    def _must_wait_wider(self, planned: Planned[Item]) -> bool:
        """Whether an earlier operation on one of its entities is unfinished, in the window or parked."""
        if planned.has_waited:
            return False
        if self._parked is not None and self._parked.first_seq < planned.seq:
            return True
        for entity in planned.writeset.entities:
            seqs = self._seqs_of_entity.get(entity, [])
            while seqs and ((first := self._window.get(seqs[0])) is None or first.goes_alone):
                heappop(seqs)
            if seqs and seqs[0] < planned.seq:
                return True
        return False


def _keys(writeset: Writeset) -> frozenset[str]:
    return writeset.exclusive | writeset.shared
