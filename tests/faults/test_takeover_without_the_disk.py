"""A host is lost with its outbox, and the topic may be lost with it: the next host goes on, each effect stays at one.

Only then is it seen what the group's commits and the database tell by themselves: the settled marks, the ledger with its dead
letters and discards, and which generation of the topic was read last.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outbox.announcements import Audience
from tests.support.mixed import mixed_stream
from tests.support.pipeline import Pipeline
from tests.support.service import Service
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually
from worker.fault_points import VARIABLE, Point

ACTIVE = "this ingest is the active one"


@pytest.fixture
def hosts(pipeline: Pipeline) -> Iterator[tuple[Service, Service]]:
    """A and B, in one group, with small batches and no retries. The actors are A's; they are no part of what is lost."""
    a = pipeline.service
    a.settings |= {
        "BATCH_MAX_OPERATIONS": "20",
        "MAX_RETRY_ATTEMPTS": "0",
        "CONSUMER_SESSION_TIMEOUT": "3000",
        "CONSUMER_HEARTBEAT_INTERVAL": "300",
    }
    b = a.another_host("b")
    yield a, b
    b.kill()


def lose(host: Service, keep_in: Path) -> None:
    """The host is gone with its disk (which turns up again in this folder)."""
    host.ingest.kill()
    keep_in.mkdir()
    for file in host.folder.glob("outbox.sqlite3*"):
        shutil.move(file, keep_in / file.name)


def give_back(host: Service, kept_in: Path) -> None:
    for file in kept_in.iterdir():
        shutil.move(file, host.folder / file.name)


def wait_for_lines(pipeline: Pipeline, count: int) -> None:
    """Return when so many operations have their line in the ledger."""

    def lines() -> int:
        [(number,)] = pipeline.query("SELECT COUNT(*) FROM settled_operations")
        return int(number)

    eventually(lambda: lines() >= count, 60, lambda: f"{lines()} of {count} lines\n{pipeline.service.log_tails()}")
    assert lines() == count


def make_anew(pipeline: Pipeline) -> None:
    """The topic is deleted, and the group's commits with it, and made again under its name."""
    pipeline.kafka.delete_topic(pipeline.topic)
    pipeline.kafka.create_topic(pipeline.topic, partitions=3)


def test_the_next_host_goes_on_from_the_marks_and_the_lost_disk_that_comes_back_does_no_harm(
    pipeline: Pipeline, hosts: tuple[Service, Service], tmp_path: Path
) -> None:
    a, b = hosts
    first_times = (1_700_000_000_000, 1_700_000_100_000, 1_700_000_200_000)
    streams = [mixed_stream(count, 7 + count, time) for count, time in zip((500, 150, 151), first_times, strict=True)]
    bad = a_message("bad", "DELETE", "User", {"id": 0}, timestamp=1)
    pipeline.send([bad, *streams[0]])
    a.start()
    b.start_ingest()
    eventually(lambda: pipeline.counts().applied >= 100, 60, a.log_tails, ignoring=(OSError,))

    lose(a, keep_in=tmp_path / "disk")
    b.ingest.wait_for_log(ACTIVE, timeout=60)
    wait_for_lines(pipeline, 501)
    give_back(a, tmp_path / "disk")
    after = a.ingest.log_position()
    a.start_ingest()
    pipeline.send(streams[1])
    wait_for_lines(pipeline, 651)
    assert ACTIVE not in a.ingest.log(after)
    b.ingest.stop()
    a.ingest.wait_for_log(ACTIVE, timeout=60, after=after)
    pipeline.send(streams[2])
    wait_for_lines(pipeline, 802)

    messages = [message for stream in streams for message in stream]
    rows, refused = pipeline.serial_rows(messages)
    assert pipeline.rows() == rows
    eventually(lambda: pipeline.counts().unsettled == 0, 30, a.log_tails)
    assert sorted(pipeline.dead_letters()) == sorted(["bad", *refused])
    pipeline.wait_until_the_cache_is_true()


#: Without operation ids: only place, time and generation tell one life's records from another's.
FIRST_LIFE = [
    a_message(None, "CREATE", "User", a_user("ana@example.co", id=1)),
    a_message(None, "DELETE", "User", {"id": 0}),
    a_message(None, "CREATE", "Business", {"userId": 1, "name": "Panadería"}),
    a_message(None, "UPDATE", "User", {"id": 1, "firstName": "Luz"}),
]
#: The last two are the first life's again, to the byte; the second takes the place of a dead letter.
NEXT_LIFE = [
    a_message(None, "UPDATE", "User", {"id": 1, "firstName": "Eva"}),
    a_message(None, "CREATE", "Business", {"userId": 1, "name": "Panadería"}),
    *FIRST_LIFE[2:],
]


def the_rows(pipeline: Pipeline) -> tuple[int, str]:
    """How many businesses there are, and what the user is called."""
    [(businesses,)] = pipeline.query("SELECT COUNT(*) FROM emprendimientos")
    [(name,)] = pipeline.query("SELECT nombre FROM usuarios")
    return businesses, name


def letters_of(pipeline: Pipeline, host: Service) -> list[bytes]:
    pipeline.service = host
    return [letter.raw for letter in pipeline.dead_letters().values()]


