"""Which worker processes of the actors live, as Redis has heard of them.

Dramatiq's own heartbeats do not tell: whoever enqueues is among them, ingest too. So each worker process enters itself
beside them, under its host, with the time of the Redis server.
"""

from __future__ import annotations

import socket
from typing import Any

import redis

#: Workers by the time (ms since 1970, the Redis server's clock) of their last sign.
WORKERS_KEY = "outbox:workers"

#: The longest silence (ms) of a living worker process, which gives a sign twice a second.
SILENCE_MS = 10_000

#: After so long (ms) a silent one is forgotten.
FORGOTTEN_MS = 60_000


def note_worker(pipeline: redis.client.Pipeline, worker_id: str, now_ms: int) -> None:
    """Add to a pipeline that this worker lives; those long silent are forgotten."""
    pipeline.zadd(WORKERS_KEY, {f"{socket.gethostname()}:{worker_id}": now_ms})
    pipeline.zremrangebyscore(WORKERS_KEY, "-inf", now_ms - FORGOTTEN_MS)


def living_workers(client: redis.Redis[Any], host: str | None = None) -> int:
    """How many worker processes live: on this host, or on all.

    Raises:
      redis.RedisError: Redis cannot be asked.
    """
    seconds, micros = client.time()
    since = seconds * 1000 + micros // 1000 - SILENCE_MS
    members: list[Any] = client.zrangebyscore(WORKERS_KEY, since, "+inf")
    names = [member.decode() if isinstance(member, bytes) else str(member) for member in members]
    return sum(host is None or name.rpartition(":")[0] == host for name in names)
