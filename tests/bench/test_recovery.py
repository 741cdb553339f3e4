"""How soon the service works again after a fault, with everything at its defaults: `tests/run bench -s -k recovery`.

Each measurement prints its median and worst, and fails if the worst misses what recovery must reach. An idle machine is
meant: two cores are enough.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence

import pymysql
import pytest

from tests.faults.supervisor import Supervisor
from tests.support.pipeline import Pipeline
from tests.support.service import SHORT_TIMES
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually
from worker.fault_points import VARIABLE, Point

#: What recovery must reach, in seconds.
KILLED_WORKER_S = 5.0
RESTART_S = 3.0
OUTAGE_S = 2.0

BACKLOG = 100_000


@pytest.fixture
def defaults(pipeline: Pipeline) -> Pipeline:
    """The pipeline without the tests' short times, with fault points, not yet started."""
    for name in SHORT_TIMES:
        del pipeline.service.settings[name]
    pipeline.service.settings["DB_RECONNECT_INTERVAL"] = "1000"  # what the target for an outage supposes
    (pipeline.service.folder / "points").mkdir()
    pipeline.service.settings[VARIABLE] = str(pipeline.service.folder / "points")
    return pipeline


@pytest.fixture
def supervisor(defaults: Pipeline) -> Iterator[Supervisor]:
    """What starts a killed program again at once."""
    supervisor = Supervisor()
    supervisor.watch(defaults.service, defaults.service.actors)
    supervisor.watch(defaults.service, defaults.service.ingest)
    supervisor.start()
    eventually(lambda: "Subscribed to topic" in defaults.service.ingest.log(), 60, "ingest reads its topic")
    yield supervisor
    supervisor.end()


@pytest.mark.parametrize("point", [Point.PICKED_UP, Point.ROWS_WRITTEN])
def test_a_killed_workers_operations_run_again(defaults: Pipeline, supervisor: Supervisor, point: Point) -> None:
    armed = defaults.service.folder / "points" / point.value
    defaults.send(users(0, 10))
    defaults.wait_until_settled()
    took = []

    for number in range(1, 6):
        after = defaults.service.actors.log_position()
        armed.write_text("kill")
        defaults.send(users(number * 10, 10))
        eventually(lambda: not armed.exists(), 30, "a worker is killed")
        killed_at = time.monotonic()
        wait_for_lines(defaults, defaults.sent)
        took.append(time.monotonic() - killed_at)
        # Not a moment earlier: for half a minute Dramatiq's main process does not notice that a worker died while it booted.
        wait_for_two_workers(defaults, after)

    tell(f"a worker killed at {point.value}, until its operations are applied", took, KILLED_WORKER_S)


@pytest.mark.timeout(600)
def test_ingest_restarted_with_a_hundred_thousand_unsettled_entries(defaults: Pipeline) -> None:
    service = defaults.service
    defaults.send(users(0, BACKLOG))
    service.start_ingest()
    eventually(lambda: defaults.counts().unsettled == BACKLOG, 300, "all are persisted", ignoring=(OSError,))
    broker = defaults.redis_server.client(1)
    took, applied_after = [], []

    for _ in range(3):
        service.ingest.kill()
        defaults.redis_server.flush()
        after = service.actors.log_position()
        service.start_actors()
        eventually(lambda: service.actors.log(after).count("ready for action") == 2, 60, "two workers are ready")  # noqa: B023
        lines_before = lines(defaults)
        began = time.monotonic()
        service.spawn(service.ingest)
        # Redis was emptied: what is there now was sent by this ingest
        eventually(lambda: broker.exists("dramatiq:apply.msgs"), 60, service.ingest.log_tail)
        took.append(time.monotonic() - began)
        wait_for_lines(defaults, lines_before + 1)
        applied_after.append(time.monotonic() - began)
        service.actors.kill()

    assert defaults.counts().unsettled > BACKLOG / 2
    print(f"\nuntil one is applied: median {statistics.median(applied_after):.2f} s, worst {max(applied_after):.2f} s")
    tell(f"ingest restarted with {BACKLOG:,} unsettled entries, until it dispatches again", took, RESTART_S)


@pytest.mark.parametrize("outage_s", [1, 15])
def test_an_outage_of_the_database(defaults: Pipeline, supervisor: Supervisor, outage_s: int) -> None:
    defaults.send(users(0, 10))
    defaults.wait_until_settled()
    took = []

    for number in range(1, 4):
        defaults.mariadb.kill()
        stopped_at = time.monotonic()
        defaults.send(users(number * 10, 10))
        eventually(lambda: time.monotonic() - stopped_at > outage_s, 60, "the outage lasts")  # noqa: B023
        defaults.mariadb.child.spawn()
        eventually(lambda: accepts_connections(defaults), 60, "the database accepts connections")
        accepted_at = time.monotonic()
        wait_for_lines(defaults, number * 10 + 1)
        took.append(time.monotonic() - accepted_at)
        wait_for_lines(defaults, defaults.sent)

    tell(f"an outage of the database of {outage_s} s, until the first operation is applied", took, OUTAGE_S)


def wait_for_two_workers(defaults: Pipeline, after: int) -> None:
    actors = defaults.service.actors
    eventually(lambda: actors.log(after).count("ready for action") == 2, 60, "two workers are ready")


def users(first: int, count: int) -> list[bytes]:
    """So many operations that have nothing to do with each other."""
    return [
        a_message(f"op_{n}", "CREATE", "User", a_user(f"user{n}@example.co"), timestamp=1_700_000_000_000 + n)
        for n in range(first, first + count)
    ]


def lines(pipeline: Pipeline) -> int:
    [(count,)] = pipeline.query("SELECT COUNT(*) FROM settled_operations")
    return int(count)


def wait_for_lines(pipeline: Pipeline, count: int) -> None:
    """Return when so many operations are in the ledger; it is looked at more often than `eventually` would."""
    deadline = time.monotonic() + 120
    with pipeline.mariadb.connection(pipeline.database) as connection, connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT COUNT(*) FROM settled_operations")
            [(found,)] = cursor.fetchall()
            if found >= count:
                return
            assert time.monotonic() < deadline, f"{found} of {count} lines\n{pipeline.service.log_tails()}"
            time.sleep(0.01)


def accepts_connections(pipeline: Pipeline) -> bool:
    try:
        with pipeline.mariadb.connection(pipeline.database):
            return True
    except pymysql.MySQLError:
        return False


def tell(what: str, took: Sequence[float], target: float) -> None:
    """Print it, and hold it against its target."""
    print(f"\n{what}: median {statistics.median(took):.2f} s, worst {max(took):.2f} s (must be {target:g} s at most)")
    assert max(took) <= target