def test_a_topic_made_anew_is_told_from_the_old_one_without_the_disk_and_by_the_disk_that_comes_back(
    pipeline: Pipeline, hosts: tuple[Service, Service], tmp_path: Path
) -> None:
    a, b = hosts
    pipeline.send(FIRST_LIFE, partitions=1)
    a.start()
    wait_for_lines(pipeline, 4)
    assert the_rows(pipeline) == (1, "Luz")

    lose(a, keep_in=tmp_path / "disk")
    make_anew(pipeline)
    pipeline.send(NEXT_LIFE, partitions=1)
    b.start_ingest()
    wait_for_lines(pipeline, 8)
    assert the_rows(pipeline) == (3, "Luz")
    assert letters_of(pipeline, b) == [FIRST_LIFE[1]]

    b.ingest.stop()
    give_back(a, tmp_path / "disk")
    make_anew(pipeline)
    pipeline.send(NEXT_LIFE, partitions=1)
    a.start_ingest()  # its outbox knows generation 0 only; B has been in generation 1
    wait_for_lines(pipeline, 12)
    assert the_rows(pipeline) == (5, "Luz")
    assert letters_of(pipeline, a) == [FIRST_LIFE[1]]


def test_a_topic_made_anew_is_told_from_the_old_one_with_the_disk(
    pipeline: Pipeline, hosts: tuple[Service, Service]
) -> None:
    a, _ = hosts
    pipeline.send(FIRST_LIFE, partitions=1)
    a.start()
    wait_for_lines(pipeline, 4)
    a.ingest.stop()

    make_anew(pipeline)
    pipeline.send(NEXT_LIFE, partitions=1)
    a.start_ingest()
    wait_for_lines(pipeline, 8)

    assert the_rows(pipeline) == (3, "Luz")
    assert letters_of(pipeline, a) == [FIRST_LIFE[1]]


def test_lost_disk_and_lost_commits_are_no_topic_made_anew(
    pipeline: Pipeline, hosts: tuple[Service, Service], tmp_path: Path
) -> None:
    """The second life of the topic is read again from its beginning, by a host that knows nothing of it."""
    a, b = hosts
    pipeline.send(FIRST_LIFE, partitions=1)
    a.start()
    wait_for_lines(pipeline, 4)
    a.ingest.stop()
    make_anew(pipeline)
    pipeline.send(NEXT_LIFE, partitions=1)
    a.start_ingest()
    wait_for_lines(pipeline, 8)

    lose(a, keep_in=tmp_path / "disk")
    b.settings["KAFKA_GROUP_ID"] += "-anew"  # a group without commits
    b.start_ingest()
    pipeline.service = b
    pipeline.wait_until_settled(4)

    wait_for_lines(pipeline, 8)
    assert the_rows(pipeline) == (3, "Luz")


def test_a_new_group_reads_nothing_until_the_database_has_said_what_it_knows(
    pipeline: Pipeline, hosts: tuple[Service, Service]
) -> None:
    a, _ = hosts
    pipeline.send([a_message("op", "CREATE", "User", a_user("ana@example.co"))])
    pipeline.mariadb.stop()
    a.start()
    a.ingest.wait_for_log("asking the database what it knows")
    a.ingest.wait_for_log("Database is now UNHEALTHY")
    assert pipeline.counts().total == 0

    pipeline.mariadb.start()

    assert pipeline.wait_until_settled().applied == 1


def test_a_discarded_letter_stays_discarded_when_the_outbox_is_lost(
    pipeline: Pipeline, hosts: tuple[Service, Service], tmp_path: Path
) -> None:
    """An operation before it is still being retried: so it is read again. Ingest dies as soon as the ledger is told."""
    a, b = hosts
    patient: dict[str, Any] = {"MAX_RETRY_ATTEMPTS": "5", "RETRY_DELAY_MS": "60000", VARIABLE: str(tmp_path / "points")}
    (tmp_path / "points").mkdir()
    a.settings |= patient
    b.settings |= patient
    waiting = a_message("waiting", "UPDATE", "User", {"id": 9, "firstName": "x"})
    bad = a_message("bad", "DELETE", "User", {"id": 0})
    pipeline.send([waiting, bad], partitions=1)
    a.start()
    eventually(lambda: "bad" in pipeline.dead_letters(), 30, a.log_tails, ignoring=(OSError,))

    (tmp_path / "points" / Point.DISCARDED.value).write_text("kill")
    operator = a.operator("discard", "bad", "--why", "not wanted")
    operator.spawn()
    assert operator.wait_for_exit() == 0, operator.log()
    eventually(lambda: not a.ingest.is_running, 30, a.log_tails)
    a.start_ingest()
    eventually(lambda: told_to_the_ledger(pipeline), 30, a.log_tails)
    lose(a, keep_in=tmp_path / "disk")
    b.start_ingest()
    pipeline.service = b

    eventually(lambda: pipeline.counts().discarded == 1, 60, b.log_tails, ignoring=(OSError,))
    assert (pipeline.counts().dead, pipeline.counts().unsettled) == (0, 1)
    assert [entry.reason for entry in pipeline.entries() if entry.operation_id == "bad"] == ["not wanted"]


def told_to_the_ledger(pipeline: Pipeline) -> bool:
    """Whether the ledger says so and the outbox has nothing left to tell."""
    with pipeline.outbox() as outbox:
        left = outbox.announcements(Audience.LEDGER, 1, 1)
    lines = pipeline.query("SELECT outcome FROM settled_operations WHERE operation_id = 'bad'")
    return lines == [("discarded",)] and not left
