"""Run the service under faults again and again, and write what became of it as a table.

Each run has a database, a topic and an outbox of its own; the servers are shared, and are killed as well. A run is made by its
seed: the messages and the faults, not the moments at which the machine lets them meet. Ctrl-C ends in order, with the table so
far.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.faults.arena import Arena, dead_letter_topic
from tests.faults.chaos import KINDS
from tests.faults.full_disk import NoSmallDisk, SmallDisk
from tests.faults.rounds import RunResult, play
from tests.faults.soak_table import as_json, as_markdown, machine_description
from tests.support.kafka_server import KafkaServer
from tests.support.mariadb_server import MariaDBServer
from tests.support.pipeline import PARTITIONS, Pipeline
from tests.support.redis_server import RedisServer
from tests.support.service import Service, settings_for

#: Shows how far the runs are.
Teller = Callable[[list[RunResult]], None]

#: With one run of two, operations are retried so often.
RETRIES = (0, 2)

#: The size of the disk that the outbox and the logs lie on. A run needs a fifth of it.
DISK_MEGABYTES = 64

#: How many operations a batch may have, by run.
BATCH_SIZES = (3, 10, 40)


class Servers:
    """Kafka, MariaDB and Redis for all runs, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.kafka = KafkaServer(folder / "kafka")
        self.mariadb = MariaDBServer(folder / "mariadb")
        self.redis = RedisServer(folder / "redis")
        self.all = (self.kafka, self.mariadb, self.redis)

    @contextmanager
    def running(self) -> Iterator[None]:
        try:
            for server in self.all:
                server.start()
            yield
        finally:
            for server in self.all:
                server.kill()

    def versions(self) -> dict[str, str]:
        """What runs here, by name."""
        [(mariadb,)] = self.mariadb.rows("SELECT VERSION()")
        with self.redis.client() as client:
            redis_version = str(client.info("server")["redis_version"])
        return {"MariaDB": str(mariadb), "Redis": redis_version}


class Soak:
    """Runs, one after the other; `is_over` once a signal has asked for the end."""

    def __init__(self, folder: Path, servers: Servers, options: argparse.Namespace) -> None:
        self.folder = folder
        self.servers = servers
        self.options = options
        self.results: list[RunResult] = []
        self.is_over = False

    def run(self) -> None:
        """Play all runs, each told as it goes."""
        with _teller(self.options) as tell:
            for number in range(self.options.runs):
                if self.is_over:
                    break
                result = RunResult(self.options.seed + number)
                self.results.append(result)
                self._play(result, lambda _: tell(self.results))
                tell(self.results)

    def _play(self, result: RunResult, tell: Callable[[RunResult], None]) -> None:
        began = time.monotonic()
        name = f"soak_{result.seed}"
        folder = self.folder / name
        folder.mkdir()
        kafka, mariadb, redis_server = self.servers.kafka, self.servers.mariadb, self.servers.redis
        try:
            for server in self.servers.all:
                server.ensure_running()
            redis_server.flush()
            mariadb.create_database(name)
            kafka.create_topic(name, PARTITIONS)
            service = Service(folder, settings_for(kafka, mariadb, redis_server, name, name, folder))
            chance = random.Random(result.seed)
            pipeline = Pipeline(service, kafka, mariadb, redis_server)
            with _small_disk(folder / "disk") as disk:
                arena = Arena(pipeline, result.seed, chance.choice(RETRIES), disk)
                arena.choose(chance.choice(BATCH_SIZES), has_instance_ids=chance.random() < 0.5)
                play(arena, chance, self.options.kinds, self.options.rounds, result, tell, lambda: self.is_over)
        except Exception:  # the outermost loop: a run that fails is told, and the next one goes on
            result.failure = traceback.format_exc()
        result.took_s = time.monotonic() - began
        if result.is_good or (not result.rounds and self.is_over):
            shutil.rmtree(folder, ignore_errors=True)
            for server in self.servers.all:
                server.ensure_running()
            mariadb.drop_database(name)
            kafka.delete_topic(name)
            kafka.delete_topic(dead_letter_topic(name))
        else:
            report = f"{result.failure}\n{result.verdict}"
            (folder / "report.txt").write_text(report)
            kinds = f" --kinds {' '.join(repr(kind) for kind in self.options.kinds)}"
            again = f"tests/faults/soak --runs 1 --seed {result.seed} --rounds {self.options.rounds}{kinds}"
            print(
                f"\nrun {result.seed} FAILED; its files are in {folder}\n{report[-3_000:]}\nagain: {again}\n",
                flush=True,
            )


