"""The Dramatiq broker of this service: RedisBroker, with what would lose or delay messages mended.

A message is lost neither when Redis is away nor when a worker is killed; it may run twice, and the ledger in the
database makes that harmless. Its keys in Redis are RedisBroker's own, so dramatiq-dashboard works on them; beside
them each queue has a wake list, on which idle consumers wait.
"""

# Dramatiq's own functions have no types.
# mypy: allow-untyped-calls

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from itertools import chain
from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.common import current_millis, dq_name
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import CurrentMessage, Retries

from worker.broker_consumer import ServiceConsumer
from worker.broker_life import WorkerLife
from worker.living_workers import note_worker
from worker.messages import APPLY_QUEUE, MessagePackEncoder
from worker.redis_link import Patience, connect
from worker.settings import Settings

#: Silence after which a worker process counts as dead and its messages go back to their queues (in ms).
HEARTBEAT_TIMEOUT_MS = 2000

#: How long the dashboard shows a message that failed for good (in ms). The ledger and the outbox keep the operation.
DEAD_MESSAGE_TTL_MS = 3600 * 1000

#: More wakes than this are not kept for consumers that are all busy: each looks into the queue before it waits.
WAKES_KEPT = 32

#: How many acks are put back at once; a script's arguments lie on a stack of limited size.
PUT_BACK_AT_ONCE = 500

_log = logging.getLogger(__name__)


