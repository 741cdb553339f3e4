"""A race for the cache: the service's writes, deletes and syncs and an application's own, on few rows, among flushes.

Every contender is a thread with connections of its own, several in each of several processes. They race for a heat, stop
at a barrier, and then nothing may stand in the cache that is not what the database holds: neither by the product's own
check nor by the independent reference, whether or not the syncs that are still due (the service keeps some back, runs them
late, twice, and in any order) have run. Readers lose their locks with their connections, and their scripts reach Redis when
they have given up. A row may be missing: the application reads the database then.

What the application is taken to do, and nothing else is covered:
  - it writes rows by itself (INSERT, UPDATE, DELETE, those that a cascade takes too) and drops their keys after its COMMIT;
  - or it drops them, or sets the key to the row as it has written it, inside its transaction after the write, so that the
    row is still locked;
  - anybody may empty the cache at any time (FLUSHDB, FLUSHALL).
An application that drops a key before it writes, or sets it after its COMMIT, or from an older read, may by itself leave an
old value: it knows no leases, and nobody could tell.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import SynchronizedArray
from multiprocessing.synchronize import Barrier, Event
from typing import Any

import peewee
import pymysql
import redis

from entities import base, ledger
from entities import database as db
from entities.database import DatabaseConfig
from entities.schema import create_application_tables
from tests.support import reference
from tests.support.applying import GROUP, apply, create, create_user, delete, update
from tests.support.mariadb_server import PASSWORD, USER
from worker import fault_points
from worker.cache import Cache
from worker.cache.check import check
from worker.fault_points import Point
from worker.messages import CacheSync, DispatchedOperation, Outcome

#: Explicit ids, few so that rows are hot; all are made, deleted and made again.
USERS, BUSINESSES, RATINGS = 8, 16, 32

#: What is counted.
KINDS = ("service writes", "service deletes", "cache syncs", "application writes", "application deletes", "flushes")

#: How many processes race, and how many threads in each.
SERVICES, APPLICATIONS, THREADS = 2, 1, 2

#: One FLUSHDB or FLUSHALL in so many actions.
ACTIONS_A_FLUSH = 400

#: How long (s) the contenders may take to stop at the end of a heat.
STOP_S = 120

#: One of so many scripts comes to Redis late, when its caller has given up; one of so many readers loses its connection,
#: and its locks with it, while it dawdles.
LATE_ONE_IN, KILLED_ONE_IN = 20, 200

#: In one of so many fills the reader dawdles, for at most so many seconds: what overtakes it there is what a race is for.
DAWDLES_ONE_IN, DAWDLE_S = 20, 0.003


@dataclass(frozen=True)
class Place:
    """The servers, by their ports on 127.0.0.1, and the database. Redis's database 0 is the cache."""

    mariadb_port: int
    redis_port: int
    database: str

    def config(self) -> DatabaseConfig:
        return DatabaseConfig(
            host="127.0.0.1", port=self.mariadb_port, user=USER, password=PASSWORD, name=self.database
        )

    def redis(self) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.redis_port)

    def connection(self) -> pymysql.connections.Connection[Any]:
        return pymysql.connect(
            host="127.0.0.1",
            port=self.mariadb_port,
            user=USER,
            password=PASSWORD,
            database=self.database,
            charset="utf8mb4",
            autocommit=False,
            init_command="SET SESSION time_zone = '+00:00'",
        )


@dataclass
class Result:
    """What a race came to. `stale` are the keys that the check or the reference found wrong, with what they said."""

    actions: dict[str, int] = field(default_factory=dict)
    heats: int = 0
    compared: int = 0
    stale: list[str] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def total(self) -> int:
        return sum(self.actions.values())


