"""What the desk asks of an outbox with ten million entries is found by an index, or looked for in a stretch of bounded length."""

from __future__ import annotations

import pytest

from tests.support.query_plans import recorded_statements, sqlite_plan
from tests.unit.desk.builders import Desk

#: As SQLite's plans say that a list is read a stretch of the order at a time (queries.SCANNED_A_STATEMENT).
STRETCH = "SEARCH entries USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"


@pytest.fixture
def filled(desk: Desk) -> Desk:
    """Something in each state."""
    desk.dead(id="bad")
    desk.applied("UPDATE", "User", {"id": 1, "firstName": "a"}, id="done")
    desk.pending("UPDATE", "User", {"id": 1, "firstName": "b"}, id="first")
    desk.pending("UPDATE", "User", {"id": 1, "firstName": "c"}, id="second")
    return desk


def plans(desk: Desk, monkeypatch: pytest.MonkeyPatch, *command: str) -> list[str]:
    """What SQLite does for the statements on entries that a command runs."""
    with recorded_statements(monkeypatch) as statements:
        desk.run(*command)
    on_entries = [one for one in dict.fromkeys(statements) if "entries" in one[0]]
    return [step for one in on_entries for step in sqlite_plan(desk.outbox.database, one)]


@pytest.mark.parametrize(
    ("command", "index"),
    [
        (("why", "second"), "entries_by_operation (operation_id=?"),
        (("why", "second"), "entries_by_state (state=? AND rowid>?)"),
        (("show", "done"), "entries_by_operation (operation_id=?"),
        (("list",), "entries_by_state (state=? AND rowid>? AND rowid<?)"),
        (("list", "--entity", "User", "--since", "2h"), "entries_by_state (state=? AND rowid>? AND rowid<?)"),
        (("list", "--state", "pending"), "entries_by_state (state=? AND rowid>? AND rowid<?)"),
        (("list", "--state", "all", "--operation-id", "done"), "entries_by_operation (operation_id=?"),
        (("list", "--state", "pending", "--operation-id", "first"), "entries_by_operation (operation_id=?"),
        (("list", "--state", "applied"), STRETCH),
        (("list", "--state", "all", "--type", "UPDATE"), STRETCH),
        (("groups",), "entries_by_state (state=? AND rowid>? AND rowid<?)"),
        (("status",), "entries_owed (log_id=?)"),
        (("replay", "bad"), "entries_by_operation (operation_id=?"),
        (("replay", "bad"), "entries_moved (first_seq=?)"),
        (("discard", "--group", "Business:order:-:missing", "--why", "x"), "entries_by_state (state=? AND rowid>?"),
    ],
)
def test_a_command_finds_entries_by_an_index(
    filled: Desk, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], index: str
) -> None:
    steps = plans(filled, monkeypatch, *command)

    assert any(index in step for step in steps), steps
    assert [step for step in steps if step.startswith("SCAN entries") or "ORDER BY" in step] == []
