"""The folder that the actors' processes count into."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from worker.actor_metrics import FOLDER_PREFIX, own_folder, sweep


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def dead_pid() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_folder_is_for_its_owner_alone() -> None:
    assert own_folder(os.getpid()).stat().st_mode & 0o077 == 0


def test_a_link_that_somebody_laid_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"{FOLDER_PREFIX}7").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(PermissionError, match="somebody else"):
        own_folder(7)


def test_what_dead_commands_left_is_swept_and_what_living_ones_use_is_not(dead_pid: int) -> None:
    left = own_folder(dead_pid)
    (left / "counter_1.db").touch()
    of_another = own_folder(os.getppid())

    sweep(os.getpid())

    assert (left.exists(), of_another.exists()) == (False, True)


def test_a_folder_of_the_same_pid_begins_with_its_own_processes_alone(dead_pid: int) -> None:
    folder = own_folder(os.getpid())
    for pid in (dead_pid, os.getpid()):
        (folder / f"gauge_livesum_{pid}.db").touch()

    sweep(os.getpid())

    assert [file.name for file in folder.iterdir()] == [f"gauge_livesum_{os.getpid()}.db"]


def test_importing_the_actors_does_not_fix_what_is_counted_into(tmp_path: Path) -> None:
    code = "import sys, worker.actors; sys.exit('prometheus_client' in sys.modules)"
    environment = {**os.environ, "ACTORS_METRICS_PORT": "9109", "LOG_DIR": str(tmp_path)}

    imported = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)

    assert imported.returncode == 0, imported.stderr
