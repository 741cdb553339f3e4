"""``python -m worker.ingest``: takes operations from Kafka, keeps them in the outbox, and has the actors apply them in order.

The story of an operation: Kafka's reader merges the partitions into one order (consumer.py, reading.py, merge.py); the main
loop appends the records to the outbox, then their offsets are committed (turns.py, intake.py); the scheduler sends what may
run (scheduler.py, planner.py) through the dispatcher to Redis; the actors' outcomes come back through a Redis list
(settlements.py) and make their followers ready. The database monitor (health.py) opens and shuts the gate. Those that die may be
told to a topic of dead letters (announcer.py).

Each of them has a thread of its own and only puts events into the inbox. The main loop alone touches the outbox and the
planner.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import entities.operations
from entities.database import open_database
from entities.operations import operation_types
from entities.registry import all_entities
from outbox.errors import UnusableOutbox
from outbox.lock import OutboxInUse, hold_alone
from outbox.states import State
from outbox.store import Outbox
from worker.announcer import Announcer
from worker.broker import build_broker
from worker.cache import Cache
from worker.cache.voucher import Vouchers
from worker.cache.watch import CacheWatch
from worker.connections import database_config
from worker.consumer import KafkaIntake
from worker.dispatcher import Dispatcher
from worker.events import Event
from worker.every import Every
from worker.fault_points import Point, arm, reach
from worker.health import DatabaseMonitor
from worker.ingest_note import NoteKeeper, why_paused
from worker.logs import WORKER_STATUS, configure_logging, log_event
from worker.metrics import Metrics, Standing
from worker.metrics_server import serve_metrics
from worker.redis_link import connect
from worker.refusals import OUTBOX_REFUSES, first_cause
from worker.settings import Settings, describe_settings, settings_or_exit
from worker.settlements import SettlementReader
from worker.status import status_fields
from worker.turns import Turns

logger = logging.getLogger(__name__)

#: How long (s) the main loop sleeps when nothing comes (its chores are no more punctual than that), and when records wait for
#: room in the outbox.
IDLE_S, FULL_S = 0.2, 0.1

#: At most so many events are taken in one turn: one transaction, one fsync.
EVENTS_A_TURN = 50

#: How long (s) a stop waits for what is in flight, and for the next settlement of it (the actors may be down). What is
#: not back by then is dispatched again at the next start.
DRAIN_S, DRAIN_SILENCE_S = 10.0, 2.0


#: New objects after which Python's collector looks for cycles among them (its default is 700).
COLLECTED_AFTER = 50_000

#: How often (s) it is looked how things stand, for the numbers. What is counted is counted at each turn.
STANDING_INTERVAL_S = 1.0


class Ingest:
    """The main loop and its threads, from start to a clean stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._outbox = Outbox.open(settings.outbox_path)
        self._broker = build_broker(settings)
        database = open_database(database_config(settings))
        outbox_id = self._outbox.outbox_id
        self._kafka = KafkaIntake(settings, self._inbox.put, settings.kafka_group_instance_id or outbox_id)
        self._monitor = DatabaseMonitor(settings, self._inbox.put, database, outbox_id)
        self._reader = SettlementReader(connect(settings.broker_redis_url), outbox_id, self._inbox.put)
        self._dispatcher = Dispatcher(
            self._broker, outbox_id, self._inbox.put, settings.lease_ms / 1000, time.monotonic
        )
        self._outbox.note_policy(settings.dead_letter_policy == "hold")
        vouchers = Vouchers(self._broker.client, Cache.connect(settings).client)
        self._cache_watch = CacheWatch(vouchers, self._broker, settings.reconcile_interval_ms / 1000)
        self._announcer = Announcer(settings, self._inbox.put) if settings.topic_dead_letters else None
        self._metrics = Metrics([entity.__name__ for entity in all_entities()], operation_types())
        self._turns = Turns(
            settings,
            self._outbox,
            self._kafka.reading,
            self._monitor,
            self._dispatcher,
            self._announcer,
            metrics=self._metrics,
        )
        self._threads = {
            name: threading.Thread(target=run, name=name, daemon=True)
            for name, run in (
                ("database-monitor", self._monitor.run),
                ("settlements", self._reader.run),
                ("dispatcher", self._dispatcher.run),
                ("kafka", self._kafka.run),
                ("cache-watch", self._cache_watch.run),
            )
        }
        if self._announcer is not None:
            self._threads["announcer"] = threading.Thread(target=self._announcer.run, name="announcer", daemon=True)
        self._note = NoteKeeper(self._outbox)
        self._stop_asked = False

    def run(self) -> None:
        """Run until SIGINT or SIGTERM."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.stop())
        for thread in self._threads.values():
            thread.start()
        pages = serve_metrics(self._settings, self._metrics)
        try:
            status = Every(self._settings.status_interval_ms / 1000, time.monotonic)
            standing = Every(STANDING_INTERVAL_S, time.monotonic)
            while not self._stop_asked:
                self._turns.go_on(self._events())
                if status.is_due:
                    self._log_status()
                if self._note.is_due:
                    self._leave_note()
                if standing.is_due:
                    self._metrics.note_standing(self._standing())
        finally:
            self._shut_down()
            if pages is not None:
                pages.close()

    def stop(self) -> None:
        """Ask the loop to end; it finishes its turn first."""
        self._stop_asked = True
        self._turns.ask_to_stop()

    def _events(self) -> Iterator[Event]:
        """All that wait, or the first that comes within a moment."""
        try:
            has_work = self._turns.has_backlog and not self._stop_asked
            yield self._inbox.get(timeout=FULL_S if has_work else IDLE_S)
            for _ in range(EVENTS_A_TURN):
                yield self._inbox.get_nowait()
        except queue.Empty:
            return

    # --------------------------------------------------------------------------------------------------------- the stop

    def _shut_down(self) -> None:
        """Health monitoring stops, the consumer leaves its group, the database connection closes, Redis disconnects."""
        logger.info("Stopping: %d operations in flight", self._turns.scheduler.in_flight_operations)
        self._turns.stop_dispatching()
        self._monitor.stop()
        self._await_in_flight()
        reach(Point.STOPPING)
        self._turns.say_farewell()
        self._end("kafka", self._kafka.stop)
        if self._announcer is not None:
            self._end("announcer", self._announcer.stop)
        self._end("database-monitor", self._monitor.close)
        self._broker.patience.stop()
        self._dispatcher.stop()
        self._end("settlements", self._reader.stop)
        self._end("cache-watch", self._cache_watch.stop)
        self._threads["dispatcher"].join(timeout=DRAIN_S)
        self._broker.close()
        self._leave_note(is_stopped=True)
        self._outbox.close()
        logger.info("Stopped")

    def _end(self, name: str, stop: Callable[[], None]) -> None:
        stop()
        self._threads[name].join(timeout=DRAIN_S)

    def _await_in_flight(self) -> None:
        now = time.monotonic()
        deadline, silence = now + DRAIN_S, now + DRAIN_SILENCE_S
        scheduler = self._turns.scheduler
        in_flight = scheduler.in_flight_operations
        while not scheduler.is_quiet and time.monotonic() < min(deadline, silence):
            self._turns.take(self._events())
            if scheduler.in_flight_operations < in_flight:
                in_flight = scheduler.in_flight_operations
                silence = time.monotonic() + DRAIN_SILENCE_S

    # ------------------------------------------------------------------------------------------------------- the status

    def _standing(self) -> Standing:
        counts, oldest, scheduler = self._outbox.counts(), self._outbox.oldest_unsettled(), self._turns.scheduler
        return Standing(
            operations={state.label: counts.of(state) for state in State},
            oldest_at=oldest[1] if oldest is not None else None,
            lag=self._kafka.reading.lag,
            servers={
                "kafka": self._kafka.is_up,
                "database": self._monitor.is_healthy,
                "redis": self._reader.is_connected,
            },
            living_workers=self._reader.living_workers,
            is_active=self._turns.is_active,
            has_joined=self._kafka.has_joined,
            epoch=scheduler.epoch or 0,
            in_flight_operations=scheduler.in_flight_operations,
            in_flight_batches=scheduler.in_flight_batches,
        )

    def _log_status(self) -> None:
        counts = self._outbox.counts()
        checked_at, healthy_since = self._monitor.last_check_at, self._monitor.healthy_since
        log_event(
            logger,
            logging.INFO,
            WORKER_STATUS,
            **status_fields(
                is_running=self._kafka.is_connected,
                is_paused=not self._turns.is_open,
                pending_operations=counts.unsettled,
                is_database_healthy=self._monitor.is_healthy,
                last_health_check=datetime.fromtimestamp(checked_at, UTC).isoformat() if checked_at else None,
                database_uptime_s=time.monotonic() - healthy_since if healthy_since is not None else 0.0,
                is_redis_connected=self._reader.is_connected,
                lag=sum(self._kafka.reading.lag.values()),
                in_flight=self._turns.scheduler.in_flight_operations,
                dead_letters=counts.dead,
            ),
        )

    def _leave_note(self, is_stopped: bool = False) -> None:
        """Leave word for the operator's desk."""
        reading = self._kafka.reading
        monitor = self._monitor
        paused_because = why_paused(
            is_kafka_connected=self._kafka.is_connected,
            partitions=len(reading.ends),
            is_database_known=monitor.is_known,
            is_database_healthy=monitor.is_healthy,
            has_epoch=self._turns.scheduler.epoch is not None,
            is_redis_connected=self._reader.is_connected,
            is_outbox_full=self._turns.has_backlog
            and self._outbox.counts().unsettled >= self._settings.outbox_max_pending,
        )
        try:
            self._note.leave(
                received=self._turns.received,
                settled=self._turns.settled,
                partitions=len(reading.ends),
                is_kafka_connected=self._kafka.is_connected,
                is_redis_connected=self._reader.is_connected,
                is_database_healthy=monitor.is_healthy,
                paused_because=paused_because,
                ends=reading.ends,
                in_flight=self._turns.scheduler.in_flight_operations,
                window=self._settings.window_max_operations,
                is_stopped=is_stopped,
            )
        except OUTBOX_REFUSES as error:
            logger.warning("No word could be left for the desk: %s", first_cause(error))


def main() -> None:
    """The command line: no arguments but ``--help``; everything is set by environment variables."""
    parser = argparse.ArgumentParser(
        prog="python -m worker.ingest",
        description="Takes operations from Kafka, keeps them in a durable outbox and has the actors apply them in order.",
        epilog=describe_settings(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    settings = settings_or_exit()
    configure_logging(settings)
    entities.operations.configure(settings.unknown_attributes)
    arm(os.environ)
    # What waits is kept in many small objects that form no cycles: at its defaults the collector walks through them again
    # and again, a tenth of a turn's time.
    gc.freeze()
    gc.set_threshold(COLLECTED_AFTER)
    try:
        hold_alone(settings.outbox_path)
        ingest = Ingest(settings)
    except (OutboxInUse, UnusableOutbox, OSError, *OUTBOX_REFUSES) as error:
        logger.error("The outbox cannot be opened: %s", first_cause(error))
        raise SystemExit(1) from None
    ingest.run()


if __name__ == "__main__":
    main()
