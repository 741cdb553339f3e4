"""Arming the fault points of running processes: which is to stop or to be killed where, and who it was."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Literal

from tests.support.service import Service
from tests.support.waiting import eventually
from worker.fault_points import VARIABLE, Point


class FaultPoints:
    """The armed points of a service. To be made before its programs are started.

    A worker process that is stopped at one is stopped as a whole, with all its threads, its heartbeat among them: the other
    processes run its messages a few seconds later.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._folder = service.folder / "points"
        self._folder.mkdir()
        service.settings[VARIABLE] = str(self._folder)

    def arm(self, point: Point, action: Literal["kill", "stop", "hang"]) -> None:
        """The next process that reaches the point does this to itself; once."""
        armed = self._folder / f"{point.value}.armed"
        armed.write_text(action)
        armed.rename(self._folder / point.value)  # whole at once: a process may be at the point just now

    def wait_until_stopped(self, point: Point, timeout: float = 30.0) -> int:
        """The id of the process that has stopped at the point."""

        def stopped() -> int | None:
            for taken in self._folder.glob(f"{point.value}.[0-9]*"):
                pid = int(taken.suffix[1:])
                if _state(pid) == "T":
                    taken.unlink()  # so that the point can be armed again
                    return pid
            return None

        pid = eventually(stopped, timeout, lambda: f"a process stops at {point.value}\n{self._service.log_tails()}")
        assert pid is not None
        return pid

    def stop_one_at(self, point: Point) -> None:
        """Arm the point: the next process that reaches it stops there."""
        self.arm(point, "stop")

    def hang_one_at(self, point: Point) -> None:
        """Arm the point: the next thread that reaches it hangs there, while its process lives on, heartbeat and all."""
        self.arm(point, "hang")

    def wait_until_hanging(self, point: Point, timeout: float = 30.0) -> Path:
        """A thread hangs at the point; it goes on when this file is removed."""

        def hanging() -> Path | None:
            return next(self._folder.glob(f"{point.value}.[0-9]*"), None)

        file = eventually(hanging, timeout, lambda: f"a thread hangs at {point.value}\n{self._service.log_tails()}")
        assert file is not None
        return file


def wake(*pids: int) -> None:
    """Let stopped processes go on."""
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def _state(pid: int) -> str:
    """The state of a process as Linux shows it: T is stopped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
