"""Points in the code at which a test ends the process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker import fault_points
from worker.fault_points import Point, reach

ROOT = Path(__file__).resolve().parents[3]

REACH_TWICE = """
import os
from worker.fault_points import Point, arm, reach
arm(os.environ)
print(os.getpid(), flush=True)
reach(Point.SENT)
reach(Point.SENDING)
print("still here", flush=True)
"""


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    fault_points.handle(None)


def run(folder: Path | None) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    if folder is not None:
        variables[fault_points.VARIABLE] = str(folder)
    return subprocess.run([sys.executable, "-c", REACH_TWICE], env=variables, capture_output=True, text=True)


def test_an_armed_point_kills_the_process_that_reaches_it(tmp_path: Path) -> None:
    (tmp_path / "dispatcher.sending").write_text("kill")

    process = run(tmp_path)

    assert process.returncode == -signal.SIGKILL
    assert "still here" not in process.stdout


def test_a_point_acts_once_and_says_on_whom(tmp_path: Path) -> None:
    (tmp_path / "dispatcher.sent").write_text("kill")

    first, second = run(tmp_path), run(tmp_path)

    assert second.returncode == 0
    assert [file.name for file in tmp_path.iterdir()] == [f"dispatcher.sent.{first.stdout.strip()}"]


def test_nothing_happens_where_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "dispatcher.sent").write_text("kill")

    process = run(None)

    assert process.returncode == 0


def test_a_handler_is_told_each_point() -> None:
    reached: list[Point] = []
    fault_points.handle(reached.append)

    reach(Point.POLLED)
    reach(Point.FILLED)

    assert reached == [Point.POLLED, Point.FILLED]


@pytest.mark.parametrize("point", list(Point))
def test_each_point_stands_once_in_the_code(point: Point) -> None:
    sources = [file.read_text() for file in (ROOT / "worker").glob("**/*.py")]

    places = sum(len(re.findall(rf"reach\(Point\.{point.name}\)", source)) for source in sources)

    assert places == 1
