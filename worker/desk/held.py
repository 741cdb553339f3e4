"""Which dead letters hold what: the lanes of ``DEAD_LETTER_POLICY=hold`` as the outbox has them."""

from __future__ import annotations

import msgspec

from outbox import Entry, EntryFilter, Outbox, State

#: Held entries that are looked at, and how many of a lane are told one by one.
LOOKED_AT, TOLD = 2_000, 5


class HeldLane(msgspec.Struct, frozen=True):
    """What one dead letter holds. ``letter`` is None if it is settled and its lane is about to go on.

    Parameters:
      seq: Of the letter.
      count: How many wait behind it, of those looked at; ``first`` are the first of them, without their payloads.
    """

    seq: int
    letter: Entry | None
    count: int
    first: tuple[Entry, ...]


def held_lanes(outbox: Outbox, most: int = LOOKED_AT) -> list[HeldLane]:
    """The lanes of the first ``most`` held entries, the longest first."""
    behind: dict[int, list[Entry]] = {}
    for entry in outbox.entries(EntryFilter(State.HELD), 0, most, with_payload=False):
        behind.setdefault(entry.held_by or 0, []).append(entry)
    lanes = [HeldLane(seq, _at(outbox, seq), len(held), tuple(held[:TOLD])) for seq, held in behind.items()]
    return sorted(lanes, key=lambda lane: (-lane.count, lane.seq))


def _at(outbox: Outbox, seq: int) -> Entry | None:
    found = outbox.entries(EntryFilter(), seq - 1, 1, with_payload=False)
    return found[0] if found and found[0].seq == seq and found[0].state == State.DEAD else None
