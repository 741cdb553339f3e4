"""A service without its processes: the outbox, the scheduler and the apply path as production wires them, in one thread.

What `worker.ingest`'s main loop and the actors do with each other is done here in turn: append, plan, encode, apply, settle.
Only Kafka, Redis and the waiting are left out, so that tens of thousands of odd messages a minute can go through it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dramatiq

from entities import ledger
from entities.envelope import peek
from outbox.records import Entry, EntryFilter
from outbox.store import Outbox
from worker.apply import apply_batch, bury_verdicts
from worker.assignment import Start, Why
from worker.intake import Intake
from worker.merge import FetchedRecord, order_timestamp
from worker.messages import (
    APPLY_OPERATION,
    APPLY_OPERATIONS,
    BURY,
    Batch,
    MessagePackEncoder,
    Outcome,
    OutcomeLine,
    Settlement,
    Verdict,
    Verdicts,
    decode_settlement,
    encode_settlement,
)
from worker.scheduler import Scheduler
from worker.settings import Settings
from worker.status import tell_turn

logger = logging.getLogger(__name__)

#: Kafka's timestamp of the first record, in ms; each next one is a millisecond later.
FIRST_TIMESTAMP = 1_800_000_000_000

#: More turns than that for one portion mean that something is sent for ever.
MOST_TURNS = 100_000


class InProcessService:
    """Ingest's main loop and one actor, on an outbox of its own and the database that the models are bound to."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._settings = settings
        self._outbox = Outbox.open(folder / "fuzz.sqlite3")
        self._intake = Intake(self._outbox, settings.topic_db_operations)
        self._intake.begin({0: Start(Why.NEW, 0, 0)})
        self._encoder = MessagePackEncoder()
        self._queue: list[bytes] = []
        self._scheduler = Scheduler(settings, self._outbox, self, now_ms=lambda: FIRST_TIMESTAMP)
        self._scheduler.epoch = ledger.raise_epoch(settings.kafka_group_id, self._outbox.outbox_id)
        self._sent = 0

    def close(self) -> None:
        self._outbox.close()

    def send(self, message: dramatiq.Message[Any], delay_ms: int | None = None) -> None:
        """What the scheduler sends: queued in its encoded form, waits left out."""
        self._queue.append(self._encoder.encode(message.asdict()))

    def run(self, messages: Sequence[bytes]) -> list[Entry]:
        """Take these messages as if they came from Kafka, until each is settled; their entries, in the same order."""
        first = self._sent
        records = [self._fetched(message) for message in messages]
        with self._outbox.transaction():
            positions = self._intake.append(records)
        self._intake.adopt(positions)
        tell_turn(records, self._scheduler.weigh(()))
        self._scheduler.note_appended()
        for _ in range(MOST_TURNS):
            self._scheduler.dispatch()
            if not self._queue:
                break
            self._settle([self._acted_on(data) for data in self._take_queue()])
        after = first  # no entry is pruned here, and a seq is the record's number from 1 on
        entries: list[Entry] = []
        while page := self._outbox.entries(EntryFilter(), after, 1_000):
            entries += page
            after = page[-1].seq
        return entries

    def _fetched(self, message: bytes) -> FetchedRecord:
        offset, kafka_timestamp = self._sent, FIRST_TIMESTAMP + self._sent
        self._sent += 1
        seen = peek(message)
        ordered_at = order_timestamp(seen.timestamp, kafka_timestamp)
        return FetchedRecord(self._settings.topic_db_operations, 0, offset, kafka_timestamp, ordered_at, message, seen)

    def _take_queue(self) -> list[bytes]:
        queued, self._queue = self._queue, []
        return queued

    def _acted_on(self, data: bytes) -> bytes:
        """What the actor of this message pushes: see `worker.actors`."""
        fields = self._encoder.decode(data)
        (argument,) = fields["args"]
        logger.debug("Received message %r", argument)
        match fields["actor_name"]:
            case name if name == APPLY_OPERATIONS:
                lines = apply_batch(argument).outcomes
            case name if name == APPLY_OPERATION:
                lines = self._tried(argument, fields["options"])
            case name:
                assert name == BURY
                lines = bury_verdicts(argument).outcomes
        return encode_settlement(Settlement(argument.batch_id, argument.epoch, lines))

    def _tried(self, batch: Batch, options: dict[str, Any]) -> tuple[OutcomeLine, ...]:
        attempts = options["retries"]
        while attempts <= options["max_retries"]:
            attempts += 1
            (line,) = apply_batch(batch, is_alone=True).outcomes
            if line.outcome is not Outcome.FAILED:
                return (line,)
        (one,) = batch.operations
        verdict = Verdict(
            one.origin, one.operation_id, one.incarnation, one.raw, line.error_kind, line.reason, attempts
        )
        verdicts = Verdicts(batch.batch_id, batch.outbox_id, batch.consumer_group, batch.epoch, (verdict,))
        return bury_verdicts(verdicts).outcomes

    def _settle(self, pushed: Sequence[bytes]) -> None:
        changes = self._scheduler.weigh([decode_settlement(data) for data in pushed])
        with self._outbox.transaction():
            self._outbox.mark_dispatched(self._scheduler.just_sent)
            self._outbox.settle(changes.settled)
            self._outbox.note_attempts(changes.failed)
            self._outbox.hand_back(changes.handed_back)
        self._scheduler.just_sent.clear()
        self._scheduler.adopt(changes)
        tell_turn([], changes)
