"""Waiting for something to become true, and finding a free port: the two places where tests meet time and chance.

`eventually` is the only loop in the tests that sleeps. Everything else waits through it, for a condition and never for a
duration, so that a slow machine makes a test slower and not red.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

#: The first and the last wait between two looks at a condition, in seconds.
FIRST_LOOK_AFTER = 0.005
LOOK_AT_LEAST_EVERY = 0.1

#: Ports at which servers are looked for: above the well-known ones, below the range that the kernel gives to clients.
LOWEST_PORT = 15_000

_ports_given_out: set[int] = set()


def eventually(
    predicate: Callable[[], T],
    timeout: float = 10.0,
    message: str | Callable[[], str] = "",
    ignoring: tuple[type[Exception], ...] = (),
) -> T:
    """The first true value that `predicate` returns, looked for at short intervals.

    :param timeout: seconds until it must be true; the predicate is asked once more after that.
    :param message: what was waited for; a function is called only when the wait fails.
    :param ignoring: exceptions that count as "not yet"; the last one is the cause of the AssertionError.
    :raises AssertionError: when the time is over.
    """
    deadline = time.monotonic() + timeout
    pause = FIRST_LOOK_AFTER
    while True:
        is_last_look = time.monotonic() >= deadline
        last_error: Exception | None = None
        value: T | None = None
        try:
            value = predicate()
            if value:
                return value
        except ignoring as error:
            last_error = error
        if is_last_look:
            told = message() if callable(message) else message or getattr(predicate, "__name__", "the condition")
            seen = last_error if last_error is not None else value
            raise AssertionError(f"not within {timeout:g} s: {told} (last seen: {seen!r})") from last_error
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(pause * 2, LOOK_AT_LEAST_EVERY)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now, and that this process has not handed out before.

    It lies below the range from which the kernel takes the ports of outgoing connections. A port of that range could be
    taken while its server is down: by any connection, or by a client that retries until it is connected to itself. Where the
    tests run in several processes, each has its own share: another's server that is down for a moment keeps its port.
    """
    number, processes = _which_process()
    for _ in range(1000):
        port = random.randrange(LOWEST_PORT + number, _first_client_port(), processes)
        if port not in _ports_given_out and _can_bind(port):
            _ports_given_out.add(port)
            return port
    raise RuntimeError("no free TCP port found on 127.0.0.1")


def can_connect(port: int) -> bool:
    """Whether something listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _which_process() -> tuple[int, int]:
    """The number (from 0) of this process among those in which pytest-xdist runs the tests, and how many they are."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return int(name.removeprefix("gw")), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def _first_client_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32_768


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
