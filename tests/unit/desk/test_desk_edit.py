"""Editing a dead letter: what is taken, what is kept, and what stays hidden."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox import State
from tests.support.streams import a_message, a_user
from tests.unit.desk.builders import Desk
from worker.desk.editing import checked
from worker.desk.placeholders import Concealed, UnknownPlaceholder
from worker.work import content_of

SECRET = "hunter2hunter2"


@pytest.fixture
def letter(desk: Desk) -> int:
    """A dead CREATE of a user with a wrong address and a secret."""
    data = a_user("nobody", passwordHash=SECRET)
    return desk.dead("CREATE", "User", data, id="op_1", kind="invalid", reason="User.email: must be an e-mail address")


def an_editor(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An editor that does this with `text`, and notes what it saw."""
    seen, script = folder / "seen", folder / "editor.py"
    script.write_text(
        "import sys, pathlib\nfile = pathlib.Path(sys.argv[1])\ntext = file.read_text()\n"
        f"seen = oct(file.parent.stat().st_mode) + '\\n' + text\n"
        f"pathlib.Path({str(seen)!r}).write_text(seen)\n{code}\nfile.write_text(text)\n"
    )
    monkeypatch.setenv("EDITOR", f"{sys.executable} {script}")
    monkeypatch.delenv("VISUAL", raising=False)
    return seen


def test_an_attribute_can_be_set_and_the_original_is_kept(desk: Desk, letter: int) -> None:
    original = desk.outbox.entry(letter)
    assert original is not None

    told = desk.done("edit", letter, "--set", "email=ana@example.co", "--why", "a typo")

    assert desk.payload(letter)["data"]["email"] == "ana@example.co"
    assert desk.payload(letter)["data"]["passwordHash"] == SECRET
    assert SECRET not in told
    (edit,) = desk.outbox.edits(letter)
    assert (edit.raw_before, edit.who, edit.why) == (original.raw, "ana", "a typo")
    edited = desk.outbox.entry(letter)
    assert edited is not None
    assert (edited.came_as, edited.state) == (content_of(original.raw), State.DEAD)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--set", "email=a@b.co", "--set", "role=administrador"], {"email": "a@b.co", "role": "administrador"}),
        (["--set", "email=a@b.co", "--set", "phoneContact=3001234567"], {"phoneContact": 3001234567}),
        (["--set", "data.email=a@b.co"], {"email": "a@b.co"}),
        (["--set", "email=a@b.co", "--set", 'firstName="7"'], {"firstName": "7"}),
    ],
)
def test_values_are_json_where_they_can_be_and_text_elsewhere(
    desk: Desk, letter: int, options: list[str], expected: dict[str, Any]
) -> None:
    desk.done("edit", letter, *options)

    data = desk.payload(letter)["data"]
    assert {name: data[name] for name in expected} == expected


def test_parts_of_the_envelope_and_records_can_be_set_and_removed(desk: Desk) -> None:
    records = [{"businessId": 1, "totalScore": 5}, {"businessId": 1, "totalScore": "x", "colour": "red"}]
    letter = desk.dead("BULK_MAKE", "Rating", {"records": records}, kind="invalid", reason="type: must be one of …")

    desk.done(
        "edit", letter, "--set", "type=BULK_CREATE", "--set", "records[1].totalScore=7", "--unset", "records[1].colour"
    )

    payload = desk.payload(letter)
    assert (payload["type"], payload["data"]["records"][1]) == ("BULK_CREATE", {"businessId": 1, "totalScore": 7})
    entry = desk.outbox.entry(letter)
    assert entry is not None
    assert entry.type == "BULK_CREATE", "the lists show what it is now"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--set", "email=still nobody"], "User.email"),
        (["--set", "email"], "which value"),
        (["--set", "records[0].email=a@b.co"], "no such place"),
        (["--set", "..=1"], "no path"),
        (["--unset", "colour"], "no such place"),
        (["--set", "email=nobody"], "User.email"),
        (["--set", "metadata.operationId=op_2", "--set", "email=a@b.co"], "must stay 'op_1'"),
        (["--set", "email=***unchanged-9***"], "stands for nothing"),
    ],
)
def test_what_would_be_no_operation_is_not_taken(desk: Desk, letter: int, options: list[str], complaint: str) -> None:
    before = desk.payload(letter)

    result = desk.run("edit", letter, *options)

    assert result.exit_code == 1
    assert complaint in result.stderr
    assert desk.payload(letter) == before
    assert desk.outbox.edits(letter) == []


