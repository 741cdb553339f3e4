"""What is sent when, and what an outcome means for the order: between the outbox, the planner and the dispatcher.

The scheduler fills the planner's window from the outbox, sends batches while there are free slots and the gate is open,
and moves operations on when their outcomes come. A batch is one operation when little is going on and fills up by
itself under load: while all slots are taken, work accumulates. It writes nothing by itself: what an outcome changes in
the outbox is returned, so that the main loop can commit it together with everything else of its turn.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import dramatiq

from entities.writesets import after_failure
from outbox.records import Entry
from outbox.states import State
from outbox.store import Outbox
from worker.holding import Holding
from worker.messages import (
    Batch,
    Settlement,
    Verdicts,
    apply_operation_message,
    apply_operations_message,
    bury_message,
)
from worker.outcomes import Changes, backoff_ms, weigh_line
from worker.planner import Planned, Planner
from worker.settings import Settings
from worker.shelf import Shelf
from worker.tasks import Task, Verdictable, held_keys, task_of

logger = logging.getLogger(__name__)

#: Entries read from the outbox at a time: short reads, so that the write-ahead log can be checkpointed.
PAGE = 500

#: With so many batches' operations waiting in the window, the next is sent before the window is filled up.
AMPLE_BATCHES = 2

#: Single operations that may await their retry at the same time. They take no slot: they wait most of the time.
ALONE_LIMIT = 1_000


class Sender(Protocol):
    """What the scheduler needs of the dispatcher."""

    def send(self, message: dramatiq.Message[None], delay_ms: int | None = None) -> None: ...


@dataclass(slots=True)
class InFlight:
    """A message on its way. ``tasks`` are those it has not brought back yet; ``heard_at`` is monotonic seconds."""

    batch_id: str
    tasks: dict[int, Task]
    heard_at: float
    is_alone: bool = False


class Scheduler:
    """The window, what is in flight, and the gate.

    ``epoch`` is None while the gate is shut: without partitions, or until the database knows us as the active ingest.
    ``just_sent`` are the sequence numbers sent and not yet marked as dispatched in the outbox: whoever marks clears it.
    ``batch_sizes`` are how many operations each batch had that was sent, for whoever counts and clears them.
    """

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        sender: Sender,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._sender = sender
        self._clock = clock
        self._now_ms = now_ms
        self._batches = 0
        self.epoch: int | None = None
        self.holding = Holding(outbox, settings.dead_letter_policy == "hold")
        self.forget()

    # --------------------------------------------------------------------------------------------- the assignment

    def forget(self) -> None:
        """Drop the window and all that is in flight: the partitions are gone, or come anew."""
        self.epoch = None
        self._planner: Planner[Task] = Planner(self._settings.window_max_operations, self._settings.window_max_bytes)
        self._by_origin: dict[tuple[str, int, int, int], int] = {}
        self._in_flight: dict[str, InFlight] = {}
        self._alone_in_flight = 0
        self.just_sent: list[int] = []
        self.batch_sizes: list[int] = []
        self._read_to = 0
        self._shelf: Shelf[Task] = Shelf(self._settings.window_max_bytes // 2)
        self._may_hold_more = True
        self.holding.forget()

    def open(self, epoch: int) -> None:
        """The database knows us as the active ingest: from now on operations may be sent, in this epoch."""
        self.epoch = epoch
        self.holding.look_at_letters()

    def let_go(self, letters: list[int]) -> None:
        """These dead letters are replayed or discarded, and what they held is pending again, in its place."""
        first_seq = self.holding.let_go(letters)
        self._read_to = min(self._read_to, self._planner.read_again(first_seq) - 1)
        self._shelf = Shelf(self._shelf.max_bytes, self._read_to)
        self._may_hold_more = True

    def note_appended(self) -> None:
        """The outbox holds entries that the window has not seen."""
        self._may_hold_more = True

    @property
    def in_flight_batches(self) -> int:
        return len(self._in_flight)

    @property
    def in_flight_operations(self) -> int:
        return sum(len(flight.tasks) for flight in self._in_flight.values())

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is in flight but single operations that await their retry."""
        return len(self._in_flight) == self._alone_in_flight

    # --------------------------------------------------------------------------------------------------- dispatch

    def dispatch(self) -> None:
        """Fill the window and send what may run, as long as slots are free. Call it only while the gate is open."""
        while self._planner.waiting_count >= AMPLE_BATCHES * self._settings.batch_max_operations and self._send_next():
            pass  # workers wait for these, and what there is to fill the window with does not
        self._fill()
        while self._send_next():
            self._fill()
        while self._alone_in_flight < ALONE_LIMIT:
            planned = self._planner.take_alone()
            if planned is None:
                break
            self._send_alone(planned.item)

    def _send_next(self) -> bool:
        """Send the next batch; False if there is no free slot, or nothing that may run."""
        if len(self._in_flight) - self._alone_in_flight >= self._settings.max_in_flight_batches:
            return False
        batch = self._planner.take(self._settings.batch_max_operations, self._settings.batch_max_bytes)
        if batch:
            self._send_batch([planned.item for planned in batch])
        return bool(batch)

    def _fill(self) -> None:
        read_again_from = self._planner.must_read_again_from
        if read_again_from is not None:
            self._planner.unpark()
            self._read_to = read_again_from - 1
            self._may_hold_more = True
            self._shelf.offer_again()
        while self._planner.has_room:
            planned = self._shelf.next_offer()
            if planned is None:
                break
            if self.holding.holds(planned.seq, planned.writeset) or self._add(planned):
                self._shelf.take_away(planned)
        else:
            return
        if self._read_to < self._shelf.covered_to:
            self._read_to = self._shelf.covered_to
            self._planner.note_read(self._read_to)
        while self._may_hold_more and self._planner.has_room:
            entries = self._outbox.window(self._read_to, PAGE, self._settings.window_max_bytes)
            self._may_hold_more = bool(entries)
            for entry in entries:
                if not self._planner.has_room:
                    break
                before, self._read_to = self._read_to, entry.seq
                self._shelf.note_read(before, self._offer(entry), entry.seq)

    def _offer(self, entry: Entry) -> Planned[Task] | None:
        """Offer an entry to the window; what is parked is returned."""
        if entry.seq in self._planner:
            self._planner.note_read(entry.seq)
            return None
        task, keys = task_of(entry, names_rows=self.holding.is_on)
        if self.holding.holds(entry.seq, keys):
            return None
        goes_alone = entry.goes_alone or entry.attempts > 0
        if self.holding.is_on and task.verdict is not None:
            goes_alone = True  # in a batch, what rides behind it would be applied beside its burial
        is_condemned = task.verdict is not None
        keys = held_keys(entry, keys)
        planned = Planned(entry.seq, keys, task.size, task, entry.waits_wider, goes_alone, is_condemned)
        return None if self._add(planned) else planned

    def _add(self, planned: Planned[Task]) -> bool:
        """Whether the operation is in the window now; if not, it is parked."""
        is_admitted = self._planner.add(planned)
        if is_admitted:
            self._by_origin[_place(planned.item)] = planned.seq
        return is_admitted

    def _send_batch(self, tasks: Sequence[Task]) -> None:
        applicable = [task for task in tasks if task.verdict is None]
        condemned = [task for task in tasks if task.verdict is not None]
        if applicable:
            batch_id = self._take_off(applicable)
            self.batch_sizes.append(len(applicable))
            self._sender.send(apply_operations_message(self._batch(batch_id, applicable)))
        if condemned:
            self._bury(condemned)

    def _send_alone(self, task: Task) -> None:
        if task.verdict is None and task.attempts > self._settings.max_retry_attempts:
            task.verdict = Verdictable(task.error_kind, task.reason)
        if task.verdict is not None:
            self._bury([task], is_alone=True)
            return
        batch_id = self._take_off([task], is_alone=True)
        message = apply_operation_message(
            self._batch(batch_id, [task]), retries=task.attempts, max_retries=self._settings.max_retry_attempts
        )
        # Not longer than the schedule has it: the time may be a worker's, whose clock is ahead, or ours before it was set right.
        longest_ms = backoff_ms(task.attempts + 1, self._settings.retry_delay_ms)
        delay_ms = min(task.next_attempt_at - self._now_ms(), longest_ms)
        self._sender.send(message, delay_ms if delay_ms > 0 else None)

    def _bury(self, tasks: Sequence[Task], is_alone: bool = False) -> None:
        assert self.epoch is not None
        batch_id = self._take_off(tasks, is_alone)
        verdicts = tuple(task.as_verdict() for task in tasks)
        self._sender.send(
            bury_message(
                Verdicts(batch_id, self._outbox.outbox_id, self._settings.kafka_group_id, self.epoch, verdicts)
            )
        )

    def _batch(self, batch_id: str, tasks: Iterable[Task]) -> Batch:
        assert self.epoch is not None
        return Batch(
            batch_id,
            self._outbox.outbox_id,
            self._settings.kafka_group_id,
            self.epoch,
            tuple(task.operation for task in tasks),
            self.holding.is_on,
        )

    def _take_off(self, tasks: Sequence[Task], is_alone: bool = False) -> str:
        """Enter the tasks as in flight under a new batch id. Epochs only rise, so an id never comes again."""
        self._batches += 1
        batch_id = f"{self._outbox.outbox_id[:8]}-{self.epoch}-{self._batches}"
        self._in_flight[batch_id] = InFlight(batch_id, {task.seq: task for task in tasks}, self._clock(), is_alone)
        self._alone_in_flight += is_alone
        for task in tasks:
            task.batch_id = batch_id
            self.just_sent.append(task.seq)
        return batch_id

    # --------------------------------------------------------------------------------------------- what comes back

    def weigh(self, settlements: Iterable[Settlement]) -> Changes:
        """What these settlements change. Nothing is changed yet: see ``adopt``."""
        changes = Changes()
        for settlement in settlements:
            changes.heard.add(settlement.batch_id)
            for line in settlement.lines:
                seq = self._by_origin.get(
                    (line.origin.topic, line.origin.generation, line.origin.partition, line.origin.offset)
                )
                planned = self._planner.get(seq) if seq is not None else None
                if planned is not None and planned.item.operation.incarnation == line.incarnation:
                    weigh_line(changes, settlement, line, planned, epoch=self.epoch, retry_at=self._retry_at)
        return changes

    def _retry_at(self, attempts: int) -> int:
        return self._now_ms() + backoff_ms(attempts, self._settings.retry_delay_ms)

    def adopt(self, changes: Changes) -> None:
        """Take over what the outbox has committed: followers become ready, slots become free."""
        for settled in changes.settled:
            planned = self._planner.get(settled.seq)
            if planned is not None:
                self._land(planned.item)
                self._leave_window(planned)
                if settled.state is State.DEAD:
                    self.holding.died(settled.seq, planned.writeset)
        for failed in changes.failed:
            planned = self._planner.get(failed.seq)
            if planned is not None:
                task = planned.item
                task.attempts, task.error_kind, task.reason = failed.attempts, failed.error_kind, failed.reason
                task.next_attempt_at = failed.next_attempt_at or 0
                self._planner.narrow(failed.seq, after_failure(planned.writeset))
        for handed_back in changes.handed_back:
            planned = self._planner.get(handed_back.seq)
            if planned is not None:
                self._land(planned.item)
                planned.item.deaths = handed_back.deaths or planned.item.deaths
                planned.item.next_attempt_at = handed_back.next_attempt_at or planned.item.next_attempt_at
                planned.item.verdict = changes.verdicts.get(handed_back.seq) or planned.item.verdict
                self._planner.hand_back(
                    handed_back.seq, waits_wider=handed_back.waits_wider, goes_alone=handed_back.goes_alone
                )
        if changes.dead or changes.handed_back:
            self._hold_what_follows()
        for batch_id in changes.heard & self._in_flight.keys():
            self._in_flight[batch_id].heard_at = self._clock()

    def _hold_what_follows(self) -> None:
        """Take out of the window what a dead letter holds."""
        for planned in self._planner.waiting() if self.holding.is_on else ():
            if self.holding.holds(planned.seq, planned.writeset):
                self._leave_window(planned)

    def _leave_window(self, planned: Planned[Task]) -> None:
        self._planner.finish(planned.seq)
        del self._by_origin[_place(planned.item)]

    def _land(self, task: Task) -> None:
        batch_id, task.batch_id = task.batch_id, None
        flight = self._in_flight.get(batch_id) if batch_id is not None else None
        if flight is not None:
            flight.tasks.pop(task.seq, None)
            if not flight.tasks:
                del self._in_flight[flight.batch_id]
                self._alone_in_flight -= flight.is_alone

    # ------------------------------------------------------------------------------------------------- reconciling

    def silent_batches(self, silent_for_s: float) -> list[str]:
        """The batches that nothing was heard of for so long (s): Redis is to be asked after them."""
        before = self._clock() - silent_for_s
        return [batch_id for batch_id, flight in self._in_flight.items() if flight.heard_at < before]

    def send_again(self, batch_ids: Iterable[str]) -> None:
        """Send what is left of lost batches under new ids, with the attempts they had. A copy that still lives does no
        harm: the ledger tells what was done."""
        for batch_id in batch_ids:
            flight = self._in_flight.get(batch_id)
            if flight is None:
                continue
            count = len(flight.tasks)
            logger.warning("Batch %s is lost or silent past its lease: %d operations are sent again", batch_id, count)
            for task in list(flight.tasks.values()):
                self._land(task)
                self._planner.hand_back(task.seq)


def _place(task: Task) -> tuple[str, int, int, int]:
    origin = task.origin
    return origin.topic, origin.generation, origin.partition, origin.offset
