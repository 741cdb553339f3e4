"""What applying costs: `python -m tests.bench.apply_profile --help`. Processor time an operation, by stream and by process.

The actors' own code runs here in this process, on a real MariaDB (durable at each commit) and a real Redis, message by
message as ingest would dispatch them: decode, apply, invalidate, settle, fill the cache. Left out are Dramatiq's threads, so
that what is counted is work and not waiting. Processor time and not the clock: it means the same on a machine that is busy.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dramatiq
import redis
from dramatiq.middleware import CurrentMessage

from entities.envelope import peek
from tests.support.applying import GROUP, TOPIC, mariadb_database, statements_sent
from tests.support.mariadb_server import MariaDBServer
from tests.support.mixed import mixed_stream
from tests.support.redis_server import RedisServer
from tests.support.streams import a_message, a_user
from worker.applier import Applier
from worker.cache import Cache
from worker.messages import Batch, DispatchedOperation, MessagePackEncoder, Origin, apply_operations_message
from worker.redis_link import Patience
from worker.settings import load_settings
from worker.settlements import settlements_key

#: The outbox that the settlements are for. Nobody drains them here; each stream begins with none.
OUTBOX = "profile"

#: Rows that the stream of updates is about.
HOT_ROWS = 100


def creates(count: int) -> list[bytes]:
    """So many new Users."""
    return [
        a_message(f"op_{number}_k3j9x2b1a", "CREATE", "User", a_user(f"user{number}@example.co"), timestamp=1 + number)
        for number in range(count)
    ]


def updates(count: int) -> list[bytes]:
    """Updates of a hundred Users, which come first, at random."""
    chance = random.Random(1)
    rows = [
        a_message(f"row_{row}", "CREATE", "User", a_user(f"user{row}@example.co", id=row))
        for row in range(1, HOT_ROWS + 1)
    ]
    return rows + [
        a_message(
            f"op_{number}_k3j9x2b1a",
            "UPDATE",
            "User",
            {"id": chance.randint(1, HOT_ROWS), "lastName": f"Rojas {number}"},
        )
        for number in range(count)
    ]


STREAMS: dict[str, Callable[[int], list[bytes]]] = {
    "creates": creates,
    "mixed": lambda count: mixed_stream(count, seed=1),
    "updates": updates,
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a stream took. Processor times are microseconds an operation; the rest is a batch's."""

    stream: str
    operations: int
    actor_us: float
    sync_us: float
    mariadb_us: float
    redis_us: float
    statements: float
    redis_commands: float

    @property
    def total_us(self) -> float:
        return self.actor_us + self.sync_us + self.mariadb_us + self.redis_us


class Queue:
    """The broker as far as the actors use it: what they send waits here, encoded as it would travel."""

    def __init__(self, client: redis.Redis[bytes]) -> None:
        self.client = client
        self.patience = Patience()
        self.waiting: list[bytes] = []

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> None:
        if delay is None:  # a purge of the lists comes later, and once for many batches
            self.waiting.append(message.encode())


