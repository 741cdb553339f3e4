"""`compose/up`: the whole pipeline with one command. The tests run what it starts, in the environment that is there."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from compose.embedded import DATABASE, KAFKA, REDIS
from entities.schema import application_ddl
from tests.support.child import Child
from tests.support.mariadb_server import MariaDBServer
from tests.support.waiting import eventually, free_port

ROOT = Path(__file__).resolve().parents[2]

#: Enough for each kind of bad operation to be among them.
OPERATIONS = 800

#: How long a run may take, in seconds.
RUN_S = 120.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a run keeps its state."""
    return tmp_path / "state"


@pytest.fixture
def up(tmp_path: Path, folder: Path) -> Iterator[Child]:
    """The command, not yet started; every server is embedded. What it leaves behind is killed."""
    named = {name for server in (KAFKA, REDIS, DATABASE) for name in (*server.names, *server.others)}
    environment = {name: value for name, value in os.environ.items() if name not in named} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-u", "-m", "compose.pipeline", "--folder", str(folder), "--port", str(free_port())]
    child = Child("up", command, tmp_path / "up.log", environment)
    yield child
    child.kill()
    for process in processes_in(folder):
        os.kill(process, signal.SIGKILL)


def processes_in(folder: Path) -> list[int]:
    """The programs, the supervisor and the servers of the run in this folder, which are in sessions of their own (Linux)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_in_it = process.joinpath("cwd").readlink().is_relative_to(folder)
            if is_in_it or os.fsencode(folder) in process.joinpath("cmdline").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue  # it has just ended
    return found


def run(up: Child, *options: str) -> str:
    """A run of a few operations that ends by itself; what it said."""
    up.command += ["--ops", str(OPERATIONS), "--exit", *options]
    up.spawn()
    up.wait_for_exit(RUN_S)
    return up.log()


def test_a_run_ends_by_itself_with_everything_as_expected(up: Child, folder: Path) -> None:
    said = run(up)

    assert up.exit_code == 0, said
    assert f"state, logs and programs' output: {folder}" in said
    for compared in ("outcomes", "database", "cache", "programs"):
        assert f"{compared}: as expected" in said
    for kind in ("invalid", "order", "refused", "reused"):
        assert f"dead letter, {kind}" in said
    assert processes_in(folder) == []


def test_a_run_says_what_is_wrong_in_the_database(up: Child, folder: Path) -> None:
    database = a_database_of_the_application(folder.parent)
    with sqlite3.connect(database) as connection:
        connection.execute(
            "CREATE TRIGGER spoil AFTER INSERT ON usuarios WHEN NEW.email LIKE 'persona1@%' "
            "BEGIN UPDATE usuarios SET apellido = 'Nadie' WHERE id = NEW.id; END"
        )
    up.environment = {**(up.environment or {}), "DB_ENGINE": "sqlite", "DB_NAME": str(database)}

    said = run(up)

    assert up.exit_code == 1, said
    assert "database: 1 wrong" in said
    assert "Nadie" in said


def test_a_database_without_the_tables_is_left_alone(up: Child, folder: Path) -> None:
    database = folder.parent / "application.sqlite3"
    up.environment = {**(up.environment or {}), "DB_ENGINE": "sqlite", "DB_NAME": str(database)}

    said = run(up)

    assert up.exit_code == 1, said
    assert "lacks the application's tables usuarios" in said
    assert "--create-tables" in said
    assert processes_in(folder) == []


def test_servers_that_the_environment_names_are_used(
    up: Child, service_settings: dict[str, str], mariadb: MariaDBServer
) -> None:
    up.environment = {**(up.environment or {}), **service_settings}

    said = run(up, "--create-tables")

    assert up.exit_code == 0, said
    assert "embedded: nothing" in said
    ((users,),) = mariadb.rows("SELECT count(*) FROM usuarios", database=service_settings["DB_NAME"])
    assert users > 0


def test_ctrl_c_stops_everything_in_order(up: Child, folder: Path) -> None:
    up.spawn()
    up.wait_for_log("sent", RUN_S)

    os.kill(up.pid, signal.SIGINT)

    assert up.wait_for_exit(60.0) == 0
    stopped = [line.removeprefix("stopping ") for line in up.log().splitlines() if line.startswith("stopping ")]
    assert stopped == ["ingest", "actors", "dashboard", "servers"]
    assert "Traceback" not in up.log()
    assert processes_in(folder) == []


def test_nothing_is_left_running_when_it_is_killed(up: Child, folder: Path) -> None:
    up.spawn()
    up.wait_for_log("sent", RUN_S)

    up.kill_leader()

    eventually(lambda: processes_in(folder) == [], 60.0, "the programs and servers end")


def test_help_tells_the_options_and_the_variables() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "compose.pipeline", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    for named in ("--ops", "--rate", "--exit", "--folder", "--port", *KAFKA.names, *REDIS.names, *DATABASE.names):
        assert named in said


def a_database_of_the_application(folder: Path) -> Path:
    """A file of SQLite with the application's tables."""
    path = folder / "application.sqlite3"
    with sqlite3.connect(path) as connection:
        for statement in application_ddl("sqlite"):
            connection.execute(statement)
    return path
