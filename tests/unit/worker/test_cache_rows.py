"""The cache's rows, leases and notes, on SQLite and a Redis inside the process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakeredis
import peewee
import pytest

from tests.support.applying import apply, create, create_user, delete, sqlite_database, update
from worker.cache import PURGE, Again, Cache
from worker.cache import rows as cache_module
from worker.messages import CacheSync


@pytest.fixture(autouse=True)
def _database(tmp_path: Path) -> Iterator[None]:
    with sqlite_database(tmp_path / "application.sqlite3"):
        yield


@pytest.fixture
def redis() -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis() as client:
        yield client


@pytest.fixture
def cache(redis: fakeredis.FakeRedis) -> Cache:
    return Cache(redis)


def value(redis: fakeredis.FakeRedis, key: str) -> Any:
    text = redis.get(key)
    return None if text is None else json.loads(text)


def while_reading(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object], times: int = 1) -> list[int]:
    """Has something happen between the reading of the rows and the setting of their values; how often it has."""
    read = cache_module._read
    rounds: list[int] = []

    def and_then(*arguments: Any) -> Any:
        values = read(*arguments)
        rounds.append(1)
        if len(rounds) <= times:
            happens()
        return values

    monkeypatch.setattr(cache_module, "_read", and_then)
    return rounds


def test_a_row_is_cached_as_the_database_holds_it(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    apply(create_user(1, id=1), create("Business", id=2, userId=1, name="Ñ"))
    apply(create("Rating", id=3, businessId=2, totalPercentage=12.5))

    assert cache.fill(["User:1", "Rating:3"]) == ()

    rating = value(redis, "Rating:3")
    assert (rating["totalPercentage"], rating["globalClassification"], rating["businessId"]) == ("12.50", None, 2)
    assert rating["calculationDate"].endswith(".000Z")
    assert redis.ttl("User:1") == 3600
    assert redis.keys("lease:*") == []


@pytest.mark.parametrize("with_secrets", [False, True])
def test_a_secret_is_cached_only_if_the_settings_say_so(redis: fakeredis.FakeRedis, with_secrets: bool) -> None:
    apply(create_user(1, id=1))

    Cache(redis, with_secrets=with_secrets).fill(["User:1"])

    assert ("passwordHash" in value(redis, "User:1")) is with_secrets


def test_rows_that_are_gone_leave_the_cache_with_all_that_the_cascade_took(
    cache: Cache, redis: fakeredis.FakeRedis
) -> None:
    apply(create_user(1, id=1), create("Business", id=2, userId=1, name="x"))
    cache.fill(["User:1", "Business:2"])
    result = apply(delete("User", 1))

    cache.fill(result.touched_keys)

    assert redis.keys("*") == []


def test_invalidating_forgets_rows_and_leases(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    redis.mset({"User:1": "old", "lease:User:1": "somebody", "User:2": "kept"})

    cache.invalidate(CacheSync(("User:1", "User:3"), ("User",)))

    assert redis.keys("*") == [b"User:2"]


def test_a_reader_that_a_write_has_overtaken_reads_anew(
    cache: Cache, redis: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(create_user(1, id=1), create_user(2, id=2))
    rounds = while_reading(monkeypatch, lambda: cache.invalidate(CacheSync(("User:1",), ())))

    assert cache.fill(["User:1", "User:2"]) == ()

    assert len(rounds) == 2
    assert value(redis, "User:1")["firstName"] == value(redis, "User:2")["firstName"] == "Ana"


def test_a_flush_while_reading_makes_the_reader_begin_again(
    cache: Cache, redis: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(create_user(1, id=1))
    rounds = while_reading(monkeypatch, redis.flushall)

    cache.fill(["User:1"])

    assert len(rounds) == 2
    assert value(redis, "User:1")["id"] == 1


def test_a_key_that_another_reader_has_leased_since_is_left_to_that_one_without_an_old_value(
    cache: Cache, redis: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one, a repair perhaps, may be killed before it sets the row."""
    apply(create_user(1, id=1))
    redis.set("User:1", "what a write could not remove while the cache was away")
    rounds = while_reading(monkeypatch, lambda: redis.set("lease:User:1", "the other"))

    assert cache.fill(["User:1"]) == ()

    assert len(rounds) == 1
    assert (redis.get("User:1"), redis.get("lease:User:1")) == (None, b"the other")


