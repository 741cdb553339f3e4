"""The simulated processes: ingests and workers, each put together from the production code as its program does it."""

from __future__ import annotations

import queue
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import dramatiq
import peewee
import redis
from kafka.errors import KafkaError

from entities.ledger import SettledOperation
from outbox import schema
from outbox.announcements import Announcement
from outbox.models import ANNOUNCEMENTS, ARCHIVED_ENTRIES, ENTRIES, PARTITION_LOGS
from outbox.records import NO_TIMESTAMP
from outbox.store import Outbox
from tests.simulation.broker_model import ModelBroker
from tests.simulation.database_model import Session
from tests.simulation.kafka_model import ModelConsumer, ModelProducer
from tests.simulation.threads import FOREVER, Thread
from worker.announcer import Announcer
from worker.applier import Applier, declare_actors
from worker.cache import Cache
from worker.dispatcher import Dispatcher
from worker.events import Event
from worker.health import DatabaseMonitor
from worker.messages import Batch, Verdicts
from worker.reading import Reading
from worker.settlements import SettlementReader, settlements_key
from worker.turns import Turns

if TYPE_CHECKING:
    from tests.simulation.world import World

#: The pauses (s) of loops that find nothing to do grow, so that waiting costs little.
FIRST_IDLE_S, LONGEST_IDLE_S = 0.2, 4.0

#: Events a turn takes at most; few, so that turns are many.
EVENTS_A_TURN = 4


_SEQ_TEXT = (
    "SELECT seq, coalesce(first_seq, seq), incarnation FROM {} "
    f"WHERE log_id = (SELECT id FROM {PARTITION_LOGS} WHERE generation = ? AND partition = ?) AND offset = ?"
)


class Disk(Outbox):
    """An outbox in memory. It outlives the processes that have it open; ``is_full``: nothing can be written."""

    is_full = False
    desk_writes = 0
    #: Whether anything ever waited behind a dead letter.
    has_held = False

    @classmethod
    def made(cls, number: int, now_ms: Callable[[], int]) -> Disk:
        """An empty one; that of this number in the history before this one is overwritten."""
        database = _KeptSQLite(_connection(number))
        database.connect()
        database.execute_sql("UPDATE identity SET outbox_id = ?", (f"{number:08d}-outbox",))
        return cls(database, now_ms)

    def transaction(self) -> Any:
        if self.is_full:
            raise sqlite3.OperationalError("database or disk is full")
        # A savepoint in a transaction changes nothing here, and costs a third of a history's statements.
        return nullcontext() if self.database.in_transaction() else super().transaction()

    def places(self) -> list[tuple[int, int, int]]:
        """Kafka's timestamp, partition and offset of all that it has from there, but for what was put aside."""
        text = (
            f"SELECT kafka_timestamp, partition, offset FROM {ENTRIES} JOIN {PARTITION_LOGS} AS log ON log_id = log.id"
        )
        return [place for place in self._sql(text).fetchall() if place[0] != NO_TIMESTAMP]

    @property
    def has_to_tell(self) -> bool:
        """Whether somebody is still to be told of a death or a discard."""
        return self._sql(f"SELECT 1 FROM {ANNOUNCEMENTS} LIMIT 1").fetchone() is not None

    def place_in_order(self, line: SettledOperation) -> int | None:
        """The seq of the run that this line of the ledger is about; None if the outbox has it no more."""
        for table in (ENTRIES, ARCHIVED_ENTRIES):
            row = self._sql(_SEQ_TEXT.format(table), (line.generation, line.partition, line.offset)).fetchone()
            if row is not None:
                seq, first_seq, incarnation = row
                # a replay has moved the entry since, but what is settled is the run before it
                return int(first_seq if incarnation > line.incarnation else seq)
        return None

    def hold(self, held: Sequence[tuple[int, int]]) -> int:
        self.has_held |= bool(held)
        return super().hold(held)

    def data_version(self) -> int:
        """One connection stands for ingest's and the desk's, so SQLite's own number never changes."""
        return self.desk_writes


