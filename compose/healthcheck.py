"""`python -m compose.healthcheck ingest|actors|dashboard`: exit code 0 if that program is alive, for the containers' health.

Alive is not the same as all being well: a program that waits for a server that is down is alive.
"""

from __future__ import annotations

import fcntl
import sys
import urllib.error
import urllib.request

import redis

from worker.settings import Settings, settings_or_exit

#: The longest silence (ms) of living actors, which send a heartbeat twice a second.
SILENCE_MS = 10_000

#: How long (s) an answer may take.
ANSWER_S = 5.0


def main() -> int:
    checks = {"ingest": is_ingest_alive, "actors": are_actors_alive, "dashboard": is_dashboard_alive}
    if len(sys.argv) != 2 or sys.argv[1] not in checks:
        print(f"usage: python -m compose.healthcheck {'|'.join(checks)}", file=sys.stderr)
        return 2
    return 0 if checks[sys.argv[1]](settings_or_exit()) else 1


def is_ingest_alive(settings: Settings) -> bool:
    """Whether somebody holds the outbox: ingest locks it for as long as it runs."""
    try:
        with open(f"{settings.outbox_path}.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def are_actors_alive(settings: Settings) -> bool:
    """Whether a worker process, of whatever host, has sent its heartbeat; while Redis is away nobody can tell, so: yes."""
    client = redis.Redis.from_url(settings.broker_redis_url, socket_timeout=ANSWER_S)
    try:
        seconds, microseconds = client.time()
        since = seconds * 1000 + microseconds // 1000 - SILENCE_MS
        return bool(client.zcount("dramatiq:__heartbeats__", since, "+inf"))
    except redis.RedisError:
        return True


def is_dashboard_alive(settings: Settings) -> bool:
    """Whether it answers; 503 is its answer while Redis is away."""
    host = "127.0.0.1" if settings.dashboard_host == "0.0.0.0" else settings.dashboard_host
    try:
        urllib.request.urlopen(f"http://{host}:{settings.dashboard_port}/", timeout=ANSWER_S).close()
    except urllib.error.HTTPError as error:
        return error.code == 503
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
