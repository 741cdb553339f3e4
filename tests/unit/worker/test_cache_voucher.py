"""Who vouches for the cache: what takes the voucher away, what a recheck mends before it is given, and who asks for one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dramatiq
import fakeredis
import pytest
from dramatiq.errors import ConnectionClosed

from tests.support.applying import apply, create_user, delete, sqlite_database, update
from worker.cache import PURGE, Again, Cache, lists, recheck
from worker.cache.voucher import ASKED, ASKING_HOLDS_MS, Vouchers
from worker.cache.watch import CacheWatch
from worker.messages import CacheRecheck, CacheSync


class Redises:
    """A broker's and a cache's Redis, each with the run id that it has now."""

    def __init__(self) -> None:
        self.broker, self.cache = fakeredis.FakeRedis(), fakeredis.FakeRedis()
        self.run_ids = {self.broker: "broker-1", self.cache: "cache-1"}
        self.vouchers = Vouchers(self.broker, self.cache, self.run_ids.__getitem__)


@pytest.fixture(autouse=True)
def _database(tmp_path: Path) -> Iterator[None]:
    with sqlite_database(tmp_path / "application.sqlite3"):
        apply(*(create_user(number, id=number) for number in range(1, 4)))
        yield


@pytest.fixture
def redises() -> Redises:
    return Redises()


@pytest.fixture
def vouchers(redises: Redises) -> Vouchers:
    return redises.vouchers


@pytest.fixture
def cache(redises: Redises) -> Cache:
    cache = Cache(redises.cache)
    cache.fill(["User:1", "User:2", "User:3"])
    return cache


LOSSES: dict[str, Callable[[Redises], object]] = {
    "the broker's database is emptied": lambda redises: redises.broker.flushdb(),
    "the cache is emptied": lambda redises: redises.cache.flushdb(),
    "the broker's server is another process": lambda redises: redises.run_ids.update({redises.broker: "broker-2"}),
    "the cache's server is another process": lambda redises: redises.run_ids.update({redises.cache: "cache-2"}),
}


class Sent(list[Again]):
    """The syncs that a recheck has sent; ``run`` does what they ask for."""

    def run(self, cache: Cache) -> list[Again]:
        return [again for number, one in enumerate(self) for again in cache.sync(one.sync, f"message-{number}")]

    @property
    def keys(self) -> list[str]:
        return sorted(key for again in self for key in again.sync.keys)


def rechecked(
    cache: Cache, vouchers: Vouchers, message: CacheRecheck | None = None
) -> tuple[Sent, CacheRecheck | None]:
    sent = Sent()
    return sent, recheck.recheck(cache, vouchers, message or CacheRecheck(), "message", sent.append)


def test_nobody_vouches_for_a_cache_that_was_never_compared(vouchers: Vouchers) -> None:
    assert not vouchers.is_given()


def test_a_recheck_that_comes_to_its_end_gives_the_voucher(cache: Cache, vouchers: Vouchers) -> None:
    sent, following = rechecked(cache, vouchers)

    assert (sent.keys, following) == ([], None)
    assert vouchers.is_given()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_loss_takes_the_voucher_away(
    cache: Cache, vouchers: Vouchers, redises: Redises, loss: Callable[[Redises], object]
) -> None:
    rechecked(cache, vouchers)

    loss(redises)

    assert not vouchers.is_given()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_loss_during_a_recheck_keeps_the_voucher_from_being_given(
    cache: Cache, vouchers: Vouchers, redises: Redises, loss: Callable[[Redises], object]
) -> None:
    voucher = vouchers.seek()

    loss(redises)

    assert not vouchers.give(voucher)
    assert not vouchers.is_given()
    assert rechecked(cache, vouchers, CacheRecheck(1, voucher)) == ([], None)
    assert not vouchers.is_given()


def test_a_recheck_that_another_one_has_replaced_gives_nothing(vouchers: Vouchers) -> None:
    older, newer = vouchers.seek(), vouchers.seek()

    assert not vouchers.give(older)
    assert vouchers.give(newer)


def test_a_recheck_makes_rows_true(cache: Cache, vouchers: Vouchers, redises: Redises) -> None:
    apply(update("User", 1, firstName="Eva"), delete("User", 2))  # and nobody has told the cache

    sent, _ = rechecked(cache, vouchers)
    sent.run(cache)

    assert sent.keys == ["User:1", "User:2"]
    assert json.loads(redises.cache.get("User:1"))["firstName"] == "Eva"
    assert not redises.cache.exists("User:2")


def test_a_recheck_has_the_lists_dropped_though_a_lost_message_was_to_do_it(
    cache: Cache, vouchers: Vouchers, redises: Redises, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "SHORTEST_PAUSE_MS", 0)
    redises.cache.set("User:list:1", "[]")
    assert lists.mark_dirty(redises.cache, ["User"], "lost") is not None

    sent, _ = rechecked(cache, vouchers)

    assert [again.sync for again in sent] == [PURGE]
    [second] = sent.run(cache)
    assert not redises.cache.exists("User:list:1")
    assert second.sync == CacheSync((), (), "message-0")  # and what was filled from an old read goes too


def test_a_long_recheck_goes_on_by_messages(
    cache: Cache, vouchers: Vouchers, redises: Redises, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recheck, "SCANS_A_MESSAGE", 1)
    redises.cache.mset({f"User:{number}": "{}" for number in range(1_000, 4_500)})
    messages, in_all = 0, Sent()
    message: CacheRecheck | None = CacheRecheck()

    while message is not None:
        assert not vouchers.is_given()
        sent, message = rechecked(cache, vouchers, message)
        in_all += sent
        messages += 1
    in_all.run(cache)

    assert messages > 2
    assert vouchers.is_given()
    assert len(redises.cache.keys("User:*")) == 3


# ------------------------------------------------------------------------------------------------------------- the watch


class Queue:
    """``then``: what happens before the sender goes on."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.then: Callable[[], object] | None = None

    def enqueue(self, message: dramatiq.Message[None], *, delay: int | None = None) -> None:
        self.sent.append(message.args[0])
        if self.then is not None:
            self.then()


