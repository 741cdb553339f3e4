"""Reading: the window, the low-water marks, the counts and the desk's lists; and that each uses its index."""

from __future__ import annotations

from pathlib import Path

import pytest

from outbox import EntryFilter, HandedBack, Outbox, State, pruning, queries, transitions
from tests.unit.outbox.builders import (
    TOPIC,
    a_dead_letter,
    a_position,
    a_record,
    appended,
    applied,
    dead,
    dispatched,
    sql,
    the_entry,
)


def test_the_window_holds_what_is_unsettled_in_order(outbox: Outbox) -> None:
    seqs = appended(outbox, *(a_record(offset) for offset in range(6)))
    outbox.mark_dispatched([seqs[4], seqs[1]])
    outbox.settle([applied(seqs[0]), dead(seqs[3])])

    window = outbox.window(0, 10, 10**6)

    assert [(entry.seq, entry.state) for entry in window] == [
        (2, State.DISPATCHED),
        (3, State.PENDING),
        (5, State.DISPATCHED),
        (6, State.PENDING),
    ]


def test_the_window_begins_behind_a_seq_and_ends_at_its_limit(outbox: Outbox) -> None:
    appended(outbox, *(a_record(offset) for offset in range(6)))

    assert [entry.seq for entry in outbox.window(2, 3, 10**6)] == [3, 4, 5]


def test_the_window_ends_before_its_bytes_are_exceeded(outbox: Outbox) -> None:
    appended(outbox, *(a_record(offset, raw=b"x" * 100) for offset in range(6)))

    assert [entry.seq for entry in outbox.window(0, 10, 250)] == [1, 2]


def test_the_window_holds_one_entry_however_big(outbox: Outbox) -> None:
    appended(outbox, a_record(0, raw=b"x" * 1_000), a_record(1))

    assert [entry.seq for entry in outbox.window(0, 10, 0)] == [1]


def test_a_window_that_ended_early_does_not_hinder_the_next_write(outbox: Outbox) -> None:
    appended(outbox, *(a_record(offset, raw=b"x" * 100) for offset in range(6)))
    outbox.window(0, 10, 250)

    sql(outbox, "PRAGMA wal_checkpoint(TRUNCATE)")

    assert outbox.settle([applied(1)]) == 1


def test_the_low_water_mark_is_the_first_offset_that_is_not_settled(outbox: Outbox) -> None:
    seqs = appended(outbox, *(a_record(offset) for offset in (3, 4, 5)), a_record(0, partition=1))

    outbox.mark_dispatched(seqs)
    outbox.settle([applied(seqs[0]), dead(seqs[2])])

    assert outbox.low_water_mark(TOPIC, 0, 0) == 4
    assert outbox.low_water_mark(TOPIC, 0, 1) == 0
    outbox.settle([applied(seqs[1])])
    assert outbox.low_water_mark(TOPIC, 0, 0) is None
    assert outbox.low_water_mark("no such topic", 0, 0) is None
    assert outbox.marks() == {(TOPIC, 0, 0): None, (TOPIC, 0, 1): 0}


def test_an_entry_handed_back_holds_the_low_water_mark(outbox: Outbox) -> None:
    (seq,) = dispatched(outbox, 1)
    outbox.hand_back([HandedBack(seq, 0)])

    assert outbox.low_water_mark(TOPIC, 0, 0) == 0


def test_a_replayed_letter_does_not_hold_the_low_water_mark(outbox: Outbox) -> None:
    letter = a_dead_letter(outbox)

    outbox.replay([letter], "who", "why")

    assert outbox.low_water_mark(TOPIC, 0, 0) is None


def test_the_oldest_unsettled_is_the_first_in_the_order(outbox: Outbox) -> None:
    assert outbox.oldest_unsettled() is None
    appended(outbox, a_record(5), a_record(6))
    outbox.mark_dispatched([1])

    assert outbox.oldest_unsettled() == (1, 905)


def test_counts_by_state(outbox: Outbox) -> None:
    seqs = dispatched(outbox, 5)
    outbox.settle([applied(seqs[0]), dead(seqs[1]), dead(seqs[2])])
    outbox.discard([seqs[2]], "who", "why")
    appended(outbox, a_record(9))

    counts = outbox.counts()

    assert [counts.of(state) for state in State] == [1, 2, 1, 1, 1, 0]
    assert (counts.unsettled, counts.total, outbox.pending_total()) == (3, 6, 3)


