"""What Kafka, MariaDB and Redis have in common here: one folder, one port, and a start that returns when they answer.

A server keeps its port and its data over stop, kill and start, so that a test can take it away and bring it back.
"""

from __future__ import annotations

import abc
import time
from pathlib import Path

from tests.support.child import Child
from tests.support.waiting import can_connect, eventually, free_port


class Server(abc.ABC):
    """A server on a free port of 127.0.0.1, with its data and its log in `folder`."""

    #: How errors and the log file call it.
    name: str
    #: Seconds from the start of the process to its first answer; past that the start has failed.
    start_timeout: float = 60.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        #: Seconds that the last start took.
        self.last_start_took = 0.0
        self._is_prepared = False
        folder.mkdir(parents=True, exist_ok=True)
        self.child = Child(self.name, [], folder / f"{self.name}.log")

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make the data folder; called once, before the first start."""

    @abc.abstractmethod
    def command(self) -> list[str]:
        """The command that runs the server in the foreground."""

    @abc.abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers a real request. Any exception counts as no."""

    def start(self) -> None:
        """Start it on its port and its data, and return when it answers requests.

        :raises AssertionError: with the end of its log, if it ends or does not answer in time.
        """
        began = time.monotonic()
        if not self._is_prepared:
            self.prepare()
            self._is_prepared = True
        self.child.command = self.command()
        self.child.spawn()
        self.wait_until_ready()
        self.last_start_took = time.monotonic() - began

    def wait_until_ready(self) -> None:
        """Return when it answers: after `start`, or after `resume`."""

        def answers() -> bool:
            assert self.child.is_running, f"{self.name} ended ({self.child.exit_code})\n{self.child.log_tail()}"
            try:
                return can_connect(self.port) and self.is_ready()
            except Exception:  # each client has its own words for "not yet"
                return False

        eventually(answers, self.start_timeout, lambda: f"{self.name} answers\n{self.child.log_tail()}")

    def stop(self) -> None:
        """Shut it down in order (SIGTERM) and wait until it is gone."""
        self.child.stop(timeout=60.0)

    def kill(self) -> None:
        """SIGKILL: what it had not written is lost."""
        self.child.kill()

    def ensure_running(self) -> None:
        """Bring it back as an earlier test may have left it: frozen, or dead."""
        if self.child.is_running:
            self.resume()
            self.wait_until_ready()
        else:
            self.start()

    def restart(self) -> None:
        """Stop it and start it again: same port, same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: its connections stay open and silent, as with a host that hangs."""
        self.child.pause()

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self.child.resume()
