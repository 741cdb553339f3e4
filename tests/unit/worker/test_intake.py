"""Where an ingest begins to read after it was killed, and by which record it knows the log the next time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import peewee
import pytest

from entities.generations import LogGeneration
from outbox.records import Position, Settled
from outbox.states import State
from outbox.store import Outbox
from tests.support.streams import a_message
from worker.assignment import Commit, CommitMetadata, Fingerprint, LogRange, Start, Why, made_anew
from worker.intake import Intake
from worker.merge import FetchedRecord

TOPIC = "db-operations-buffer"


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "outbox.sqlite3") as outbox:
        yield outbox


def begun(outbox: Outbox, commit: Commit | None, log: LogRange) -> Start:
    """What an ingest that has just started decides for partition 0, after it has begun so."""
    intake = Intake(outbox, TOPIC)
    starts = intake.decide({0: commit}, {0: log}, {})
    intake.begin(starts)
    return starts[0]


def with_three_records(outbox: Outbox) -> Fingerprint:
    """An outbox that holds three operations, of which nothing is committed to Kafka; by the last one it knows the log."""
    intake = Intake(outbox, TOPIC)
    intake.begin(intake.decide({0: None}, {0: LogRange(0, 3)}, {}))
    messages = [a_message(f"op_{offset}", "DELETE", "User", {"id": 1}) for offset in range(3)]
    with outbox.transaction():
        intake.adopt(intake.append(FetchedRecord(TOPIC, 0, offset, 1, 1, raw) for offset, raw in enumerate(messages)))
    log = intake.logs()[0]
    return Fingerprint(log.offset, log.kafka_timestamp, log.value_hash)


def test_who_is_killed_again_and_again_before_a_commit_goes_on_where_the_outbox_ends(outbox: Outbox) -> None:
    last = with_three_records(outbox)

    starts = [begun(outbox, None, LogRange(0, 3)) for _ in range(3)]

    assert starts == [Start(Why.COMMIT_LOST, 0, 3, check=last)] * 3
    assert outbox.counts().pending == 3


def test_what_kafka_no_longer_holds_is_not_put_aside_for_want_of_a_commit(outbox: Outbox) -> None:
    with_three_records(outbox)

    starts = [begun(outbox, None, LogRange(8, 12)) for _ in range(3)]

    assert [(start.offset, start.skipped, start.archives) for start in starts] == [
        (8, 5, False),
        (8, 0, False),
        (8, 0, False),
    ]
    assert outbox.counts().pending == 3


def test_who_takes_over_knows_the_log_by_the_record_of_the_commit(outbox: Outbox) -> None:
    last = Fingerprint(6, 1, b"12345678")
    start = begun(outbox, Commit(7, CommitMetadata("another", 2, 5, last)), LogRange(0, 10))
    ours = Commit(5, CommitMetadata(outbox.outbox_id, 2, 5))

    again = begun(outbox, ours, LogRange(0, 10))

    assert (start.why, start.offset, start.check) == (Why.TAKES_OVER, 5, last)
    assert again.check == last


@pytest.mark.parametrize(("offset", "kept"), [(5, 3), (3, 3), (1, 1)])
def test_what_waits_here_goes_on_when_the_offsets_were_reset_or_another_program_has_read_on(
    outbox: Outbox, offset: int, kept: int
) -> None:
    with_three_records(outbox)

    start = begun(outbox, Commit(offset, None), LogRange(0, 9))

    assert (start.why, start.offset) == (Why.TAKES_OVER, offset)
    assert outbox.counts().pending == kept
    assert outbox.low_water_mark(TOPIC, 0, 0) == 0


def test_a_disk_that_comes_back_keeps_what_nobody_has_settled_and_kafka_no_longer_holds(outbox: Outbox) -> None:
    with_three_records(outbox)

    begun(outbox, Commit(3, CommitMetadata("another", 0, 1)), LogRange(2, 5))

    assert [entry.offset for entry in outbox.window(0, 9, 10**6)] == [1]


@pytest.mark.parametrize("log", [LogRange(0, 2), LogRange(0, 9)])
def test_what_waits_of_a_topic_that_is_gone_goes_on_whoever_has_read_the_new_one(outbox: Outbox, log: LogRange) -> None:
    with_three_records(outbox)
    intake = Intake(outbox, TOPIC)
    start = intake.decide({0: Commit(1, None)}, {0: log}, {})[0]

    intake.begin({0: start if start.check is None else made_anew(start, log)})

    position = outbox.position(TOPIC, 0)
    assert position is not None
    assert position.generation == 1
    assert outbox.counts().pending == 3


def test_no_partition_is_ours_until_the_outbox_has_taken_all_of_them(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a stop while its disk is full would commit, in this outbox's name, what this outbox does not know."""

    def full(position: Position) -> None:
        if position.partition == 1:
            raise peewee.OperationalError("database or disk is full")
        set_position(position)

    set_position = outbox.set_position
    monkeypatch.setattr(outbox, "set_position", full)
    intake = Intake(outbox, TOPIC)
    commit = Commit(7, CommitMetadata("another", 0, 5))

    with pytest.raises(peewee.OperationalError):
        intake.begin(intake.decide({0: commit, 1: commit}, {0: LogRange(0, 9), 1: LogRange(0, 9)}, {}))

    assert (intake.commits(), intake.partitions, outbox.positions()) == ({}, frozenset(), [])


