"""The cache is true in the end, whatever its Redis or the broker's forgets: real servers, real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.pipeline import Pipeline
from tests.support.redis_server import RedisServer
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually
from worker.fault_points import VARIABLE, Point

ROWS = 20

#: What a client needs to change the cache, and may be forbidden.
WRITING = ("unlink", "del", "set", "eval", "evalsha")


@pytest.fixture
def broker_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the broker's own."""
    server = RedisServer(tmp_path / "broker-redis")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def cached(pipeline: Pipeline, broker_redis: RedisServer) -> Pipeline:
    """The service running, with the cache and the broker on a Redis each, and some users that are cached."""
    pipeline.service.settings |= {"BROKER_REDIS_URL": broker_redis.url(), "RECONCILE_INTERVAL_MS": "300"}
    create(pipeline)
    return pipeline


def create(pipeline: Pipeline) -> None:
    users = [a_user(f"user{row}@example.co", id=row) for row in range(1, ROWS + 1)]
    pipeline.send([a_message(f"create_{user['id']}", "CREATE", "User", user) for user in users])
    pipeline.service.start()
    pipeline.wait_until_settled()
    pipeline.wait_until_the_cache_is_true()
    pipeline.wait_until_the_cache_is_vouched_for()


def rename(pipeline: Pipeline, name: str) -> None:
    """Change all users, and wait until that is settled."""
    changes: list[dict[str, Any]] = [{"id": row, "firstName": name} for row in range(1, ROWS + 1)]
    pipeline.send([a_message(f"{name}_{one['id']}", "UPDATE", "User", one) for one in changes])
    pipeline.wait_until_settled()


def first_names(pipeline: Pipeline) -> set[str]:
    return {row["firstName"] for row in pipeline.cached_rows().values()}


def allow(pipeline: Pipeline, sign: str) -> None:
    """Forbid ("-") or allow ("+") changes of the cache: it is reached, answers, and refuses."""
    pipeline.cache.execute_command("ACL", "SETUSER", "default", *(f"{sign}{command}" for command in WRITING))


def test_a_sync_that_is_lost_after_the_cache_could_not_be_told(cached: Pipeline, broker_redis: RedisServer) -> None:
    """Nobody but the database remembers that the cache is stale."""
    allow(cached, "-")
    rename(cached, "Eva")
    assert "Eva" not in first_names(cached)

    broker_redis.flush()
    allow(cached, "+")

    cached.wait_until_the_cache_is_true()
    assert first_names(cached) == {"Eva"}
    assert cached.dead_letters() == {}


def test_a_cache_that_comes_back_as_it_was_before(cached: Pipeline) -> None:
    """As after a failover to a replica that lagged, or a restart from an older file."""
    data = cached.redis_server.folder / "redis-data"
    older = data.with_name("older")
    cached.redis_server.stop()
    shutil.copytree(data, older)
    cached.redis_server.start()
    rename(cached, "Eva")
    cached.wait_until_the_cache_is_true()

    cached.redis_server.kill()
    shutil.rmtree(data)
    older.rename(data)
    cached.redis_server.start()

    eventually(lambda: first_names(cached) == {"Eva"}, 60, cached.service.log_tails)
    cached.wait_until_the_cache_is_true()


def test_one_redis_for_both_that_comes_back_as_it_was_before(pipeline: Pipeline) -> None:
    pipeline.service.settings["RECONCILE_INTERVAL_MS"] = "300"
    create(pipeline)
    data = pipeline.redis_server.folder / "redis-data"
    older = data.with_name("older")
    pipeline.redis_server.stop()
    shutil.copytree(data, older)
    pipeline.redis_server.start()
    rename(pipeline, "Eva")
    pipeline.wait_until_the_cache_is_true()

    pipeline.redis_server.kill()
    shutil.rmtree(data)
    older.rename(data)
    pipeline.redis_server.start()

    eventually(lambda: first_names(pipeline) == {"Eva"}, 60, pipeline.service.log_tails)
    pipeline.wait_until_the_cache_is_true()


def test_lists_whose_purge_was_lost_are_dropped(cached: Pipeline, broker_redis: RedisServer) -> None:
    cached.service.actors.kill()
    broker_redis.flush()
    cached.cache.set("User:list:1", "from an old read")
    cached.service.start_actors()

    eventually(lambda: not cached.cache.exists("User:list:1"), 60, cached.service.log_tails)


def test_no_write_fails_while_the_cache_is_down_and_it_is_true_after(cached: Pipeline) -> None:
    """Of rows that were changed, and without one that was deleted: the server comes back with what it held."""
    cached.cache.mset({f"User:{row}:pending": f'{{"operationId":"Eva_{row}"}}' for row in range(1, ROWS + 1)})
    cached.redis_server.stop()

    rename(cached, "Eva")
    cached.send([a_message("gone", "DELETE", "User", {"id": ROWS})])
    cached.wait_until_settled()
    assert cached.dead_letters() == {}
    cached.redis_server.start()

    eventually(lambda: first_names(cached) == {"Eva"}, 60, cached.service.log_tails)
    cached.wait_until_the_cache_is_true()
    eventually(lambda: not cached.cache.keys("*:pending"), 60, "the notes of settled operations are gone")


def stopped_at(pipeline: Pipeline, folder: Path, point: Point) -> int:
    """The process id of whoever has stopped there."""

    def found() -> int | None:
        return next((int(path.suffix[1:]) for path in folder.glob(f"{point.value}.*")), None)

    pid = eventually(found, 60, pipeline.service.log_tails)
    assert pid is not None
    return pid


@pytest.fixture
def points(pipeline: Pipeline, tmp_path: Path) -> Path:
    """The folder in which a test arms points."""
    folder = tmp_path / "points"
    folder.mkdir()
    pipeline.service.settings[VARIABLE] = str(folder)
    return folder


def test_the_cache_is_emptied_while_a_sync_has_read_its_rows(points: Path, cached: Pipeline) -> None:
    (points / Point.READ.value).write_text("stop")
    rename(cached, "Eva")
    pid = stopped_at(cached, points, Point.READ)

    cached.redis_server.client().flushdb()
    os.kill(pid, signal.SIGCONT)

    cached.wait_until_the_cache_is_true()


def test_no_old_value_stands_in_the_cache_when_an_operation_is_settled(points: Path, cached: Pipeline) -> None:
    """Whoever sees the outcome may look into the cache at once."""
    cached.service.settings["MAX_IN_FLIGHT_BATCHES"] = "1"
    (points / Point.SETTLEMENT_PUSHED.value).write_text("stop")
    for other in (Point.LEASED,):
        (points / other.value).write_text("stop")  # nothing is filled meanwhile

    cached.send([a_message("eva", "UPDATE", "User", {"id": 1, "firstName": "Eva"})])
    pid = stopped_at(cached, points, Point.SETTLEMENT_PUSHED)
    value = cached.cache.get("User:1")
    for path in points.glob("*.*.*"):
        os.kill(int(path.suffix[1:]), signal.SIGCONT)

    assert value is None or json.loads(value)["firstName"] == "Eva"
    assert pid
    cached.wait_until_the_cache_is_true()
