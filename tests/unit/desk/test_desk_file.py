"""The file itself: export and import, prune, verify; and what status says of an ingest that runs, is silent or stopped."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from outbox import Position
from tests.support.streams import a_message, a_user
from tests.unit.desk.builders import TOPIC, Desk
from worker.desk.overview import drains_in_s
from worker.ingest_note import (
    INGEST_NOTE,
    LEAST_INTERVAL_S,
    LONGEST_INTERVAL_S,
    STALE_AFTER_MS,
    IngestNote,
    NoteKeeper,
    read_note,
    why_paused,
)

SECRET = "hunter2hunter2"

# -------------------------------------------------------------------------------------------------- export and import


def another(desk: Desk, tmp_path: Path, name: str = "another") -> Desk:
    (tmp_path / name).mkdir()
    return Desk(tmp_path / name / "outbox.sqlite3")


def test_letters_that_were_exported_can_be_imported_into_another_outbox(desk: Desk, tmp_path: Path) -> None:
    user = desk.dead(
        "CREATE", "User", a_user("nobody", passwordHash=SECRET), id="op_1", kind="invalid", reason="User.email: …"
    )
    broken = desk.die(desk.raw(b"\xff\x00 no message"))
    desk.done("edit", user, "--set", "email=ana@example.co")

    desk.done("export", "letters.jsonl")
    other = another(desk, tmp_path)
    assert "2 letters are in form" in other.done("import", "letters.jsonl", "--dry-run")
    assert "2 imported" in other.done("import", "letters.jsonl")

    for entry_id in (user, broken):
        mine, theirs = desk.outbox.entry(entry_id), other.outbox.entry(entry_id)
        assert mine is not None and theirs is not None
        for field in (
            "operation_id",
            "raw",
            "topic",
            "partition",
            "offset",
            "error_kind",
            "reason",
            "came_as",
            "attempts",
        ):
            assert getattr(mine, field) == getattr(theirs, field), field
    assert "0 imported, 2 were here already" in other.done("import", "letters.jsonl")
    assert [line["action"] for line in other.lines("audit")] == ["import", "import"]


def test_an_export_is_for_its_owner_alone_and_overwrites_nothing(desk: Desk, tmp_path: Path) -> None:
    desk.dead()
    desk.done("export", "letters.jsonl")

    assert stat.S_IMODE((tmp_path / "letters.jsonl").stat().st_mode) == 0o600
    assert desk.run("export", "letters.jsonl").exit_code == 2
    assert desk.run("export", "/no/such/folder/x").exit_code == 2


def test_a_line_tells_the_message_where_it_came_from_and_why_it_died(desk: Desk) -> None:
    desk.dead(id="op_1")

    line = json.loads(desk.done("export", "-"))

    assert json.loads(line["raw"])["metadata"] == {"operationId": "op_1"}
    expected = {"operationId": "op_1", "topic": TOPIC, "entity": "Business", "errorKind": "order", "attempts": 6}
    assert {name: line[name] for name in expected} == expected
    assert line["reason"] == "Business 9 is not there"


def test_a_masked_export_holds_no_secret_and_cannot_be_imported(desk: Desk, tmp_path: Path) -> None:
    desk.dead("CREATE", "User", a_user("nobody", passwordHash=SECRET), reason=f"passwordHash='{SECRET}'")
    desk.dead("UPDATE", "User", {"id": 1}, id=json.dumps({"passwordHash": SECRET}))

    desk.done("export", "masked.jsonl", "--masked")

    assert SECRET not in (tmp_path / "masked.jsonl").read_text()
    result = another(desk, tmp_path).run("import", "masked.jsonl")
    assert (result.exit_code, "masked" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"hello", "line 2: is no letter"),
        (b"{}", "line 2: is no letter"),
        (b'{"operationId": "a", "topic": "t", "partition": 0, "offset": 1}', "neither raw nor rawBase64"),
        (b'{"operationId": "a", "topic": "t", "partition": 0, "offset": 1, "rawBase64": "%"}', "is no letter"),
        (a_message("op", "UPDATE", "User", {"id": 1}), "worker.produce"),
    ],
)
def test_a_file_with_a_wrong_line_is_not_imported_at_all(
    desk: Desk, tmp_path: Path, line: bytes, complaint: str
) -> None:
    desk.dead()
    good = desk.done("export", "-").encode()
    (tmp_path / "letters.jsonl").write_bytes(good + line + b"\n")
    other = another(desk, tmp_path)

    result = other.run("import", "letters.jsonl")

    assert (result.exit_code, complaint in result.stderr) == (1, True), result.stderr
    assert other.outbox.counts().total == 0


# ---------------------------------------------------------------------------------------------------- prune, verify


def test_prune_removes_what_was_applied_and_is_old(desk: Desk) -> None:
    desk.applied("UPDATE", "Business", {"id": 1, "name": "x"})
    letter = desk.dead()
    desk.outbox.database.execute_sql("UPDATE entries SET changed_at = changed_at - 7200000")

    assert desk.run("prune", "--older-than", "1h").exit_code == 2, "nobody can be asked"
    assert "1 entries were applied more than 1 h ago" in desk.done("prune", "--older-than", "1h", "--dry-run")
    assert "0 removed" in desk.done("prune", "--older-than", "3h", "--yes")
    assert "1 removed" in desk.done("prune", "--older-than", "1h", "--yes")

    assert (desk.outbox.counts().applied, desk.outbox.entry(letter) is not None) == (0, True)
    assert desk.outbox.pruned_to() == 1


def test_a_sound_file_is_told_sound(desk: Desk) -> None:
    desk.applied("UPDATE", "Business", {"id": 1, "name": "x"})
    desk.done("replay", desk.dead(data={"id": 2, "name": "x"}))
    letter = desk.dead("CREATE", "User", a_user("nobody"))
    desk.done("edit", letter, "--set", "email=ana@example.co")

    for options in ((), ("--thoroughly",)):
        assert {line["is_sound"] for line in desk.lines("verify", *options)} == {True}


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        ("UPDATE counters SET entries = entries + 7 WHERE state = 3", "dead: the counter says 8, the rows say 1"),
        ("UPDATE entries SET state = 77", "1 entries are in a state that does not exist"),
        ("UPDATE entries SET log_id = 99", "1 entries belong to a partition that the file does not know"),
        ("UPDATE entries SET reason = NULL", "1 dead letters have no reason"),
        (
            "UPDATE sqlite_sequence SET seq = 0 WHERE name = 'entries'",
            "1 entries have a place that could be given again",
        ),
        ("UPDATE positions SET next_offset = 0", "1 entries stand behind the position"),
        ("UPDATE history SET entry_id = 99", "1 lines of the history tell of an entry that is nowhere"),
    ],
)
def test_what_is_wrong_is_told(desk: Desk, spoil: str, complaint: str) -> None:
    desk.dead()
    desk.outbox.set_position(Position(TOPIC, 0, 0, 1))
    assert desk.run("verify").exit_code == 0
    desk.outbox.database.execute_sql(spoil)

    result = desk.run("verify")

    assert (result.exit_code, complaint in result.stdout) == (1, True), result.stdout


def test_counters_can_be_set_right(desk: Desk) -> None:
    desk.dead()
    desk.outbox.database.execute_sql("UPDATE counters SET entries = 7")

    result = desk.run("verify", "--repair")

    assert result.exit_code == 0, result.output
    assert desk.outbox.counts().dead == 1
    assert [line["action"] for line in desk.lines("audit")] == ["verify --repair"]


def test_a_damaged_file_is_told_in_a_line(desk: Desk) -> None:
    for number in range(300):
        desk.dead(data={"id": number + 1, "name": "x" * 100})
    desk.outbox.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    desk.outbox.close()
    with desk.path.open("r+b") as file:
        file.seek(40_960)
        file.write(b"\xaa" * 20_480)

    result = desk.run("verify")

    assert (result.exit_code, "malformed" in result.stderr) == (2, True), result.output


# ------------------------------------------------------------------------------------------------------------- status


def left(desk: Desk, **facts: Any) -> None:
    note = IngestNote(**{"host": "host-a", "pid": 4711, "started_at": desk.now - 60_000, **facts})
    desk.outbox.leave_note(INGEST_NOTE, msgspec.json.encode(note).decode())


def test_status_tells_speed_lag_and_how_long_yet_by_the_word_of_ingest(desk: Desk) -> None:
    for number in range(30):
        desk.pending("UPDATE", "Business", {"id": number + 1, "name": "x"})
    desk.outbox.set_position(Position(TOPIC, 0, 0, 10))
    left(desk, ends={"0": 100}, settled_per_s=2.0, received_per_s=1.0, partitions=1)

    told, values = desk.done("status"), desk.document("status")

    assert "30 here, 90 more in Kafka" in told
    assert "all settled in about 1 min" in told
    assert "open: operations are sent" in told
    assert (values["lag"], values["drains_in_s"], values["paused_because"]) == (90, 60.0, [])
    assert values["partitions"][0]["lag"] == 90


def test_status_says_what_is_paused_and_why(desk: Desk) -> None:
    left(desk, paused_because=("the database is down",), partitions=1)

    told = desk.done("status")

    assert "PAUSED: the database is down" in told
    assert "database DOWN" in told


def test_word_that_is_stale_is_told_as_stale_and_not_believed(desk: Desk) -> None:
    desk.now -= STALE_AFTER_MS + 60_000
    left(desk, ends={"0": 100}, settled_per_s=2.0, partitions=1)

    told, values = desk.done("status"), desk.document("status")

    assert "silent for 1 min 20 s" in told
    assert "nothing is sent: no ingest runs on this file" in told
    assert (values["ingest_is_fresh"], values["lag"], values["paused_because"]) == (False, None, None)


def test_an_ingest_that_was_stopped_in_order_is_told_as_stopped(desk: Desk) -> None:
    left(desk, is_stopped=True)

    assert "stopped" in desk.done("status")
    desk.outbox.leave_note(INGEST_NOTE, "of another version")
    assert "never ran on this file, or is older" in desk.done("status")


def test_how_long_yet_is_not_guessed() -> None:
    note = IngestNote("host-a", 1, 0)

    assert drains_in_s(0, None) == 0.0
    assert drains_in_s(10, None) is None
    assert drains_in_s(10, note) is None
    assert drains_in_s(10, msgspec.structs.replace(note, settled_per_s=4.0)) == 2.5


def test_watch_shows_the_status_again_and_again(desk: Desk) -> None:
    desk.dead()

    assert "Business:order:-:missing" in desk.done("watch", "--times", "2", "--interval", "0.5")
    assert desk.run("watch").exit_code == 2, "this is no terminal"


ALL_WELL = {
    "is_kafka_connected": True,
    "partitions": 3,
    "is_database_known": True,
    "is_database_healthy": True,
    "has_epoch": True,
    "is_redis_connected": True,
    "is_outbox_full": False,
}


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"is_kafka_connected": False}, "Kafka"),
        ({"partitions": 0}, "no partition"),
        ({"is_database_known": False}, "not been probed"),
        ({"is_database_healthy": False}, "database is down"),
        ({"has_epoch": False}, "confirmed"),
        ({"is_redis_connected": False}, "Redis"),
        ({"is_outbox_full": True}, "OUTBOX_MAX_PENDING"),
    ],
)
def test_each_cause_of_a_pause_is_named_and_no_other(wrong: dict[str, Any], word: str) -> None:
    assert why_paused(**ALL_WELL) == ()  # type: ignore[arg-type]

    (told,) = why_paused(**(ALL_WELL | wrong))  # type: ignore[arg-type]

    assert word in told


def test_ingest_leaves_word_when_something_changed_and_seldom_else(desk: Desk) -> None:
    now = [0.0]
    keeper = NoteKeeper(desk.outbox, lambda: now[0])

    def leave(settled: int) -> IngestNote:
        facts: dict[str, Any] = {"is_kafka_connected": True, "is_redis_connected": True, "is_database_healthy": True}
        keeper.leave(
            **facts, received=0, settled=settled, partitions=3, paused_because=(), ends={0: 5}, in_flight=1, window=9
        )
        note = read_note(desk.outbox.note(INGEST_NOTE))
        assert note is not None
        return note

    def at() -> int:
        note = desk.outbox.note(INGEST_NOTE)
        assert note is not None
        return note.at

    assert keeper.is_due
    assert (leave(0).settled_per_s, leave(0).ends) == (0.0, {"0": 5})
    assert not keeper.is_due
    now[0] += 10 * LEAST_INTERVAL_S
    desk.now += 1
    assert keeper.is_due
    assert leave(40).settled_per_s == 2.0
    before = at()
    desk.now += 1
    now[0] += 1_000
    leave(40)
    leave_at = at()
    assert leave_at > before
    desk.now += 1
    leave(40)
    assert at() == leave_at, "nothing changed, and the last word is young"
    now[0] += LONGEST_INTERVAL_S
    leave(40)
    assert at() > leave_at
