"""The desk's commands: what they show, what they change, and how they end."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from outbox import FailedAttempt, Outbox, State
from tests.unit.outbox.builders import (
    TOPIC,
    Clock,
    a_dead_letter,
    a_position,
    a_record,
    appended,
    applied,
    counters_are_true,
    dead,
    dispatched,
    sql,
    states,
    the_entry,
)
from worker.desk.program import COMMANDS, app

SECRET = "hunter2hunter2"
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "outbox.sqlite3"


@pytest.fixture
def outbox(path: Path, clock: Clock) -> Iterator[Outbox]:
    with Outbox.open(path, clock) as opened:
        sql(opened, "PRAGMA synchronous = off")  # nobody pulls the plug here
        yield opened


@pytest.fixture(autouse=True)
def surroundings(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTBOX_PATH", str(path))
    monkeypatch.setenv("SUDO_USER", "ana")
    monkeypatch.chdir(tmp_path)


def desk(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def desk_json(*arguments: str) -> list[Any]:
    """What the desk says in JSON: one value a line, or one document."""
    result = desk(*arguments, "--json")
    assert result.exit_code == 0, result.output
    if arguments[0] == "list":
        return [json.loads(line) for line in result.stdout.splitlines()]
    return [json.loads(result.stdout)]


def test_status_tells_the_counts_what_waits_and_where_partitions_stand(outbox: Outbox, clock: Clock) -> None:
    outbox.append([a_record(0), a_record(1), a_record(0, partition=1)], [a_position(2), a_position(1, partition=1)])
    outbox.settle([applied(1), dead(3)])

    result = desk("status")
    (values,) = desk_json("status")

    assert result.exit_code == 0
    assert outbox.outbox_id in result.stdout
    assert "given up: replay, edit or discard it" in result.stdout
    assert values["counts"] == {"pending": 1, "dispatched": 0, "applied": 1, "dead": 1, "discarded": 0, "held": 0}
    assert values["oldest_unsettled"] == {"seq": 2, "order_timestamp": 901}
    assert [(one["partition"], one["next_offset"], one["first_unsettled"]) for one in values["partitions"]] == [
        (0, 2, 1),
        (1, 1, None),
    ]


def test_status_of_an_outbox_in_which_nothing_happened(outbox: Outbox) -> None:
    result = desk("status")

    assert result.exit_code == 0
    assert "nothing waits" in result.stdout


def test_the_list_shows_the_dead_letters_with_their_reasons(outbox: Outbox) -> None:
    a_dead_letter(outbox, 0)
    appended(outbox, a_record(1))

    result = desk("list")

    assert result.exit_code == 0
    assert "op-0-0-0" in result.stdout
    assert "User.email: is no e-mail address" in result.stdout
    assert "op-0-0-1" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "offsets"),
    [
        ((), [0, 2]),
        (("--entity", "Business"), [2]),
        (("--type", "DELETE"), [2]),
        (("--operation-id", "op-0-0-0"), [0]),
        (("--error-kind", "invalid"), [0, 2]),
        (("--state", "pending"), [1]),
        (("--state", "all"), [0, 1, 2]),
        (("--limit", "1"), [0]),
        (("--after", "1"), [2]),
    ],
)
def test_the_list_can_be_narrowed(outbox: Outbox, arguments: tuple[str, ...], offsets: list[int]) -> None:
    appended(outbox, a_record(0), a_record(1), a_record(2, entity="Business", type="DELETE"))
    outbox.settle([dead(1), dead(3)])

    assert [line["offset"] for line in desk_json("list", *arguments)] == offsets


def test_a_list_that_was_cut_says_how_to_go_on(outbox: Outbox) -> None:
    for offset in range(3):
        a_dead_letter(outbox, offset)

    assert "--after 2" in desk("list", "--limit", "2").stderr


def test_an_empty_list_is_told_by_the_exit_code(outbox: Outbox) -> None:
    assert desk("list").exit_code == 1


def test_show_tells_all_of_an_entry(outbox: Outbox) -> None:
    (seq,) = appended(outbox, a_record(0, raw='{"type": "UPDATE", "data": {"name": "Panadería"}}'.encode()))
    outbox.mark_dispatched([seq])
    outbox.note_attempts([FailedAttempt(seq, 0, 1, "contention", "deadlock found")])
    outbox.settle([dead(seq)])

    result = desk("show", str(seq))

    assert result.exit_code == 0
    for fact in (
        *("op-0-0-0", "UPDATE User", f"{TOPIC}, partition 0, offset 0", "attempt failed"),
        *("dispatched → dead", "deadlock found", "User.email: is no e-mail address", '"name": "Panadería"'),
    ):
        assert fact in result.stdout


def test_show_finds_an_entry_by_its_operation_too(outbox: Outbox) -> None:
    a_dead_letter(outbox, 0, operation_id="op_1699876543210_k3j9x2b1a")

    (values,) = desk_json("show", "op_1699876543210_k3j9x2b1a")

    assert (values["entry_id"], values["state"], len(values["history"])) == (1, "dead", 1)


def test_an_operation_whose_id_is_a_number_is_found_where_no_entry_has_that_id(outbox: Outbox) -> None:
    a_dead_letter(outbox, 0, operation_id="4711")

    assert desk_json("show", "4711")[0]["operation_id"] == "4711"
    assert desk("show", "4712").exit_code == 1
    assert desk("show", "9" * 40).exit_code == 1


@pytest.mark.parametrize("command", [("show", "1"), ("show", "1", "--json"), ("list",), ("list", "--json")])
@pytest.mark.parametrize("raw", [f'{{"passwordHash": "{SECRET}"}}', f'{{"passwordHash": "{SECRET}'])
def test_no_secret_and_no_control_character_reaches_the_terminal(
    outbox: Outbox, command: tuple[str, ...], raw: str
) -> None:
    appended(outbox, a_record(0, operation_id="op-\x1b[2J", raw=f"{raw}\x1b]0;title\x07".encode()))
    outbox.settle([dead(1, reason=f"password_hash='{SECRET}' \x1b[31m [bold]is refused[/bold]")])

    result = desk(*command)

    assert result.exit_code == 0
    assert SECRET not in result.output
    assert "\x1b" not in result.output
    assert "[bold]is refused[/bold]" in result.output, "it is no markup of ours"


@pytest.mark.parametrize("command", [("show", "1"), ("show", "1", "--json"), ("list",), ("list", "--json")])
def test_no_secret_in_an_operation_id_reaches_the_terminal(outbox: Outbox, command: tuple[str, ...]) -> None:
    """Of a producer that has put the whole of the data there."""
    appended(outbox, a_record(0, operation_id=json.dumps({"passwordHash": SECRET})))
    outbox.settle([dead(1)])

    result = desk(*command)

    assert result.exit_code == 0
    assert "passwordHash" in result.output
    assert SECRET not in result.output


def test_replay_sends_letters_round_again_with_who_and_why(outbox: Outbox) -> None:
    letter = a_dead_letter(outbox, 0)
    named = a_dead_letter(outbox, 1, operation_id="op_named")

    result = desk("replay", str(letter), "op_named", "--why", "the column was mended")

    assert result.exit_code == 0
    assert f"{letter}: replayed, at place 3 as incarnation 1" in result.stdout
    assert states(outbox, [letter, named]) == [State.PENDING, State.PENDING]
    assert [(line.who, line.why) for line in outbox.history(letter)][-1] == ("ana", "the column was mended")


def test_replay_of_all_dead_letters_or_of_a_kind(outbox: Outbox) -> None:
    letters = [a_dead_letter(outbox, offset) for offset in range(3)]
    appended(outbox, a_record(9, entity="Business"))
    outbox.settle([dead(4)])

    assert desk("replay", "--entity", "Business", "--yes").exit_code == 0
    assert states(outbox, [*letters, 4]) == [State.DEAD] * 3 + [State.PENDING]

    result = desk("replay", "--all", "--yes")
    assert (result.exit_code, "3 replayed" in result.stdout) == (0, True)
    assert desk("replay", "--all", "--yes").exit_code == 1, "none was left"


def test_what_could_not_be_replayed_is_told_one_by_one(outbox: Outbox) -> None:
    letter = a_dead_letter(outbox, 0)
    (pending,) = appended(outbox, a_record(1))

    result = desk("replay", str(letter), str(pending), "99", "op_nobody")

    assert result.exit_code == 1
    assert f"{pending}: is pending, not dead; nothing done" in result.stderr
    assert "99: there is no such entry" in result.stderr
    assert "op_nobody: there is no such entry" in result.stderr
    assert states(outbox, [letter, pending]) == [State.PENDING, State.PENDING]


def test_discard_puts_a_letter_aside_and_wants_to_know_why(outbox: Outbox) -> None:
    letter = a_dead_letter(outbox)

    assert desk("discard", str(letter)).exit_code == 2
    assert desk("discard", str(letter), "--why", " ").exit_code == 2
    assert states(outbox, [letter]) == [State.DEAD]

    result = desk("discard", str(letter), "--why", "the user asked us to")
    assert (result.exit_code, "1 discarded" in result.stdout) == (0, True)
    assert (the_entry(outbox, letter).state, outbox.history(letter)[-1].who) == (State.DISCARDED, "ana")


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay",),
        ("replay", "1", "--all"),
        ("list", "--state", "buried"),
        ("list", "--limit", "0"),
        ("nonsense",),
    ],
)
def test_wrong_usage_is_told_by_the_exit_code(outbox: Outbox, arguments: tuple[str, ...]) -> None:
    a_dead_letter(outbox)

    assert desk(*arguments).exit_code == 2
    assert states(outbox, [1]) == [State.DEAD]


@pytest.mark.parametrize("command", [("status",), ("list",), ("show", "1"), ("replay", "1")])
def test_no_command_makes_a_file_that_is_not_there(tmp_path: Path, command: tuple[str, ...]) -> None:
    result = desk(*command)

    assert result.exit_code == 2
    assert "there is no outbox at" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_outbox_is_told_in_a_line(path: Path) -> None:
    path.parent.mkdir()
    sqlite3.connect(path).execute("CREATE TABLE theirs (a)").connection.close()

    result = desk("status")

    assert result.exit_code == 2
    assert "another program" in result.stderr


def test_the_file_can_be_named_by_an_option_the_environment_or_a_dotenv_file(
    outbox: Outbox, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTBOX_PATH", "/nowhere")
    assert desk("--file", str(path), "status").exit_code == 0

    assert desk("status").exit_code == 2

    monkeypatch.setenv("OUTBOX_PATH", "to be taken back by the test")
    monkeypatch.delenv("OUTBOX_PATH")
    (tmp_path / ".env").write_text(f"OUTBOX_PATH={path}\n")
    assert desk("status").exit_code == 0


def test_the_default_path_is_below_the_folder_it_is_run_in(
    outbox: Outbox, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OUTBOX_PATH")

    assert path == tmp_path / "var" / "outbox.sqlite3"
    assert desk("status").exit_code == 0


def test_every_command_explains_itself() -> None:
    shown = desk("--help").stdout
    for name, *_ in COMMANDS:
        assert desk(name, "--help").exit_code == 0
        assert f" {name} " in shown


def test_the_desk_replays_in_a_process_of_its_own_while_ingest_writes(outbox: Outbox, path: Path) -> None:
    sql(outbox, "PRAGMA synchronous = full")
    letters = dispatched(outbox, 500)
    outbox.settle([dead(seq) for seq in letters])
    seen = outbox.data_version()
    command = [sys.executable, "-m", "outbox", "--file", str(path), "replay", "--all", "--yes"]
    with (path.parent / "desk.log").open("w") as log:
        replaying = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log, env=dict(os.environ))

    offset, settled = 1_000, 0
    while replaying.poll() is None:
        new = appended(outbox, *(a_record(offset + n) for n in range(20)))
        outbox.mark_dispatched(new)
        settled += outbox.settle([applied(seq) for seq in new])
        offset += 20

    log_text = (path.parent / "desk.log").read_text()
    assert replaying.returncode == 0, log_text
    assert "500 replayed" in log_text
    assert outbox.data_version() != seen
    window = outbox.window(0, 1_000, 10**6)
    assert [entry.entry_id for entry in window] == letters
    assert {entry.incarnation for entry in window} == {1}
    assert outbox.counts().applied == settled == offset - 1_000
    assert counters_are_true(outbox)
