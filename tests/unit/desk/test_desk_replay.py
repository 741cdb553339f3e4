"""Replay and discard: for ids, a group or a filter; never back in time silently; tried first; told and kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from outbox import ImportedLetter, Outbox, State
from tests.support.applying import a_raw_operation, a_user, apply, create_user, rows, sqlite_database
from tests.support.streams import a_message
from tests.unit.desk.builders import TOPIC, Desk
from worker.desk.acting import Pace
from worker.desk.later import since


@pytest.fixture
def database(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The service's database, in a file, as the settings name it."""
    path = tmp_path / "application.sqlite3"
    monkeypatch.setenv("DB_ENGINE", "sqlite")
    monkeypatch.setenv("DB_NAME", str(path))
    with sqlite_database(path):
        yield


# ------------------------------------------------------------------------------------------------------ back in time


def test_a_replay_behind_a_later_operation_on_its_row_is_refused_and_told(desk: Desk) -> None:
    letter = desk.dead("UPDATE", "Business", {"id": 5, "name": "old", "creationYear": 1999})
    desk.applied("UPDATE", "Business", {"id": 5, "name": "new"}, id="op_later")

    result = desk.run("replay", letter)

    assert result.exit_code == 1
    assert desk.state(letter) == State.DEAD
    assert "Business:5: UPDATE op_later" in result.stderr
    assert "both set name" in result.stderr
    assert "1 left alone" in result.stdout


def test_force_replays_it_and_still_says_so(desk: Desk) -> None:
    letter = desk.dead("UPDATE", "Business", {"id": 5, "name": "old"})
    desk.applied("UPDATE", "Business", {"id": 5, "name": "new"}, id="op_later")

    result = desk.run("replay", letter, "--force")

    assert (result.exit_code, desk.state(letter)) == (0, State.PENDING)
    assert "goes back in time, as forced" in result.stderr


@pytest.mark.parametrize(
    ("type", "entity", "data", "is_behind"),
    [
        ("UPDATE", "Business", {"id": 5, "managerName": "other attribute"}, True),
        ("UPDATE", "Business", {"id": "5"}, True),
        ("DELETE", "Business", {"id": 5}, True),
        ("CREATE", "Business", {"id": 5, "userId": 1, "name": "x"}, True),
        ("BULK_UPDATE", "Business", {"updates": [{"id": 4}, {"id": 5}]}, True),
        ("UPDATE", "Business", {"id": 6, "name": "another row"}, False),
        ("UPDATE", "User", {"id": 5, "firstName": "another entity"}, False),
        ("CREATE", "Rating", {"businessId": 5}, False),
        ("CREATE", "Business", {"userId": 1, "name": "a row of its own"}, False),
    ],
)
def test_what_counts_as_later_on_the_row(
    desk: Desk, type: str, entity: str, data: dict[str, object], is_behind: bool
) -> None:
    letter = desk.dead("UPDATE", "Business", {"id": 5, "name": "old"})
    desk.applied(type, entity, data)

    assert desk.run("replay", letter).exit_code == (1 if is_behind else 0)


def test_a_delete_is_also_behind_what_was_hung_on_its_row_since(desk: Desk) -> None:
    letter = desk.dead("DELETE", "Business", {"id": 5})
    desk.applied("CREATE", "Rating", {"businessId": 5}, id="op_rating")

    result = desk.run("replay", letter)

    assert (result.exit_code, "op_rating" in result.stderr) == (1, True)


def test_what_still_waits_behind_the_letter_counts_and_what_was_before_it_does_not(desk: Desk) -> None:
    desk.applied("UPDATE", "Business", {"id": 5, "name": "earlier"})
    letter = desk.dead("UPDATE", "Business", {"id": 5, "name": "old"})
    entry = desk.outbox.entry(letter)
    assert entry is not None
    assert since(desk.outbox, [entry], has_database=False)[letter].is_clear

    desk.pending("UPDATE", "Business", {"id": 5, "name": "new"}, id="op_waits")

    result = desk.run("replay", letter)
    assert "op_waits, still to run before it" in result.stderr


