"""Threads of the simulated processes: greenlets, so that one runs at a time and each switch is ours to choose.

A thread runs its step again and again. It is interrupted only where it says so: at the named fault points of the
production code, where it waits for a lock, and between two steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet

FOREVER = float("inf")


class Killed(BaseException):
    """Raised in a thread whose process is killed. No production code catches it."""


class Thread:
    """One thread of a simulated process.

    Parameters:
      step: one turn of its loop.
      due: the virtual time (s) at which it has work: now or earlier if at once, infinity if only an event brings some.
      session: what stands for its connection to the database.
    """

    def __init__(self, name: str, step: Callable[[], object], due: Callable[[], float], session: Any) -> None:
        self.name = name
        self.session = session
        self._step = step
        self.work_due = due
        #: It outlives its steps: a greenlet for each step would cost as much as half of a step.
        self._greenlet: greenlet | None = None
        self._waits_for: Callable[[], bool] | None = None
        self.not_before = 0.0
        #: Whether it was interrupted in the middle of a step.
        self.is_inside = False

    def due(self, now: float) -> float:
        if self.not_before > now and not (self._waits_for is not None and self._waits_for()):
            return self.not_before
        return now if self.is_inside else self.work_due()

    def run(self) -> None:
        """Go on until it is interrupted or its step is done. Raises what the step raises."""
        self._waits_for = None
        if self._greenlet is None:
            self._greenlet = greenlet(self._steps)
        try:
            self._greenlet.switch()
        except BaseException:
            self._greenlet, self.is_inside = None, False
            raise

    def _steps(self) -> None:
        to_the_world = getcurrent().parent.switch
        while True:
            self.is_inside = True
            self._step()
            self.is_inside = False
            to_the_world()

    def interrupt(self, until: float = 0.0, waits_for: Callable[[], bool] | None = None) -> None:
        """Called in the thread: let others run, at least until then, or until what it waits for is true."""
        self.not_before = until
        self._waits_for = waits_for
        assert self._greenlet is not None
        self._greenlet.parent.switch()

    def kill(self) -> None:
        """Called from outside: end it where it stands; what its transaction has done is undone."""
        if self._greenlet is not None:
            self._greenlet.parent = getcurrent()  # where it ends to: a thread may kill the others of its process
            try:
                self._greenlet.throw(Killed)
            except Killed:
                pass
            self._greenlet, self.is_inside = None, False
