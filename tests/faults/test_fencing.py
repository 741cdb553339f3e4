"""Exactly one effect: workers that are stopped, and wake when their operations have long been decided by others.

A worker process is stopped at a named point, before, inside or after its transaction. Its silence makes another process run
a copy of its message; the copy, or the operator, or another ingest decides the operation. Then the worker wakes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from outbox.records import Entry, HistoryLine
from outbox.states import State
from tests.faults.points import FaultPoints, wake
from tests.support.pipeline import Pipeline
from tests.support.service import Service
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually, free_port
from worker.fault_points import Point

USER = a_message("user", "CREATE", "User", a_user("ana@example.co", id=1), timestamp=1)

#: One for each rating: siblings would wait for each other.
RECORDS = [{"id": number, "userId": 1, "name": f"Panadería {number}"} for number in range(1, 21)]
BUSINESSES = a_message("businesses", "BULK_CREATE", "Business", {"records": RECORDS}, timestamp=2)

#: A worker's processes of one thread each: one that is stopped takes nothing else with it.
SETTINGS = {"MAX_RETRY_ATTEMPTS": "0", "DB_READ_TIMEOUT": "2000", "LEASE_MS": "60000", "RECONCILE_INTERVAL_MS": "300"}


@pytest.fixture
def points(pipeline: Pipeline) -> FaultPoints:
    """The fault points of the pipeline's programs, which are not yet started."""
    pipeline.service.settings |= SETTINGS
    return FaultPoints(pipeline.service)


@pytest.fixture
def standby(pipeline: Pipeline, points: FaultPoints) -> Iterator[Service]:
    """A second host: its own folder and outbox, the same group, servers and actors' queue."""
    folder = pipeline.service.folder / "standby"
    folder.mkdir()
    own = {
        "OUTBOX_PATH": str(folder / "outbox.sqlite3"),
        "LOG_DIR": str(folder / "logs"),
        "DASHBOARD_PORT": str(free_port()),
    }
    service = Service(folder, {**pipeline.service.settings, **own})
    yield service
    service.kill()


def start_with(pipeline: Pipeline, processes: int) -> None:
    """Start the service with so many worker processes of one thread, and give it a User and Businesses."""
    old = pipeline.service.actors.command
    pipeline.service.actors.command = [
        *old[: old.index("--processes")],
        "--processes",
        str(processes),
        "--threads",
        "1",
    ]
    pipeline.send([USER, BUSINESSES], partitions=1)
    pipeline.service.start()
    pipeline.wait_until_settled()


def a_rating(number: int) -> bytes:
    """A CREATE that no unique value keeps from being done twice."""
    return a_message(f"rating_{number}", "CREATE", "Rating", {"businessId": number + 1, "totalScore": number})


def ledger(pipeline: Pipeline, like: str = "%") -> list[tuple[str, str, int]]:
    """Operation id, outcome and incarnation of each line."""
    return [
        (operation_id.decode(), outcome, incarnation)
        for operation_id, outcome, incarnation in pipeline.query(
            "SELECT operation_id, outcome, incarnation FROM settled_operations WHERE operation_id LIKE %s ORDER BY 1",
            like,
        )
    ]


def operator(pipeline: Pipeline, command: str, *operation_ids: str) -> None:
    desk = pipeline.service.operator(command, *operation_ids, "--why", "the test says so")
    desk.spawn()
    assert desk.wait_for_exit() == 0, desk.log()


def entry(pipeline: Pipeline, operation_id: str) -> tuple[Entry, list[HistoryLine]]:
    """The operation's entry in the outbox, and its history."""
    [found] = [one for one in pipeline.entries() if one.operation_id == operation_id]
    with pipeline.outbox() as outbox:
        return found, outbox.history(found.entry_id)