def test_where_letters_hold_others_what_waits_comes_after_a_replay(desk: Desk) -> None:
    letter = desk.dead("UPDATE", "Business", {"id": 5, "name": "old"})
    desk.pending("UPDATE", "Business", {"id": 5, "name": "new"})
    desk.outbox.note_policy(True)

    desk.done("replay", letter)

    entry = desk.outbox.entry(letter)
    assert entry is not None
    assert (entry.seq, entry.state) == (letter, State.PENDING), "it keeps its place"


def test_among_several_letters_each_looks_only_behind_its_own_place(desk: Desk) -> None:
    first = desk.dead("UPDATE", "Business", {"id": 6, "name": "old"})
    desk.applied("UPDATE", "Business", {"id": 5, "name": "before the second"})
    second = desk.dead("UPDATE", "Business", {"id": 5, "name": "newest"})

    desk.done("replay", first, second)

    assert [desk.state(letter) for letter in (first, second)] == [State.PENDING, State.PENDING]


def test_the_letters_that_can_go_do_go_and_the_others_are_left(desk: Desk) -> None:
    behind = desk.dead("UPDATE", "Business", {"id": 5, "name": "old"})
    free = desk.dead("UPDATE", "Business", {"id": 6, "name": "old"})
    desk.applied("UPDATE", "Business", {"id": 5, "name": "new"})

    result = desk.run("replay", "--all", "--yes")

    assert result.exit_code == 1
    assert (desk.state(behind), desk.state(free)) == (State.DEAD, State.PENDING)


def test_where_later_ones_were_pruned_and_nobody_can_be_asked_it_wants_force(desk: Desk) -> None:
    letter = desk.dead("UPDATE", "Business", {"id": 5, "name": "old"})
    desk.applied("UPDATE", "Business", {"id": 5, "name": "new"})
    assert desk.outbox.prune(desk.now + 1, 100) == 1

    result = desk.run("replay", letter)

    assert (result.exit_code, "cannot be asked" in result.stderr) == (1, True)
    assert desk.run("replay", letter, "--force").exit_code == 0


@pytest.mark.usefixtures("database")
def test_what_was_pruned_here_is_found_in_the_ledger(desk: Desk) -> None:
    operation = create_user(1, id=5)
    apply(operation)
    raw = a_message("op_letter", "UPDATE", "User", {"id": 5, "firstName": "old"})
    apply(a_raw_operation(raw, id="op_letter"))
    letter = ImportedLetter(
        TOPIC, 0, 0, 77, "op_letter", "User", "UPDATE", raw, 0, 1, "order", "User 5 is not there", desk.now - 60_000
    )
    desk.outbox.import_dead([letter])

    result = desk.run("replay", "op_letter")

    assert result.exit_code == 1
    assert f"User:5: CREATE {operation.operation_id}, applied" in result.stderr


@pytest.mark.usefixtures("database")
def test_of_several_letters_each_is_behind_only_what_was_applied_after_its_own_death(desk: Desk) -> None:
    operation = create_user(1, id=5)
    apply(operation)
    ((settled,),) = rows("SELECT settled_at FROM settled_operations")
    letters = []
    for name, died in (("early", settled - 1), ("late", settled + 1)):
        raw = a_message(name, "UPDATE", "User", {"id": 5, "firstName": name})
        place = (TOPIC, 0, 0, 70 + len(letters), name, "User", "UPDATE", raw)
        letters.append(ImportedLetter(*place, 0, 1, "order", "User 5 is not there", died))
    desk.outbox.import_dead(letters)

    result = desk.run("replay", "early", "late")

    assert f"User:5: CREATE {operation.operation_id}, applied" in result.stderr
    assert {entry.operation_id for entry in desk.outbox.dead_letters()} == {"early"}


