"""Another host takes over: the standby reads again from the settled marks, and the ledger keeps each effect at one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.mixed import mixed_stream
from tests.support.pipeline import Pipeline
from tests.support.service import Service
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually, free_port


@pytest.fixture
def standby(pipeline: Pipeline) -> Iterator[Service]:
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


def test_the_host_with_the_outbox_is_lost_and_the_standby_goes_on(pipeline: Pipeline, standby: Service) -> None:
    settings = {"BATCH_MAX_OPERATIONS": "20", "MAX_RETRY_ATTEMPTS": "0"}
    pipeline.service.settings |= settings
    standby.settings |= settings
    messages = [a_message("bad", "DELETE", "User", {"id": 0}, timestamp=1), *mixed_stream(2_000, seed=7)]
    pipeline.send(messages)
    pipeline.service.start()
    standby.start_ingest()
    eventually(lambda: pipeline.counts().applied >= 200, 60, pipeline.service.log_tails, ignoring=(OSError,))

    pipeline.service.ingest.kill()
    for file in pipeline.service.folder.glob("outbox.sqlite3*"):
        file.unlink()
    standby.ingest.wait_for_log("this ingest is the active one", timeout=60)
    actors = pipeline.service.actors
    pipeline.service = standby
    eventually(lambda: pipeline.counts().unsettled == 0 and pipeline.counts().total > 0, 90, standby.log_tails)

    assert actors.is_running
    rows, refused = pipeline.serial_rows(messages[1:])
    assert pipeline.rows() == rows
    assert sorted(pipeline.dead_letters()) == sorted(["bad", *refused])
    pipeline.wait_until_the_cache_is_true()


def test_a_standby_that_joins_takes_nothing_and_a_clean_stop_hands_over_at_once(
    pipeline: Pipeline, standby: Service
) -> None:
    pipeline.service.start()
    pipeline.send([a_message("op_1", "CREATE", "User", a_user("ana@example.co", id=1))])
    pipeline.wait_until_settled()
    standby.start_ingest()
    pipeline.send([a_message("op_2", "UPDATE", "User", {"id": 1, "firstName": "Eva"})])
    pipeline.wait_until_settled()

    pipeline.service.ingest.stop()
    standby.ingest.wait_for_log("this ingest is the active one")
    pipeline.send([a_message("op_3", "UPDATE", "User", {"id": 1, "firstName": "Luz"})])

    eventually(lambda: pipeline.query("SELECT nombre FROM usuarios") == [("Luz",)], 30, standby.log_tails)


def test_a_topic_made_anew_is_not_taken_for_the_old_one(pipeline: Pipeline) -> None:
    """The operations bring no id, so only place, time and content tell the new records from the old ones."""
    pipeline.service.start()
    first = [a_message(None, "CREATE", "User", a_user(f"old{n}@example.co")) for n in range(5)]
    pipeline.send(first, partitions=1)
    pipeline.wait_until_settled()
    pipeline.service.ingest.stop()

    pipeline.kafka.delete_topic(pipeline.topic)
    pipeline.kafka.create_topic(pipeline.topic, partitions=3)
    second = [a_message(None, "CREATE", "User", a_user(f"new{n}@example.co")) for n in range(7)]
    pipeline.send(second, partitions=1)
    pipeline.service.start_ingest()
    pipeline.wait_until_settled()

    [(old,)] = pipeline.query("SELECT COUNT(*) FROM usuarios WHERE email LIKE 'old%'")
    [(new,)] = pipeline.query("SELECT COUNT(*) FROM usuarios WHERE email LIKE 'new%'")
    assert (old, new, pipeline.dead_letters()) == (5, 7, {})
