"""The cache on a real Redis beside a real database: whoever writes while it is being filled, no old value stays."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import dramatiq
import pytest
import redis

from entities import database as db
from tests.support.applying import apply, create, create_user, delete, rows, statements_sent, update
from tests.support.mariadb_server import MariaDBServer
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually
from worker import applier as applier_module
from worker.applier import Applier
from worker.cache import PURGE, Cache
from worker.messages import CacheRecheck, CacheSync, recheck_cache_message
from worker.settings import load_settings

WRITERS = 3
WRITES = 40
ROWS = 4


pytestmark = pytest.mark.usefixtures("bound")


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def cache(client: redis.Redis) -> Cache:
    return Cache(client)


def together(*works: Callable[[], object]) -> None:
    """Run them at once, each in a thread with a connection of its own."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        barrier.wait()
        try:
            work()
        finally:
            db.close()

    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(run, work) for work in works]:
            done.result()


def value(client: redis.Redis, key: str) -> Any:
    text = client.get(key)
    return None if text is None else json.loads(text)


def assert_nothing_is_stale(client: redis.Redis) -> None:
    names = dict(rows("SELECT concat('User:', id), nombre FROM usuarios"))
    cached = {key.decode(): value(client, key.decode())["firstName"] for key in client.keys("User:*")}
    assert cached == {key: name for key, name in names.items() if key in cached}


def test_writers_and_syncs_at_once_leave_the_last_value_of_each_row(cache: Cache, client: redis.Redis) -> None:
    apply(*(create_user(number, id=number) for number in range(1, ROWS + 1)))
    late: list[CacheSync] = []

    def write(number: int) -> None:
        chance = random.Random(number)
        for step in range(WRITES):
            result = apply(update("User", chance.randint(1, ROWS), firstName=f"w{number} s{step}"))
            sync = CacheSync(result.touched_keys, ())
            cache.invalidate(sync)
            late.append(sync)
            if chance.random() < 0.7:  # some come late, some twice
                cache.sync(sync, "some message")

    def flush() -> None:
        for _ in range(WRITES // 4):
            client.flushall()

    together(*(lambda number=number: write(number) for number in range(WRITERS)), flush)  # type: ignore[misc]
    assert_nothing_is_stale(client)
    random.Random(1).shuffle(late)
    for sync in late:
        cache.sync(sync, "some message")

    assert_nothing_is_stale(client)
    assert len(client.keys("User:*")) == ROWS
    assert client.keys("lease:*") == []


def test_an_application_that_writes_by_itself_is_never_overwritten_with_an_older_value(
    cache: Cache, client: redis.Redis, mariadb: MariaDBServer, bound: str
) -> None:
    apply(*(create_user(number, id=number) for number in range(1, ROWS + 1)))
    keys = tuple(f"User:{number}" for number in range(1, ROWS + 1))
    is_over = threading.Event()

    def application() -> None:
        chance = random.Random(7)
        try:
            with mariadb.connection(bound) as connection, connection.cursor() as cursor:
                for step in range(3 * WRITES):
                    row_id = chance.randint(1, ROWS)
                    cursor.execute("UPDATE usuarios SET nombre = %s WHERE id = %s", (f"a{step}", row_id))
                    client.delete(f"User:{row_id}")  # it knows nothing of leases
        finally:
            is_over.set()

    def sync() -> None:
        while not is_over.is_set():
            cache.fill(keys)

    together(application, sync, sync)

    assert_nothing_is_stale(client)


def test_a_row_is_locked_until_its_value_is_set(
    cache: Cache, client: redis.Redis, mariadb: MariaDBServer, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(create_user(1, id=1))
    set_leased = cache._set_leased
    application = ThreadPoolExecutor(1)
    written: list[Future[None]] = []

    def write() -> None:
        mariadb.execute("UPDATE usuarios SET nombre = 'theirs' WHERE id = 1", database=bound)
        client.set("User:1", json.dumps({"firstName": "theirs"}))

    def while_the_application_writes(*arguments: Any) -> list[str]:
        written.append(application.submit(write))
        eventually(lambda: mariadb.rows("SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"))
        return set_leased(*arguments)

    monkeypatch.setattr(cache, "_set_leased", while_the_application_writes)

    cache.fill(["User:1"])

    written[0].result()
    application.shutdown()
    assert value(client, "User:1") == {"firstName": "theirs"}


def test_deleting_and_filling_at_once_leaves_no_row_that_is_gone(cache: Cache, client: redis.Redis) -> None:
    for number in range(1, 21):
        apply(create_user(number, id=number), create("Business", id=number, userId=number, name="x"))
    keys = tuple(f"{entity}:{number}" for number in range(1, 21) for entity in ("User", "Business"))

    def remove() -> None:
        for number in range(1, 21):
            result = apply(delete("User", number))
            cache.invalidate(CacheSync(result.touched_keys, ()))

    def fill() -> None:
        for _ in range(10):
            cache.fill(keys)

    together(remove, fill, fill)

    assert client.keys("User:*") == client.keys("Business:*") == []


def test_the_database_is_asked_once_an_entity_and_redis_once_a_portion(cache: Cache, client: redis.Redis) -> None:
    result = apply(*(create_user(number) for number in range(400)))
    owner = result.touched_keys[0].split(":")[1]
    more = apply(*(create("Business", userId=int(owner), name=f"b{number}") for number in range(50)))
    cache.fill(result.touched_keys)  # the server knows the script now
    commands = calls(client)

    with statements_sent() as sent:
        cache.fill([*result.touched_keys, *more.touched_keys])

    assert len(sent.texts) == 2
    assert calls(client)["evalsha"] == commands["evalsha"] + 2  # the leases, the values


def calls(client: redis.Redis) -> dict[str, int]:
    """How often each command was called."""
    statistics = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): numbers["calls"] for name, numbers in statistics.items()}


