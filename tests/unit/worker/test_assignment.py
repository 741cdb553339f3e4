"""Where reading goes on after an assignment."""

from __future__ import annotations

import pytest

from worker.assignment import (
    Commit,
    CommitMetadata,
    Fingerprint,
    Known,
    LogRange,
    Why,
    made_anew,
    where_to_start,
)

#: Kafka's default for offset.metadata.max.bytes.
MAX_COMMIT_METADATA = 4096

OURS, OTHER = "a" * 32, "b" * 32


def last(offset: int) -> Fingerprint:
    return Fingerprint(offset, 1_699_876_543_210, b"12345678")


def a_commit(offset: int, outbox_id: str = OURS, mark: int | None = None, generation: int = 0) -> Commit:
    return Commit(offset, CommitMetadata(outbox_id, generation, offset if mark is None else mark, last(offset - 1)))


def test_a_new_group_starts_at_the_earliest_record() -> None:
    start = where_to_start(OURS, known=None, commit=None, log=LogRange(5, 100))

    assert (start.why, start.offset, start.generation, start.archives) == (Why.NEW, 5, 0, False)


def test_our_own_outbox_goes_on_where_it_ends_even_if_the_commit_lags() -> None:
    start = where_to_start(OURS, Known(0, 70, last(69)), a_commit(60), LogRange(0, 100))

    assert (start.why, start.offset, start.archives, start.check) == (Why.GOES_ON, 70, False, last(69))


def test_another_outbox_s_commit_is_read_again_from_its_mark() -> None:
    start = where_to_start(OURS, known=None, commit=a_commit(60, OTHER, mark=42), log=LogRange(0, 100))

    assert (start.why, start.offset, start.archives) == (Why.TAKES_OVER, 42, False)


def test_a_disk_that_comes_back_puts_its_own_entries_aside() -> None:
    start = where_to_start(OURS, Known(0, 50, last(49)), a_commit(60, OTHER, mark=42), LogRange(0, 100))

    assert (start.why, start.offset, start.archives) == (Why.TAKES_OVER, 42, True)


def test_an_older_copy_of_our_own_disk_is_not_trusted() -> None:
    start = where_to_start(OURS, Known(0, 50, last(49)), a_commit(60, OURS, mark=55), LogRange(0, 100))

    assert (start.why, start.offset, start.archives) == (Why.TAKES_OVER, 55, True)


def test_offsets_that_an_operator_reset_are_honoured() -> None:
    start = where_to_start(OURS, Known(0, 50, last(49)), Commit.decode(10, ""), LogRange(0, 100))

    assert (start.why, start.offset, start.archives) == (Why.TAKES_OVER, 10, True)


def test_a_log_that_ends_before_our_position_was_made_anew() -> None:
    start = where_to_start(OURS, Known(2, 50, last(49)), a_commit(50, generation=2), LogRange(0, 7))

    assert (start.why, start.generation, start.offset, start.archives) == (Why.MADE_ANEW, 3, 0, False)


def test_a_lost_commit_is_read_again_from_the_beginning_under_the_same_generation() -> None:
    start = where_to_start(OURS, Known(1, 50, last(49)), commit=None, log=LogRange(8, 100))

    assert (start.why, start.generation, start.offset, start.archives) == (Why.COMMIT_LOST, 1, 8, True)
    assert start.check == last(49)


def test_the_deleted_topic_s_entries_stay_when_another_record_stands_in_the_place() -> None:
    start = where_to_start(OURS, Known(1, 50, last(49)), commit=None, log=LogRange(0, 100))

    anew = made_anew(start, LogRange(0, 100))

    assert (anew.generation, anew.offset, anew.archives) == (2, 0, False)


def test_records_that_retention_deleted_before_they_were_read_are_told() -> None:
    start = where_to_start(OURS, Known(0, 50, last(49)), a_commit(50), LogRange(80, 100))

    assert (start.offset, start.skipped, start.check) == (80, 30, None)


@pytest.mark.parametrize("text", ["", "{}", "no json", '{"o": 5}'])
def test_metadata_of_others_is_no_metadata(text: str) -> None:
    assert Commit.decode(7, text) == Commit(7, None)


def test_a_commit_s_metadata_survives_kafka_and_fits_its_limit() -> None:
    metadata = CommitMetadata(OURS, 2**31, 2**63 - 1, Fingerprint(2**63 - 1, 2**63 - 1, b"\xff" * 8))

    encoded = metadata.encode()

    assert Commit.decode(9, encoded) == Commit(9, metadata)
    assert len(encoded) < MAX_COMMIT_METADATA
