"""The connection to a Redis server, and patience with one that is away.

Redis holds no authority here: whatever it loses is dispatched again. But while a worker lives, what it wants to say
to Redis must not be dropped either, so the broker says it again until it is heard.
"""

# Dramatiq's own functions have no types.
# mypy: allow-untyped-calls

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from dramatiq.common import compute_backoff
from dramatiq.errors import ConnectionClosed

from worker.logs import log_event
from worker.tls import tls_trouble

#: How long connecting may take, and how long an answer (in ms). Longer than any blocking command of ours waits.
CONNECT_TIMEOUT_MS = 2000
ANSWER_TIMEOUT_MS = 5000

#: The first and the longest pause before a command is tried again (in ms).
FIRST_PAUSE_MS = 50
LONGEST_PAUSE_MS = 1000

#: How often an outage that lasts is told again (in s).
TELL_EVERY_S = 60

_log = logging.getLogger(__name__)

T = TypeVar("T")


def connect(url: str) -> redis.Redis:
    """A client for this server. It connects at the first command; a command raises `redis.RedisError` when it fails."""
    tls: dict[str, Any] = {"ssl_check_hostname": True} if url.startswith("rediss:") else {}
    return redis.Redis.from_url(
        url,
        **tls,
        socket_connect_timeout=CONNECT_TIMEOUT_MS / 1000,
        socket_timeout=ANSWER_TIMEOUT_MS / 1000,
        socket_keepalive=True,
    )


def told(error: Exception) -> str:
    """What Redis or the way to it complains of, and the variable to look at, if one may be to blame."""
    queue = "or BROKER_REDIS_URL if it is the queue's"
    trouble = tls_trouble(str(error), "REDIS")
    if isinstance(error, redis.AuthenticationError):
        advice = f"see REDIS_USERNAME and REDIS_PASSWORD, {queue}"
    elif isinstance(error, redis.exceptions.NoPermissionError):
        advice = f"see what the user of REDIS_USERNAME may do, {queue}"
    elif trouble:
        advice = f"{trouble}, {queue}"
    elif isinstance(error, redis.TimeoutError) or "reset by peer" in str(error) or "closed by server" in str(error):
        advice = f"if that lasts: see REDIS_SSL, {queue}"  # what each side says when it alone speaks TLS
    else:
        return str(error)
    return f"{error} ({advice})"


class Patience:
    """Tries commands until Redis takes them, and tells of an outage once, not once a command.

    Any `redis.RedisError` is waited out, not a lost connection alone: a server that loads its data, is read-only or
    out of memory comes back too.
    """

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._down_since: float | None = None
        self._told_at = 0.0

    @property
    def is_stopping(self) -> bool:
        """Whether the process is on its way out."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """From now on nothing is waited for: a command that fails, fails."""
        self._stopping.set()

    def call(self, command: Callable[[], T]) -> T:
        """What the command returns, as soon as it does.

        Raises:
          ConnectionClosed: when it failed and the process is stopping.
        """
        attempts = 0
        while True:
            try:
                result = command()
            except redis.RedisError as error:
                self.note_failure(error)
                if self.is_stopping:
                    raise ConnectionClosed(str(error)) from error
                attempts, pause_ms = compute_backoff(attempts, factor=FIRST_PAUSE_MS, max_backoff=LONGEST_PAUSE_MS)
                self._stopping.wait(pause_ms / 1000)
            else:
                self.note_success()
                return result

    def note_failure(self, error: redis.RedisError) -> None:
        """Tell of the outage, at its beginning and then every minute."""
        now = time.monotonic()
        with self._lock:
            if self._down_since is None:
                self._down_since = now
            elif now - self._told_at < TELL_EVERY_S:
                return
            self._told_at = now
            for_seconds = round(now - self._down_since)
        log_event(_log, logging.ERROR, "Redis does not answer", error=told(error), for_seconds=for_seconds)

    def note_success(self) -> None:
        """Tell that the outage is over, if there was one."""
        if self._down_since is None:
            return
        with self._lock:
            down_since, self._down_since = self._down_since, None
        if down_since is not None:
            log_event(_log, logging.INFO, "Redis answers again", after_seconds=round(time.monotonic() - down_since, 1))