class _KeptSQLite(peewee.SqliteDatabase):
    """Peewee on a connection that outlives it: with a new one for each history, half of SQLite's time went into compiling."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(":memory:")
        self._kept = connection

    def _connect(self) -> sqlite3.Connection:
        return self._kept

    def execute_sql(self, sql: str, params: Any = None) -> sqlite3.Cursor:
        """Straight away: nobody here asks for Peewee's own exceptions, hooks and logs."""
        return self._kept.execute(sql, params or ())


_connections: dict[int, sqlite3.Connection] = {}


def _connection(number: int) -> sqlite3.Connection:
    """A connection to an outbox in which nothing has happened yet."""
    if number not in _connections:
        _connections[number] = sqlite3.connect(":memory:", isolation_level=None, cached_statements=512)
        _connections[number].executescript("\n".join(_empty_outbox().iterdump()))
    else:
        for statement in _emptying():
            _connections[number].execute(statement)
    return _connections[number]


@cache
def _empty_outbox() -> sqlite3.Connection:
    database = peewee.SqliteDatabase(":memory:")
    schema.prepare(database, 0)
    connection: sqlite3.Connection = database.connection()  # type: ignore[no-untyped-call]
    return connection


@cache
def _emptying() -> list[str]:
    """Statements that leave in each table what a new outbox has there."""
    dumped = list(_empty_outbox().iterdump())
    tables = [name for (name,) in _empty_outbox().execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = [line for line in dumped if line.startswith("INSERT INTO")]
    return ["BEGIN", *(f'DELETE FROM "{table}"' for table in tables), *rows, "COMMIT"]


class Process:
    """What can be killed, stopped and started."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.threads: list[Thread] = []
        self.is_alive = False

    def thread(self, name: str, step: Callable[[], object], due: Callable[[], float]) -> None:
        self.threads.append(Thread(f"{self.name}.{name}", step, due, Session()))

    def start(self) -> None:
        """Come to life, with nothing but what is on disk and in the servers."""
        raise NotImplementedError

    def pause(self, seconds: float) -> None:
        until = self.world.now + seconds
        for thread in self.threads:
            thread.not_before = max(thread.not_before, until)

    def kill(self) -> None:
        self.is_alive = False
        for thread in self.threads:
            self.world.kill_thread(thread)
        self.threads = []


@dataclass
class _Idle:
    """A loop's clock: due at once after something happened, later and later while nothing does."""

    at: float = 0.0
    pause: float = FIRST_IDLE_S

    def wake(self, now: float) -> None:
        self.at, self.pause = now, FIRST_IDLE_S

    def sleep(self, now: float) -> None:
        self.at, self.pause = now + self.pause, min(3 * self.pause, LONGEST_IDLE_S)


class Ingest(Process):
    """An ingest on its disk, with the threads of `worker.ingest`."""

    def __init__(self, world: World, name: str, disk: Disk) -> None:
        super().__init__(world, name)
        self.disk = disk

    def start(self) -> None:
        world, settings = self.world, self.world.settings
        self.is_alive = True
        self.threads = []
        self.inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        broker = ModelBroker(settings, world.broker_redis, world.queues, world.sleep)
        tell, outbox_id, clock = self.inbox.put, self.disk.outbox_id, world.clock
        self.reading = Reading(settings.topic_db_operations, settings.partition_buffer_records, tell, clock)
        self.monitor = DatabaseMonitor(settings, tell, world.database, outbox_id, clock, world.now_ms)
        self.reader = SettlementReader(world.broker_redis, outbox_id, tell)
        self.dispatcher = Dispatcher(broker, outbox_id, tell, settings.lease_ms / 1000, clock)
        self.announcer = None
        if settings.topic_dead_letters:
            self.announcer = Announcer(settings, tell, lambda: ModelProducer(world.letters, world.chance))
        self.turns = Turns(
            settings,
            self.disk,
            self.reading,
            self.monitor,
            self.dispatcher,
            self.announcer,
            clock=clock,
            now_ms=world.now_ms,
            pause=world.sleep,
        )
        self.consumer = ModelConsumer(world.topic, world.chance)
        self.consumer.listener = self.reading.begin(self.consumer)
        self._turn, self._poll = _Idle(world.now), _Idle(world.now)
        self._probe_at = world.now
        self._settlements = settlements_key(outbox_id).encode()
        self.thread("main", self._take_turn, self._turn_due)
        self.thread("kafka", self._read, self._read_due)
        self.thread("database-monitor", self._look, self._look_due)
        self.thread("settlements", self._settle, self._settle_due)
        if self.announcer is not None:
            self._portion: Sequence[Announcement] | None = None
            self.thread("announcer", self._announce, self._announce_due)
        self.thread("dispatcher", self.dispatcher.step, lambda: world.now if self.dispatcher.has_jobs else FOREVER)

    @property
    def has_noticed_the_desk(self) -> bool:
        """Whether it has seen all that the operator did."""
        return self.turns._data_version == self.disk.desk_writes

    # ---------------------------------------------------------------------------------------------- its threads' steps

    def _take_turn(self) -> None:
        events: list[Event] = []
        while len(events) < EVENTS_A_TURN and not self.inbox.empty():
            events.append(self.inbox.get())
        self.turns.go_on(events)
        if events or self.turns.scheduler.just_sent:
            self._turn.wake(self.world.now)
            reading = self.reading
            if reading._to_commit or reading._asked or reading._merge._heads or self.consumer.paused():
                self._poll.wake(self.world.now)
        self._turn.sleep(self.world.now)

    def _turn_due(self) -> float:
        return self._turn.at if self.inbox.empty() else self.world.now

    def _read(self) -> None:
        had_news = self.consumer.has_news
        try:
            self.reading.step()
        except KafkaError:
            self.world.sleep(0.2)
            self.reading.go_back()
        if had_news:
            self._poll.wake(self.world.now)
        self._poll.sleep(self.world.now)

    def _read_due(self) -> float:
        return self.world.now if self.consumer.has_news else self._poll.at

    def _look(self) -> None:
        self.monitor._wake.clear()
        self._probe_at = FOREVER
        self._probe_at = self.world.now + self.monitor.look()

    def _look_due(self) -> float:
        return self.world.now if self.monitor._wake.is_set() else self._probe_at

    def _settle(self) -> None:
        try:
            self.reader.read()
        except redis.RedisError:
            self.world.sleep(0.5)

    def _settle_due(self) -> float:
        server = self.world.broker_redis
        return self.world.now if not server.is_down and server._data.get(self._settlements) else FOREVER

    def _announce(self) -> None:
        assert self.announcer is not None
        self._portion = self._portion or self.announcer._portions.get_nowait()
        try:
            self.announcer.tell_portion(self._portion or ())
            self._portion = None
        except KafkaError:
            self.announcer._disconnect()
            self.world.sleep(0.5)

    @property
    def is_announcing(self) -> bool:
        """Whether dead letters are on their way to their topic."""
        return self.announcer is not None and (self._portion is not None or not self.announcer._portions.empty())

    def _announce_due(self) -> float:
        return self.world.now if self.is_announcing else FOREVER


class Worker(Process):
    """A worker process of one thread."""

    def start(self) -> None:
        world = self.world
        self.is_alive = True
        self.threads = []
        self._broker = ModelBroker(world.settings, world.broker_redis, world.queues, world.sleep)
        cache = Cache(world.cache_redis)
        declare_actors(self._broker, Applier(world.settings, self._broker, cache, world.now_ms))
        self.thread("actor", self._work, world.queues.due)

    def kill(self) -> None:
        super().kill()
        self.world.queues.give_back(self)

    def _work(self) -> None:
        queued = self.world.queues.take(self, self.world.plan.sizes.is_fair)
        if queued is not None:
            self.world.database.session.sent = _sent_in(queued.message)
            self._broker.work_off(queued)


def _sent_in(message: dramatiq.Message[Any]) -> Batch | Verdicts | None:
    """What a message has applied or buried; None if it does neither."""
    what = message.args[0]
    sent = what["args"][0] if isinstance(what, dict) and "args" in what else what
    return sent if isinstance(sent, Batch | Verdicts) else None
