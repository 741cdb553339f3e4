"""The Kafka side of ingest: a thread of its own that owns the consumer, because poll and commit can block for half a minute
while the brokers are away.

It connects, stays in the group, and keeps reconnecting for ever; what is read and committed is said in `worker.reading`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from kafka import KafkaConsumer
from kafka.errors import KafkaError

from worker.assignor import SoleActiveAssignor
from worker.events import Event
from worker.kafka_client import connected
from worker.logs import CONSUMER_CONNECTED, SUBSCRIBED, log_event
from worker.reading import PORTION, AssignmentListener, Reading
from worker.settings import Settings

logger = logging.getLogger(__name__)

#: The first and the longest pause (s) before Kafka is tried again.
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.2, 5.0

#: How long (s) nothing may be heard of the brokers until Kafka counts as down: a poll waits for as long as they are away.
SILENCE_S = 10.0


class KafkaIntake:
    """Reads the topic for the main loop. ``run`` is a thread's.

    Parameters:
      tell: takes events for the main loop.
      instance_id: the static member's name; a restart under the same name is let in at once.
    """

    def __init__(self, settings: Settings, tell: Callable[[Event], None], instance_id: str) -> None:
        self._settings = settings
        self._instance_id = instance_id
        self._topic = settings.topic_db_operations
        self._stopping = threading.Event()
        self.reading = Reading(self._topic, settings.partition_buffer_records, tell)
        self.is_connected = False
        self._listener: AssignmentListener | None = None
        self._heard_at = float("-inf")

    @property
    def is_up(self) -> bool:
        """Whether the group's coordinator has been there lately."""
        return self.is_connected and time.monotonic() - self._heard_at < SILENCE_S

    @property
    def has_joined(self) -> bool:
        """Whether we are in the group, with partitions or standing by."""
        return self.is_connected and self._listener is not None and self._listener.has_joined

    def stop(self) -> None:
        """Ask the thread to commit what is persisted, leave the group and end."""
        self._stopping.set()

    def run(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while not self._stopping.is_set():
            try:
                consumer = self._connect()
                backoff_s = FIRST_BACKOFF_S
                try:
                    self._consume(consumer)
                finally:
                    self._leave(consumer)
            except (KafkaError, OSError) as error:
                logger.warning("Kafka is not reachable (%s); trying again in %.1f s", error, backoff_s)
            except Exception:  # the outermost loop of this thread: begin anew with another consumer
                logger.exception("The Kafka consumer failed and is made anew")
            self._stopping.wait(backoff_s)
            backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)

    def _connect(self) -> KafkaConsumer:
        settings = self._settings
        self._assignor = SoleActiveAssignor()
        consumer = connected(
            KafkaConsumer,
            settings,
            group_id=settings.kafka_group_id,
            group_instance_id=self._instance_id,
            partition_assignment_strategy=[self._assignor],
            session_timeout_ms=settings.consumer_session_timeout_ms,
            heartbeat_interval_ms=settings.consumer_heartbeat_interval_ms,
            enable_auto_commit=False,
            auto_offset_reset="none",  # a position beyond the log's end is for us to judge, not to skip silently
            fetch_max_wait_ms=100,  # a resumed partition waits for the fetch under way, and an idle ingest pays for each
            max_partition_fetch_bytes=131_072,  # what a pause throws away is fetched again
            max_poll_records=PORTION,
            metadata_max_age_ms=30_000,
        )
        self.is_connected = True
        log_event(logger, logging.INFO, CONSUMER_CONNECTED, brokers=",".join(settings.kafka_brokers))
        return consumer

    def _leave(self, consumer: KafkaConsumer) -> None:
        self.is_connected = False
        try:
            with suppress(KafkaError, OSError):
                self.reading.commit(wait=True)
        finally:
            self.reading.end()
            self._close(consumer)

    def _close(self, consumer: KafkaConsumer) -> None:
        fetcher_log = logging.getLogger("kafka.consumer.fetcher")
        fetcher_log.disabled = True  # it tells of the fetch that closing cancels as an error
        try:
            with suppress(KafkaError, OSError):
                consumer.close(autocommit=False)
        finally:
            fetcher_log.disabled = False

    def _consume(self, consumer: KafkaConsumer) -> None:
        self._listener = self.reading.begin(consumer)
        consumer.subscribe([self._topic], listener=self._listener)
        log_event(logger, logging.INFO, SUBSCRIBED.format(topic=self._topic))
        backoff_s = FIRST_BACKOFF_S
        while not self._stopping.is_set():
            try:
                self.reading.step()
                self._notice_new_partitions(consumer)
                if not consumer._coordinator.coordinator_unknown():  # a poll may well return while no broker is there
                    self._heard_at = time.monotonic()
                backoff_s = FIRST_BACKOFF_S
            except KafkaError as error:
                logger.error(
                    "Reading from Kafka failed: %s: %s; trying again in %.1f s", type(error).__name__, error, backoff_s
                )
                self._stopping.wait(backoff_s)
                backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)
                self.reading.go_back()

    def _notice_new_partitions(self, consumer: KafkaConsumer) -> None:
        """Ask for a new assignment when the topic has more partitions than we have.

        The library watches for them in the group's leader only, and a static member that was restarted is none.
        """
        partitions = len(consumer.partitions_for_topic(self._topic) or ())
        if self._assignor.is_chosen and self._assignor.owned < partitions and self._assignor.seen != partitions:
            logger.info("The topic has %d partitions now: asking for them", partitions)
            self._assignor.seen = partitions
            consumer._coordinator.request_rejoin()
