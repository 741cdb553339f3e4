"""Appending records, positions, and setting a partition aside."""

from __future__ import annotations

import pytest

from outbox import EntryFilter, Outbox, State
from outbox import intake as intake_module
from tests.unit.outbox.builders import (
    TOPIC,
    a_dead_letter,
    a_position,
    a_record,
    appended,
    applied,
    counters_are_true,
    sql,
    the_entry,
)


def test_records_are_appended_in_order_as_pending_entries(outbox: Outbox) -> None:
    records = [a_record(offset, raw=b'{"n": %d}' % offset) for offset in range(3)]

    seqs = outbox.append(records)

    assert seqs == [1, 2, 3]
    assert [(entry.offset, entry.raw, entry.state) for entry in outbox.window(0, 10, 10**6)] == [
        (0, b'{"n": 0}', State.PENDING),
        (1, b'{"n": 1}', State.PENDING),
        (2, b'{"n": 2}', State.PENDING),
    ]


def test_a_record_is_kept_with_all_it_came_with(outbox: Outbox) -> None:
    record = a_record(7, partition=2, generation=1, raw=b"\xff\x00 no JSON")

    (seq,) = appended(outbox, record)

    entry = the_entry(outbox, seq)
    for field in record.__struct_fields__:
        assert getattr(entry, field) == getattr(record, field), field


def test_a_record_whose_place_is_known_is_ignored(outbox: Outbox) -> None:
    appended(outbox, a_record(0), a_record(1))

    first, new, last = outbox.append([a_record(1), a_record(2), a_record(0)])

    assert (first, last) == (None, None)
    assert new is not None
    assert the_entry(outbox, new).offset == 2
    assert counters_are_true(outbox)


def test_a_place_that_comes_twice_in_one_call_is_appended_once(outbox: Outbox) -> None:
    assert outbox.append([a_record(0), a_record(0)]) == [1, None]
    assert counters_are_true(outbox)


def test_one_offset_in_another_generation_or_partition_is_another_place(outbox: Outbox) -> None:
    assert outbox.append([a_record(0), a_record(0, generation=1), a_record(0, partition=1)]) == [1, 2, 3]


def test_more_records_than_one_statement_takes(outbox: Outbox) -> None:
    count = 2 * intake_module.ROWS_A_STATEMENT + 1
    outbox.append([a_record(300)])

    seqs = outbox.append([a_record(offset) for offset in range(count)])

    assert [offset for offset, seq in enumerate(seqs) if seq is None] == [300]
    assert [the_entry(outbox, seq).offset for seq in seqs if seq] == [*range(300), *range(301, count)]
    assert [entry.seq for entry in outbox.window(1, count, 10**6)] == [seq for seq in seqs if seq]
    assert outbox.counts().pending == count
    assert counters_are_true(outbox)


def test_half_a_surrogate_pair_in_an_operation_id_becomes_its_escape(outbox: Outbox) -> None:
    (seq,) = appended(outbox, a_record(0, operation_id="op-\udc80-Ñ"))

    assert the_entry(outbox, seq).operation_id == "op-\\udc80-Ñ"


def test_nothing_is_appended_when_the_transaction_around_it_fails(outbox: Outbox) -> None:
    def append_and_fail() -> None:
        with outbox.transaction():
            outbox.append([a_record(0)], [a_position(1)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        append_and_fail()

    assert outbox.position(TOPIC, 0) is None
    assert outbox.append([a_record(0)]) == [1]
    assert counters_are_true(outbox)


def test_positions_are_set_with_the_records_and_survive_a_restart(outbox: Outbox) -> None:
    outbox.append([a_record(0), a_record(0, partition=1)], [a_position(1), a_position(1, partition=1)])
    outbox.append([a_record(1)], [a_position(2)])
    outbox.close()

    assert outbox.positions() == [a_position(2), a_position(1, partition=1)]
    assert outbox.position(TOPIC, 1) == a_position(1, partition=1)
    assert outbox.position(TOPIC, 9) is None


def test_a_position_can_be_set_back(outbox: Outbox) -> None:
    outbox.append([a_record(4)], [a_position(5)])

    outbox.set_position(a_position(0, generation=1))

    assert outbox.positions() == [a_position(0, generation=1)]


def test_an_archived_partition_is_gone_from_the_order_and_can_be_read_again(outbox: Outbox) -> None:
    outbox.append([a_record(0), a_record(0, partition=1), a_record(1)], [a_position(2), a_position(1, partition=1)])

    archived = outbox.archive_partition(TOPIC, 0, "another outbox went beyond")

    assert archived == 2
    assert [entry.partition for entry in outbox.window(0, 10, 10**6)] == [1]
    assert outbox.position(TOPIC, 0) is None
    assert outbox.append([a_record(0), a_record(1)]) == [4, 5]
    assert counters_are_true(outbox)


def test_archived_entries_are_kept_whole_with_when_and_why(outbox: Outbox) -> None:
    (seq,) = appended(outbox, a_record(0, raw=b"the payload"))
    outbox.settle([applied(seq)])

    outbox.archive_partition(TOPIC, 0, "another outbox went beyond")

    columns = "seq, operation_id, raw, state, archived_at, archived_why"
    assert sql(outbox, f"SELECT {columns} FROM archived_entries").fetchall() == [
        (seq, "op-0-0-0", b"the payload", State.APPLIED, outbox.now_ms(), "another outbox went beyond")
    ]


def test_one_generation_can_be_archived_without_the_others(outbox: Outbox) -> None:
    appended(outbox, a_record(0), a_record(0, generation=1))

    assert outbox.archive_partition(TOPIC, 0, "why", from_generation=1) == 1

    assert [entry.generation for entry in outbox.window(0, 10, 10**6)] == [0]


def test_archiving_goes_on_past_one_transaction(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "ARCHIVED_A_TRANSACTION", 2)
    appended(outbox, *(a_record(offset) for offset in range(5)))

    assert outbox.archive_partition(TOPIC, 0, "why") == 5
    assert outbox.counts().total == 0


def test_an_archived_dead_letter_is_no_dead_letter_any_more(outbox: Outbox) -> None:
    a_dead_letter(outbox)

    outbox.archive_partition(TOPIC, 0, "why")

    assert outbox.dead_letters() == []
    assert outbox.entries(EntryFilter()) == []
