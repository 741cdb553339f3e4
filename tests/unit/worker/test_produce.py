"""``python -m worker.produce``: lines are checked before anything is sent, and what it did is told by its exit code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import worker.produce
from entities import operations
from tests.support.streams import a_message
from worker.produce import app

DELETE_7 = a_message("op-7", "DELETE", "User", {"id": 7}, timestamp=1_700_000_000_000)
DELETE_8 = a_message(None, "DELETE", "User", {"id": 8})
WRONG = a_message("op-0", "DELETE", "User", {"id": 0})


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[bytes]]:
    """The lines that would reach Kafka."""
    lines: list[bytes] = []

    def send(file: Any, *arguments: Any) -> None:
        lines.extend(file)

    monkeypatch.setattr(worker.produce, "send", send)
    monkeypatch.chdir(tmp_path)
    yield lines
    operations.configure("refuse")


def run(*arguments: str, stdin: bytes | None = None) -> Any:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def a_file(folder: Path, *lines: bytes) -> str:
    path = folder / "operations.jsonl"
    path.write_bytes(b"\n".join(lines))
    return str(path)


def test_all_lines_in_form_are_sent_and_counted(tmp_path: Path, sent: list[bytes]) -> None:
    result = run(a_file(tmp_path, DELETE_7, DELETE_8))

    assert result.exit_code == 0
    assert len(sent) == 2
    assert "2 operations sent to db-operations-buffer" in result.output
    assert "2 DELETE User" in result.output


def test_one_wrong_line_is_named_and_keeps_all_from_being_sent(tmp_path: Path, sent: list[bytes]) -> None:
    result = run(a_file(tmp_path, DELETE_7, WRONG))

    assert (result.exit_code, sent) == (1, [])
    assert "line 2: User.id: must be a whole number" in result.output


def test_wrong_lines_are_skipped_where_that_is_asked_for(tmp_path: Path, sent: list[bytes]) -> None:
    result = run("--skip-invalid", a_file(tmp_path, DELETE_7, WRONG))

    assert result.exit_code == 0
    assert sent
    assert "1 operation sent" in result.output
    assert "1 line skipped" in result.output


def test_a_dry_run_sends_nothing(tmp_path: Path, sent: list[bytes]) -> None:
    result = run("--dry-run", a_file(tmp_path, DELETE_7))

    assert (result.exit_code, sent) == (0, [])
    assert "1 operation would be sent" in result.output


def test_standard_input_is_read_for_a_dash(sent: list[bytes]) -> None:
    result = run("-", stdin=DELETE_7 + b"\n" + DELETE_8)

    assert result.exit_code == 0
    assert [line.strip() for line in sent] == [DELETE_7, DELETE_8]


def test_unknown_attributes_are_judged_as_the_service_judges_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: list[bytes]
) -> None:
    unknown = a_message("op-1", "UPDATE", "User", {"id": 1, "nickname": "x"})

    refused = run(a_file(tmp_path, unknown))
    monkeypatch.setenv("UNKNOWN_ATTRIBUTES", "ignore")
    ignored = run(a_file(tmp_path, unknown))

    assert (refused.exit_code, ignored.exit_code) == (1, 0)


@pytest.mark.parametrize("arguments", [["/nowhere/at-all"], [], ["--rate", "0", "x"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_faulty_settings_are_exit_code_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BROKERS", "nobody")

    result = run(a_file(tmp_path, DELETE_7))

    assert result.exit_code == 2
    assert "KAFKA_BROKERS" in result.output
