"""The purges of the application's lists: which keys go, how many walks there are, and what survives a purge that dies."""

from __future__ import annotations

from collections.abc import Iterator

import fakeredis
import pytest

from worker.cache import PURGE, Again, Cache, lists
from worker.messages import CacheSync


@pytest.fixture
def redis() -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis() as client:
        yield client


@pytest.fixture
def cache(redis: fakeredis.FakeRedis) -> Cache:
    return Cache(redis)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a walk took, the next may begin: what Python takes for it is not to decide these tests."""
    monkeypatch.setattr(lists, "PAUSE_FACTOR", 0)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Second purges are due as soon as the first are done."""
    monkeypatch.setattr(lists, "SECOND_PURGE_AFTER_MS", 0)


def stale_lists(redis: fakeredis.FakeRedis, entity: str) -> list[str]:
    names = [f"{entity}:list:page=1", f"{entity}:list:", f"{entity}:user:3", f"{entity}:user:4:all", f"{entity}:all"]
    redis.mset(dict.fromkeys(names, "[]"))
    return names


def test_the_lists_of_an_entity_go_and_nothing_else_does(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    stale_lists(redis, "User")
    others = ["User:1", "User:1:pending", "AnotherUser:all", "User:allies", "Use:list:r"]
    kept = [*stale_lists(redis, "Business"), *others]
    redis.mset(dict.fromkeys(kept, "kept"))
    cache.sync(CacheSync((), ("User",)), "message-1")

    cache.sync(PURGE, "purge-1")

    left = {key.decode() for key in redis.keys("*")}
    assert {key for key in left if not key.startswith("sync:")} == set(kept)


def test_the_first_to_dirty_an_entity_sends_the_purge_and_the_others_rely_on_it(cache: Cache) -> None:
    first = cache.sync(CacheSync((), ("User",)), "message-1")
    second = cache.sync(CacheSync((), ("Business",)), "message-2")
    first_again = cache.sync(CacheSync((), ("User",)), "message-1")

    assert first == (Again(PURGE, 0),)
    assert second == ()
    assert first_again == (Again(PURGE, 0),), "it may have died before it sent the purge"


def test_one_walk_serves_all_entities_that_are_dirty(
    cache: Cache, redis: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = []
    monkeypatch.setattr(lists, "_drop_lists", lambda _, entities: walks.append(entities))
    for number, entity in enumerate(["User", "Business", "User", "Rating"]):
        cache.sync(CacheSync((), (entity,)), f"message-{number}")

    cache.sync(PURGE, "purge-1")
    cache.sync(PURGE, "purge-2")

    assert walks == [{"User", "Business", "Rating"}]


def test_what_is_dirtied_after_a_purge_has_begun_is_for_the_next_one_and_that_keeps_a_distance(cache: Cache) -> None:
    cache.sync(CacheSync((), ("User",)), "message-1")
    cache.sync(PURGE, "purge-1")

    [again] = cache.sync(CacheSync((), ("User",)), "message-2")

    assert again.sync == PURGE
    assert 0 < again.delay_ms <= lists.SHORTEST_PAUSE_MS


def test_lists_are_purged_a_second_time_for_those_filled_from_an_old_read(
    cache: Cache, redis: fakeredis.FakeRedis
) -> None:
    cache.sync(CacheSync((), ("User",)), "message-1")

    [again] = cache.sync(PURGE, "purge-1")

    assert again.sync == CacheSync((), (), "purge-1")
    assert lists.SECOND_PURGE_AFTER_MS - 100 < again.delay_ms <= lists.SECOND_PURGE_AFTER_MS


@pytest.mark.usefixtures("at_once")
def test_the_second_purge_drops_them_and_is_followed_by_no_third(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    cache.sync(CacheSync((), ("User",)), "message-1")
    [again] = cache.sync(PURGE, "purge-1")
    filled_late = stale_lists(redis, "User")

    followers = cache.sync(again.sync, "purge-2")

    assert followers == ()
    assert redis.exists(*filled_late) == 0


def test_a_second_purge_that_comes_too_early_is_asked_for_again(cache: Cache) -> None:
    cache.sync(CacheSync((), ("User",)), "message-1")
    cache.sync(PURGE, "purge-1")

    run_again = cache.sync(PURGE, "purge-1")  # it may have died before it sent the second one
    early = cache.sync(run_again[0].sync, "purge-2")
    twice = cache.sync(run_again[0].sync, "purge-3")
    early_again = cache.sync(early[0].sync, "purge-4")

    assert [again.sync.promised_by for again in (*run_again, *early, *early_again)] == ["purge-1", "purge-2", "purge-4"]
    assert all(again.delay_ms > 0 for again in (*run_again, *early, *early_again))
    assert twice == ()


def test_second_purges_are_queued_once(cache: Cache) -> None:
    cache.sync(CacheSync((), ("User",)), "message-1")
    first = cache.sync(PURGE, "purge-1")
    cache.sync(CacheSync((), ("Business",)), "message-2")
    second = cache.sync(PURGE, "purge-2")

    assert (len(first), len(second)) == (1, 0)


def test_a_purge_that_died_finds_what_it_had_taken_over(
    cache: Cache, redis: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = stale_lists(redis, "User")
    cache.sync(CacheSync((), ("User",)), "message-1")
    with monkeypatch.context() as while_dying:
        while_dying.setattr(lists, "_drop_lists", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cache.sync(PURGE, "purge-1")

    cache.sync(PURGE, "purge-1")

    assert redis.exists(*names) == 0


def test_nothing_of_ours_is_left_when_all_is_done(
    cache: Cache, redis: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "SECOND_PURGE_AFTER_MS", 0)
    cache.sync(CacheSync((), ("User",)), "message-1")
    cache.sync(PURGE, "purge-1")
    cache.sync(PURGE, "purge-2")

    assert redis.keys("*") == [lists.LAST.encode()]


def test_one_purge_walks_at_a_time_and_the_other_comes_again(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    walks = []

    def while_the_first_walks(_: object, entities: set[str]) -> None:
        walks.append(entities)
        if len(walks) == 1:
            cache.sync(CacheSync((), ("Business",)), "message-2")
            redis.delete(lists.QUEUED_BY)  # its word has expired
            assert cache.sync(PURGE, "purge-2") == (Again(PURGE, lists.BUSY_AGAIN_MS),)
            assert cache.sync(CacheSync((), ("Rating",)), "message-3") == (), "purge-2 has undertaken it"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lists, "_drop_lists", while_the_first_walks)
        cache.sync(CacheSync((), ("User",)), "message-1")
        cache.sync(PURGE, "purge-1")
        cache.sync(PURGE, "purge-3")

    assert walks == [{"User"}, {"Business", "Rating"}]


def test_a_walk_that_took_long_is_followed_by_a_pause(
    cache: Cache, redis: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "PAUSE_FACTOR", 10)
    cache.sync(CacheSync((), ("User",)), "message-1")
    cache.sync(PURGE, "purge-1")
    redis.hset(lists.LAST, "took", 500)
    stale = stale_lists(redis, "User")

    [too_early] = cache.sync(PURGE, "purge-2")
    [also_too_early] = cache.sync(CacheSync((), ("User",)), "message-2") or [too_early]

    assert too_early.sync == also_too_early.sync == PURGE
    assert 4_000 < too_early.delay_ms <= 5_000
    assert redis.exists(*stale) == len(stale)


def test_what_a_dead_purge_had_taken_is_not_lost_when_it_comes_again_while_another_walks(
    cache: Cache, redis: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(_: object, __: set[str]) -> None:
        raise ConnectionError

    cache.sync(CacheSync((), ("User",)), "message-1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lists, "_drop_lists", dies)
        with pytest.raises(ConnectionError):
            cache.sync(PURGE, "purge-1")
    redis.set(lists.WALKER, "purge-of-another")
    stale = stale_lists(redis, "User")

    [again] = cache.sync(PURGE, "purge-1")
    redis.delete(lists.WALKER)
    cache.sync(again.sync, "purge-2")

    assert again == Again(PURGE, lists.BUSY_AGAIN_MS)
    assert redis.exists(*stale) == 0


def test_a_purge_that_died_and_runs_again_finds_itself_walking(cache: Cache, redis: fakeredis.FakeRedis) -> None:
    cache.sync(CacheSync((), ("User",)), "message-1")
    redis.set(lists.WALKER, "purge-1")
    stale = stale_lists(redis, "User")

    cache.sync(PURGE, "purge-1")

    assert redis.exists(*stale, lists.WALKER) == 0


def test_a_long_walk_says_that_it_is_still_at_it(
    cache: Cache, redis: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    monkeypatch.setattr(lists, "WALKER_TELLS_S", 0)
    monkeypatch.setattr(redis, "pexpire", lambda name, time: told.append((name, time)))
    redis.mset({f"User:{number}": "{}" for number in range(3 * lists.SCAN_COUNT)})
    cache.sync(CacheSync((), ("User",)), "message-1")

    cache.sync(PURGE, "purge-1")

    assert set(told) == {(lists.WALKER, lists.WALKER_HOLDS_MS)}
