"""Where reading goes on after an assignment."""

from __future__ import annotations

import pytest

from worker.assignment import (
    Commit,
    CommitMetadata,
    Fingerprint,
    Known,
    LogRange,
    Remembered,
    Why,
    made_anew,
    needs_memory,
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

    assert (start.why, start.offset, start.archives, start.keeps) == (Why.TAKES_OVER, 10, True, (0, 10))


def test_a_log_that_ends_before_our_position_was_made_anew() -> None:
    start = where_to_start(OURS, Known(2, 50, last(49)), a_commit(50, generation=2), LogRange(0, 7))

    assert (start.why, start.generation, start.offset, start.archives) == (Why.MADE_ANEW, 3, 0, False)


def test_without_a_commit_our_own_outbox_tells_where_to_go_on() -> None:
    start = where_to_start(OURS, Known(1, 50, last(49)), commit=None, log=LogRange(8, 100))

    assert (start.why, start.generation, start.offset, start.archives) == (Why.COMMIT_LOST, 1, 50, False)
    assert start.check == last(49)


def test_without_a_commit_and_a_record_to_look_at_all_is_read_again() -> None:
    start = where_to_start(OURS, Known(1, 50, None), commit=None, log=LogRange(8, 100))

    assert (start.why, start.generation, start.offset, start.archives) == (Why.COMMIT_LOST, 1, 8, True)


def test_the_deleted_topic_s_entries_stay_when_another_record_stands_in_the_place() -> None:
    start = where_to_start(OURS, Known(1, 50, last(49)), commit=None, log=LogRange(0, 100))

    anew = made_anew(start, LogRange(0, 100))

    assert (anew.generation, anew.offset, anew.archives) == (2, 0, False)


def test_records_that_retention_deleted_before_they_were_read_are_told() -> None:
    start = where_to_start(OURS, Known(0, 50, last(49)), a_commit(50), LogRange(80, 100))

    assert (start.offset, start.skipped, start.check) == (80, 30, None)


def test_records_that_retention_deleted_before_they_were_settled_are_told_and_kept_by_who_has_them() -> None:
    start = where_to_start(OURS, Known(0, 50, last(49)), a_commit(60, OTHER, mark=42), LogRange(45, 100))

    assert (start.offset, start.skipped, start.in_doubt, start.keeps) == (45, 0, 3, (42, 45))


@pytest.mark.parametrize(
    ("commit", "needs"), [(None, True), (Commit(7, None), True), (a_commit(7, OTHER), False), (a_commit(7), False)]
)
def test_the_database_is_asked_where_no_commit_of_ours_tells(commit: Commit | None, needs: bool) -> None:
    assert needs_memory(commit) is needs


def test_without_outbox_and_commit_the_database_s_generation_counts_and_its_record_is_looked_at() -> None:
    start = where_to_start(OURS, None, None, LogRange(3, 100), Remembered(2, last(49)))

    assert (start.why, start.generation, start.offset, start.check) == (Why.COMMIT_LOST, 2, 3, last(49))
    anew = made_anew(start, LogRange(0, 60))
    assert (anew.generation, anew.offset, anew.archives) == (3, 0, False)


def test_a_log_that_ends_before_the_remembered_record_was_made_anew() -> None:
    start = where_to_start(OURS, None, None, LogRange(0, 49), Remembered(0, last(49)))

    assert (start.why, start.generation, start.offset) == (Why.MADE_ANEW, 1, 0)


def test_a_remembered_record_that_retention_deleted_says_nothing_against_the_topic() -> None:
    start = where_to_start(OURS, None, None, LogRange(50, 90), Remembered(1, last(49)))

    assert (start.why, start.generation, start.offset, start.check) == (Why.COMMIT_LOST, 1, 50, None)


def test_a_stale_disk_without_a_commit_follows_what_the_database_knows_of_others() -> None:
    start = where_to_start(OURS, Known(0, 50, last(49)), None, LogRange(0, 100), Remembered(2, last(20)))

    assert (start.generation, start.offset, start.archives, start.check) == (2, 0, True, last(20))
    anew = made_anew(start, LogRange(0, 100))
    assert (anew.generation, anew.archives) == (3, True)


def test_a_stale_disk_of_the_same_generation_follows_those_who_went_further() -> None:
    start = where_to_start(OURS, Known(0, 50, last(49)), None, LogRange(0, 100), Remembered(0, last(50)))

    assert (start.generation, start.archives, start.check) == (0, True, last(50))


def test_an_outbox_that_has_gone_as_far_as_the_database_knows_trusts_itself() -> None:
    start = where_to_start(OURS, Known(0, 50, last(49)), None, LogRange(0, 100), Remembered(0, last(49)))

    assert (start.why, start.generation, start.check) == (Why.COMMIT_LOST, 0, last(49))


def test_an_outbox_that_never_had_a_record_looks_at_the_database_s() -> None:
    start = where_to_start(OURS, Known(0, 0, None), None, LogRange(0, 100), Remembered(0, last(49)))

    assert start.check == last(49)


def test_offsets_that_an_operator_reset_are_honoured_by_a_new_outbox_in_the_remembered_generation() -> None:
    start = where_to_start(OURS, None, Commit(10, None), LogRange(0, 100), Remembered(2, last(49)))

    assert (start.why, start.generation, start.offset, start.check) == (Why.TAKES_OVER, 2, 10, last(49))


def test_a_commit_of_ours_is_newer_than_what_the_database_remembers() -> None:
    start = where_to_start(
        OURS, None, a_commit(60, OTHER, mark=42, generation=3), LogRange(0, 100), Remembered(1, last(9))
    )

    assert (start.generation, start.offset, start.check) == (3, 42, last(59))


@pytest.mark.parametrize("text", ["", "{}", "no json", '{"o": 5}'])
def test_metadata_of_others_is_no_metadata(text: str) -> None:
    assert Commit.decode(7, text) == Commit(7, None)


def test_a_commit_s_metadata_survives_kafka_and_fits_its_limit() -> None:
    metadata = CommitMetadata(OURS, 2**31, 2**63 - 1, Fingerprint(2**63 - 1, 2**63 - 1, b"\xff" * 8))

    encoded = metadata.encode()

    assert Commit.decode(9, encoded) == Commit(9, metadata)
    assert len(encoded) < MAX_COMMIT_METADATA
