"""The process behind the scenes: it keeps the servers and the three programs running, and stops them in order.

It has a session of its own, so that Ctrl-C reaches only who started it, and a lifeline: when its standard input ends, because
that one has closed it or was killed, it stops everything and ends. What happens it tells as lines of JSON on standard output.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import peewee

from compose.embedded import ServerFailed, Servers
from outbox import UnusableOutbox
from worker.settings import FaultySettings, variables

#: The programs in the order in which they are stopped: who reads first, who serves last.
PROGRAMS = {
    "ingest": ("-m", "worker.ingest"),
    "actors": (
        "-m",
        "dramatiq",
        "worker.actors",
        "--processes",
        "2",
        "--threads",
        "4",
        "--worker-fork-timeout",
        "5000",
    ),
    "dashboard": ("-m", "worker.dashboard"),
}

#: How often (s) the programs are looked at, how long one that died is left alone, and how long a stop may take.
LOOK_EVERY_S = 0.2
RESTART_PAUSE_S = 1.0
STOP_S = 30.0


class Happening(msgspec.Struct, frozen=True):
    """Something to tell: `kind` is ready, failed, restarted or stopping; `text` is for a person."""

    kind: str
    text: str = ""
    environment: dict[str, str] = {}


class Program:
    """One of the three programs, in a session of its own; its output goes to `<name>.log`."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self._command = [sys.executable, *PROGRAMS[name]]
        self._log = folder / f"{name}.log"
        self._environment = environment
        self._restart_at: float | None = None
        self.start()

    def start(self) -> None:
        # In the folder, and not where the user stands: a `.env` there speaks of real servers.
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._log.parent,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def look(self) -> str | None:
        """Start it again, after a pause, if it has ended; what there is to tell."""
        if self._process.poll() is None:
            return None
        if self._restart_at is None:
            self._kill_group()  # dramatiq's children outlive their main process
            self._restart_at = time.monotonic() + RESTART_PAUSE_S
            return f"{self.name} ended with {self._process.returncode} and is started again; see {self._log}"
        if time.monotonic() >= self._restart_at:
            self._restart_at = None
            self.start()
        return None

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to what is left of its group."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        self._kill_group()
        self._process.wait()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def main() -> None:
    """Run until standard input ends, or SIGTERM or SIGINT comes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--dashboard-port", type=int, required=True)
    parser.add_argument("--create-tables", action="store_true")
    arguments = parser.parse_args()
    stop_pipe, wake_pipe = os.pipe()
    os.set_blocking(wake_pipe, False)
    signal.set_wakeup_fd(wake_pipe)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # the wake-up pipe says it

    servers = Servers(arguments.folder, os.environ, arguments.dashboard_port)
    try:
        servers.start(may_create_tables=arguments.create_tables)
    except (ServerFailed, FaultySettings, UnusableOutbox, peewee.PeeweeException, OSError) as error:
        tell("failed", str(error))
        servers.stop()
        sys.exit(1)
    programs = [Program(name, arguments.folder, servers.environment) for name in PROGRAMS]
    try:
        settings = {variable.name for variable in variables()} & servers.environment.keys()
        tell("ready", ", ".join(servers.embedded), {name: servers.environment[name] for name in settings})
        while not select.select([sys.stdin, stop_pipe], [], [], LOOK_EVERY_S)[0]:
            for happened in filter(None, [program.look() for program in programs]):
                tell("restarted", happened)
    finally:
        for program in programs:
            tell("stopping", program.name)
            program.stop()
        tell("stopping", "servers")
        servers.stop()


def tell(kind: str, text: str, environment: dict[str, str] | None = None) -> None:
    """Say it to whoever listens; nobody may."""
    with suppress(BrokenPipeError):
        print(msgspec.json.encode(Happening(kind, text, environment or {})).decode(), flush=True)


if __name__ == "__main__":
    main()