def test_lists_are_found_among_many_keys_in_one_walk_without_keys(cache: Cache, client: redis.Redis) -> None:
    client.mset({f"User:{number}": "row" for number in range(20_000)})
    lists = [f"{entity}:list:{number}" for entity in ("User", "Business", "Rating") for number in range(500)]
    client.mset(dict.fromkeys(lists, "[]"))
    before = calls(client)
    for number, entity in enumerate(("User", "Business")):
        cache.sync(CacheSync((), (entity,)), f"message-{number}")

    cache.sync(PURGE, "purge-1")

    after = calls(client)
    assert after["scan"] - before.get("scan", 0) <= 20_000 // 1_000 + 5
    assert after.get("keys") == before.get("keys")
    assert sorted(client.keys("*:list:*")) == sorted(name.encode() for name in lists if name.startswith("Rating"))
    assert client.dbsize() > 20_000


def test_a_list_that_is_filled_from_an_old_read_goes_with_the_second_purge(cache: Cache, client: redis.Redis) -> None:
    [first] = cache.sync(CacheSync((), ("User",)), "message-1")
    to_come = list(cache.sync(first.sync, "purge-1"))
    client.mset({"User:list:1": "from an old read", "Business:list:1": "of nobody's business"})

    def none_is_to_come() -> bool:
        """A host whose clock is ahead runs it at once; it asks for another one then."""
        to_come[:] = cache.sync(to_come[0].sync, f"purge-{time.monotonic_ns()}")
        return not to_come

    eventually(none_is_to_come, 30, lambda: str(to_come))

    assert client.keys("*:list:*") == [b"Business:list:1"]


def test_syncs_and_purges_at_once_leave_no_list_of_what_was_written(cache: Cache, client: redis.Redis) -> None:
    """Each thread is a writer whose messages are run as the actor does: what a call asks for is sent."""
    queue: list[CacheSync] = []
    lock = threading.Lock()

    def write(number: int) -> None:
        for step in range(WRITES):
            entity = random.Random(number * 1000 + step).choice(["User", "Business", "Rating"])
            client.set(f"{entity}:list:{number}", "[]")
            for again in cache.sync(CacheSync((), (entity,)), f"message-{number}-{step}"):
                with lock:
                    queue.append(again.sync)
            with lock:
                taken, queue[:] = list(queue), []
            for each, sync in enumerate(taken):
                for again in cache.sync(sync, f"purge-{number}-{step}-{each}"):
                    with lock:
                        queue.append(again.sync)

    def the_last_one_queued() -> bool:
        """It may find that the one before it has kept the server busy only just now: then it is to come again."""
        cache.sync(PURGE, "the last one queued")
        return client.keys("*:list:*") == []

    together(*(lambda number=number: write(number) for number in range(WRITERS)))  # type: ignore[misc]

    eventually(the_last_one_queued, 30, lambda: str(client.keys("*:list:*")))


def test_a_cache_that_is_full_forgets_what_is_old_and_is_filled_later(cache: Cache, client: redis.Redis) -> None:
    apply(create_user(1, id=1))
    cache.fill(["User:1"])
    client.mset({"User:1:pending": '{"operationId":"op_1"}', "User:2:pending": '{"operationId":"op_2"}'})
    sync = CacheSync(("User:1",), ("User",), notes=(("User:2", "op_2"),))
    apply(update("User", 1, firstName="Eva"))
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    try:
        cache.invalidate(sync)
        cache.remove_pending([("User:1", "op_1")])
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            cache.sync(sync, "message-1")
        assert client.keys("User:*") == []
    finally:
        client.config_set("maxmemory", "0")

    cache.sync(sync, "message-1")

    assert value(client, "User:1")["firstName"] == "Eva"


class Queue:
    """A broker that keeps what it is to send. Its Redis is the cache's."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.sent: list[Any] = []

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> None:
        self.sent += message.args


def test_a_recheck_that_finds_its_connection_closed_has_another_one_when_it_is_run_again(
    cache: Cache, client: redis.Redis, mariadb: MariaDBServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart of the database, or where it closes idle connections; nobody may write for hours and open one."""
    apply(create_user(1, id=1))
    client.set("User:1", "old")
    queue = Queue(client)
    applier = Applier(load_settings({}), queue, cache)  # type: ignore[arg-type]
    monkeypatch.setattr(applier_module, "_current_message", lambda: recheck_cache_message(CacheRecheck()))
    [(connection_id,)] = rows("SELECT CONNECTION_ID()")
    mariadb.execute(f"KILL {connection_id}")

    with pytest.raises(dramatiq.Retry):
        applier.recheck_cache(CacheRecheck())
    applier.recheck_cache(CacheRecheck())

    assert CacheSync(("User:1",), ()) in queue.sent


def test_while_redis_is_away_calls_fail_and_work_again_after(cache: Cache, redis_server: RedisServer) -> None:
    apply(create_user(1, id=1))
    sync = CacheSync(("User:1",), ("User",))
    redis_server.kill()
    with pytest.raises(redis.RedisError):
        cache.invalidate(sync)
    with pytest.raises(redis.RedisError):
        cache.sync(sync, "message-1")
    with pytest.raises(redis.RedisError):
        cache.remove_pending([("User:1", "op_1")])
    redis_server.ensure_running()

    cache.invalidate(sync)
    assert len(cache.sync(sync, "message-1")) == 1
