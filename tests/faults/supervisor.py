"""What keeps the programs running while faults strike: whatever ends is started again at once, as systemd would do it.

It holds a program back while a fault needs it down (its outbox is being deleted), and remembers how each run ended: a
program that ends for another reason than a fault's is a finding.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support import watchdog
from tests.support.child import Child
from tests.support.service import Service

#: How often (s) it looks whether a program has ended.
LOOK_EVERY_S = 0.02

#: How dramatiq's main process ends when one of its workers was killed.
A_WORKER_WAS_KILLED = 1

#: Stands for exit code 0 of a program that nobody asked to end.
UNASKED = 256


@dataclass(frozen=True)
class End:
    """How one run of a program ended: its exit code, negative for a signal."""

    program: str
    exit_code: int


class Supervisor(threading.Thread):
    """Watches programs of services. `lock` is held while one is looked at, started or ended."""

    def __init__(self) -> None:
        super().__init__(name="supervisor", daemon=True)
        self.lock = threading.RLock()
        self.ends: list[End] = []
        self._watched: dict[Child, Service] = {}
        self._held: set[Child] = set()
        self._orphans: list[int] = []
        self._may_end_well: set[Child] = set()
        self._noted: dict[Child, int] = {}
        self._is_over = threading.Event()

    def watch(self, service: Service, program: Child) -> None:
        """Start this program if it does not run, now and whenever it has ended."""
        with self.lock:
            self._watched[program] = service

    def dismiss(self, program: Child) -> None:
        """Leave this program alone from now on, running or not."""
        with self.lock:
            self._watched.pop(program, None)

    @contextmanager
    def held(self, program: Child) -> Iterator[None]:
        """In this block the program is not started again."""
        with self.lock:
            self._held.add(program)
        try:
            yield
        finally:
            with self.lock:
                self._held.discard(program)

    def kill(self, program: Child) -> None:
        """SIGKILL to the program with its children."""
        with self.lock:
            self._note_end_if_ended(program)
            if program.is_running:
                program.kill()

    def kill_leader(self, program: Child) -> int:
        """SIGKILL to the first process alone; its children live on under the group's id, which is returned."""
        with self.lock:
            group = program.pid
            program.kill_leader()
            self._orphans.append(group)
            return group

    def end_orphans(self, group: int) -> None:
        """SIGKILL to the children that outlived their first process."""
        with self.lock:
            _kill_group(group)
            self._orphans.remove(group)
            watchdog.forget(group)

    def terminate(self, program: Child) -> None:
        """SIGTERM: it may end with exit code 0, once."""
        with self.lock:
            if program.is_running:
                self._may_end_well.add(program)
                os.kill(program.pid, signal.SIGTERM)

    def end(self) -> None:
        """Stop watching, and kill what runs."""
        self._is_over.set()
        self.join()
        for program in self._watched:
            program.kill()
        for group in list(self._orphans):
            self.end_orphans(group)

    def run(self) -> None:
        while not self._is_over.wait(LOOK_EVERY_S):
            with self.lock:
                for program, service in self._watched.items():
                    self._note_end_if_ended(program)
                    if not program.is_running and program not in self._held:
                        service.spawn(program)

    def unexpected_ends(self) -> list[End]:
        """The runs that no fault has ended."""
        expected = {-signal.SIGKILL, 0}
        return [
            end
            for end in self.ends
            if end.exit_code not in expected and not (end.program == "actors" and end.exit_code == A_WORKER_WAS_KILLED)
        ]

    def _note_end_if_ended(self, program: Child) -> None:
        exit_code = program.exit_code
        if exit_code is None or self._noted.get(program) == program.pid:
            return
        self._noted[program] = program.pid
        if program in self._may_end_well and exit_code == -signal.SIGTERM:
            exit_code = 0  # it was asked before it could listen
        elif program not in self._may_end_well and exit_code == 0:
            exit_code = UNASKED
        self._may_end_well.discard(program)
        self.ends.append(End(program.name, exit_code))


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
