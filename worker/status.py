"""What ingest tells the operators: the lines that their alerts match, and the status line once a minute."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from worker.logs import DEAD_LETTER, PROCESSED, RECEIVED, log_event
from worker.merge import FetchedRecord
from worker.outcomes import Changes

logger = logging.getLogger(__name__)


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


def tell_turn(records: Sequence[FetchedRecord], changes: Changes) -> None:
    """One line for what a turn of the main loop received and one for what it settled; each operation at debug."""
    if records:
        log_event(logger, logging.INFO, RECEIVED, count=len(records), **_named(records[0]))
        for record in records if logger.isEnabledFor(logging.DEBUG) else ():
            log_event(
                logger, logging.DEBUG, RECEIVED, partition=record.partition, offset=record.offset, **_named(record)
            )
    for task in changes.dead:
        log_event(
            logger,
            logging.ERROR,
            DEAD_LETTER,
            operation=task.operation.operation_id,
            error=task.reason,
            timestamp=datetime.now(UTC).isoformat(timespec="milliseconds"),
            stack=task.error_kind,
            attempts=task.attempts,
        )
    if changes.applied:
        log_event(
            logger,
            logging.INFO,
            PROCESSED,
            count=len(changes.applied),
            operation=changes.applied[0].operation.operation_id,
        )
        for task in changes.applied if logger.isEnabledFor(logging.DEBUG) else ():
            log_event(logger, logging.DEBUG, PROCESSED, operation=task.operation.operation_id)


def _named(record: FetchedRecord) -> dict[str, str | None]:
    return {"operation": record.seen.operation_id, "type": record.seen.type, "entity": record.seen.entity}