# ------------------------------------------------------------------------------------------------------------ dry run


@pytest.mark.usefixtures("database")
def test_a_dry_run_tells_what_would_become_of_each_and_does_nothing(desk: Desk) -> None:
    apply(create_user(1, id=1))
    good = desk.dead("UPDATE", "User", {"id": 1, "firstName": "Beatriz"})
    bad = desk.dead("UPDATE", "User", {"id": 9, "firstName": "Ana"})

    result = desk.run("replay", "--all", "--dry-run")

    assert result.exit_code == 1, "one would fail"
    assert f"{good} UPDATE User op_0: would be applied to User:1" in result.stdout
    assert f"{bad} UPDATE User op_1: would fail now, and be retried: User 9 is not there" in result.stdout
    assert "1 would be applied, 1 would fail; nothing was done" in result.stdout
    assert [desk.state(good), desk.state(bad)] == [State.DEAD, State.DEAD]
    assert rows("SELECT nombre, count(*) FROM usuarios") == [("Ana", 1)]
    told = [json.loads(line) for line in desk.run("replay", good, "--dry-run", "--json").stdout.splitlines()]
    assert [(line["entry_id"], line["would_be"], line["touched"]) for line in told] == [(good, "applied", ["User:1"])]


@pytest.mark.usefixtures("database")
def test_a_dry_run_of_an_edited_letter_is_of_what_it_was_changed_to(desk: Desk) -> None:
    letter = desk.dead("CREATE", "User", a_user(1, email="nobody"), id="op_1")
    entry = desk.outbox.entry(letter)
    assert entry is not None
    apply(a_raw_operation(entry.raw, id="op_1"))
    assert desk.run("replay", letter, "--dry-run").exit_code == 1

    desk.done("edit", letter, "--set", "email=ana@example.co")

    assert "1 would be applied" in desk.done("replay", letter, "--dry-run")


def test_a_dry_run_without_a_database_says_so(desk: Desk) -> None:
    result = desk.run("replay", desk.dead(), "--dry-run")

    assert result.exit_code == 2
    assert "DB_HOST" in result.stderr


def test_a_dry_run_of_a_discard_needs_no_database(desk: Desk) -> None:
    letter = desk.dead()

    assert "1 would be discarded; nothing was done" in desk.done("discard", letter, "--why", "x", "--dry-run")
    assert desk.state(letter) == State.DEAD


# ---------------------------------------------------------------------------------------------- choosing and asking


def test_many_are_only_changed_after_a_yes(desk: Desk) -> None:
    letters = [desk.dead(data={"id": number, "name": "x"}) for number in (1, 2)]

    for command in (("replay", "--all"), ("discard", "--entity", "Business", "--why", "x")):
        result = desk.run(*command)
        assert (result.exit_code, "say --yes" in result.stderr) == (2, True)
    assert [desk.state(letter) for letter in letters] == [State.DEAD, State.DEAD]

    desk.done("discard", "--entity", "Business", "--why", "too old", "--yes")
    assert [desk.state(letter) for letter in letters] == [State.DISCARDED, State.DISCARDED]


def test_letters_can_be_chosen_by_when_they_died(desk: Desk) -> None:
    old = desk.dead(data={"id": 1, "name": "x"})
    entry = desk.outbox.entry(old)
    assert entry is not None
    desk.outbox.database.execute_sql("UPDATE entries SET changed_at = changed_at - 7200000 WHERE seq = ?", (entry.seq,))
    new = desk.dead(data={"id": 2, "name": "x"})

    assert [line["entry_id"] for line in desk.lines("list", "--since", "1h30min")] == [new]
    assert [line["entry_id"] for line in desk.lines("list", "--until", "1h")] == [old]
    for wrong in ("yesterday", "2x", "99999999999-01-01"):
        assert desk.run("list", "--since", wrong).exit_code == 2


