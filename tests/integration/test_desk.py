"""The operator's desk beside the running service: why, dry run, edit and replay, back in time, on the real servers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.pipeline import Pipeline
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually


def desk(pipeline: Pipeline, *arguments: str, code: int = 0) -> str:
    """A command at the desk; what it said."""
    operator = pipeline.service.operator(*arguments)
    after = operator.log_position()
    operator.spawn()
    assert operator.wait_for_exit(60.0) == code, operator.log(after)
    return operator.log(after)


def told(pipeline: Pipeline, *arguments: str, code: int = 0) -> list[Any]:
    """What it says in JSON, an object a line."""
    return [
        json.loads(line) for line in desk(pipeline, *arguments, "--json", code=code).splitlines() if line[:1] == "{"
    ]


@pytest.fixture
def prepared(pipeline: Pipeline) -> Pipeline:
    """A running service with User 1 and Business 1."""
    pipeline.service.start()
    pipeline.send(
        [
            a_message("user", "CREATE", "User", a_user("ana@example.co", id=1), timestamp=1),
            a_message("business", "CREATE", "Business", {"id": 1, "userId": 1, "name": "Panadería"}, timestamp=2),
        ]
    )
    pipeline.wait_until_settled()
    return pipeline


def settled(pipeline: Pipeline, *messages: bytes) -> None:
    for message in messages:
        pipeline.send([message], partitions=1)
        pipeline.wait_until_settled()


def test_a_letter_is_edited_tried_and_replayed_and_applied_once(prepared: Pipeline) -> None:
    message = a_message("bad", "CREATE", "User", a_user("nobody", id=7))
    settled(prepared, message)
    (dry,) = told(prepared, "replay", "bad", "--dry-run", code=1)
    assert (dry["would_be"], "User.email" in dry["reason"]) == ("dead", True)

    desk(prepared, "edit", "bad", "--set", "email=beto@example.co", "--why", "a typo")
    (dry,) = told(prepared, "replay", "bad", "--dry-run")
    assert (dry["would_be"], dry["touched"]) == ("applied", ["User:7"])
    assert prepared.query("SELECT count(*) FROM usuarios WHERE id = 7") == [(0,)], "a dry run does nothing"
    desk(prepared, "replay", "bad")
    prepared.wait_until_settled()

    assert prepared.dead_letters() == {}
    assert prepared.query("SELECT email FROM usuarios WHERE id = 7") == [("beto@example.co",)]
    line = "SELECT outcome, incarnation FROM settled_operations WHERE operation_id = 'bad'"
    assert prepared.query(line) == [("applied", 1)]

    settled(prepared, message)  # the application sends the original again
    assert prepared.dead_letters() == {}
    assert prepared.query("SELECT email FROM usuarios WHERE id = 7") == [("beto@example.co",)]
    assert prepared.query(line) == [("applied", 1)]


def test_an_edited_letter_that_the_database_refuses_dies_again_under_its_own_id_and_can_be_mended(
    prepared: Pipeline,
) -> None:
    settled(prepared, a_message("bad", "CREATE", "User", a_user("nobody", id=7)))
    desk(prepared, "edit", "bad", "--set", "email=ANA@example.co", "--replay")  # User 1 has it
    prepared.wait_until_settled()

    letter = prepared.dead_letters()["bad"]
    assert (letter.error_kind, letter.incarnation, "1062" in (letter.reason or "")) == ("order", 1, True), letter.reason

    desk(prepared, "edit", "bad", "--set", "email=beto@example.co", "--replay")
    prepared.wait_until_settled()
    assert prepared.dead_letters() == {}
    assert prepared.query("SELECT email FROM usuarios WHERE id = 7") == [("beto@example.co",)]


def test_after_the_outbox_is_lost_an_edited_letter_that_was_applied_is_not_applied_again(prepared: Pipeline) -> None:
    settled(prepared, a_message("bad", "CREATE", "User", a_user("nobody", id=7)))
    settled(prepared, a_message("lost", "CREATE", "User", a_user("nobody", id=8)))
    desk(prepared, "edit", "bad", "--set", "email=beto@example.co", "--replay")
    desk(prepared, "edit", "lost", "--set", "email=carla@example.co")
    prepared.wait_until_settled()
    prepared.service.ingest.stop()

    prepared.service.settings["OUTBOX_PATH"] += ".new"
    prepared.service.start_ingest()

    eventually(lambda: set(prepared.dead_letters()) == {"lost"}, 60, "the letter is taken over", ignoring=(OSError,))
    letter = prepared.dead_letters()["lost"]
    assert b'"email": "nobody"' in letter.raw, "an edit that was not replayed is lost with its outbox"
    assert prepared.query("SELECT email FROM usuarios WHERE id >= 7") == [("beto@example.co",)]


def test_a_replay_behind_a_later_operation_wants_force(prepared: Pipeline) -> None:
    settled(
        prepared,
        a_message("old", "UPDATE", "Business", {"id": 9, "name": "old"}),
        a_message("make", "CREATE", "Business", {"id": 9, "userId": 1, "name": "made since"}),
    )

    refused = desk(prepared, "replay", "old", code=1)
    assert "Business:9: CREATE make" in refused
    assert prepared.query("SELECT nombre_emprendimiento FROM emprendimientos WHERE id = 9") == [("made since",)]

    desk(prepared, "replay", "old", "--force")
    prepared.wait_until_settled()
    assert prepared.query("SELECT nombre_emprendimiento FROM emprendimientos WHERE id = 9") == [("old",)]


def test_what_the_outbox_has_pruned_the_ledger_still_knows(prepared: Pipeline) -> None:
    settled(
        prepared,
        a_message("old", "UPDATE", "Business", {"id": 9, "name": "old"}),
        a_message("make", "CREATE", "Business", {"id": 9, "userId": 1, "name": "made since"}),
        a_message("other", "CREATE", "User", a_user("beto@example.co", id=2)),
    )
    desk(prepared, "prune", "--older-than", "0s", "--yes")
    assert prepared.counts().applied == 0

    assert "Business:9: CREATE make, applied" in desk(prepared, "replay", "old", code=1)


def test_why_tells_the_attempt_under_way_and_what_waits_behind_it(prepared: Pipeline) -> None:
    prepared.service.ingest.stop()
    prepared.service.settings["RETRY_DELAY_MS"] = "60000"
    prepared.service.start_ingest()
    prepared.send([a_message("first", "UPDATE", "Business", {"id": 9, "name": "x"})], partitions=1)

    def retried() -> bool:
        return [
            one["attempts"] >= 1 for one in told(prepared, "list", "--state", "all", "--operation-id", "first")
        ] == [True]

    eventually(retried, 60, "its first attempt failed", ignoring=(AssertionError,))
    prepared.send([a_message("second", "UPDATE", "Business", {"id": 9, "name": "y"})], partitions=1)
    arrived = lambda: told(prepared, "list", "--state", "pending", "--operation-id", "second")  # noqa: E731
    eventually(arrived, 60, "the second has arrived", ignoring=(AssertionError,))

    waiting = json.loads(desk(prepared, "why", "second", "--json"))
    (blocker,) = waiting["blockers"]
    assert (waiting["why"], blocker["operation_id"], blocker["keys"]) == ("blocked", "first", ["Business:9"])
    assert (blocker["attempts"], blocker["next_attempt_at"] > 0) == (1, True)
    retrying = json.loads(desk(prepared, "why", "first", "--json"))
    assert retrying["why"] == "retries"


def test_status_tells_of_an_outage_and_of_an_ingest_that_was_killed(prepared: Pipeline) -> None:
    def status() -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(desk(prepared, "status", "--json"))
        return shown

    eventually(lambda: status()["paused_because"] == [], 60, "the gate is told as open")
    assert status()["lag"] == 0
    prepared.mariadb.kill()
    try:
        eventually(lambda: "database is down" in str(status()["paused_because"]), 60, "the pause is told, and why")
        prepared.send([a_message("later", "UPDATE", "Business", {"id": 1, "name": "y"})])
        eventually(lambda: status()["counts"]["pending"] == 1, 60, "the operation waits")
        waiting = json.loads(desk(prepared, "why", "later", "--json"))
        assert (waiting["why"], "database is down" in str(waiting["paused_because"])) == ("paused", True)
        assert desk(prepared, "replay", "--all", "--dry-run", code=1) != ""
    finally:
        prepared.mariadb.ensure_running()
    prepared.wait_until_settled()
    prepared.service.ingest.stop()

    assert status()["ingest"]["is_stopped"] is True
    assert "stopped" in desk(prepared, "status")


def test_letters_travel_by_a_file_from_one_service_to_itself_and_are_settled_once(prepared: Pipeline) -> None:
    settled(prepared, a_message("bad", "UPDATE", "Business", {"id": 9, "name": "Nueva"}))
    letters = str(prepared.service.folder / "letters.jsonl")
    desk(prepared, "export", letters)

    assert "0 imported, 1 were here already" in desk(prepared, "import", letters)
    assert {line["is_sound"] for line in told(prepared, "verify", "--thoroughly")} == {True}


def test_every_command_works_on_the_file_of_a_stopped_ingest(prepared: Pipeline) -> None:
    settled(prepared, *(a_message(f"bad-{number}", "CREATE", "User", a_user("nobody")) for number in range(4)))
    prepared.service.stop()
    letters, file = sorted(prepared.dead_letters()), str(prepared.service.folder / "letters.jsonl")
    group = json.loads(desk(prepared, "groups", "--json"))["group"]

    assert "stopped" in desk(prepared, "status")
    assert group in desk(prepared, "watch", "--times", "1")
    assert len(told(prepared, "list")) == 4
    assert "User.email" in desk(prepared, "show", letters[0])
    assert json.loads(desk(prepared, "why", letters[0], "--json"))["why"] == "dead"
    desk(prepared, "export", file)
    assert "0 imported" in desk(prepared, "import", file)
    desk(prepared, "edit", letters[0], "--set", "email=beto@example.co")
    assert "1 would be applied" in desk(prepared, "replay", letters[0], "--dry-run")
    desk(prepared, "replay", letters[0])
    desk(prepared, "discard", "--group", group, "--why", "not wanted", "--yes")
    desk(prepared, "prune", "--older-than", "0s", "--yes")
    assert {line["is_sound"] for line in told(prepared, "verify", "--thoroughly")} == {True}
    actions = [one["action"] for one in told(prepared, "audit")]
    assert actions[::-1] == ["export", "import", "edit", "replay", "discard", "prune"]

    prepared.service.start()
    counts = prepared.wait_until_settled(1)
    assert (counts.applied, counts.dead, counts.discarded) == (1, 0, 3)
    assert prepared.query("SELECT email FROM usuarios WHERE email = 'beto@example.co'") == [("beto@example.co",)]
