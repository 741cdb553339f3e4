"""What an actor does with its message: from the pick-up to the settlement.

An actor's life: pick the batch up, apply it in one transaction (apply.py), remove from the cache what it touched, ask for
it to be filled again, and settle: tell ingest the outcomes. If the process dies anywhere on this way, the message is run
again and the ledger tells what was done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import dramatiq
import peewee
import redis
from dramatiq.middleware import CurrentMessage

from entities import database
from outbox.file import system_clock
from worker.apply import BatchResult, DatabaseUnavailable, Fenced, apply_batch, bury_verdicts
from worker.cache import Again, Cache
from worker.cache.recheck import recheck
from worker.cache.voucher import Vouchers
from worker.failures import classify
from worker.fault_points import Point, reach
from worker.messages import (
    APPLY_QUEUE,
    BURY,
    CACHE_QUEUE,
    Batch,
    CacheRecheck,
    CacheSync,
    DispatchedOperation,
    Outcome,
    OutcomeLine,
    Settlement,
    Verdict,
    Verdicts,
    recheck_cache_message,
    sync_cache_message,
)
from worker.outcomes import backoff_ms
from worker.redis_link import told
from worker.settings import Settings
from worker.settlements import pick_up, push, put_down
from worker.solitude import Room

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: A batch that so many workers died with is not tried again as a whole.
DEATHS_OF_A_BATCH = 3

#: An operation that goes alone may die once at least: the first time others work beside it, and it may be theirs.
DEATHS_BESIDE_OTHERS = 1

#: The pause (ms) before a cache sync is tried again while Redis or the database is away.
CACHE_RETRY_MS = 2_000


class Waiting(Protocol):
    """Waits for Redis, however long it is away."""

    def call(self, command: Callable[[], T]) -> T: ...


class ActorsBroker(Protocol):
    """What an actor needs of the broker and its Redis."""

    client: redis.Redis[bytes]

    @property
    def patience(self) -> Waiting: ...

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> object: ...


class Applier:
    """The actors' work. One serves all threads of a worker process.

    Parameters:
      now_ms: milliseconds since 1970.
    """

    def __init__(
        self, settings: Settings, broker: ActorsBroker, cache: Cache, now_ms: Callable[[], int] = system_clock
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._cache = cache
        self._vouchers = Vouchers(broker.client, cache.client)
        self._now_ms = now_ms
        self._room = Room()

    def apply_operations(self, batch: Batch) -> None:
        """Apply a batch; every operation of it comes back to ingest with its outcome."""
        with self._picked_up(batch, DEATHS_OF_A_BATCH) as is_to_be_applied:
            if not is_to_be_applied:
                return
            result = self._applied(batch, lambda: apply_batch(batch))
            if result is not None:
                reach(Point.COMMITTED_ROWS)
                self._finish(batch, result)

    def apply_operation(self, batch: Batch) -> None:
        """Apply one operation that failed before, with Dramatiq's retries: base, 2·base, 4·base … exactly."""
        deaths_allowed = max(DEATHS_BESIDE_OTHERS, self._settings.max_retry_attempts)
        with self._picked_up(batch, deaths_allowed) as is_to_be_applied:
            if not is_to_be_applied:
                return
            result = self._applied(batch, lambda: apply_batch(batch, is_alone=True))
            if result is None:
                return
            (line,) = result.outcomes
            if line.outcome is Outcome.FAILED:
                self._retry(batch, line)
            else:
                self._finish(batch, result)

    def bury(self, what: Verdicts | dict[str, Any], exhausted: dict[str, Any] | None = None) -> None:
        """Write dead letters into the ledger: ingest's own verdicts, or a message whose retries Dramatiq has exhausted.

        Dramatiq brings that message as a dict, and beside it how many retries there were.
        """
        verdicts = what if isinstance(what, Verdicts) else _verdict_on(what)
        result = self._applied(verdicts, lambda: bury_verdicts(verdicts))
        if result is not None:
            reach(Point.BURIED)
            self._finish(verdicts, result)

    def sync_cache(self, sync: CacheSync) -> None:
        """Make the cached rows true to the database and drop stale lists; tried for ever while either is away."""
        with _run_again_while_either_is_away():
            to_send = self._cache.sync(sync, _current_message().message_id)
        for again in to_send:
            self._send_sync(again)

    def recheck_cache(self, message: CacheRecheck) -> None:
        """Compare a portion of the whole cache with the database; tried for ever while either is away."""
        with _run_again_while_either_is_away():
            next_message = recheck(self._cache, self._vouchers, message, _current_message().message_id, self._send_sync)
        if next_message is not None:
            self._broker.enqueue(recheck_cache_message(next_message))

    def _send_sync(self, again: Again) -> None:
        self._broker.enqueue(sync_cache_message(again.sync), delay=again.delay_ms or None)

    # ----------------------------------------------------------------------------------------------------- the steps

    @contextmanager
    def _picked_up(self, batch: Batch, deaths_allowed: int) -> Iterator[bool]:
        """Note the pick-up; whether the batch is to be applied. One that killed too many workers is handed back instead.

        One that a worker died with is applied while nothing else runs in this process, and picked up only then: whoever is
        killed by others while it waits has not died.
        """
        with self._room.beside_others():
            if self._pick_up(batch) == 0:
                yield True
                return
            self._broker.patience.call(lambda: put_down(self._broker.client, batch.outbox_id, batch.batch_id))
        with self._room.alone():
            deaths = self._pick_up(batch)
            if deaths <= deaths_allowed:
                yield True
                return
            self._settle_all(batch, Outcome.DEADLY, f"its worker died {deaths} times while applying it")
            yield False

    def _pick_up(self, batch: Batch) -> int:
        """How many workers died with the batch."""
        deaths: int = self._broker.patience.call(lambda: pick_up(self._broker.client, batch.outbox_id, batch.batch_id))
        reach(Point.PICKED_UP)
        return deaths

    def _applied(self, batch: Batch | Verdicts, apply: Callable[[], BatchResult]) -> BatchResult | None:
        """The result; None if nothing was done because the database is out or the message is of an older epoch."""
        try:
            return apply()
        except DatabaseUnavailable as error:
            logger.warning("The database is not available (%s): %r goes back to the outbox", error, batch)
            self._settle_all(batch, Outcome.UNAVAILABLE, str(error))
        except Fenced as error:
            logger.warning("%r is of an older epoch: %s", batch, error)
            self._settle_all(batch, Outcome.FENCED, str(error))
        return None

    def _finish(self, batch: Batch | Verdicts, result: BatchResult) -> None:
        """After the commit: the cache first, so that nobody who sees the outcome can still read the old value there."""
        sync = CacheSync(result.touched_keys, result.touched_entities)
        if sync.keys or sync.entities:
            try:
                self._cache.invalidate(sync)
            except redis.RedisError as error:
                # The write stands. sync_cache goes on until the cache can be reached, and makes it true then.
                logger.warning("The cache cannot be reached (%s): it is made true later", told(error))
            reach(Point.INVALIDATED)
            self._broker.enqueue(sync_cache_message(sync))
            reach(Point.SYNC_SENT)
        try:
            self._cache.remove_pending(result.settled_keys)
        except redis.RedisError as error:
            logger.warning("The cache cannot be reached (%s): notes of pending operations go later", told(error))
            self._broker.enqueue(sync_cache_message(CacheSync((), (), notes=result.settled_keys)))
        self._settle(batch, result.outcomes)

    def _retry(self, batch: Batch, line: OutcomeLine) -> None:
        """Have Dramatiq retry after exactly the scheduled wait, and tell ingest, so that a restart carries the attempts on."""
        message = _current_message()
        retries = message.options.get("retries", 0)
        attempts = retries + 1
        message.options["failure"] = [
            line.error_kind,
            line.reason,
            attempts,
        ]  # for bury, should this have been the last
        if retries >= message.options.get("max_retries", self._settings.max_retry_attempts):
            raise _retry_in(None, line.reason)
        delay_ms = backoff_ms(attempts, self._settings.retry_delay_ms)
        next_attempt_at = self._now_ms() + delay_ms
        self._settle(
            batch,
            (
                OutcomeLine(
                    line.origin,
                    line.incarnation,
                    Outcome.RETRYING,
                    attempts,
                    line.error_kind,
                    line.reason,
                    next_attempt_at,
                ),
            ),
        )
        reach(Point.RETRY_TOLD)
        raise _retry_in(delay_ms, line.reason)

    def _settle_all(self, batch: Batch | Verdicts, outcome: Outcome, reason: str) -> None:
        members = batch.operations if isinstance(batch, Batch) else batch.verdicts
        self._settle(
            batch, tuple(OutcomeLine(member.origin, member.incarnation, outcome, reason=reason) for member in members)
        )

    def _settle(self, batch: Batch | Verdicts, lines: tuple[OutcomeLine, ...]) -> None:
        settlement = Settlement(batch.batch_id, batch.epoch, lines)
        self._broker.patience.call(lambda: push(self._broker.client, batch.outbox_id, settlement))
        reach(Point.SETTLEMENT_PUSHED)


