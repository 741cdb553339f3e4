"""The check of the cache, on SQLite and a Redis inside the process: what counts as wrong, what does not, what is repaired."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from tests.support.applying import apply, create, create_user, delete, sqlite_database, update
from worker.cache import Cache
from worker.cache.check import LOOKS_AGAIN, Report, check
from worker.cache.comparison import Fault, row_key
from worker.messages import CacheSync


@pytest.fixture(autouse=True)
def _database(tmp_path: Path) -> Iterator[None]:
    with sqlite_database(tmp_path / "application.sqlite3"):
        apply(create_user(1, id=1), create_user(2, id=2), create("Business", id=5, userId=1, name="Ñ"))
        yield


@pytest.fixture
def redis() -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis() as client:
        yield client


@pytest.fixture
def cache(redis: fakeredis.FakeRedis) -> Cache:
    cache = Cache(redis)
    cache.fill(["User:1", "User:2", "Business:5"])
    return cache


def checked(cache: Cache, *names: str, repair: bool = False, meanwhile: Callable[[], object] = lambda: None) -> Report:
    return check(cache, names, repair=repair, pause=lambda seconds: meanwhile())


def changed(redis: fakeredis.FakeRedis, key: str, **values: Any) -> None:
    redis.set(key, json.dumps({**json.loads(redis.get(key)), **values}))


def test_what_the_service_has_filled_is_true(cache: Cache) -> None:
    report = checked(cache)

    assert (report.checked, report.wrong, report.is_true) == (3, {}, True)


def test_spaces_and_the_order_of_names_are_the_writers_own(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    row = json.loads(redis.get("User:1"))
    redis.set("User:1", json.dumps(dict(reversed(row.items())), indent=2))

    assert checked(cache).is_true


def test_an_old_value_is_stale(cache: Cache) -> None:
    apply(update("User", 1, firstName="Eva"))  # and nobody has told the cache

    assert checked(cache).wrong == {"User:1": Fault.STALE}


def test_a_number_in_place_of_a_boolean_is_stale(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    apply(create("WorkTeam", id=9, businessId=5, hasDefinedRoles=True))
    cache.fill(["WorkTeam:9"])
    changed(redis, "WorkTeam:9", hasDefinedRoles=1)

    assert checked(cache).wrong == {"WorkTeam:9": Fault.STALE}


def test_rows_that_the_database_does_not_have_are_gone(cache: Cache) -> None:
    apply(delete("User", 1))

    assert checked(cache).wrong == {"Business:5": Fault.GONE, "User:1": Fault.GONE}


@pytest.mark.parametrize(
    "value",
    [
        "null",
        "[]",
        "{",
        b"\xff\xfe",
        "",
        b'{"firstName":"Jos\xe9"}',
        "[" * 100_000,
        '{"id":' * 5_000 + "1" + "}" * 5_000,
    ],
    ids=lambda value: repr(value[:20]),
)
def test_what_is_no_row_in_json_is_unreadable(cache: Cache, redis: fakeredis.FakeRedis, value: str | bytes) -> None:
    redis.set("User:1", value)

    assert checked(cache).wrong == {"User:1": Fault.UNREADABLE}


def test_a_key_of_another_type_is_unreadable_and_replaced(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    redis.delete("User:1")
    redis.hset("User:1", "firstName", "Ana")

    report = checked(cache, repair=True)

    assert (report.wrong, report.repaired) == ({"User:1": Fault.UNREADABLE}, 1)
    assert json.loads(redis.get("User:1"))["firstName"] == "Ana"


def test_a_secret_in_the_cache_is_wrong_unless_the_settings_allow_it(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    Cache(redis, with_secrets=True).fill(["User:1"])

    assert checked(cache).wrong == {"User:1": Fault.SECRET}
    assert checked(Cache(redis, with_secrets=True), "Business").is_true
    assert checked(Cache(redis, with_secrets=True)).wrong == {"User:2": Fault.STALE}


@pytest.mark.parametrize(
    "key",
    ["User:1:pending", "lease:User:1", "User:list:1", "User:user:1", "Users:1", "User:0", "User:01", "User:x", "1"],
)
def test_other_keys_are_none_of_a_row(cache: Cache, redis: fakeredis.FakeRedis, key: str) -> None:
    redis.set(key, "anything")

    report = checked(cache)

    assert row_key(key.encode(), {"User"}) is None
    assert (report.checked, report.is_true) == (3, True)


def test_only_the_entities_named_are_looked_at(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    changed(redis, "User:1", firstName="Eva")

    report = checked(cache, "Business")

    assert (report.checked, report.is_true) == (1, True)


def test_what_a_sync_mends_meanwhile_does_not_count(cache: Cache) -> None:
    apply(update("User", 1, firstName="Eva"))

    report = checked(cache, meanwhile=lambda: cache.fill(["User:1"]))

    assert report.is_true


def test_a_row_that_is_written_again_and_again_does_not_count(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    written = iter(range(100))

    def an_old_value_is_set() -> None:
        changed(redis, "User:1", firstName=f"in flight {next(written)}")

    an_old_value_is_set()

    assert checked(cache, meanwhile=an_old_value_is_set).is_true


def test_what_stays_wrong_is_looked_at_a_few_times(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    looks: list[int] = []
    changed(redis, "User:1", firstName="Eva")

    report = checked(cache, meanwhile=lambda: looks.append(1))

    assert (len(looks), report.count(Fault.STALE)) == (LOOKS_AGAIN, 1)


def test_repair_makes_all_true_by_leases(
    cache: Cache, redis: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(update("User", 1, firstName="Eva"), delete("Business", 5))
    filled: list[list[str]] = []
    fill = cache.fill
    monkeypatch.setattr(cache, "fill", lambda keys: filled.append(sorted(keys)) or fill(keys))

    report = checked(cache, repair=True)

    assert (report.repaired, report.is_true) == (2, True)
    assert filled == [["Business:5", "User:1"]]
    assert json.loads(redis.get("User:1"))["firstName"] == "Eva"
    assert not redis.exists("Business:5")
    assert checked(cache).is_true


def test_many_rows_are_compared_in_portions(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    apply(*(create_user(number, id=number) for number in range(3, 60)))
    cache.fill([f"User:{number}" for number in range(3, 60)])
    changed(redis, "User:59", firstName="Eva")
    progress: list[int] = []

    report = check(cache, batch=10, pause=lambda seconds: None, on_progress=lambda rows, wrong: progress.append(rows))

    assert (report.checked, report.wrong) == (60, {"User:59": Fault.STALE})
    assert len(progress) >= 6


def test_a_reader_that_fails_takes_back_what_it_may_have_set(
    cache: Cache, redis: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its script may still be on its way: by then the row is no longer locked, and the value may be old."""
    from redis import TimeoutError as NoAnswer

    def no_answer(*arguments: Any) -> list[str]:
        raise NoAnswer

    with monkeypatch.context() as while_slow:
        while_slow.setattr(cache, "_set_leased", no_answer)
        with pytest.raises(NoAnswer):
            cache.sync(CacheSync(("User:1",), ()), "message")

    assert redis.keys("*User:1") == []
