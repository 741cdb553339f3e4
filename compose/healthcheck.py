"""`python -m compose.healthcheck ingest|actors|dashboard`: exit code 0 if that program is alive, for the containers' health.

Alive is not the same as all being well: a program that waits for a server that is down is alive.
"""

from __future__ import annotations

import fcntl
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Collection

import redis

from worker.living_workers import living_workers
from worker.settings import Settings, settings_or_exit

#: How long (s) an answer may take.
ANSWER_S = 5.0


def main() -> int:
    checks = {"ingest": is_ingest_alive, "actors": are_actors_alive, "dashboard": is_dashboard_alive}
    if len(sys.argv) != 2 or sys.argv[1] not in checks:
        print(f"usage: python -m compose.healthcheck {'|'.join(checks)}", file=sys.stderr)
        return 2
    return 0 if checks[sys.argv[1]](settings_or_exit()) else 1


def is_ingest_alive(settings: Settings) -> bool:
    """Whether its main loop turns; where it serves no numbers, whether somebody holds the outbox, as a running ingest does."""
    if settings.metrics_port:
        return _answers(settings.metrics_host, settings.metrics_port, "/healthz")
    try:
        with open(f"{settings.outbox_path}.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def are_actors_alive(settings: Settings) -> bool:
    """Whether a worker process of this host has given a sign; while Redis is away nobody can tell, so: yes."""
    client = redis.Redis.from_url(settings.broker_redis_url, socket_timeout=ANSWER_S)
    try:
        return living_workers(client, socket.gethostname()) > 0
    except redis.RedisError:
        return True


def is_dashboard_alive(settings: Settings) -> bool:
    """Whether it answers; 401 where it asks for a password, 503 while there is no outbox yet."""
    return _answers(settings.dashboard_host, settings.dashboard_port, "/", {401, 503})


def _answers(host: str, port: int, path: str, also_well: Collection[int] = ()) -> bool:
    """Whether a page is served well, or with one of these other statuses."""
    host = "127.0.0.1" if host == "0.0.0.0" else host
    try:
        urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=ANSWER_S).close()
    except urllib.error.HTTPError as error:
        with error:
            return error.code in also_well
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