def test_late_messages_of_an_older_epoch_stop_at_the_database(pipeline: Pipeline, points: FaultPoints) -> None:
    pipeline.send([USER, BUSINESSES, *(a_rating(number) for number in range(20))], partitions=1)
    broker = pipeline.redis_server.client(1)
    pipeline.service.start_ingest()
    eventually(lambda: broker.hlen("dramatiq:apply.msgs") > 0, 30, pipeline.service.log_tails)
    pipeline.service.ingest.kill()
    after = pipeline.service.ingest.log_position()
    pipeline.service.start_ingest()
    pipeline.service.ingest.wait_for_log("Epoch 2", after=after)
    pipeline.service.start_actors()

    pipeline.wait_until_settled()
    pipeline.service.actors.wait_for_log("is of an older epoch")
    eventually(lambda: broker.hlen("dramatiq:apply.msgs") == 0, 30, "every message has been run")

    assert pipeline.query("SELECT puntaje_total, count(*) FROM calificaciones GROUP BY 1 HAVING count(*) <> 1") == []
    assert pipeline.query("SELECT count(*) FROM calificaciones") == [(20,)]
    assert len(ledger(pipeline, "rating%")) == 20
    assert pipeline.counts().applied == 22
    pipeline.wait_until_the_cache_is_true()


def test_a_worker_that_wakes_after_another_copy_was_applied_applies_nothing(
    pipeline: Pipeline, points: FaultPoints
) -> None:
    stops = (Point.PICKED_UP, Point.FENCE_PASSED, Point.ROWS_WRITTEN, Point.LINES_WRITTEN, Point.COMMITTED_ROWS)
    start_with(pipeline, processes=len(stops) + 2)
    stopped = []
    for number, point in enumerate(stops):
        points.stop_one_at(point)
        pipeline.send([a_rating(number)])
        stopped.append(points.wait_until_stopped(point))
    # The one whose line is written holds its lock: whoever has its copy waits for it. The others do not.
    eventually(lambda: pipeline.counts().unsettled <= 1, 60, pipeline.service.log_tails)

    wake(*stopped)
    pipeline.wait_until_settled()
    pipeline.service.actors.stop()  # each worker finishes what it runs

    assert pipeline.query("SELECT puntaje_total FROM calificaciones ORDER BY 1") == [(n,) for n in range(len(stops))]
    assert ledger(pipeline, "rating%") == [(f"rating_{n}", "applied", 0) for n in range(len(stops))]
    assert (pipeline.counts().applied, pipeline.counts().dead) == (2 + len(stops), 0)


def test_a_thread_that_hangs_for_longer_than_its_lease_applies_nothing_when_it_goes_on(
    pipeline: Pipeline, points: FaultPoints
) -> None:
    """Its process lives on, so no other worker takes its messages over: ingest sends them again when their lease is over."""
    pipeline.service.settings["LEASE_MS"] = "2000"
    hangs = (Point.PICKED_UP, Point.FENCE_PASSED, Point.ROWS_WRITTEN, Point.LINES_WRITTEN)
    start_with(pipeline, processes=len(hangs) + 1)
    hanging = []
    for number, point in enumerate(hangs):
        points.hang_one_at(point)
        pipeline.send([a_rating(number)])
        hanging.append(points.wait_until_hanging(point))
    eventually(lambda: len(ledger(pipeline, "rating%")) == len(hangs), 60, pipeline.service.log_tails)
    pipeline.service.ingest.wait_for_log("silent past its lease")

    for file in hanging:
        file.unlink()
    pipeline.wait_until_settled()
    pipeline.service.actors.stop()  # each worker finishes what it runs

    assert pipeline.query("SELECT puntaje_total FROM calificaciones ORDER BY 1") == [(n,) for n in range(len(hangs))]
    assert ledger(pipeline, "rating%") == [(f"rating_{n}", "applied", 0) for n in range(len(hangs))]
    assert {one.attempts for one in pipeline.entries()} == {0}


