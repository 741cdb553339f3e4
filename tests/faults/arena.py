"""The place where faults strike: a pipeline under a supervisor, a stream into it, and what is known of its state.

`Arena` is what a fault gets: the servers, the programs, the way to arm a named point. It says when everything that was sent
is settled, which is when a fault is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import peewee
import pymysql

from outbox.errors import UnusableOutbox
from tests.faults.full_disk import SmallDisk
from tests.faults.stream import Stream
from tests.faults.supervisor import Supervisor
from tests.faults.verdict import Verdict, judge
from tests.support.pipeline import Pipeline
from tests.support.waiting import eventually
from worker.fault_points import VARIABLE, Point

#: Settings with which a fault is over soon: small batches, short leases, retries at once.
SOON = {
    "BATCH_MAX_OPERATIONS": "10",
    "CONSUMER_SESSION_TIMEOUT": "3000",
    "CONSUMER_HEARTBEAT_INTERVAL": "300",
    "DB_HEALTH_CHECK_INTERVAL": "300",
    "DB_RECONNECT_INTERVAL": "100",
    "RECONCILE_INTERVAL_MS": "200",
    "DB_READ_TIMEOUT": "2000",
    "LEASE_MS": "2000",
    "RETRY_DELAY_MS": "50",
}

#: How long (s) the whole of a fault may take until it counts as a state that cannot be left.
STUCK_AFTER_S = 120.0


def dead_letter_topic(topic: str) -> str:
    """Where the dead letters of this topic are told."""
    return f"{topic}-dead"


class Arena:
    """A running service with a stream into it.

    :param max_retries: MAX_RETRY_ATTEMPTS; with more than 0 the stream is made for it.
    :param disk: where the outbox and the logs of the first host lie, if it may be filled up.
    """

    def __init__(self, pipeline: Pipeline, seed: int, max_retries: int = 0, disk: SmallDisk | None = None) -> None:
        self.pipeline = pipeline
        self.disk = disk
        if disk is not None:
            pipeline.service.settings["OUTBOX_PATH"] = str(disk.folder / "outbox.sqlite3")
            pipeline.service.settings["LOG_DIR"] = str(disk.folder / "logs")
        self.points_folder = pipeline.service.folder / "points"
        self.points_folder.mkdir()
        pipeline.kafka.create_topic(dead_letter_topic(pipeline.topic), partitions=1)
        pipeline.service.settings |= {
            **SOON,
            "TOPIC_DEAD_LETTERS": dead_letter_topic(pipeline.topic),
            "MAX_RETRY_ATTEMPTS": str(max_retries),
            VARIABLE: str(self.points_folder),
        }
        self.max_retries = max_retries
        self.stream = Stream(seed, pipeline.topic, may_retry=max_retries > 0)
        self.supervisor = Supervisor()
        self.service = pipeline.service
        self.standby = self.service.another_host("another-host")

    def choose(self, batch_size: int, has_instance_ids: bool) -> None:
        """Settings that differ from run to run. Without an instance id of its own a host is known to Kafka by its outbox."""
        for name, service in (("host-1", self.service), ("host-2", self.standby)):
            service.settings["BATCH_MAX_OPERATIONS"] = str(batch_size)
            if has_instance_ids:
                service.settings["KAFKA_GROUP_INSTANCE_ID"] = name

    @contextmanager
    def running(self, first: int = 200) -> Iterator[None]:
        """Send the first messages and start the programs; in the end all is killed that runs."""
        self.stream.send_first(self.pipeline.kafka, first)
        self.supervisor.watch(self.service, self.service.actors)
        self.supervisor.watch(self.service, self.service.ingest)
        self.supervisor.start()
        try:
            yield
        finally:
            self.supervisor.end()
            self.standby.kill()

    def send(self, count: int) -> None:
        """Send more. Kafka must be up, and everything sent before be settled."""
        self.stream.send_more(self.pipeline.kafka, count)

    def send_behind(self, count: int) -> None:
        """Send more behind what was sent last, settled or not. Kafka must be up."""
        self.stream.send_behind(self.pipeline.kafka, count)

    # ------------------------------------------------------------------------------------------------ looking at it

    def unsettled(self) -> int | None:
        """How many of the operations sent have no line in the ledger; None: the database cannot be asked now."""
        try:
            [(lines,)] = self.pipeline.query("SELECT COUNT(*) FROM settled_operations")
        except pymysql.MySQLError:
            return None
        return len(self.stream.line_ids) - int(lines)

    def wait_until_settled(self, timeout: float = STUCK_AFTER_S) -> None:
        """Return when each operation sent has its line in the ledger.

        :raises AssertionError: with the programs' last words, if that takes longer than `timeout` s, or if one ended by itself.
        """

        def are_settled() -> bool:
            assert not self.supervisor.unexpected_ends(), f"{self.supervisor.unexpected_ends()}\n{self.logs()}"
            return self.unsettled() == 0

        eventually(are_settled, timeout, lambda: f"{self.unsettled()} are not settled\n{self.logs()}")

    def verdict(self) -> Verdict:
        """Wait until everything is settled, in the outbox too, and judge."""
        self.wait_until_settled()
        eventually(
            lambda: self.pipeline.counts().unsettled == 0,
            STUCK_AFTER_S,
            lambda: f"the outbox is not settled: {self.pipeline.counts()}\n{self.logs()}",
            ignoring=(OSError, UnusableOutbox, peewee.OperationalError),
        )
        return judge(self.pipeline, self.stream, self.supervisor.unexpected_ends())

    def logs(self) -> str:
        """The end of each program's output."""
        return "\n".join(service.log_tails() for service in (self.service, self.standby))

    # ---------------------------------------------------------------------------------------------------- the points

    def arm(self, point: Point, what: str = "kill") -> None:
        """Have whoever reaches this point first do this to itself: kill or stop."""
        # renamed into place, so that nobody finds it half written
        written = self.points_folder / f"new.{point.value}"
        written.write_text(what)
        written.rename(self.points_folder / point.value)

    def disarm(self, point: Point) -> bool:
        """Take the order back; False if somebody has taken it."""
        with suppress(FileNotFoundError):
            (self.points_folder / point.value).unlink()
            return True
        return False

    def wait_until_taken(self, point: Point, timeout: float = 30.0) -> int:
        """Return the process that reached the point and did as it was told."""

        def taken_by() -> int | None:
            for file in self.points_folder.glob(f"{point.value}.*"):
                process = int(file.name.removeprefix(f"{point.value}."))
                file.unlink()
                return process
            return None

        process = eventually(taken_by, timeout, lambda: f"{point.value} is reached\n{self.logs()}")
        assert process is not None
        return process

    # ---------------------------------------------------------------------------------------------------- the hosts

    def swap_hosts(self) -> None:
        """The standby is the active one from now on: what is asked of the pipeline is asked of its outbox."""
        self.service, self.standby = self.standby, self.service
        # the actors are one and the same, whatever host ingest is on
        self.service.actors, self.standby.actors = self.standby.actors, self.service.actors
        self.pipeline.service = self.service

    def outbox_files(self) -> list[Path]:
        """The files of the active outbox."""
        path = Path(self.service.settings["OUTBOX_PATH"])
        return sorted(path.parent.glob(f"{path.name}*"))
