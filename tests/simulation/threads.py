"""Threads of the simulated processes: greenlets, so that one runs at a time and each switch is ours to choose.

A thread runs its step again and again. It is interrupted only where it says so: at the named fault points of the
production code, where it waits for a lock, and between two steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenlet import greenlet

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
        self._due = due
        self._greenlet: greenlet | None = None
        self._waits_for: Callable[[], bool] | None = None
        self.not_before = 0.0

    @property
    def is_inside(self) -> bool:
        """Whether it was interrupted in the middle of a step."""
        return self._greenlet is not None and bool(self._greenlet)

    def due(self, now: float) -> float:
        if self.not_before > now and not (self._waits_for is not None and self._waits_for()):
            return self.not_before
        return now if self._greenlet else self._due()  # a greenlet is true while it is inside

    def run(self) -> None:
        """Go on until it is interrupted or its step is done. Raises what the step raises."""
        self._waits_for = None
        if not self.is_inside:
            self._greenlet = greenlet(self._step)
        assert self._greenlet is not None
        self._greenlet.switch()

    def interrupt(self, until: float = 0.0, waits_for: Callable[[], bool] | None = None) -> None:
        """Called in the thread: let others run, at least until then, or until what it waits for is true."""
        self.not_before = until
        self._waits_for = waits_for
        assert self._greenlet is not None
        self._greenlet.parent.switch()

    def kill(self) -> None:
        """Called from outside: end the step where it stands; what its transaction has done is undone."""
        if self.is_inside:
            assert self._greenlet is not None
            try:
                self._greenlet.throw(Killed)
            except Killed:
                pass
        self._greenlet = None
