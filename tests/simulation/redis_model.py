"""Redis: the commands that the service uses, on a virtual clock. The Lua scripts are the production ones, run by a real Lua."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import lupa
import redis

from worker.cache import scripts as cache_scripts

_FOLDER = Path(cache_scripts.__file__).parent


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).encode()


class ModelRedis:
    """One database of a Redis server; keys and values are bytes. ``is_down``: commands fail until it is False again."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._data: dict[bytes, Any] = {}
        self._expires: dict[bytes, int] = {}
        self.is_down = False

    def flush(self) -> None:
        self._data.clear()
        self._expires.clear()

    # ------------------------------------------------------------------------------------------------- as a client

    def pipeline(self, transaction: bool = True) -> _Pipeline:
        return _Pipeline(self)

    def evalsha(self, sha: str, numkeys: int, *arguments: Any) -> Any:
        self._check()
        given = [_bytes(argument) for argument in arguments]
        return _run_lua(self, sha, given[:numkeys], given[numkeys:])

    def scan(self, cursor: int, match: str, count: int) -> tuple[int, list[bytes]]:
        self._check()
        return 0, [key for key in list(self._data) if self._live(key) is not None]

    def blpop(self, key: str, timeout: float) -> tuple[bytes, bytes] | None:
        popped = self.lpop(key, 1)
        return (key.encode(), popped[0]) if popped else None

    def lpop(self, key: str, count: int) -> list[bytes] | None:
        self._check()
        values = self._live(key.encode())
        if not values:
            return None
        popped = values[:count]
        del values[:count]
        return list(popped)

    def rpush(self, key: str, value: bytes) -> None:
        self._check()
        self._made(key.encode(), list).append(value)

    def hdel(self, key: str, name: str) -> None:
        self._check()
        self._made(key.encode(), dict).pop(name.encode(), None)

    def hincrby(self, key: str, name: str, amount: int = 1) -> int:
        self._check()
        counts = self._made(key.encode(), dict)
        counts[name.encode()] = _bytes(int(counts.get(name.encode(), 0)) + amount)
        return int(counts[name.encode()])

    def hmget(self, key: str, names: list[str]) -> list[bytes | None]:
        self._check()
        found = self._live(key.encode()) or {}
        return [found.get(name.encode()) for name in names]

    def set(self, key: str, value: Any, ex: int | None = None) -> None:
        self.call("SET", key.encode(), _bytes(value), *(("EX", ex) if ex is not None else ()))

    def get(self, key: str) -> bytes | None:
        self._check()
        value = self._live(key.encode())
        return None if value is None else bytes(value)

    def unlink(self, *keys: Any) -> int:
        self._check()
        return sum(self._drop(_bytes(key)) for key in keys)

    def expire(self, key: str, seconds: int) -> None:
        self._check()
        if self._live(key.encode()) is not None:
            self._expires[key.encode()] = self._now_ms() + 1000 * seconds

    def all_keys(self) -> list[bytes]:
        """All keys, for the checker."""
        return [key for key in list(self._data) if self._live(key) is not None]

    # ----------------------------------------------------------------------------------------------- as Lua sees it

    def call(self, command: Any, *arguments: Any) -> Any:
        """A command as ``redis.call`` runs it in a script."""
        self._check()
        name = command.decode() if isinstance(command, bytes) else command
        given = [_bytes(argument) for argument in arguments]
        method = getattr(self, f"_{name.lower()}")
        return method(*given)

    def _get(self, key: bytes) -> Any:
        value = self._live(key)
        return False if value is None else value

    def _mget(self, *keys: bytes) -> list[Any]:
        values = [self._live(key) for key in keys]
        return [value if isinstance(value, bytes) else False for value in values]

    def _set(self, key: bytes, value: bytes, unit: bytes = b"", time: bytes = b"") -> bytes:
        self._data[key] = value
        self._expires.pop(key, None)
        if unit:
            self._expires[key] = self._now_ms() + int(time) * (1000 if unit == b"EX" else 1)
        return b"OK"

    def _del(self, *keys: bytes) -> int:
        return sum(self._drop(key) for key in keys)

    def _type(self, key: bytes) -> bytes:
        value = self._live(key)
        return b"none" if value is None else b"string" if isinstance(value, bytes) else b"other"

    def _time(self) -> list[int]:
        return [self._now_ms() // 1000, self._now_ms() % 1000 * 1000]

    def _sadd(self, key: bytes, *members: bytes) -> int:
        self._made(key, dict).update(dict.fromkeys(members, b""))
        return len(members)

    def _smembers(self, key: bytes) -> list[bytes]:
        return list(self._live(key) or ())

    def _pexpire(self, key: bytes, time: bytes) -> int:
        if self._live(key) is None:
            return 0
        self._expires[key] = self._now_ms() + int(time)
        return 1

    def _hget(self, key: bytes, name: bytes) -> Any:
        return (self._live(key) or {}).get(name, False)

    def _hmget(self, key: bytes, *names: bytes) -> list[Any]:
        found = self._live(key) or {}
        return [found.get(name, False) for name in names]

    def _hset(self, key: bytes, *pairs: bytes) -> int:
        self._made(key, dict).update(zip(pairs[::2], pairs[1::2], strict=True))
        return 1

    def _hsetnx(self, key: bytes, name: bytes, value: bytes) -> int:
        self._made(key, dict).setdefault(name, value)
        return 1

    def _hkeys(self, key: bytes) -> list[bytes]:
        return list(self._live(key) or ())

    def _hgetall(self, key: bytes) -> list[bytes]:
        return [part for pair in (self._live(key) or {}).items() for part in pair]

    def _zadd(self, key: bytes, score: bytes, member: bytes) -> int:
        self._made(key, dict)[member] = score
        return 1

    def _zrem(self, key: bytes, member: bytes) -> int:
        self._made(key, dict).pop(member, None)
        return 1

    def _zrangebyscore(self, key: bytes, low: bytes, high: bytes) -> list[bytes]:
        return [member for member, score in (self._live(key) or {}).items() if float(score) <= float(high)]

    def _zrange(self, key: bytes, first: bytes, last: bytes, with_scores: bytes) -> list[bytes]:
        ranked = sorted((self._live(key) or {}).items(), key=lambda pair: float(pair[1]))
        return list(ranked[0]) if ranked else []

    # ---------------------------------------------------------------------------------------------------- its keys

    def _check(self) -> None:
        if self.is_down:
            raise redis.ConnectionError("Redis is away")

    def _live(self, key: bytes) -> Any:
        expires = self._expires.get(key)
        if expires is not None and expires <= self._now_ms():
            self._drop(key)
        value = self._data.get(key)
        if isinstance(value, (dict, list)) and not value:
            return None
        return value

    def _made(self, key: bytes, kind: type) -> Any:
        if self._live(key) is None:
            self._data[key] = kind()
        return self._data[key]

    def _drop(self, key: bytes) -> int:
        self._expires.pop(key, None)
        return int(self._data.pop(key, None) is not None)


class _Pipeline:
    """Commands that are run together."""

    def __init__(self, server: ModelRedis) -> None:
        self._server = server
        self._commands: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __enter__(self) -> _Pipeline:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., _Pipeline]:
        def queue(*arguments: Any, **options: Any) -> _Pipeline:
            self._commands.append((name, arguments, options))
            return self

        return queue

    def execute(self) -> list[Any]:
        self._server._check()
        results = [getattr(self._server, name)(*arguments, **options) for name, arguments, options in self._commands]
        self._commands.clear()
        return results


