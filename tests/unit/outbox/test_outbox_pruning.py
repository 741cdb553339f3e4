"""The pruner: what it removes, what it leaves, and that space comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from outbox import Outbox, State, pruning
from tests.unit.outbox.builders import (
    TOPIC,
    Clock,
    a_dead_letter,
    a_record,
    appended,
    applied,
    counters_are_true,
    dead,
    dispatched,
    sql,
)


def left(outbox: Outbox) -> list[int]:
    return [seq for (seq,) in sql(outbox, "SELECT seq FROM entries ORDER BY seq").fetchall()]


def test_entries_settled_before_the_time_are_removed(outbox: Outbox, clock: Clock) -> None:
    seqs = dispatched(outbox, 4)
    outbox.settle([applied(seq) for seq in seqs[:2]])
    clock.now_ms += 10
    outbox.settle([applied(seq) for seq in seqs[2:]])

    assert outbox.prune(clock.now_ms, 100) == 2

    assert left(outbox) == seqs[2:]
    assert counters_are_true(outbox)


def test_what_is_above_the_low_water_mark_stays(outbox: Outbox, clock: Clock) -> None:
    seqs = dispatched(outbox, 4)
    (other,) = appended(outbox, a_record(9, partition=1))
    outbox.settle([applied(seq) for seq in (seqs[0], seqs[2], seqs[3], other)])

    assert outbox.prune(clock.now_ms + 1, 100) == 2

    assert left(outbox) == seqs[1:]
    outbox.settle([applied(seqs[1])])
    assert outbox.prune(clock.now_ms + 1, 100) == 3


def test_dead_letters_stay_and_so_do_discarded_ones(outbox: Outbox, clock: Clock) -> None:
    letter, discarded = a_dead_letter(outbox, 0), a_dead_letter(outbox, 1)
    outbox.discard([discarded], "who", "why")

    assert outbox.prune(clock.now_ms + 1, 100) == 0

    assert left(outbox) == [letter, discarded]


def test_what_waits_stays_however_old(outbox: Outbox, clock: Clock) -> None:
    dispatched(outbox, 2)
    outbox.release_dispatched()

    assert outbox.prune(clock.now_ms + 10**9, 100) == 0


def test_the_limit_holds_and_the_longest_settled_go_first(
    outbox: Outbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "PRUNED_A_TRANSACTION", 2)
    seqs = dispatched(outbox, 6)
    for seq in reversed(seqs):
        clock.now_ms += 1
        outbox.settle([applied(seq)])

    assert outbox.prune(clock.now_ms + 1, 5) == 5
    assert left(outbox) == seqs[:1]
    assert outbox.prune(clock.now_ms + 1, 5) == 1


def test_archived_entries_go_after_the_retention_too(outbox: Outbox, clock: Clock) -> None:
    appended(outbox, a_record(0))
    outbox.archive_partition(TOPIC, 0, "why")

    assert outbox.prune(clock.now_ms, 100) == 0
    assert outbox.prune(clock.now_ms + 1, 100) == 1
    assert sql(outbox, "SELECT count(*) FROM archived_entries").fetchone() == (0,)


def test_a_replayed_letters_history_goes_with_it(outbox: Outbox, clock: Clock) -> None:
    letter = a_dead_letter(outbox)
    (replayed,) = outbox.replay([letter], "who", "why")
    assert replayed.seq is not None
    outbox.settle([applied(replayed.seq, 1)])

    outbox.prune(clock.now_ms + 1, 100)

    assert outbox.history(letter) == []
    assert outbox.counts().of(State.APPLIED) == 0


def test_the_file_gives_space_back(outbox: Outbox, path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "KEPT_PAGES", 10)
    seqs = appended(outbox, *(a_record(offset, raw=b"x" * 4_000) for offset in range(500)))
    outbox.settle([dead(seqs[0]), *(applied(seq) for seq in seqs[1:])])
    sql(outbox, "PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.stat().st_size

    outbox.prune(clock.now_ms + 1, 1_000)

    sql(outbox, "PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size < before / 4