class Bench:
    """The actors on two servers of their own."""

    def __init__(self, mariadb: MariaDBServer, cache_server: RedisServer, batch_size: int) -> None:
        self._mariadb, self._redis, self._batch_size = mariadb, cache_server, batch_size
        self._settings = load_settings({})
        self._cache_client = cache_server.client(0)
        self._queue = Queue(cache_server.client(1))
        self._applier = Applier(self._settings, self._queue, Cache(self._cache_client))

    def run(self, stream: str, count: int, profile: cProfile.Profile | None) -> Cost:
        """Apply a stream to an empty database and tell what it cost."""
        self._redis.flush()
        self._mariadb.drop_database("profile")
        self._mariadb.create_database("profile")
        messages = [apply_operations_message(batch).encode() for batch in self._batches(STREAMS[stream](count))]
        with mariadb_database(self._mariadb, "profile"), statements_sent() as sent:
            self._take(messages.pop(0))  # connections, caches of texts, and the rows that the others are about
            sent.texts.clear()
            commands, servers = self._commands(), self._server_seconds()
            actor_s = sync_s = 0.0
            if profile is not None:
                profile.enable()
            for message in messages:
                actor, sync = self._take(message)
                actor_s, sync_s = actor_s + actor, sync_s + sync
            if profile is not None:
                profile.disable()
            after = self._server_seconds()
            count = len(messages) * self._batch_size
            self._queue.client.delete(settlements_key(OUTBOX))
            return Cost(
                stream,
                count,
                actor_s * 1e6 / count,
                sync_s * 1e6 / count,
                (after[0] - servers[0]) * 1e6 / count,
                (after[1] - servers[1]) * 1e6 / count,
                len(sent.texts) / len(messages),
                (self._commands() - commands) / len(messages),
            )

    def _batches(self, raws: list[bytes]) -> Iterator[Batch]:
        for start in range(0, len(raws) - self._batch_size + 1, self._batch_size):
            operations = tuple(
                DispatchedOperation(Origin(TOPIC, 0, offset % 3, offset), peek(raw).operation_id or "", 0, raw)
                for offset, raw in enumerate(raws[start : start + self._batch_size], start)
            )
            yield Batch(f"batch-{start}", OUTBOX, GROUP, 1, operations)

    def _take(self, data: bytes) -> tuple[float, float]:
        """Run a message and what follows from it: the processor seconds of applying, and of the cache's filling."""
        began = time.process_time()
        self._run(data)
        applied = time.process_time()
        while self._queue.waiting:
            self._run(self._queue.waiting.pop(0))
        return applied - began, time.process_time() - applied

    def _run(self, data: bytes) -> None:
        message = dramatiq.Message.decode(data)
        current = CurrentMessage()
        current.before_process_message(None, message)
        getattr(self._applier, message.actor_name)(*message.args)
        current.after_process_message(None, message)

    def _commands(self) -> int:
        return int(self._cache_client.info("stats")["total_commands_processed"])

    def _server_seconds(self) -> tuple[float, float]:
        return _seconds_of(self._mariadb.child.pid), _seconds_of(self._redis.child.pid)


def _seconds_of(pid: int) -> float:
    """The processor time that a process has used, all its threads (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = fields[11:13]  # utime and stime: the first field here is the third of proc(5)
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.apply_profile", description=__doc__)
    parser.add_argument("streams", nargs="*", metavar="stream", help=f"of {', '.join(STREAMS)}; without any, all")
    parser.add_argument("--operations", type=int, default=20_000, help="of each stream (default %(default)s)")
    parser.add_argument("--batch", type=int, default=500, help="operations in a message (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="the cheapest of so many is told (default %(default)s)")
    parser.add_argument("--functions", type=int, default=0, help="show so many functions, by their own time (slows it)")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each stream")
    options = parser.parse_args()
    unknown = set(options.streams) - STREAMS.keys()
    if unknown:
        parser.error(f"no such stream: {', '.join(sorted(unknown))}")
    dramatiq.set_encoder(MessagePackEncoder())
    with tempfile.TemporaryDirectory() as folder:
        mariadb, cache_server = MariaDBServer(Path(folder) / "mariadb"), RedisServer(Path(folder) / "redis")
        try:
            mariadb.start()
            cache_server.start()
            bench = Bench(mariadb, cache_server, options.batch)
            _tell(bench, options)
        finally:
            mariadb.stop()
            cache_server.stop()


def _tell(bench: Bench, options: argparse.Namespace) -> None:
    if not options.json:
        print(f"{'us of processor an operation:':>36}{'':32}{'in a batch:':>12}")
        print(
            f"{'stream':8}{'apply':>8}{'sync':>8}{'mariadb':>9}{'redis':>8}{'total':>8}{'statements':>12}{'commands':>10}"
        )
    for stream in options.streams or STREAMS:
        profile = cProfile.Profile() if options.functions else None
        # What else the machine does makes a round dearer and never cheaper: caches, hyperthreads, the clock rate.
        cost = min(
            (bench.run(stream, options.operations, profile) for _ in range(1 if profile else options.rounds)),
            key=lambda one: one.total_us,
        )
        if options.json:
            print(json.dumps({name: getattr(cost, name) for name in (*cost.__slots__, "total_us")}))
            continue
        print(
            f"{stream:8}{cost.actor_us:8.1f}{cost.sync_us:8.1f}{cost.mariadb_us:9.1f}{cost.redis_us:8.1f}"
            f"{cost.total_us:8.1f}{cost.statements:12.1f}{cost.redis_commands:10.1f}",
            flush=True,
        )
        if profile is not None:
            pstats.Stats(profile).sort_stats("tottime").print_stats(options.functions)


if __name__ == "__main__":
    main()