def test_the_ledger_keeps_the_lines_of_what_the_outbox_has_not_settled(outbox: Outbox) -> None:
    with_three_records(outbox)
    intake = Intake(outbox, TOPIC)
    intake.begin(intake.decide({0: None}, {0: LogRange(8, 12)}, {}))

    assert intake.first_needed({0: 8, 1: 5}) == {0: (0, 0)}
    outbox.settle([Settled(1, 0, State.APPLIED)])
    assert intake.first_needed({0: 8}) == {0: (0, 1)}
    intake.begin({0: Start(Why.MADE_ANEW, 1, 2)})
    assert intake.first_needed({0: 4}) == {0: (0, 1)}
    outbox.settle([Settled(2, 0, State.APPLIED), Settled(3, 0, State.APPLIED)])
    assert intake.first_needed({0: 4}) == {0: (1, 4)}


@pytest.mark.parametrize("log", [LogRange(0, 0), LogRange(0, 9)], ids=["still short", "longer than the old one was"])
def test_what_waits_goes_on_when_the_topic_is_made_anew_before_all_was_read_again(
    outbox: Outbox, log: LogRange
) -> None:
    """The host before this one had read on, and is lost with its disk; the topic is gone, and the group's commits with it."""
    with_three_records(outbox)
    intake = Intake(outbox, TOPIC)
    start = intake.decide({0: None}, {0: log}, {0: LogGeneration(0, 5, 1, b"8 bytes.")})[0]

    intake.begin({0: start if start.check is None else made_anew(start, log)})

    position = outbox.position(TOPIC, 0)
    assert position is not None
    assert position.generation == 1
    assert outbox.counts().pending == 3


def test_a_log_of_a_new_generation_is_not_known_by_a_record_of_the_old_one(outbox: Outbox) -> None:
    with_three_records(outbox)

    start = begun(outbox, None, LogRange(0, 1))

    position = outbox.position(TOPIC, 0)
    assert (start.why, start.generation) == (Why.MADE_ANEW, 1)
    assert position is not None
    assert (position.generation, position.next_offset, position.last_offset) == (1, 0, None)


def test_entries_of_a_generation_that_others_count_otherwise_are_put_aside(outbox: Outbox) -> None:
    """It saw the topic made anew and nothing in it; another outbox, which knew nothing of all that, calls it generation 0."""
    with_three_records(outbox)
    anew = begun(outbox, None, LogRange(0, 0))
    another = Commit(2, CommitMetadata("another", 0, 0, Fingerprint(1, 9, b"12345678")))

    start = begun(outbox, another, LogRange(0, 2))

    assert (anew.generation, start.generation, start.offset) == (1, 0, 0)
    assert outbox.counts().pending == 0
