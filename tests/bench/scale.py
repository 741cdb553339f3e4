"""Whether size costs anything: `python -m tests.bench.scale --help`. From /proc, so on Linux.

For each number of entries waiting in the outbox: how soon ingest dispatches after its start, what memory it takes, and what
processor time an operation costs it (taking one in, and having one settled, by actors that settle at once). For each number of
keys in the cache: what an operation costs ingest, the actors and Redis. And how many operations a second ingest can carry.
The sizes are measured in turns. `--sizes 10000,1000000,10000000` takes 5 GB of disk, and some minutes more.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import redis

from tests.bench.backlog import fill, pad
from tests.bench.bench import Bench, run
from tests.bench.ground import CACHE_MESSAGES, LOOK_EVERY_S, RUN_TIMEOUT_S, wait_until_applied
from tests.bench.idle import processor_seconds_of_group
from tests.bench.streams import CREATES, creates, scaled
from tests.support.pipeline import PARTITIONS, Pipeline
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually
from worker.cache.voucher import Vouchers

SIZES = (10_000, 1_000_000)

#: Operations that are taken in and settled at each size, and applied beside each number of cached keys, at scale 1: enough
#: of these for several walks through the keys, which come every few seconds.
OPERATIONS, APPLIED = 20_000, 100_000

#: No more keys are cached than that: they lie in memory.
MOST_KEYS = 1_000_000

#: Keys that one command puts into the cache.
KEYS_A_COMMAND = 5_000

#: Where ingest's messages to the actors lie.
APPLY_MESSAGES = "dramatiq:apply.msgs"


def measure(bench: Bench, options: argparse.Namespace | None = None) -> None:
    """Everything, for each number of waiting entries and, up to a million, of cached keys."""
    sizes: Sequence[int] = options.sizes if options is not None else SIZES
    key_counts = [size for size in sizes if size <= MOST_KEYS]
    backlogs = _Backlogs(bench, sizes)
    stream = creates(scaled(CREATES, bench.scale))
    bench.ground.prepare(stream)
    for _ in range(bench.repeats):
        for size in sizes:
            _measure_backlog(bench, backlogs, size)
        for keys in key_counts:
            _measure_cache(bench, keys)
        bench.note("ceiling of ingest", bench.ground.run_ingest_alone(stream))


class _Backlogs:
    """The outbox files, one for each size, and their topics, made once.

    A measurement takes in as many as it settles, so a file serves the next repeat too.
    """

    def __init__(self, bench: Bench, sizes: Sequence[int]) -> None:
        self._fresh = 0
        self.ground = bench.ground
        self.topics = {size: f"backlog-{size}" for size in sizes}
        for size, topic in self.topics.items():
            padding = -(-size // PARTITIONS)
            bench.tell(f"an outbox of {size:,} entries")
            self.ground.kafka.create_topic(topic, PARTITIONS)
            pad(topic, PARTITIONS, padding, self.ground.producer())
            fill(self.path(size), topic, PARTITIONS, size, padding, lambda so_far: bench.tell(f"  {so_far:,} written"))

    def path(self, size: int) -> Path:
        return self.ground.folder / f"backlog-{size}.sqlite3"

    def send(self, size: int, count: int) -> None:
        """Put so many more on the topic."""
        producer, chance, now = self.ground.producer(), random.Random(0), int(time.time() * 1000)
        for _ in range(count):
            self._fresh += 1
            user = a_user(f"fresh{self._fresh}@example.co")
            message = a_message(f"fresh_{self._fresh}", "CREATE", "User", user, timestamp=now)
            producer.produce(self.topics[size], message, partition=chance.randrange(PARTITIONS))
            producer.poll(0)
        assert producer.flush(60) == 0


def _measure_backlog(bench: Bench, backlogs: _Backlogs, size: int) -> None:
    count = scaled(OPERATIONS, bench.scale)
    named = f"{size:,} entries waiting"
    with bench.ground.pipeline(backlogs.topics[size]) as pipeline:
        service = pipeline.service
        service.settings["OUTBOX_PATH"] = str(backlogs.path(size))
        service.settings["OUTBOX_MAX_PENDING"] = str(size + 1_000_000)  # its default is 10 million
        command = service.actors.command
        command[command.index("worker.actors")] = "tests.bench.settling_actors"
        before = pipeline.counts()
        fresh = count + size - before.unsettled  # the last measurement settled some more than it was to

        bench.note(f"start: {named}", _seconds_until_dispatch(bench, pipeline))
        taking_in = _cost(
            pipeline, lambda: backlogs.send(size, fresh), lambda: pipeline.counts().total - before.total, fresh
        )
        settling = _cost(pipeline, service.start_actors, lambda: pipeline.counts().applied - before.applied, count)
        bench.note(f"cost of taking in: {named}", taking_in)
        bench.note(f"cost of settling: {named}", settling)
        bench.note(f"cost of an operation: {named}", taking_in + settling)
        bench.note(f"memory: {named}", _peak_megabytes(service.ingest.pid))


def _seconds_until_dispatch(bench: Bench, pipeline: Pipeline) -> float:
    """Start ingest; how long it takes until a message lies in Redis."""
    began, deadline = time.monotonic(), time.monotonic() + RUN_TIMEOUT_S
    pipeline.service.spawn(pipeline.service.ingest)
    with bench.ground.redis_server.client(1) as broker:
        while not broker.exists(APPLY_MESSAGES):
            assert time.monotonic() < deadline, pipeline.service.ingest.log_tail()
            time.sleep(LOOK_EVERY_S)
    return time.monotonic() - began


def _cost(pipeline: Pipeline, begin: Callable[[], None], done: Callable[[], int], count: int) -> float:
    """Microseconds of ingest's processor time for each of what `begin` brings about, until so many are done."""
    pid = pipeline.service.ingest.pid
    used_before = processor_seconds(pid)
    begin()
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while (so_far := done()) < count:
        assert time.monotonic() < deadline, pipeline.service.ingest.log_tail()
        time.sleep(LOOK_EVERY_S)
    return (processor_seconds(pid) - used_before) / so_far * 1_000_000


