"""With TOPIC_DEAD_LETTERS each dead letter is on that topic too, at least once, whatever is killed and whoever is away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from outbox.announcements import Audience
from tests.support.pipeline import Pipeline
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually
from worker.fault_points import VARIABLE, Point

SECRET = "$2b$10$abcdefghijklmnop"
BAD = a_message("bad", "CREATE", "User", a_user("nobody", passwordHash=SECRET))


@pytest.fixture
def told(pipeline: Pipeline, tmp_path: Path) -> Pipeline:
    """The service, not yet started, with a topic of dead letters, few retries and points to die at."""
    topic = f"{pipeline.topic}-dead"
    pipeline.kafka.create_topic(topic, partitions=2)
    (tmp_path / "points").mkdir()
    pipeline.service.settings |= {
        "TOPIC_DEAD_LETTERS": topic,
        "MAX_RETRY_ATTEMPTS": "2",
        VARIABLE: str(tmp_path / "points"),
    }
    return pipeline


def letters(pipeline: Pipeline) -> list[tuple[bytes, dict[str, str]]]:
    """What the topic of dead letters holds: values and headers."""
    records = pipeline.kafka.records(pipeline.service.settings["TOPIC_DEAD_LETTERS"])
    return [(record.value, {name: value.decode() for name, value in record.headers}) for record in records]


def wait_for_letters(pipeline: Pipeline, count: int) -> list[tuple[bytes, dict[str, str]]]:
    found: list[Any] = eventually(
        lambda: letters(pipeline) if len(letters(pipeline)) >= count else [], 60, pipeline.service.log_tails
    )
    return found


def wait_until_all_is_told(pipeline: Pipeline) -> None:
    def left() -> bool:
        with pipeline.outbox() as outbox:
            return bool(outbox.announcements(Audience.DEAD_LETTER_TOPIC, 1, 1))

    eventually(lambda: not left(), 60, pipeline.service.log_tails)


def test_a_dead_letter_is_told_with_its_reason_and_origin_and_again_when_its_replay_dies(told: Pipeline) -> None:
    told.send([BAD, a_message("good", "CREATE", "User", a_user("ana@example.co"))], partitions=1)
    told.service.start()

    [(value, headers)] = wait_for_letters(told, 1)
    operator = told.service.operator("replay", "bad", "--why", "to see it die again")
    operator.spawn()
    assert operator.wait_for_exit() == 0, operator.log()
    _, again = wait_for_letters(told, 2)

    assert value == again[0] == BAD
    assert "User.email" in headers.pop("reason")
    assert headers.pop("died-at").endswith("+00:00")
    assert headers == {
        "error": "invalid",
        "attempts": "0",
        "topic": told.topic,
        "partition": "0",
        "offset": "0",
        "generation": "0",
        "operation-id": "bad",
        "incarnation": "0",
        "entity": "User",
        "type": "CREATE",
    }
    assert again[1]["incarnation"] == "1"
    assert SECRET not in str([headers, again[1]])
    assert SECRET not in told.logged()


@pytest.mark.parametrize(("point", "copies"), [(Point.ANNOUNCING, 1), (Point.ANNOUNCED, 2)])
def test_a_kill_before_or_after_kafka_has_the_letter_loses_none(
    told: Pipeline, tmp_path: Path, point: Point, copies: int
) -> None:
    (tmp_path / "points" / point.value).write_text("kill")
    told.send([BAD])
    told.service.start()
    eventually(lambda: not told.service.ingest.is_running, 60, told.service.log_tails)

    told.service.start_ingest()
    wait_until_all_is_told(told)

    assert [headers["operation-id"] for _, headers in letters(told)] == ["bad"] * copies


def test_a_letter_that_dies_while_kafka_is_away_is_told_when_it_is_back_by_the_next_process(told: Pipeline) -> None:
    told.service.settings["RETRY_DELAY_MS"] = "1500"
    told.service.start()
    told.send([a_message("late", "UPDATE", "User", {"id": 9, "firstName": "x"})])
    told.service.actors.wait_for_log("Retrying message")

    told.kafka.stop()
    eventually(lambda: "late" in told.dead_letters(), 60, told.service.log_tails)
    told.service.ingest.wait_for_log("dead letters wait for topic", 60)
    told.service.ingest.kill()
    told.service.spawn(told.service.ingest)
    told.kafka.start()
    wait_until_all_is_told(told)

    [(_, headers)] = letters(told)
    assert (headers["operation-id"], headers["attempts"], headers["error"]) == ("late", "3", "order")