class ServiceBroker(RedisBroker):
    """RedisBroker, mended.

    Differences:
      - With `is_patient`, enqueueing waits for Redis, however long. Otherwise it raises `ConnectionClosed` at once:
        so for ingest, whose dispatcher has a life besides, and for the dashboard.
      - A message's id in Redis is `{message_id}.{retries}` instead of a random one, so that `holds` can ask for it.
        The hop from the delay queue keeps the id: the two queues have a hash each.
      - An idle consumer waits on its queue's wake list instead of polling.
      - Maintenance, which puts back a dead worker's messages, goes with every fetch and with nothing else.
      - Times are the Redis server's where workers compare them, so hosts whose clocks differ do not think each other
        dead.
      - An `eta` without a delay is dropped: dramatiq-dashboard sets one when it requeues, and the hop that it leads
        to would delete, under an id that stays the same, the message just enqueued.

    Parameters:
      client: the Redis to use.
      max_retries, min_backoff_ms: Retries' own, for messages that bring none.
      is_patient: whether to wait for Redis.
    """

    def __init__(self, client: redis.Redis, *, max_retries: int, min_backoff_ms: int, is_patient: bool) -> None:
        # Not TimeLimit, which raises in the middle of a transaction; not AgeLimit, which drops; not Prometheus, which
        # listens on all addresses. Callbacks, Pipelines and ShutdownNotifications have no use here.
        middleware = [Retries(max_retries=max_retries, min_backoff=min_backoff_ms), CurrentMessage(), WorkerLife()]
        super().__init__(
            client=client,
            middleware=middleware,
            heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
            dead_message_ttl=DEAD_MESSAGE_TTL_MS,
        )
        self.patience = Patience()
        self.redis_clock_offset_ms = 0
        self._is_patient = is_patient
        self._in_hand: dict[str, set[str]] = {}
        self._given_up = threading.local()

    # -- sending

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> dramatiq.Message[Any]:
        """Put a message into its queue, or with a delay (in ms) into its delay queue, and wake a consumer.

        Raises:
          ConnectionClosed: Redis does not take it, and the broker is not patient, or the process is stopping.
        """
        message = _addressed(message, delay)
        redis_id, data = message.options["redis_message_id"], message.encode()
        self.emit_before("enqueue", message, delay)
        self._store(lambda: self.do_enqueue(message.queue_name, redis_id, data))
        self.wake(message.queue_name)
        self.emit_after("enqueue", message, delay)
        return message

    def holds(self, message_ids: Collection[str]) -> set[str]:
        """Those of these messages of the apply queue that Redis has: queued, delayed, or running in a worker.

        Raises:
          redis.RedisError: it cannot be known now.
        """
        with self.client.pipeline(transaction=True) as pipeline:  # or one that hops between the two queues is missed
            for queue in (APPLY_QUEUE, dq_name(APPLY_QUEUE)):
                pipeline.hkeys(f"{self.namespace}:{queue}.msgs")
            redis_ids = chain.from_iterable(pipeline.execute())
        return {redis_id.decode().rpartition(".")[0] for redis_id in redis_ids}.intersection(message_ids)

    def wake(self, queue_name: str) -> None:
        """Have one idle consumer of this queue look into it. Errors are let go: a lost wake costs `LOOK_EVERY_MS`."""
        key = self.wake_list(queue_name)
        try:
            with self.client.pipeline(transaction=False) as pipeline:
                pipeline.rpush(key, 1).ltrim(key, -WAKES_KEPT, -1).execute()
        except redis.RedisError as error:
            self.patience.note_failure(error)

    def close(self) -> None:
        """Disconnect from Redis."""
        self.client.connection_pool.disconnect()

    def _store(self, command: Callable[[], object]) -> None:
        try:
            if self._is_patient:
                self.patience.call(command)
            else:
                command()
        except (redis.RedisError, ConnectionClosed) as error:
            # Dramatiq logs this in a middleware and goes on to ack the message whose retry is thereby lost.
            self._given_up.in_this_thread = True
            raise ConnectionClosed(str(error)) from error

    # -- receiving

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> ServiceConsumer:
        """A consumer of this queue; `prefetch` bounds the messages in hand, `timeout` (in ms) the wait for one.

        What an earlier consumer of this process has fetched and dropped is put back first.
        """
        in_hand = self._in_hand.setdefault(queue_name, set())
        if queue_name in self.delay_queues:
            in_hand.clear()  # Dramatiq forgets the delayed messages that it held when their consumer fails.
        return ServiceConsumer(self, queue_name, prefetch, timeout, in_hand)

    def put_back_dropped(self, queue_name: str, in_hand: Collection[str]) -> None:
        """Put back into the queue what Redis believes to be with this process, and is not in hand.

        Such are messages whose fetch was answered into a broken connection, and delayed ones that Dramatiq dropped
        with their consumer. Without this they would wait until the process ends.
        """
        acks = self.client.smembers(f"{self.namespace}:__acks__.{self.broker_id}.{queue_name}")
        dropped = [redis_id for redis_id in (ack.decode() for ack in acks) if redis_id not in in_hand]
        for start in range(0, len(dropped), PUT_BACK_AT_ONCE):
            self.do_requeue(queue_name, *dropped[start : start + PUT_BACK_AT_ONCE])

    def take_given_up(self) -> bool:
        """Whether an enqueue of this thread was given up since the last call."""
        has_given_up = getattr(self._given_up, "in_this_thread", False)
        self._given_up.in_this_thread = False
        return has_given_up

    def wake_list(self, queue_name: str) -> str:
        """The key of the list on which idle consumers of this queue wait."""
        return f"{self.namespace}:{queue_name}.wake"

    def heartbeat(self) -> None:
        """Tell the other workers that this process lives, by the Redis server's clock."""
        seconds, micros = self.client.time()
        now_ms = seconds * 1000 + micros // 1000
        self.redis_clock_offset_ms = now_ms - current_millis()
        with self.client.pipeline(transaction=False) as pipeline:
            pipeline.zadd(f"{self.namespace}:__heartbeats__", {self.broker_id: now_ms})
            note_worker(pipeline, self.broker_id, now_ms)
            pipeline.execute()

    def _dispatch(self, command: str) -> Callable[..., Any]:
        """RedisBroker's own, but for the clock and for when maintenance is done."""

        def do_dispatch(queue_name: str, *args: Any) -> Any:
            return self.scripts["dispatch"](
                keys=[self.namespace],
                args=[
                    command,
                    current_millis() + self.redis_clock_offset_ms,
                    queue_name,
                    self.broker_id,
                    self.heartbeat_timeout,
                    self.dead_message_ttl,
                    int(command == "fetch"),
                    self._max_unpack_size(),
                    *args,
                ],
            )

        return do_dispatch


def build_broker(settings: Settings, *, is_patient: bool = True) -> ServiceBroker:
    """The broker of the settings, with our encoder in place; it connects when it is first used.

    Parameters:
      is_patient: True in the actors; False where an enqueue must not wait for Redis (ingest, dashboard).
    """
    dramatiq.set_encoder(MessagePackEncoder())
    return ServiceBroker(
        connect(settings.broker_redis_url),
        max_retries=settings.max_retry_attempts,
        min_backoff_ms=settings.retry_delay_ms,
        is_patient=is_patient,
    )


def _redis_id(message_id: str, retries: int) -> str:
    return f"{message_id}.{retries}"


def _addressed(message: dramatiq.Message[Any], delay: int | None) -> dramatiq.Message[Any]:
    """The message with its id in Redis, and with its queue and time if it is to be delayed."""
    message = message.copy(
        options={"redis_message_id": _redis_id(message.message_id, message.options.get("retries", 0))}
    )
    if delay is None:
        message.options.pop("eta", None)
        return message
    return message.copy(queue_name=dq_name(message.queue_name), options={"eta": current_millis() + delay})