def test_a_row_that_is_written_without_end_is_given_up_for_a_while(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(create_user(1, id=1))
    while_reading(monkeypatch, lambda: cache.invalidate(CacheSync(("User:1",), ())), times=1000)

    to_send = cache.sync(CacheSync(("User:1",), ()), "message-1")

    assert to_send == (Again(CacheSync(("User:1",), ()), cache_module.NEXT_ROUNDS_AFTER_MS),)


def test_lists_are_purged_though_the_database_is_away(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise peewee.OperationalError(2003, "Can't connect")

    monkeypatch.setattr(cache_module, "_read", fail)

    to_send = cache.sync(CacheSync(("User:1",), ("User",)), "message-1")

    assert [again.sync for again in to_send] == [PURGE, CacheSync(("User:1",), ())]
    with pytest.raises(peewee.OperationalError):
        cache.sync(to_send[1].sync, "message-2")


def test_a_key_of_an_entity_that_nobody_knows_is_removed(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    redis.set("Nothing:1", "old")

    cache.fill(["Nothing:1"])

    assert redis.keys("*") == []


def test_more_keys_than_one_script_takes_are_all_set(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    count = 2 * cache_module.KEYS_PER_PORTION + 1
    result = apply(*(create_user(number) for number in range(count)))

    cache.invalidate(CacheSync(result.touched_keys, ()))
    cache.fill(result.touched_keys)

    assert len(redis.keys("User:*")) == count


def test_a_note_goes_only_if_it_names_the_settled_operation(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    redis.set("User:1:pending", json.dumps({"operationId": "op_1", "more": [1]}))
    redis.set("User:2:pending", json.dumps({"operationId": "op_newer"}))
    redis.set("User:3:pending", json.dumps({"operationId": 17}))
    redis.set("User:4:pending", "no JSON")
    redis.set("User:5:pending", '"text"')
    redis.rpush("User:6:pending", "a list")

    settled = [("User:1", "op_1"), ("User:2", "op_1"), ("User:3", "17"), ("User:7", "op_1")]
    cache.remove_pending([*settled, ("User:4", "op_1"), ("User:5", "op_1"), ("User:6", "op_1")])

    assert sorted(redis.keys("*")) == [b"User:2:pending", b"User:4:pending", b"User:5:pending", b"User:6:pending"]


@pytest.mark.parametrize("number", [17, 1699876543210, 9007199254740991, 1699876543210123500, 1.5])
def test_a_note_may_tell_the_operations_id_as_a_number(
    cache: Cache, redis: fakeredis.FakeRedis, number: int | float
) -> None:
    redis.set("User:1:pending", json.dumps({"operationId": number}))

    cache.remove_pending([("User:1", str(number * 2)), ("User:2", str(number))])
    assert redis.exists("User:1:pending")
    cache.remove_pending([("User:1", str(number))])

    assert not redis.exists("User:1:pending")


@pytest.mark.parametrize("note", ["{}", '{"operationId": true}', "[]", '{"operationId": null}'])
@pytest.mark.parametrize("operation_id", ["nil", "true", "userdata: (nil)", "userdata: NULL"])
def test_a_note_that_names_no_operation_stays(
    cache: Cache, redis: fakeredis.FakeRedis, note: str, operation_id: str
) -> None:
    redis.set("User:1:pending", note)

    cache.remove_pending([("User:1", operation_id)])

    assert redis.exists("User:1:pending")


def test_the_value_is_the_newest_after_any_order_of_syncs(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    apply(create_user(1, id=1))
    first = apply(update("User", 1, firstName="one"))
    second = apply(update("User", 1, firstName="two"))

    cache.invalidate(CacheSync(second.touched_keys, ()))
    cache.fill(second.touched_keys)
    cache.invalidate(CacheSync(first.touched_keys, ()))  # late
    cache.fill(first.touched_keys)

    assert value(redis, "User:1")["firstName"] == "two"
