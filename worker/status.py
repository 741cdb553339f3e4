"""The status line that operators' alerts read, once a minute."""

from __future__ import annotations

from typing import Any


def status_fields(
    *,
    is_running: bool,
    is_paused: bool,
    pending_operations: int,
    is_database_healthy: bool,
    last_health_check: str | None,
    database_uptime_s: float,
    is_redis_connected: bool,
    lag: int,
    in_flight: int,
    dead_letters: int,
) -> dict[str, Any]:
    """The fields of ``Worker Status``: the first three are the ones that operators match, our own come after them."""
    return {
        "consumer": {
            "isRunning": is_running,
            "processingPaused": is_paused,
            "pendingOperations": pending_operations,
            "databaseHealthy": is_database_healthy,
        },
        "database": {
            "isHealthy": is_database_healthy,
            "lastHealthCheck": last_health_check,
            "uptime": round(database_uptime_s, 1),
        },
        "redis": is_redis_connected,
        "inFlight": in_flight,
        "deadLetters": dead_letters,
        "lag": lag,
    }