@cache
def _lua() -> tuple[Any, dict[str, Any]]:
    """A Lua with the production scripts in it, by their hashes; ``redis.call`` goes to whom ``_server`` names."""
    runtime = lupa.LuaRuntime(encoding=None, unpack_returned_tuples=True)
    table = runtime.table_from

    def call(command: bytes, *arguments: Any) -> Any:
        result = _current[-1].call(command, *arguments)
        return table(result) if isinstance(result, list) else result

    def decode(text: bytes) -> Any:
        content = json.loads(text)
        return table({k.encode(): _bytes(v) for k, v in content.items()}) if isinstance(content, dict) else content

    runtime.globals().redis = table({b"call": call})
    runtime.globals().cjson = table({b"decode": decode})
    scripts = {}
    for file in _FOLDER.glob("*.lua"):
        text = file.read_text()
        scripts[hashlib.sha1(text.encode()).hexdigest()] = runtime.eval(
            b"function(KEYS, ARGV) " + text.encode() + b"\nend"
        )
    return runtime, scripts


_current: list[ModelRedis] = []


@contextmanager
def _serving(server: ModelRedis) -> Iterator[None]:
    _current.append(server)
    try:
        yield
    finally:
        _current.pop()


def _run_lua(server: ModelRedis, sha: str, keys: list[bytes], arguments: list[bytes]) -> Any:
    runtime, scripts = _lua()
    with _serving(server):
        result = scripts[sha](runtime.table_from(keys), runtime.table_from(arguments))
    if lupa.lua_type(result) == "table":
        return [int(v) if isinstance(v, float) else v for v in result.values()]
    return int(result) if isinstance(result, float) else result
