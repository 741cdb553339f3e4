"""A process that outlives the tests by a moment: it kills the process groups that they left behind.

`Child` tells it each group that starts (`+pgid`) and ends (`-pgid`) over a pipe. When the tests end, however they end, the
pipe closes and the watchdog kills what is still registered. A parent-death signal would not do: it reaches the first
process of a group only, and Dramatiq's workers are the children of that one.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys

_watchdog: subprocess.Popen[bytes] | None = None


def start() -> None:
    """Have the watchdog ready, so that a process need not run unwatched while it starts."""
    global _watchdog
    if _watchdog is None:
        _watchdog = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, start_new_session=True)
        atexit.register(_watchdog.communicate)  # closes the pipe, and waits until the watchdog has done its work


def watch(group: int) -> None:
    """From now on `group` does not survive this process."""
    _tell(f"+{group}\n")


def forget(group: int) -> None:
    """`group` has ended; its number may be given to others."""
    _tell(f"-{group}\n")


def _tell(line: str) -> None:
    start()
    assert _watchdog is not None
    assert _watchdog.stdin is not None
    _watchdog.stdin.write(line.encode())
    _watchdog.stdin.flush()


def _main() -> None:
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass


if __name__ == "__main__":
    _main()