@pytest.mark.parametrize(
    "command", [("replay",), ("replay", "1", "--all"), ("discard", "1", "--entity", "User", "--why", "x")]
)
def test_it_must_be_plain_which_letters_are_meant(desk: Desk, command: tuple[str, ...]) -> None:
    desk.dead()

    assert desk.run(*command).exit_code == 2
    assert desk.state(1) == State.DEAD


def test_each_command_leaves_a_line_of_audit_with_who_what_and_why(desk: Desk) -> None:
    letter = desk.dead(data={"id": 1, "name": "x"})
    assert desk.run("audit").exit_code == 1

    desk.run("replay", letter, "op_nobody", "--why", "the row is there now")

    (line,) = desk.lines("audit")
    assert line["at"] > 0
    del line["at"]
    assert line == {
        "who": "ana",
        "action": "replay",
        "why": "the row is there now",
        "chosen": f"{letter} op_nobody",
        "changed": 1,
        "refused": 1,
    }


def test_a_command_that_could_change_nothing_leaves_a_line_of_audit_too(desk: Desk) -> None:
    desk.pending("UPDATE", "User", {"id": 1, "firstName": "x"}, id="waits")

    assert desk.run("discard", "waits", "--why", "x").exit_code == 1

    (line,) = desk.lines("audit")
    assert (line["action"], line["changed"], line["refused"]) == ("discard", 0, 1)


def test_of_an_operation_that_came_twice_the_dead_letter_is_meant(desk: Desk) -> None:
    desk.applied("UPDATE", "User", {"id": 1, "firstName": "x"}, id="twice")
    letter = desk.dead("UPDATE", "User", {"id": 1, "firstName": "y"}, id="twice")

    desk.done("discard", "twice", "--why", "x")

    assert desk.state(letter) is State.DISCARDED
    (line,) = desk.lines("audit")
    assert (line["changed"], line["refused"]) == (1, 0)


def test_results_are_told_in_json(desk: Desk) -> None:
    letter = desk.dead(data={"id": 1, "name": "x"})

    (line,) = desk.lines("replay", letter)

    assert (line["entry_id"], line["is_done"], line["state"], line["incarnation"]) == (letter, True, "pending", 1)


def test_a_rate_spreads_letters_over_time() -> None:
    now, waits = [0.0], []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    portions = list(Pace(2.0, lambda: now[0], sleep).portions(list(range(5))))

    assert portions == [[0, 1], [2, 3], [4]]
    assert waits == [1.0, 1.0]
    assert list(Pace().portions(range(250))) == [range(100), range(100, 200), range(200, 250)]


def test_a_replay_that_is_interrupted_says_what_stays(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = [desk.dead(data={"id": number, "name": "x"}) for number in (1, 2)]
    replay_as_before = Outbox.replay

    def interrupted(outbox: Outbox, ids: list[int], who: str, why: str) -> object:
        if letters[1] in ids:
            raise KeyboardInterrupt
        return replay_as_before(outbox, ids, who, why)

    monkeypatch.setattr(Outbox, "replay", interrupted)
    monkeypatch.setattr("worker.desk.acting.PORTION", 1)

    result = desk.run("replay", *letters)

    assert result.exit_code == 130
    assert "what was replayed stays so" in result.stderr
    assert [desk.state(letter) for letter in letters] == [State.PENDING, State.DEAD]
    assert [(line["changed"], line["action"]) for line in desk.lines("audit")] == [(1, "replay")]


def test_a_letter_of_a_secret_tells_none_while_it_is_rehearsed_or_replayed(desk: Desk) -> None:
    letter = desk.dead(
        "CREATE", "User", a_user(1, passwordHash="hunter2hunter2"), reason="passwordHash='hunter2hunter2'"
    )

    for command in (("list",), ("show", letter), ("groups",), ("why", letter), ("status",), ("replay", letter)):
        assert "hunter2" not in desk.run(*command).output
        assert "hunter2" not in desk.run(*command, "--json").output
