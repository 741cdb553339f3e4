"""Ours in real containers, as compose.yaml runs them: work, health, a killed and a died container, and the stop."""

from __future__ import annotations

import base64
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import containers
from tests.support.containers import PROGRAMS, Containers
from tests.support.metrics import total
from tests.support.pipeline import Pipeline
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually

#: A build may take minutes.
pytestmark = pytest.mark.timeout(1800)

#: Seconds. Copying file systems and starting six processes on a busy machine.
PATIENCE = 180.0

#: Ends the one child of the container's init: dramatiq's main process.
KILL_THE_MAIN_PROCESS = """
import os, pathlib, signal
for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
    if stat.read_text().rpartition(")")[2].split()[1] == "1" and int(stat.parent.name) != os.getpid():
        os.kill(int(stat.parent.name), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def image() -> None:
    lacking = containers.lacking()
    if lacking:
        pytest.skip(lacking)
    containers.build_image()


@pytest.fixture
def boxes(image: None, pipeline: Pipeline, tmp_path: Path) -> Iterator[Containers]:
    """Ingest, actors and dashboard in containers on the servers of the pipeline, started."""
    boxes = Containers(tmp_path, pipeline.service.settings)
    try:
        boxes.start()
        yield boxes
    finally:
        boxes.remove()


def test_ours_in_containers_apply_survive_a_kill_and_stop_in_order(boxes: Containers, pipeline: Pipeline) -> None:
    pipeline.send([*users("a", 500), b"no JSON"])
    wait_until_applied(boxes, pipeline, 500)
    eventually(lambda: set(boxes.health().values()) == {"healthy"}, PATIENCE, boxes.told)
    letters = boxes.run_in("ingest", "python", "-m", "outbox", "list", "--state", "dead", "--json")
    assert len(letters.splitlines()) >= 1, letters

    assert "1</strong> letter" in page(pipeline, "/groups")
    assert "Redis does not answer" not in page(pipeline, "/dramatiq/")

    boxes.kill("actors")
    pipeline.send(users("b", 500))
    eventually(lambda: number(pipeline, "outbox_operations_received_total") == 1001, PATIENCE, boxes.told)
    assert boxes.state("actors")["ExitCode"] == 137
    boxes.start_again("actors")
    wait_until_applied(boxes, pipeline, 1000)

    boxes.start_in("actors", "python", "-c", KILL_THE_MAIN_PROCESS)
    eventually(lambda: boxes.restarts("actors") == 1, PATIENCE, boxes.told)
    pipeline.send(users("c", 500))
    wait_until_applied(boxes, pipeline, 1500)
    pipeline.wait_until_the_cache_is_true(PATIENCE)

    boxes.stop()

    ended = {program: (boxes.state(program)["Status"], boxes.state(program)["ExitCode"]) for program in PROGRAMS}
    assert ended == dict.fromkeys(PROGRAMS, ("exited", 0)), boxes.told()
    log = boxes.log("ingest")
    assert log.index("Stopping: ") < log.index("Stopped"), log[-2000:]
    assert pipeline.kafka.members(pipeline.service.settings["KAFKA_GROUP_ID"]) == 0
    assert pipeline.query("SELECT count(*) FROM usuarios") == [(1500,)]


def users(name: str, count: int) -> list[bytes]:
    """So many creations of users."""
    return [a_message(f"op_{name}_{i}", "CREATE", "User", a_user(f"{name}{i}@example.co")) for i in range(count)]


def page(pipeline: Pipeline, path: str) -> str:
    """A page of the dashboard in its container, for compose.yaml's own user."""
    asked = urllib.request.Request(f"{pipeline.service.dashboard_address}{path}")
    asked.add_header("Authorization", f"Basic {base64.b64encode(b'operator:outbox').decode()}")
    with urllib.request.urlopen(asked, timeout=30) as answer:
        shown: str = answer.read().decode()
    return shown


def number(pipeline: Pipeline, name: str) -> float:
    return total(int(pipeline.service.settings["METRICS_PORT"]), name)


def wait_until_applied(boxes: Containers, pipeline: Pipeline, count: int) -> None:
    """Wait until ingest has heard of so many applied operations."""
    eventually(
        lambda: number(pipeline, "outbox_operations_applied_total") == count, PATIENCE, boxes.told, ignoring=(OSError,)
    )
