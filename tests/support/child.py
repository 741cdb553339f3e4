"""One process of the tests, with its children: started, stopped, killed, frozen; its output in a file.

A child leads a process group of its own, and every signal but the polite SIGTERM goes to the whole group. What is still
running when the tests end is killed by the watchdog.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support import watchdog
from tests.support.waiting import eventually

#: How many characters of the output an error shows.
TAIL_LENGTH = 4_000


class Child:
    """A command that can be run again and again; its output is appended to one file.

    :param name: how errors call it.
    :param environment: the whole environment of the process; None = that of the tests.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log_file: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log_file = log_file
        self.environment = environment
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running process, which is also the id of its group."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the last run ended (negative: by that signal); None while it runs, or before the first."""
        return None if self._process is None else self._process.poll()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def spawn(self) -> None:
        """Start the process, and do not wait for anything."""
        assert not self.is_running, f"{self.name} runs already"
        watchdog.start()
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.directory,
                start_new_session=True,
            )
        watchdog.watch(self.pid)

    def stop(self, timeout: float = 30.0) -> int:
        """Ask the process to end (SIGTERM; a frozen one is woken to hear it) and wait for it; its exit code.

        :raises AssertionError: if it is not gone after `timeout` seconds; it is killed then.
        """
        if self.is_running:
            os.kill(self.pid, signal.SIGTERM)
            self.resume()
        return self.wait_for_exit(timeout)

    def wait_for_exit(self, timeout: float = 30.0) -> int:
        """Wait until the process ends by itself; its exit code. What is left of its group is killed."""
        assert self._process is not None, f"{self.name} was not started"
        try:
            exit_code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {timeout:g} s\n{self.log_tail()}") from None
        self._clear_group()
        return exit_code

    def kill(self) -> None:
        """End the process and its children at once (SIGKILL), as a power cut would."""
        if self._process is not None:
            self._clear_group()
            self._process.wait()

    def kill_leader(self) -> None:
        """SIGKILL the first process only; its children live on until `kill` or the next `start`."""
        os.kill(self.pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def pause(self) -> None:
        """Freeze the process and its children (SIGSTOP): connections stay open, nothing answers."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        os.killpg(self.pid, signal.SIGCONT)

    def children(self) -> list[int]:
        """The ids of the processes that the first process has forked and that still run (Linux)."""
        return [int(child) for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def log(self, after: int = 0) -> str:
        """The output of all runs, from the position `after` (see `log_position`) on."""
        if not self.log_file.exists():
            return ""
        with self.log_file.open("rb") as output:
            output.seek(after)
            return output.read().decode(errors="replace")

    def log_position(self) -> int:
        """Where the output ends now: `wait_for_log(…, after=position)` overlooks what is older."""
        return self.log_file.stat().st_size if self.log_file.exists() else 0

    def log_tail(self) -> str:
        """The end of the output, as it is shown with a failure."""
        return f"--- the end of {self.log_file} ---\n{self.log()[-TAIL_LENGTH:]}"

    def wait_for_log(self, phrase: str, timeout: float = 30.0, after: int = 0) -> str:
        """Wait until the output holds `phrase`; the line it stands in.

        :raises AssertionError: if it does not appear, or if the process ends without having said it.
        """

        def the_line() -> str | None:
            is_running = self.is_running  # asked before the output is read: the last words count
            for line in self.log(after).splitlines():
                if phrase in line:
                    return line
            assert is_running, f"{self.name} ended ({self.exit_code}) before it said {phrase!r}\n{self.log_tail()}"
            return None

        line = eventually(the_line, timeout, lambda: f"{self.name} says {phrase!r}\n{self.log_tail()}")
        assert line is not None
        return line

    def _clear_group(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        watchdog.forget(self.pid)
