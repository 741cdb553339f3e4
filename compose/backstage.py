"""The near end of the supervisor: starts it, hears what it tells, and ends it by letting go of its standard input."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from compose.embedded import ServerFailed
from compose.supervisor import Happening

#: How long (s) the servers may take to start, and everything to stop.
READY_S = 60.0
STOP_S = 120.0


class Backstage:
    """The servers and the three programs, running as long as this context lasts.

    Parameters:
      folder: where they keep their files.
      on_stopping: told the name of each part that is being stopped.
    """

    def __init__(
        self, folder: Path, dashboard_port: int, may_create_tables: bool, on_stopping: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._on_stopping = on_stopping
        self._options = ["--folder", str(folder), "--dashboard-port", str(dashboard_port)]
        if may_create_tables:
            self._options.append("--create-tables")
        self._happenings: queue.SimpleQueue[Happening | None] = queue.SimpleQueue()
        self.environment: dict[str, str] = {}
        #: What is embedded, for a person.
        self.embedded = ""
        #: What happened since, for a person.
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        with (self._folder / "supervisor.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "compose.supervisor", *self._options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._listener = threading.Thread(target=self._listen, name="backstage", daemon=True)
        self._listener.start()
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def look(self) -> None:
        """Take in what has happened.

        Raises:
          ServerFailed: the supervisor has ended.
        """
        with suppress(queue.Empty):
            while True:
                happening = self._happenings.get_nowait()
                if happening is None:
                    raise ServerFailed(f"the supervisor has ended; see {self._folder / 'supervisor.log'}")
                self.notes.append(happening.text)

    def _wait_until_ready(self) -> None:
        try:
            happening = self._happenings.get(timeout=READY_S)
        except queue.Empty:
            raise ServerFailed(f"the servers did not start within {READY_S:.0f} s") from None
        if happening is None or happening.kind != "ready":
            raise ServerFailed(happening.text if happening else f"see {self._folder / 'supervisor.log'}")
        self.environment, self.embedded = happening.environment, happening.text

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            happening = msgspec.json.decode(line, type=Happening)
            if happening.kind == "stopping":
                self._on_stopping(happening.text)
            else:
                self._happenings.put(happening)
        self._happenings.put(None)

    def _stop(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._listener.join(timeout=1.0)
