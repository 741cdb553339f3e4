"""The state of everything at one glance: counts, what waits longest, how fast it goes, what is paused and why, how long yet.

The outbox tells what is in it; the rest is ingest's word (worker.ingest_note), which is believed while it is fresh.
"""

from __future__ import annotations

import msgspec

from outbox import Counts, Outbox, Position
from worker.desk.causes import Group, groups
from worker.ingest_note import INGEST_NOTE, STALE_AFTER_MS, IngestNote, read_note

#: How many groups of dead letters the overview names, and how many letters it may read for that.
NAMED_GROUPS = 5
LETTERS_FOR_GROUPS = 20_000


class PartitionView(msgspec.Struct, frozen=True):
    """A partition. ``lag`` counts Kafka's records that are not in the outbox yet; None: ingest does not tell."""

    position: Position
    first_unsettled: int | None
    lag: int | None


class Overview(msgspec.Struct, frozen=True):
    """What ``status`` and ``watch`` show, and a page in a browser may. Times in ms.

    Parameters:
      note: Ingest's word, believed or not; ``told_at`` when. ``is_fresh``: it is young enough to be believed.
      paused_because: Why nothing is sent, or read; None if nobody knows, since ingest does not run.
      lag: Over all partitions; None if ingest does not tell.
      drains_in_s: How long until everything that waits, here and in Kafka, is settled at the present rate; None: nothing is
        being settled, or nobody knows.
      groups: The largest groups of dead letters; None: too many letters to look at each.
    """

    outbox_id: str
    at: int
    counts: Counts
    oldest_seq: int | None
    oldest_timestamp: int | None
    note: IngestNote | None
    told_at: int | None
    is_fresh: bool
    paused_because: tuple[str, ...] | None
    lag: int | None
    drains_in_s: float | None
    partitions: tuple[PartitionView, ...]
    groups: tuple[Group, ...] | None


def overview(outbox: Outbox) -> Overview:
    """How things stand now."""
    now = outbox.now_ms()
    counts, oldest = outbox.counts(), outbox.oldest_unsettled()
    note, told_at, is_fresh = word_of_ingest(outbox)
    believed = note if is_fresh else None
    partitions = _partitions(outbox, believed)
    lags = [one.lag for one in partitions]
    lag = None if believed is None or None in lags else sum(one for one in lags if one is not None)
    return Overview(
        outbox.outbox_id,
        now,
        counts,
        oldest[0] if oldest else None,
        oldest[1] if oldest else None,
        note,
        told_at,
        is_fresh,
        believed.paused_because if believed is not None else None,
        lag,
        drains_in_s(counts.pending + counts.dispatched + (lag or 0), believed),
        partitions,
        tuple(groups(outbox)[:NAMED_GROUPS]) if counts.dead <= LETTERS_FOR_GROUPS else None,
    )


def word_of_ingest(outbox: Outbox) -> tuple[IngestNote | None, int | None, bool]:
    """What ingest told last, when (ms), and whether it is to be believed: it is young, and ingest was not stopped since."""
    left = outbox.note(INGEST_NOTE)
    note = read_note(left)
    if note is None or left is None:
        return None, None, False
    return note, left.at, outbox.now_ms() - left.at <= STALE_AFTER_MS and not note.is_stopped


def word_to_go_by(outbox: Outbox) -> IngestNote:
    """Ingest's word if it is fresh; else one that says that nothing is sent, since no ingest runs."""
    note, _, is_fresh = word_of_ingest(outbox)
    nobody = IngestNote("", 0, 0, paused_because=("no ingest runs on this file",))
    return note if note is not None and is_fresh else nobody


def drains_in_s(waiting: int, note: IngestNote | None) -> float | None:
    """How long (s) until so many operations are settled at the rate of the last minute, if no more came; None: unknown."""
    if not waiting:
        return 0.0
    return waiting / note.settled_per_s if note is not None and note.settled_per_s > 0 else None


def _partitions(outbox: Outbox, note: IngestNote | None) -> tuple[PartitionView, ...]:
    marks = outbox.marks()
    views = []
    for position in outbox.positions():
        end = note.ends.get(str(position.partition)) if note is not None else None
        lag = max(0, end - position.next_offset) if end is not None else None
        mark = marks.get((position.topic, position.generation, position.partition))
        views.append(PartitionView(position, mark, lag))
    return tuple(views)