def processor_seconds(pid: int) -> float:
    """User and system time of all threads of a process, in seconds, to the nanosecond: /proc counts in hundredths."""
    # the clock that clock_getcpuclockid(3) gives for another process
    return time.clock_gettime((~pid << 3) | 2)


def _peak_megabytes(pid: int) -> float:
    """The most memory that the process ever had resident, in MB (10⁶ bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1_000_000
    raise AssertionError("the kernel tells no VmHWM")


# --------------------------------------------------------------------------------------------------------- the cache


def _measure_cache(bench: Bench, keys: int) -> None:
    """What a CREATE costs the whole service while the cache holds so many rows."""
    stream = creates(scaled(APPLIED, bench.scale))
    topic = bench.ground.topic(stream, len(stream.messages), PARTITIONS)
    with bench.ground.pipeline(topic) as pipeline:
        cache = pipeline.cache
        _fill_cache(cache, keys)
        with bench.ground.redis_server.client(1) as broker:
            vouchers = Vouchers(broker, cache)
            assert vouchers.give(vouchers.seek())  # else all of it is first compared with the database
            bench.ground.start_workers(pipeline)
            pids = {"actors": pipeline.service.actors.pid, "Redis": int(cache.info("server")["process_id"])}
            before = {name: processor_seconds_of_group(pid) for name, pid in pids.items()}
            pipeline.service.start_ingest()
            scans_before = _seconds_of_scans(cache)
            before["ingest"] = processor_seconds(pipeline.service.ingest.pid)  # its start costs the same for any size
            wait_until_applied(pipeline, stream.to_apply)
            eventually(lambda: not broker.hlen(CACHE_MESSAGES), 60, "the cache is filled")
            cost = {name: processor_seconds_of_group(pid) - before[name] for name, pid in pids.items()}
            cost["ingest"] = processor_seconds(pipeline.service.ingest.pid) - before["ingest"]
            scans = _seconds_of_scans(cache) - scans_before
    bench.note(f"cost of SCAN, in Redis: {keys:,} keys cached", scans / stream.to_apply * 1_000_000)
    for name, seconds in {**cost, "all": sum(cost.values())}.items():
        bench.note(f"cost for {name}: {keys:,} keys cached", seconds / stream.to_apply * 1_000_000)


def _seconds_of_scans(cache: redis.Redis) -> float:
    """What Redis has spent so far on walks through all keys, which find the lists that are stale."""
    return float(cache.info("commandstats").get("cmdstat_scan", {}).get("usec", 0)) / 1_000_000


def _fill_cache(cache: redis.Redis, keys: int) -> None:
    """So many rows, with ids that the stream does not come to."""
    value = b'{"id":1000000000,"firstName":"Ana","lastName":"Rojas","email":"ana@example.co","role":"emprendedor"}'
    for first in range(0, keys, KEYS_A_COMMAND):
        cache.mset({f"User:{1_000_000_000 + first + n}": value for n in range(min(KEYS_A_COMMAND, keys - first))})

    def is_at_rest() -> bool:
        persistence = cache.info("persistence")
        return not (persistence["aof_rewrite_in_progress"] or persistence["aof_rewrite_scheduled"])

    # Redis rewrites its append-only file when it has grown: that is the price of the filling, not of the operations
    eventually(is_at_rest, 120, "Redis has rewritten its file")


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    told = "how many entries wait, and how many keys are cached (default 10000,1000000)"
    parser.add_argument("--sizes", type=_sizes, default=list(SIZES), metavar="N,N,…", help=told)


def _sizes(text: str) -> list[int]:
    return [int(size) for size in text.split(",")]


if __name__ == "__main__":
    sys.exit(run(__doc__, measure, add_options=_add_sizes))