@contextmanager
def _small_disk(folder: Path) -> Iterator[SmallDisk | None]:
    """A disk that can be filled up, for who may mount one."""
    try:
        disk = SmallDisk(folder, DISK_MEGABYTES)
    except NoSmallDisk:
        yield None
        return
    try:
        yield disk
    finally:
        shutil.copytree(folder, folder.with_name("what-was-on-the-disk"))  # for who looks into a run that failed
        disk.unmount()


@contextmanager
def _teller(options: argparse.Namespace) -> Iterator[Teller]:
    """What shows the progress: a bar on a terminal, else a line a run."""
    console = Console()
    if not console.is_terminal:
        yield _tell_lines(options)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[told]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("runs", total=options.runs, told="")

        def tell(results: list[RunResult]) -> None:
            done = sum(1 for result in results if result.took_s)
            progress.update(task, completed=done, told=_told(results))

        yield tell


def _tell_lines(options: argparse.Namespace) -> Teller:
    told_runs = 0

    def tell(results: list[RunResult]) -> None:
        nonlocal told_runs
        done = sum(1 for result in results if result.took_s)
        if done > told_runs:
            told_runs = done
            print(f"run {done}/{options.runs} in {results[-1].took_s:.1f} s; {_told(results)}", flush=True)

    return tell


def _told(results: list[RunResult]) -> str:
    operations = sum(result.operations for result in results)
    bad = sum(1 for result in results if result.took_s and not result.is_good)
    return f"{sum(result.kills for result in results)} kills, {operations} operations, {bad} runs failed"


def main() -> int:
    """The command line; the exit code is 0 if every run ended as it should."""
    parser = argparse.ArgumentParser(prog="tests/faults/soak", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="how many runs (default 10)")
    parser.add_argument("--rounds", type=int, default=12, help="rounds of faults in a run (default 12)")
    parser.add_argument("--seed", type=int, default=1, help="the first run's seed; each next run has the next one")
    parser.add_argument(
        "--kinds", nargs="+", choices=sorted(KINDS), default=sorted(KINDS), metavar="KIND", help=", ".join(KINDS)
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there, too")
    options = parser.parse_args()
    logging.getLogger("kafka").setLevel(logging.CRITICAL)

    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    servers = Servers(folder)
    soak = Soak(folder, servers, options)

    def end(*_: object) -> None:
        soak.is_over = True

    began = time.monotonic()
    with servers.running():
        signal.signal(signal.SIGINT, end)
        signal.signal(signal.SIGTERM, end)
        machine = machine_description(servers.versions())
        soak.run()
    took_s = time.monotonic() - began
    table = as_markdown(soak.results, machine, took_s)
    print(f"\n{table}")
    if options.markdown:
        options.markdown.write_text(table)
    if options.json:
        options.json.write_text(as_json(soak.results, machine, took_s))
    is_good = bool(soak.results) and all(result.is_good for result in soak.results if not _was_cut(soak, result))
    if is_good:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if is_good else 1


def _was_cut(soak: Soak, result: RunResult) -> bool:
    return soak.is_over and result is soak.results[-1] and not result.rounds


if __name__ == "__main__":
    sys.exit(main())