def race(
    place: Place, actions: int, heats: int, seed: int = 1, on_progress: Callable[[Result], object] = lambda result: None
) -> Result:
    """Race for so many actions at least, in so many heats, and tell what was wrong after each.

    Raises `threading.BrokenBarrierError` if a contender died.
    """
    began = time.monotonic()
    context = multiprocessing.get_context("spawn")
    counters = context.Array("Q", len(KINDS))
    barrier = context.Barrier((SERVICES + APPLICATIONS) * THREADS + 1)
    is_heat_over, is_over = context.Event(), context.Event()
    shared = _Shared(place, counters, barrier, is_heat_over, is_over)
    roles = ["service"] * SERVICES + ["application"] * APPLICATIONS
    processes = [
        context.Process(target=_contend, args=(shared, role, seed * 1000 + number), daemon=True)
        for number, role in enumerate(roles)
    ]
    result = Result()
    with _bound(place):
        create_application_tables()
        ledger.create_own_tables()
        ledger.raise_epoch(GROUP, "outbox-1")
        for process in processes:
            process.start()
        try:
            for heat in range(heats):
                barrier.wait(STOP_S)
                _let_race(shared, actions * (heat + 1) // heats, result, on_progress, began)
                is_heat_over.set()
                barrier.wait(STOP_S)
                _judge(place, result, f"heat {heat + 1}")
                is_heat_over.clear()
            is_over.set()
            barrier.wait(STOP_S)
            barrier.wait(STOP_S)  # the syncs that were still due have run
            _judge(place, result, "the end")
        finally:
            is_over.set()
            barrier.abort()
            for process in processes:
                process.join(5)
                process.kill()
    result.took_s = time.monotonic() - began
    return result


@dataclass(frozen=True)
class _Shared:
    """What the processes have in common."""

    place: Place
    counters: SynchronizedArray[int]
    barrier: Barrier
    is_heat_over: Event
    is_over: Event

    def count(self, kind: str, number: int = 1) -> None:
        with self.counters.get_lock():
            self.counters[KINDS.index(kind)] += number

    def counted(self) -> dict[str, int]:
        return {kind: int(self.counters[number]) for number, kind in enumerate(KINDS)}


@contextmanager
def _bound(place: Place) -> Iterator[None]:
    before = base.database.obj
    db.open_database(place.config())
    try:
        yield
    finally:
        db.close()
        base.database.obj = before


def _let_race(
    shared: _Shared, until: int, result: Result, on_progress: Callable[[Result], object], began: float
) -> None:
    """Empty the cache now and then until so many actions were done."""
    chance = random.Random(until)
    with shared.place.redis() as client:
        flushed_at = sum(shared.counted().values())
        while (done := sum(shared.counted().values())) < until:
            if done - flushed_at >= ACTIONS_A_FLUSH:
                flushed_at = done
                client.flushall() if chance.random() < 0.5 else client.flushdb()
                shared.count("flushes")
            result.actions = shared.counted()
            result.took_s = time.monotonic() - began
            on_progress(result)
            if shared.barrier.broken:
                raise threading.BrokenBarrierError
            time.sleep(0.005)  # the contenders are to have the processors
        result.actions = shared.counted()


def _judge(place: Place, result: Result, when: str) -> None:
    """Compare everything that is cached with the database, in two ways that share nothing."""
    result.heats += 1
    with place.redis() as client, place.connection() as connection:
        report = check(Cache(client), pause=lambda seconds: None)
        result.compared += report.checked
        result.stale += [f"{when}: {key} is {fault.value}, says the check" for key, fault in report.wrong.items()]
        expected = {
            key: row for entity in reference.TABLES for key, row in reference.expected_cache(connection, entity).items()
        }
        for key in client.scan_iter("*:*"):
            name = key.decode()
            if name.startswith(("lease:", "sync:")):
                continue
            value = client.get(key)
            cached = None if value is None else json.loads(value)
            if cached != expected.get(name):
                result.stale.append(f"{when}: {name} is {cached}, not {expected.get(name)}, says the reference")


# ------------------------------------------------------------------------------------------------------ the contenders


def _contend(shared: _Shared, role: str, seed: int) -> None:
    """A process: its threads race until it is over, and run what is due then."""
    db.open_database(shared.place.config())
    dawdler = random.Random(seed)

    def dawdle(point: Point) -> None:
        if point in (Point.LEASED, Point.READ) and dawdler.randrange(DAWDLES_ONE_IN) == 0:
            time.sleep(dawdler.random() * DAWDLE_S)

        if point is Point.READ and dawdler.randrange(KILLED_ONE_IN) == 0:
            _lose_locks(shared.place)
            time.sleep(dawdler.random() * DAWDLE_S)

    fault_points.handle(dawdle)
    threads = [threading.Thread(target=_run, args=(shared, role, seed * 100 + number)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _lose_locks(place: Place) -> None:
    """Kill this thread's connection to the database, as a server does that restarts."""
    with place.connection() as admin, admin.cursor() as cursor:
        try:
            bound: Any = db.current()  # the stubs leave this one untyped
            cursor.execute("KILL %s", [bound.connection().thread_id()])
        except pymysql.MySQLError:
            pass  # it is gone already


class _LateRedis(redis.Redis):  # type: ignore[misc]  # redis brings no types
    """A client to whom Redis now and then seems not to answer, while the script that it has sent is on its way."""

    def __init__(self, *arguments: Any, chance: random.Random, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._chance = chance
        self._on_their_way: list[tuple[Any, ...]] = []

    def evalsha(self, *arguments: Any) -> Any:
        if self._chance.randrange(LATE_ONE_IN) == 0:
            self._on_their_way.append(arguments)
            raise redis.TimeoutError("late")
        return super().evalsha(*arguments)

    def arrive(self) -> None:
        """What is on its way arrives."""
        while self._on_their_way:
            super().evalsha(*self._on_their_way.pop())


def _run(shared: _Shared, role: str, seed: int) -> None:
    try:
        contender = (_Service if role == "service" else _Application)(shared, random.Random(seed))
        while True:
            shared.barrier.wait(STOP_S)
            if shared.is_over.is_set():
                contender.finish()
                shared.barrier.wait(STOP_S)
                return
            while not shared.is_heat_over.is_set():
                contender.act()
            contender.rest()
            shared.barrier.wait(STOP_S)
    except threading.BrokenBarrierError:
        return
    except BaseException:
        shared.barrier.abort()
        raise


class _Service:
    """An actor: applies operations, unlinks what they touched, and syncs: at once, late, twice."""

    def __init__(self, shared: _Shared, chance: random.Random) -> None:
        self._shared = shared
        self._chance = chance
        self._redis = _LateRedis(host="127.0.0.1", port=shared.place.redis_port, chance=chance)
        self._cache = Cache(self._redis)
        self._due: list[CacheSync] = []

    def act(self) -> None:
        chance = self._chance
        operations = [self._operation() for _ in range(chance.randint(1, 12))]
        result = apply(*operations)
        applied = [
            one for one, line in zip(operations, result.outcomes, strict=True) if line.outcome is Outcome.APPLIED
        ]
        deletes = sum(b'"DELETE"' in one.raw for one in applied)
        self._shared.count("service deletes", deletes)
        self._shared.count("service writes", len(applied) - deletes)
        sync = CacheSync(result.touched_keys, ())
        self._cache.invalidate(sync)
        kind = chance.random()
        if kind < 0.7:
            self._sync(sync)
        if kind > 0.5:
            self._due.append(sync)
        for _ in range(len(self._due) // 10):
            self._sync(self._due.pop(chance.randrange(len(self._due))))
        if chance.random() < 0.1:
            self._redis.arrive()

    def rest(self) -> None:
        """The heat is over: nothing may be on its way, and syncs may be due."""
        self._redis.arrive()

    def finish(self) -> None:
        """Run what is due, in any order."""
        self._chance.shuffle(self._due)
        while self._due:
            self._sync(self._due.pop())
            self._redis.arrive()

    def _sync(self, sync: CacheSync) -> None:
        try:
            self._due += [again.sync for again in self._cache.sync(sync, "message")]
        except (redis.RedisError, peewee.PeeweeException):
            self._due.append(sync)  # as Dramatiq runs the message again
        self._shared.count("cache syncs", len(sync.keys))

    def _operation(self) -> DispatchedOperation:
        chance = self._chance
        number = chance.getrandbits(60)
        user, business, rating = chance.randint(1, USERS), chance.randint(1, BUSINESSES), chance.randint(1, RATINGS)
        match chance.randrange(20):
            case 0 | 1:
                return create_user(number, id=user)
            case 2 | 3 | 4:
                return create("Business", id=business, userId=user, name=f"b{number}")
            case 5 | 6 | 7:
                return create("Rating", id=rating, businessId=business, totalScore=number % 1000)
            case 8:
                return delete("User", user) if chance.random() < 0.3 else delete("Rating", rating)
            case 9:
                return delete("Business", business)
            case 10 | 11 | 12:
                return update("User", user, firstName=f"s{number}")
            case 13 | 14 | 15 | 16:
                return update("Business", business, managerName=f"s{number}")
            case _:
                return update("Rating", rating, totalScore=number % 1000, totalPercentage=number % 100)


class _Application:
    """The application: its own statements, its own commands to Redis, and no idea of leases."""

    def __init__(self, shared: _Shared, chance: random.Random) -> None:
        self._shared = shared
        self._chance = chance
        self._redis = shared.place.redis()
        self._connection = shared.place.connection()

    def act(self) -> None:
        chance = self._chance
        try:
            with self._connection.cursor(pymysql.cursors.DictCursor) as cursor:
                kind = chance.random()
                if kind < 0.15:
                    self._delete(cursor)
                elif kind < 0.4:
                    self._insert(cursor)
                else:
                    self._update(cursor)
        except pymysql.MySQLError:  # a deadlock, a row that is there already, a parent that is gone
            self._connection.rollback()

    def rest(self) -> None:
        """Nothing of it goes on between the heats."""

    def finish(self) -> None:
        self._connection.close()

    def _update(self, cursor: Any) -> None:
        entity, column, row_id = self._chance.choice(
            [
                ("User", "nombre", self._chance.randint(1, USERS)),
                ("Business", "nombre_encargado", self._chance.randint(1, BUSINESSES)),
                ("Rating", "puntaje_finanzas", self._chance.randint(1, RATINGS)),
            ]
        )
        table, _ = reference.TABLES[entity]
        value: object = self._chance.getrandbits(30) if entity == "Rating" else f"a{self._chance.getrandbits(60)}"
        cursor.execute(f"UPDATE `{table}` SET `{column}` = %s WHERE id = %s", (value, row_id))
        self._tell(cursor, entity, row_id)

    def _insert(self, cursor: Any) -> None:
        chance = self._chance
        number = chance.getrandbits(30)
        if chance.random() < 0.3:
            entity, row_id, parent = "Business", chance.randint(1, BUSINESSES), chance.randint(1, USERS)
            columns = "id, usuario_id, nombre_emprendimiento"
        else:
            entity, row_id, parent = "Rating", chance.randint(1, RATINGS), chance.randint(1, BUSINESSES)
            columns = "id, emprendimiento_id, puntaje_total"
        table, _ = reference.TABLES[entity]
        cursor.execute(f"INSERT INTO `{table}` ({columns}) VALUES (%s, %s, %s)", (row_id, parent, number))
        self._tell(cursor, entity, row_id)

    def _tell(self, cursor: Any, entity: str, row_id: int) -> None:
        """Commit, and tell the cache in one of the application's ways."""
        key = f"{entity}:{row_id}"
        way = self._chance.randrange(3)
        if way == 0:
            table, columns = reference.TABLES[entity]
            cursor.execute(f"SELECT * FROM `{table}` WHERE id = %s", [row_id])
            row = cursor.fetchone()
            if row is not None:
                self._redis.set(key, json.dumps(reference.as_cached(columns, row)), ex=3600)
        elif way == 1:
            self._redis.delete(key)
        self._connection.commit()
        if way == 2:
            self._redis.delete(key)
        self._shared.count("application writes")

    def _delete(self, cursor: Any) -> None:
        chance = self._chance
        if chance.random() < 0.6:
            keys = [f"Rating:{(row_id := chance.randint(1, RATINGS))}"]
            cursor.execute("DELETE FROM calificaciones WHERE id = %s", [row_id])
        else:
            business = chance.randint(1, BUSINESSES)
            cursor.execute("SELECT id FROM emprendimientos WHERE id = %s FOR UPDATE", [business])
            cursor.execute("SELECT id FROM calificaciones WHERE emprendimiento_id = %s FOR UPDATE", [business])
            keys = [f"Business:{business}", *(f"Rating:{row['id']}" for row in cursor.fetchall())]
            cursor.execute("DELETE FROM emprendimientos WHERE id = %s", [business])
        if chance.random() < 0.5:
            self._redis.delete(*keys)
            self._connection.commit()
        else:
            self._connection.commit()
            self._redis.delete(*keys)
        self._shared.count("application deletes")