def test_a_worker_that_wakes_after_its_operation_was_given_up_or_replayed_applies_nothing(
    pipeline: Pipeline, points: FaultPoints
) -> None:
    """Rows that the operations missed are there when the worker wakes: nothing but the ledger keeps it from applying."""
    fates = ("dead", "discarded", "replayed")
    stops = (Point.PICKED_UP, Point.FENCE_PASSED)
    names = [f"{fate}_{point.value}" for fate in fates for point in stops]
    start_with(pipeline, processes=len(names) + 2)
    stopped = []
    for number, name in enumerate(names):
        point = stops[number % len(stops)]
        points.stop_one_at(point)
        pipeline.send([a_message(name, "UPDATE", "Business", {"id": 100 + number, "name": name})])
        stopped.append(points.wait_until_stopped(point))
    pipeline.wait_until_settled(timeout=60)
    assert sorted(pipeline.dead_letters()) == sorted(names)
    for number in range(len(names)):
        insert = (
            f"INSERT INTO emprendimientos (id, usuario_id, nombre_emprendimiento) VALUES ({100 + number}, 1, 'old')"
        )
        pipeline.mariadb.execute(insert, database=pipeline.database)
    operator(pipeline, "discard", *(name for name in names if name.startswith("discarded")))
    operator(pipeline, "replay", *(name for name in names if name.startswith("replayed")))
    pipeline.wait_until_settled()
    written = pipeline.query("SELECT nombre_emprendimiento FROM emprendimientos WHERE id >= 100 ORDER BY id")
    pipeline.mariadb.execute(
        "UPDATE emprendimientos SET nombre_emprendimiento = 'new' WHERE id >= 100", database=pipeline.database
    )

    wake(*stopped)
    pipeline.service.actors.stop()  # each worker finishes what it runs

    assert [name for (name,) in written] == ["old", "old", "old", "old", *names[4:]]
    assert pipeline.query("SELECT DISTINCT nombre_emprendimiento FROM emprendimientos WHERE id >= 100") == [("new",)]
    verdicts = {"dead": ("dead", 0), "discarded": ("discarded", 0), "replayed": ("applied", 1)}
    assert ledger(pipeline, "%.%") == sorted((name, *verdicts[name.partition("_")[0]]) for name in names)
    states = {name: entry(pipeline, name)[0].state for name in names}
    assert list(states.values()) == [State.DEAD] * 2 + [State.DISCARDED] * 2 + [State.APPLIED] * 2
    kinds = [(line.from_state, line.to_state, line.incarnation) for line in entry(pipeline, names[4])[1]]
    assert kinds[-1] == (State.DEAD, State.PENDING, 1)
    assert kinds.count((State.DISPATCHED, State.DEAD, 0)) == 1


def test_a_worker_that_wakes_after_another_ingest_took_over_applies_nothing(
    pipeline: Pipeline, points: FaultPoints, standby: Service
) -> None:
    """One is stopped before its transaction; one inside, where it holds the epoch: the server ends that transaction."""
    for service in (pipeline.service, standby):
        service.settings["LEASE_MS"] = "4000"
    start_with(pipeline, processes=4)
    standby.start_ingest()
    stopped = []
    for number, point in enumerate((Point.PICKED_UP, Point.ROWS_WRITTEN)):
        points.stop_one_at(point)
        pipeline.send([a_rating(number)])
        stopped.append(points.wait_until_stopped(point))
    pipeline.service.ingest.kill()
    standby.ingest.wait_for_log("this ingest is the active one", timeout=60)
    first, actors, pipeline.service = pipeline.service, pipeline.service.actors, standby
    eventually(lambda: len(ledger(pipeline, "rating%")) == 2, 60, lambda: first.log_tails() + standby.log_tails())

    wake(*stopped)
    actors.wait_for_log("is of an older epoch")
    actors.stop()

    assert pipeline.query("SELECT puntaje_total FROM calificaciones ORDER BY 1") == [(0,), (1,)]
    assert ledger(pipeline, "rating%") == [("rating_0", "applied", 0), ("rating_1", "applied", 0)]
    assert pipeline.query("SELECT count(*) FROM settled_operations") == [(4,)]
