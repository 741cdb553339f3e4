"""Locks of others: a backup's lock on the whole server, a locked table, a row that the application holds, a read-only server.

None of them is an operation's fault. However long they last, no attempt is burnt and no dead letter is made, and it goes on by
itself. `MAX_RETRY_ATTEMPTS` is 0: an attempt that is burnt would be a dead letter that the serial run does not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.faults.points import FaultPoints, wake
from tests.support.mixed import mixed_stream
from tests.support.pipeline import Pipeline
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually
from worker.fault_points import Point

SETTINGS = {
    "MAX_RETRY_ATTEMPTS": "0",
    "RETRY_DELAY_MS": "100",
    "DB_READ_TIMEOUT": "2000",  # and so half of it for a row's lock
    "LEASE_MS": "10000",
    "BATCH_MAX_OPERATIONS": "20",
}

GOES_BACK = "goes back to the outbox"


@pytest.fixture
def running(pipeline: Pipeline) -> Pipeline:
    """A service with little patience, running, with Users 1 to 20 and a Business of each."""
    pipeline.service.settings |= SETTINGS
    users = [a_user(f"user{number}@example.co", id=number) for number in range(1, 21)]
    businesses = [{"id": number, "userId": number, "name": f"Panadería {number}"} for number in range(1, 21)]
    pipeline.send(
        [
            a_message("users", "BULK_CREATE", "User", {"records": users}, timestamp=1),
            a_message("businesses", "BULK_CREATE", "Business", {"records": businesses}, timestamp=2),
        ]
    )
    pipeline.service.start()
    pipeline.wait_until_settled()
    return pipeline


@contextmanager
def held_by(pipeline: Pipeline, *statements: str) -> Iterator[Any]:
    """A connection of somebody else, that has run these statements and holds what they lock until the end."""
    with pipeline.mariadb.connection(pipeline.database) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        yield cursor


def times_said(pipeline: Pipeline, phrase: str) -> int:
    return pipeline.service.actors.log().count(phrase)


def said_again(pipeline: Pipeline, phrase: str, times: int) -> None:
    """The actors say it so many times more."""
    before = times_said(pipeline, phrase)
    eventually(lambda: times_said(pipeline, phrase) >= before + times, 60, pipeline.service.log_tails)


def no_attempt_is_burnt(pipeline: Pipeline) -> None:
    """No entry has an attempt, a verdict, or a reason for one."""
    assert pipeline.dead_letters() == {}
    assert {entry.attempts for entry in pipeline.entries()} == {0}


def test_a_backup_lock_burns_no_attempt_and_the_stream_goes_on_by_itself(pipeline: Pipeline) -> None:
    pipeline.service.settings |= SETTINGS
    messages = mixed_stream(600, seed=11)
    pipeline.send(messages[:300])
    pipeline.service.start()
    eventually(lambda: pipeline.counts().applied >= 100, 60, pipeline.service.log_tails, ignoring=(OSError,))

    said_before = times_said(pipeline, GOES_BACK)
    with held_by(pipeline, "FLUSH TABLES WITH READ LOCK"):
        pipeline.send(messages[300:])
        pipeline.service.ingest.wait_for_log("Database is now UNHEALTHY")
        eventually(lambda: pipeline.counts().total == 600, 30, "operations are persisted meanwhile")
        # counted from before the lock: all that was under way may be back by now, and nothing more is sent meanwhile
        eventually(lambda: times_said(pipeline, GOES_BACK) > said_before, 60, pipeline.service.log_tails)
        after = pipeline.service.ingest.log_position()
    pipeline.service.ingest.wait_for_log("Processing", after=after)
    pipeline.wait_until_settled()

    rows, refused = pipeline.serial_rows([entry.raw for entry in pipeline.entries()])
    assert pipeline.rows() == rows
    assert sorted(pipeline.dead_letters()) == sorted(refused)
    assert {letter.error_kind for letter in pipeline.dead_letters().values()} == {"order", "refused"}
    pipeline.wait_until_the_cache_is_true()


def test_a_commit_that_is_answered_too_late_has_one_effect(pipeline: Pipeline) -> None:
    """The worker gives up waiting for the answer; the server may commit all the same, once the lock is gone."""
    pipeline.service.settings |= SETTINGS
    points = FaultPoints(pipeline.service)
    pipeline.service.start()
    pipeline.send([a_message("user", "CREATE", "User", a_user("ana@example.co", id=1), timestamp=1)])
    pipeline.send([a_message("business", "CREATE", "Business", {"id": 1, "userId": 1, "name": "x"}, timestamp=2)])
    pipeline.wait_until_settled()
    points.stop_one_at(Point.LINES_WRITTEN)
    pipeline.send([a_message("rating", "CREATE", "Rating", {"businessId": 1, "totalScore": 7})])
    worker = points.wait_until_stopped(Point.LINES_WRITTEN)

    with held_by(pipeline, "FLUSH TABLES WITH READ LOCK"):
        wake(worker)
        eventually(
            lambda: (
                ("COMMIT",)
                in pipeline.query(
                    "SELECT info FROM information_schema.processlist WHERE db = %s AND state LIKE 'Waiting for backup%%'",
                    pipeline.database,
                )
            ),
            30,
            pipeline.service.log_tails,
        )
        pipeline.service.actors.wait_for_log(GOES_BACK)
    pipeline.wait_until_settled()

    assert pipeline.query("SELECT puntaje_total FROM calificaciones") == [(7,)]
    assert pipeline.query("SELECT outcome FROM settled_operations WHERE operation_id = 'rating'") == [("applied",)]
    no_attempt_is_burnt(pipeline)


def test_a_locked_table_burns_no_attempt(running: Pipeline) -> None:
    with held_by(running, "LOCK TABLES calificaciones WRITE"):
        running.send([a_message("rating", "CREATE", "Rating", {"businessId": 1, "totalScore": 7})])
        said_again(running, GOES_BACK, 2)
        running.send([a_message("other", "UPDATE", "User", {"id": 2, "lastName": "Rojas"})])
        eventually(
            lambda: running.query("SELECT 1 FROM usuarios WHERE apellido = 'Rojas'"), 30, running.service.log_tails
        )

    running.wait_until_settled()
    assert running.query("SELECT puntaje_total FROM calificaciones") == [(7,)]
    no_attempt_is_burnt(running)


def test_a_row_that_the_application_holds_for_long_stops_nobody_else_and_burns_no_attempt(running: Pipeline) -> None:
    """Longer than a batch tries again at once: the operation waits by itself, what follows it on the row waits behind it."""
    updates = [
        a_message(f"op_{number}", "UPDATE", "Business", {"id": number, "name": "new"}, timestamp=number)
        for number in range(1, 21)
    ]
    follower = a_message("follower", "UPDATE", "Business", {"id": 1, "name": "newest"}, timestamp=21)

    with held_by(running, "BEGIN", "SELECT * FROM emprendimientos WHERE id = 1 FOR UPDATE"):
        running.send([*updates, follower], partitions=1)
        eventually(lambda: running.counts().unsettled == 2, 60, running.service.log_tails)
        operation = next(entry for entry in running.entries() if entry.operation_id == "op_1")
        said = [line for line in history(running, operation.entry_id) if "contention" in line]
        eventually(lambda: len(history(running, operation.entry_id)) >= len(said) + 2, 60, running.service.log_tails)
        running.send([a_message("late", "UPDATE", "Business", {"id": 2, "name": "newer"})])
        eventually(lambda: running.counts().unsettled == 2, 60, running.service.log_tails)

    running.wait_until_settled()
    names = dict(running.query("SELECT id, nombre_emprendimiento FROM emprendimientos"))
    assert names == {**dict.fromkeys(range(3, 21), "new"), 1: "newest", 2: "newer"}
    no_attempt_is_burnt(running)
    assert "Database is now UNHEALTHY" not in running.logged()


def history(pipeline: Pipeline, entry_id: int) -> list[str]:
    with pipeline.outbox() as outbox:
        return [f"{line.kind} {line.why}" for line in outbox.history(entry_id)]


def test_a_server_that_turns_read_only_burns_no_attempt(pipeline: Pipeline) -> None:
    """As a replica does that is not yet promoted. Root may write all the same, so the service has an account of its own."""
    pipeline.mariadb.execute("CREATE OR REPLACE USER service@'%' IDENTIFIED BY ''")
    pipeline.mariadb.execute(f"GRANT ALL ON `{pipeline.database}`.* TO service@'%'")
    pipeline.service.settings |= SETTINGS | {"DB_USER": "service"}
    messages = mixed_stream(400, seed=12)
    pipeline.send(messages[:200])
    pipeline.service.start()
    eventually(lambda: pipeline.counts().applied >= 100, 60, pipeline.service.log_tails, ignoring=(OSError,))

    pipeline.mariadb.execute("SET GLOBAL read_only = 1")
    try:
        pipeline.send(messages[200:])
        pipeline.service.ingest.wait_for_log("Database is now UNHEALTHY")
        eventually(lambda: pipeline.counts().total == 400, 30, "operations are persisted meanwhile")
    finally:
        pipeline.mariadb.execute("SET GLOBAL read_only = 0")
    pipeline.wait_until_settled()

    rows, refused = pipeline.serial_rows([entry.raw for entry in pipeline.entries()])
    assert pipeline.rows() == rows
    assert sorted(pipeline.dead_letters()) == sorted(refused)
