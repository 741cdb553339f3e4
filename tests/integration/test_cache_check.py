"""`python -m worker.cache check` as an operator types it: what it prints, what it mends, its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.applying import apply, create_user, delete, mariadb_database, update
from tests.support.mariadb_server import PASSWORD, USER, MariaDBServer
from tests.support.redis_server import RedisServer
from tests.support.service import INHERITED, ROOT
from tests.support.waiting import eventually
from worker.cache import Cache

Environment = dict[str, str]


@pytest.fixture
def environment(mariadb: MariaDBServer, redis_server: RedisServer, database: str) -> Iterator[Environment]:
    """Where 30 users are, all of them cached."""
    with mariadb_database(mariadb, database), redis_server.client() as client:
        apply(*(create_user(number, id=number) for number in range(1, 31)))
        Cache(client).fill([f"User:{number}" for number in range(1, 31)])
        yield {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "PYTHONPATH": str(ROOT),
            "DB_HOST": "127.0.0.1",
            "DB_PORT": str(mariadb.port),
            "DB_USER": USER,
            "DB_PASSWORD": PASSWORD,
            "DB_NAME": database,
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(redis_server.port),
        }


def cache_command(environment: Environment, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker.cache", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.fixture
def wrong(environment: Environment, redis_server: RedisServer) -> redis.Redis:
    """Of the 30 one is stale, one is gone, one is no JSON."""
    apply(update("User", 1, firstName="Eva"), delete("User", 2))
    client = redis_server.client()
    client.set("User:3", "null")
    return client


def test_all_is_true(environment: Environment, tmp_path: Path) -> None:
    result = cache_command(environment, tmp_path, "check")

    assert result.returncode == 0, result.stderr
    assert "30  cached rows compared" in result.stdout
    assert result.stderr == ""


def test_what_is_wrong_is_told_and_left_as_it_is(environment: Environment, tmp_path: Path, wrong: redis.Redis) -> None:
    result = cache_command(environment, tmp_path, "check", "--batch", "7")

    assert result.returncode == 1
    assert [line.split() for line in result.stdout.splitlines()[-3:]] == [
        ["User:1", "stale"],
        ["User:2", "gone"],
        ["User:3", "unreadable"],
    ]
    assert wrong.exists("User:1", "User:2", "User:3") == 3


def test_what_a_sync_mends_meanwhile_does_not_count(
    environment: Environment, tmp_path: Path, redis_server: RedisServer
) -> None:
    apply(update("User", 1, firstName="Eva"))  # its worker has committed, and is about to tell the cache
    command = [sys.executable, "-m", "worker.cache", "check"]
    with redis_server.client() as client:
        client.config_resetstat()
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as checking:
            eventually(lambda: "cmdstat_mget" in client.info("commandstats"), 30, "the check has read the old value")
            Cache(client).fill(["User:1"])
            told, _ = checking.communicate(timeout=60)

    assert checking.returncode == 0, told


def test_repair_makes_it_true(environment: Environment, tmp_path: Path, wrong: redis.Redis) -> None:
    result = cache_command(environment, tmp_path, "check", "--repair", "--json")

    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["checked"], told["stale"], told["gone"], told["unreadable"], told["repaired"]) == (30, 1, 1, 1, 3)
    assert told["keys"] == {"User:1": "stale", "User:2": "gone", "User:3": "unreadable"}
    assert json.loads(wrong.get("User:1"))["firstName"] == "Eva"
    assert not wrong.exists("User:2")
    assert cache_command(environment, tmp_path, "check").returncode == 0


@pytest.mark.parametrize("arguments", [["check", "--entity", "Usr"], ["check", "--batch", "0"], ["chek"]])
def test_wrong_usage_is_told(environment: Environment, tmp_path: Path, arguments: list[str]) -> None:
    result = cache_command(environment, tmp_path, *arguments)

    assert result.returncode == 2
    assert result.stderr


def test_faulty_settings_are_told(environment: Environment, tmp_path: Path) -> None:
    result = cache_command({**environment, "REDIS_PORT": "none"}, tmp_path, "check")

    assert result.returncode == 2
    assert "REDIS_PORT" in result.stderr


@pytest.mark.parametrize(("variable", "told"), [("REDIS_PORT", "the cache"), ("DB_PORT", "the database")])
def test_a_server_that_is_away_is_told(environment: Environment, tmp_path: Path, variable: str, told: str) -> None:
    result = cache_command({**environment, variable: "1"}, tmp_path, "check")

    assert result.returncode == 3
    assert told in result.stderr and "127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_cache_that_refuses_in_the_middle_is_told(
    environment: Environment, tmp_path: Path, redis_server: RedisServer
) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "default", "-mget")
        try:
            result = cache_command(environment, tmp_path, "check")
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+mget")

    assert (result.returncode, result.stdout) == (3, "")
    assert "the cache" in result.stderr and "mget" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_database_that_refuses_in_the_middle_is_told(
    environment: Environment, tmp_path: Path, mariadb: MariaDBServer, wrong: redis.Redis
) -> None:
    mariadb.execute("RENAME TABLE usuarios TO put_aside", database=environment["DB_NAME"])

    result = cache_command(environment, tmp_path, "check", "--repair")

    assert (result.returncode, result.stdout) == (3, "")
    assert "the database" in result.stderr and "usuarios" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_value_that_nobody_can_read_is_told_and_repaired(
    environment: Environment, tmp_path: Path, redis_server: RedisServer
) -> None:
    with redis_server.client() as client:
        client.mset({"User:1": b'{"firstName":"Jos\xe9"}', "User:2": "[" * 100_000})

        result = cache_command(environment, tmp_path, "check", "--repair", "--json")

        told = json.loads(result.stdout)
        assert (result.returncode, told["unreadable"], told["repaired"]) == (0, 2, 2)
        assert json.loads(client.get("User:1"))["firstName"] == "Ana"