def test_only_a_dead_letter_can_be_edited(desk: Desk) -> None:
    pending = desk.pending("UPDATE", "User", {"id": 1})

    result = desk.run("edit", pending, "--set", "firstName=x")

    assert (result.exit_code, "is pending, not dead" in result.stderr) == (1, True)
    assert desk.run("edit", "op_nobody", "--set", "a=1").exit_code == 1


def test_the_editor_sees_no_secret_in_a_file_that_only_the_operator_can_read(
    desk: Desk, letter: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = an_editor(tmp_path, "text = text.replace('nobody', 'ana@example.co')", monkeypatch)

    desk.done("edit", letter)

    mode, _, text = seen.read_text().partition("\n")
    assert SECRET not in text
    assert "***unchanged-1***" in text
    assert "User.email: must be an e-mail address" in text
    assert int(mode, 8) & (stat.S_IRWXG | stat.S_IRWXO) == 0, "the folder is the operator's alone"
    data = desk.payload(letter)["data"]
    assert (data["email"], data["passwordHash"]) == ("ana@example.co", SECRET)


def test_an_editor_that_leaves_the_text_as_it_is_changes_nothing(
    desk: Desk, letter: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_editor(tmp_path, "", monkeypatch)
    assert "nothing was changed" in desk.run("edit", letter).stderr

    an_editor(tmp_path, "sys.exit(3)", monkeypatch)
    assert "ended with code 3" in desk.run("edit", letter).stderr

    monkeypatch.setenv("EDITOR", "/no/such/editor")
    assert "cannot be started" in desk.run("edit", letter).stderr
    assert desk.outbox.edits(letter) == []


def test_bytes_that_are_no_message_can_be_mended_in_the_editor_and_keep_their_id(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = a_message("op_7", "CREATE", "User", a_user("ana@example.co", passwordHash=SECRET))[
        :-1
    ]  # its last brace is cut
    letter = desk.die(desk.raw(raw))
    seen = an_editor(tmp_path, "text = text.rstrip() + '}'", monkeypatch)

    desk.done("edit", letter)

    assert SECRET not in seen.read_text()
    assert desk.payload(letter)["data"]["passwordHash"] == SECRET
    entry = desk.outbox.entry(letter)
    assert entry is not None
    assert (entry.operation_id, entry.came_as) == (f"{entry.topic}-0-0", content_of(raw))


def test_the_original_can_be_seen_and_taken_back(desk: Desk, letter: int) -> None:
    original = desk.payload(letter)
    desk.done("edit", letter, "--set", "email=ana@example.co")
    desk.done("edit", letter, "--set", "email=beto@example.co")
    assert '"nobody"' in desk.done("show", letter, "--original")

    desk.done("edit", letter, "--original")

    assert desk.payload(letter) == original
    entry = desk.outbox.entry(letter)
    assert entry is not None
    assert entry.came_as is None
    assert desk.run("edit", letter, "--original").exit_code == 1, "there is nothing to take back any more"


def test_a_dry_run_shows_the_change_and_takes_nothing(desk: Desk, letter: int) -> None:
    told = desk.done("edit", letter, "--set", "email=ana@example.co", "--dry-run")

    assert '-    "email": "nobody"' in told
    assert '+    "email": "ana@example.co"' in told
    assert desk.outbox.edits(letter) == []


def test_edit_can_replay_at_once_and_leaves_an_audit(desk: Desk, letter: int) -> None:
    desk.done("edit", letter, "--set", "email=ana@example.co", "--replay", "--why", "a typo")

    assert desk.state(letter) == State.PENDING
    assert [(line["action"], line["who"], line["why"]) for line in desk.lines("audit")] == [
        ("replay", "ana", "a typo"),
        ("edit", "ana", "a typo"),
    ]


def test_an_edit_of_what_was_changed_meanwhile_takes_nothing(desk: Desk, letter: int) -> None:
    entry = desk.outbox.entry(letter)
    assert entry is not None
    changes = {"came_as": None, "entity": "User", "type": "CREATE", "who": "ana", "why": "x"}
    assert desk.outbox.edit(letter, b"{}", expected=entry.raw, **changes)  # type: ignore[arg-type]

    assert not desk.outbox.edit(letter, b"[]", expected=entry.raw, **changes)  # type: ignore[arg-type]

    assert len(desk.outbox.edits(letter)) == 1


NAMES = st.sampled_from(["name", "passwordHash", "token", "note", "a b"])
TEXTS = st.sampled_from(["x", SECRET, "password='x'", '{"token": "t"}', "***unchanged-1***", "ñ\ud800", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, VALUES.filter(lambda value: value != "***unchanged-1***"), max_size=4))
def test_what_is_left_as_it_is_comes_back_as_it_was(document: dict[str, Any]) -> None:
    if "***unchanged-1***" in json.dumps(document):
        return
    raw = json.dumps(document).encode()
    concealed = Concealed(raw)

    restored = concealed.restore(concealed.text)

    assert json.loads(restored) == document
    assert SECRET not in concealed.text or SECRET in json.dumps(
        {name: value for name, value in document.items() if "passw" not in name and "token" not in name}
    )


def test_placeholders_can_be_moved_and_not_made_up() -> None:
    concealed = Concealed(b'{"data": [{"token": "a"}, {"token": 5}]}')
    moved = json.loads(concealed.text)
    moved["data"].reverse()

    assert json.loads(concealed.restore(json.dumps(moved))) == {"data": [{"token": 5}, {"token": "a"}]}
    for text in ('{"token": "***unchanged-3***"}', "broken ***unchanged-0***"):
        with pytest.raises(UnknownPlaceholder):
            concealed.restore(text)


@pytest.mark.parametrize("text", [f"password='{SECRET}'", f'{{"token": "{SECRET}"}}', f"the passwordHash={SECRET}"])
def test_a_secret_inside_of_a_text_is_hidden_with_all_of_the_text(text: str) -> None:
    document = {"data": {"note": text, text: 1}}
    concealed = Concealed(json.dumps(document).encode())

    assert SECRET not in concealed.text
    assert json.loads(concealed.restore(concealed.text)) == document


def test_an_edit_to_what_it_was_is_none(desk: Desk) -> None:
    letter = desk.dead(data={"id": 9, "name": "Nueva"})

    result = desk.run("edit", letter, "--set", "name=Nueva")

    assert (result.exit_code, "nothing was changed" in result.stderr) == (1, True)
    assert desk.outbox.edits(letter) == []


def test_an_edit_of_the_kind_of_a_value_is_one(desk: Desk) -> None:
    letter = desk.dead("UPDATE", "WorkTeam", {"id": 9, "hasTrainedStaff": True})

    desk.done("edit", letter, "--set", "hasTrainedStaff=1")

    assert desk.payload(letter)["data"]["hasTrainedStaff"] == 1
    assert desk.payload(letter)["data"]["hasTrainedStaff"] is not True


def test_a_letter_nested_too_deeply_can_be_edited(desk: Desk) -> None:
    nested = desk.outbox.entry(desk.die(desk.raw(b"[" * 100_000), reason="message: is nested too deeply"))
    assert nested is not None

    edited = checked(nested, a_message(None, "UPDATE", "User", {"id": 1, "firstName": "Ana"}))

    assert edited.envelope.entity == "User"