def test_a_recheck_is_asked_for_once(vouchers: Vouchers) -> None:
    queue = Queue()
    watch = CacheWatch(vouchers, queue, 1)

    watch.look()
    watch.look()

    assert queue.sent == [CacheRecheck()]


def test_nothing_is_asked_for_while_the_voucher_stands(cache: Cache, vouchers: Vouchers) -> None:
    queue = Queue()
    rechecked(cache, vouchers)

    CacheWatch(vouchers, queue, 1).look()

    assert queue.sent == []


def test_a_broker_that_is_emptied_again_is_asked_again(cache: Cache, vouchers: Vouchers, redises: Redises) -> None:
    queue = Queue()
    watch = CacheWatch(vouchers, queue, 1)
    watch.look()

    redises.broker.flushdb()
    watch.look()

    assert len(queue.sent) == 2


def test_after_a_recheck_the_next_loss_is_asked_for_at_once(cache: Cache, vouchers: Vouchers, redises: Redises) -> None:
    queue = Queue()
    watch = CacheWatch(vouchers, queue, 1)
    watch.look()
    rechecked(cache, vouchers)

    redises.run_ids[redises.cache] = "cache-2"
    watch.look()

    assert len(queue.sent) == 2


def test_after_a_recheck_that_was_as_quick_as_its_sender_the_next_loss_is_asked_for_at_once(
    cache: Cache, vouchers: Vouchers, redises: Redises
) -> None:
    queue = Queue()
    watch = CacheWatch(vouchers, queue, 1)
    queue.then = lambda: rechecked(cache, vouchers)
    watch.look()
    queue.then = None

    redises.cache.flushdb()
    watch.look()

    assert len(queue.sent) == 2


@pytest.mark.parametrize("cursor", [0, 1], ids=["in its first message", "in a later one"])
def test_after_a_recheck_that_a_loss_has_ended_the_next_one_is_asked_for_at_once(
    cache: Cache, vouchers: Vouchers, redises: Redises, cursor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue()
    watch = CacheWatch(vouchers, queue, 1)
    watch.look()
    voucher = vouchers.seek()
    monkeypatch.setattr(vouchers, "seek", lambda: voucher)

    redises.run_ids[redises.cache] = "cache-2"
    rechecked(cache, vouchers, CacheRecheck(cursor, voucher if cursor else ""))
    watch.look()

    assert len(queue.sent) == 2


def test_a_recheck_that_another_one_has_replaced_leaves_that_one_to_be_waited_for(
    cache: Cache, vouchers: Vouchers
) -> None:
    queue = Queue()
    older = vouchers.seek()
    vouchers.seek()

    rechecked(cache, vouchers, CacheRecheck(1, older))
    CacheWatch(vouchers, queue, 1).look()

    assert queue.sent == []


def test_a_message_that_could_not_be_sent_is_not_waited_for_long(vouchers: Vouchers, redises: Redises) -> None:
    queue = Queue()
    queue.then = _fail

    with pytest.raises(ConnectionClosed):
        CacheWatch(vouchers, queue, 1).look()

    assert 0 < redises.broker.pttl(ASKED) <= ASKING_HOLDS_MS


def _fail() -> None:
    raise ConnectionClosed("Redis is away")