@pytest.mark.parametrize(
    ("wanted", "offsets"),
    [
        (EntryFilter(), [0, 1, 2, 3]),
        (EntryFilter(State.DEAD), [1, 3]),
        (EntryFilter(State.APPLIED), [0]),
        (EntryFilter(State.PENDING), [2]),
        (EntryFilter(entity="Business"), [2, 3]),
        (EntryFilter(State.DEAD, entity="User"), [1]),
        (EntryFilter(State.DEAD, type="DELETE"), [3]),
        (EntryFilter(State.DEAD, error_kind="invalid"), [1, 3]),
        (EntryFilter(State.DEAD, error_kind="order"), []),
        (EntryFilter(operation_id="op-0-0-2"), [2]),
        (EntryFilter(operation_id="nobody's"), []),
    ],
)
@pytest.mark.parametrize("scanned", [1, 3, 20_000])
def test_entries_that_match(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, scanned: int, wanted: EntryFilter, offsets: list[int]
) -> None:
    monkeypatch.setattr(queries, "SCANNED_A_STATEMENT", scanned)
    appended(outbox, a_record(0), a_record(1), a_record(2, entity="Business"))
    appended(outbox, a_record(3, entity="Business", type="DELETE"))
    outbox.settle([applied(1), dead(2), dead(4)])

    assert [entry.offset for entry in outbox.entries(wanted)] == offsets
    assert list(outbox.entry_ids(wanted)) == [offset + 1 for offset in offsets]


def test_lists_are_read_in_pages(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "SCANNED_A_STATEMENT", 3)
    seqs = dispatched(outbox, 10)
    outbox.settle([dead(seq) for seq in seqs])

    first = outbox.dead_letters(limit=4)
    second = outbox.dead_letters(first[-1].seq, limit=100)

    assert [entry.seq for entry in first] == [1, 2, 3, 4]
    assert [entry.seq for entry in second] == [5, 6, 7, 8, 9, 10]
    assert outbox.dead_letters(10) == []


def test_an_entry_and_its_history_are_found_by_its_id_after_replays(outbox: Outbox) -> None:
    letter = a_dead_letter(outbox)
    other = a_dead_letter(outbox, 1)
    for _ in range(2):
        (replayed,) = outbox.replay([letter], "Ana", "the column was mended")
        assert replayed.seq is not None
        assert replayed.incarnation is not None
        outbox.settle([dead(replayed.seq, replayed.incarnation)])

    entry = the_entry(outbox, letter)

    assert (entry.entry_id, entry.seq, entry.incarnation, entry.operation_id) == (letter, 4, 2, "op-0-0-0")
    assert [line.to_state for line in outbox.history(letter)] == [State.DEAD, *[State.PENDING, State.DEAD] * 2]
    assert len(outbox.history(other)) == 1
    assert outbox.entry(4) is None, "a place in the order is not an id"
    assert outbox.entry(99) is None


def test_another_connections_commit_is_noticed(outbox: Outbox, path: Path) -> None:
    before = outbox.data_version()
    outbox.append([a_record(0)], [a_position(1)])
    assert outbox.data_version() == before, "one's own writes do not count"

    with Outbox.attach(path) as desk:
        desk.set_position(a_position(2))

    assert outbox.data_version() != before


@pytest.mark.parametrize(
    ("text", "parameters", "index"),
    [
        (queries._WINDOW_TEXT, (0, 0, 1), "entries_by_state (state=? AND rowid>?)"),
        (queries._MARK_TEXT, ("ops", 0, 1), "entries_owed (log_id=?)"),
        (pruning._EXPIRED_TEXT, (0, 1), "entries_applied (changed_at<?)"),
        (pruning._EXPIRED_TEXT, (0, 1), "entries_owed (log_id=? AND offset<?)"),
        (pruning._EXPIRED_ARCHIVED_TEXT, (0, 1), "(archived_at<?)"),
        (transitions._update_text(2, State.DISPATCHED), (0,) * 20, "INTEGER PRIMARY KEY (rowid=?)"),
        (transitions._history_text(2, State.DISPATCHED), (0,) * 20, "INTEGER PRIMARY KEY (rowid=?)"),
        (transitions._DISPATCH_TEXT, (0, "[]"), "INTEGER PRIMARY KEY (rowid=?)"),
        (transitions._RELEASE_TEXT, (0, 0), "entries_by_state (state=?)"),
    ],
)
def test_what_runs_often_searches_an_index(
    outbox: Outbox, text: str, parameters: tuple[object, ...], index: str
) -> None:
    plan = [row[3] for row in sql(outbox, f"EXPLAIN QUERY PLAN {text}", parameters).fetchall()]

    assert any(index in step for step in plan)
    assert not any(step.startswith("SCAN entries") or "TEMP B-TREE" in step for step in plan), plan
