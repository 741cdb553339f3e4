"""The clock of a chore that is done now and then by a loop that has more to do."""

from __future__ import annotations

from collections.abc import Callable


class Every:
    """``is_due`` at most once in so many seconds.

    Parameters:
      clock: monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._next = clock() + seconds

    @property
    def is_due(self) -> bool:
        if self._clock() < self._next:
            return False
        self._next = self._clock() + self._seconds
        return True
