"""The service as it really runs: its three programs as processes of their own, against given servers.

The processes work in a temporary folder, so that the outbox, the logs and a developer's `.env` stay apart; what they
import comes from the repository.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.child import Child
from tests.support.kafka_server import KafkaServer
from tests.support.mariadb_server import PASSWORD, USER, MariaDBServer
from tests.support.redis_server import RedisServer
from tests.support.waiting import can_connect, eventually, free_port

ROOT = Path(__file__).resolve().parents[2]

#: What the processes get of the tests' own environment; everything else is said by the settings.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")

#: Times in ms that let a test see in a second what takes a minute in production.
SHORT_TIMES = {
    "CONSUMER_SESSION_TIMEOUT": "6000",
    "CONSUMER_HEARTBEAT_INTERVAL": "500",
    "DB_HEALTH_CHECK_INTERVAL": "500",
    "DB_RECONNECT_INTERVAL": "200",
    "RETRY_DELAY_MS": "200",
}


def settings_for(
    kafka: KafkaServer, mariadb: MariaDBServer, redis_server: RedisServer, database: str, topic: str, folder: Path
) -> dict[str, str]:
    """The settings, by variable name, of a service on these servers, with `SHORT_TIMES` and its files in `folder`."""
    return {
        "DB_HOST": "127.0.0.1",
        "DB_PORT": str(mariadb.port),
        "DB_USER": USER,
        "DB_PASSWORD": PASSWORD,
        "DB_NAME": database,
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(redis_server.port),
        "REDIS_DB": "0",
        "BROKER_REDIS_URL": redis_server.url(1),
        "KAFKA_BROKERS": kafka.bootstrap,
        "KAFKA_GROUP_ID": f"{topic}-writers",
        "TOPIC_DB_OPERATIONS": topic,
        "OUTBOX_PATH": str(folder / "outbox.sqlite3"),
        "LOG_DIR": str(folder / "logs"),
        "DASHBOARD_PORT": str(free_port()),
        "METRICS_PORT": str(free_port()),
        **SHORT_TIMES,
    }


#: Exit codes of a program that was not started, that ended in order, or that a test killed.
NORMAL_ENDS = (None, 0, -signal.SIGKILL)


class Service:
    """One ingest, one `dramatiq` main process with its workers, one dashboard.

    :param folder: their working folder; the output of each is `<program>.log` there.
    :param settings: environment variables, as from `settings_for`; a change counts from the next start on.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str], processes: int = 2, threads: int = 4) -> None:
        self.folder = folder
        self.settings = dict(settings)
        workers = ["--processes", str(processes), "--threads", str(threads)]
        self.ingest = self._program("ingest", "-m", "worker.ingest")
        self.actors = self._program("actors", "-m", "dramatiq", "worker.actors", *workers)
        self.dashboard = self._program("dashboard", "-m", "worker.dashboard")

    def another_host(self, name: str) -> Service:
        """A host beside this one: a folder and an outbox of its own, the same servers, group and queue. Not started."""
        folder = self.folder / name
        folder.mkdir()
        own = {
            "OUTBOX_PATH": str(folder / "outbox.sqlite3"),
            "LOG_DIR": str(folder / "logs"),
            "DASHBOARD_PORT": str(free_port()),
        }
        return Service(folder, {**self.settings, **own})

    @property
    def programs(self) -> tuple[Child, Child, Child]:
        return self.ingest, self.actors, self.dashboard

    @property
    def dashboard_address(self) -> str:
        """Where the dashboard listens, without a path."""
        return f"http://127.0.0.1:{self.settings['DASHBOARD_PORT']}"

    def start(self) -> None:
        """Start ingest and the actors, and return when ingest reads its topic."""
        self.start_actors()
        self.start_ingest()

    def start_ingest(self, timeout: float = 60.0) -> None:
        """Start ingest, and return when it has subscribed."""
        after = self.ingest.log_position()
        self.spawn(self.ingest)
        self.ingest.wait_for_log("Subscribed to topic", timeout, after)

    def start_actors(self) -> None:
        """Start the actors; what is queued before they are ready waits for them."""
        self.spawn(self.actors)

    def start_dashboard(self, timeout: float = 30.0) -> None:
        """Start the dashboard, and return when it can be opened."""
        self.spawn(self.dashboard)
        port = int(self.settings["DASHBOARD_PORT"])
        eventually(lambda: can_connect(port), timeout, lambda: f"the dashboard listens\n{self.dashboard.log_tail()}")

    def spawn(self, program: Child) -> None:
        """Start one of the programs with the settings as they are now, and wait for nothing."""
        program.environment = self._environment()
        program.spawn()

    def operator(self, *arguments: str) -> Child:
        """`python -m outbox …` over this service's outbox, not yet started."""
        child = self._program("operator", "-m", "outbox", *arguments)
        child.environment = self._environment()
        return child

    def stop(self) -> None:
        """SIGTERM to what runs, ingest first, and wait until each has ended in order.

        :raises AssertionError: if one does not end, or has ended otherwise than in order or by a test's SIGKILL.
        """
        for program in self.programs:
            if program.is_running:
                program.stop()
            assert program.exit_code in NORMAL_ENDS, (
                f"{program.name}: exit code {program.exit_code}\n{program.log_tail()}"
            )

    def kill(self) -> None:
        """SIGKILL to everything, children included."""
        for program in self.programs:
            program.kill()

    def log_tails(self) -> str:
        """The end of each program's output, as it is shown with a failure."""
        return "\n".join(program.log_tail() for program in self.programs if program.log_file.exists())

    def _program(self, name: str, *arguments: str) -> Child:
        return Child(name, [sys.executable, *arguments], self.folder / f"{name}.log", directory=self.folder)

    def _environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return {**inherited, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **self.settings}
