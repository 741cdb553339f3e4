"""A standby takes nothing while the active host runs, and all at once when it stops. What becomes of lost hosts: tests/faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.pipeline import Pipeline
from tests.support.service import Service
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually


@pytest.fixture
def standby(pipeline: Pipeline) -> Iterator[Service]:
    """A second host in the same group."""
    service = pipeline.service.another_host("standby")
    yield service
    service.kill()


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