def declare_actors(broker: dramatiq.Broker, applier: Applier) -> None:
    """Tell Dramatiq of the actors: their queues, their retries, and who comes after the last retry."""
    dramatiq.actor(applier.apply_operations, broker=broker, queue_name=APPLY_QUEUE, max_retries=None)
    dramatiq.actor(applier.apply_operation, broker=broker, queue_name=APPLY_QUEUE, on_retry_exhausted=BURY)
    dramatiq.actor(applier.bury, broker=broker, queue_name=APPLY_QUEUE, max_retries=None)
    dramatiq.actor(applier.sync_cache, broker=broker, queue_name=CACHE_QUEUE, max_retries=None)
    dramatiq.actor(applier.recheck_cache, broker=broker, queue_name=CACHE_QUEUE, max_retries=None)


@contextmanager
def _run_again_while_either_is_away() -> Iterator[None]:
    """Have Dramatiq run the message again if Redis or the database fails in this block."""
    try:
        yield
    except (redis.RedisError, peewee.PeeweeException) as error:
        name = type(error).__name__
        why = told(error) if isinstance(error, redis.RedisError) else classify(error).reason
        if isinstance(error, peewee.PeeweeException):
            database.close()  # or this thread finds the same broken connection each time
        logger.warning("The cache cannot be made true yet (%s): again in %d ms", why, CACHE_RETRY_MS)
        raise _retry_in(CACHE_RETRY_MS, name) from None


def _retry_in(delay_ms: int | None, why: str) -> Exception:
    """What an actor raises to be retried after exactly this time; Dramatiq draws any other delay at random."""
    retry: Exception = dramatiq.Retry(why, delay=delay_ms)  # type: ignore[no-untyped-call]
    return retry


def _current_message() -> dramatiq.Message[Any]:
    message = CurrentMessage.get_current_message()
    assert message is not None  # an actor runs
    return message


def _verdict_on(message: dict[str, Any]) -> Verdicts:
    """The verdict on a message of ``apply_operation`` that Dramatiq has given up."""
    batch: Batch = message["args"][0]
    operation: DispatchedOperation = batch.operations[0]
    error_kind, reason, attempts = message["options"].get("failure", ["unexpected", "its retries are exhausted", 0])
    verdict = Verdict(
        operation.origin,
        operation.operation_id,
        operation.incarnation,
        operation.raw,
        error_kind,
        reason,
        attempts,
        operation.came_as,
    )
    return Verdicts(batch.batch_id, batch.outbox_id, batch.consumer_group, batch.epoch, (verdict,))
