"""Who works beside whom in a worker process: a batch that a worker died with works by itself.

A process that dies takes all with it that its threads are doing. Were the suspect to run beside others again, they would die
with it as often as it does, and be taken for killers too. So what has died once runs alone in its process from then on: what
dies then is the suspect and nobody else. Other processes, and what touches no operation (the cache), go on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """Lets any number in beside each other, or one alone. Who wants to be alone goes before those who come later."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._waiting_to_be_alone = 0
        self._is_taken = False

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """Come in as soon as nobody is alone inside or waits to be."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._is_taken or self._waiting_to_be_alone))
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Come in as soon as nobody is inside, and keep all others out."""
        with self._changed:
            self._waiting_to_be_alone += 1
            self._changed.wait_for(lambda: not (self._is_taken or self._inside))
            self._waiting_to_be_alone -= 1
            self._is_taken = True
        try:
            yield
        finally:
            with self._changed:
                self._is_taken = False
                self._changed.notify_all()
