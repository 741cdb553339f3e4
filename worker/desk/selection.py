"""Which entries a command means: ids as typed, a group of dead letters, or a filter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from outbox import Entry, EntryFilter, Outbox, State
from worker.desk.causes import PAGE, cause_of

#: No entry id has more digits: SQLite's are 64 bits.
ID_DIGITS = 18


@dataclass(frozen=True)
class Selection:
    """What a command is to work on. With ``identifiers`` nothing else counts but the state.

    Parameters:
      identifiers: Entry ids or operation ids.
      wanted: What entries must be like.
      group: The key of their cause; see ``causes.Cause.key``.
    """

    identifiers: tuple[str, ...] = ()
    wanted: EntryFilter = field(default_factory=EntryFilter)
    group: str | None = None

    def __str__(self) -> str:
        """For the audit: what was meant."""
        if self.identifiers:
            return " ".join(self.identifiers)
        given = {name: value for name, value in msgspec.structs.asdict(self.wanted).items() if value is not None}
        if isinstance(given.get("state"), State):
            given["state"] = given["state"].label
        if self.group is not None:
            given["group"] = self.group
        return ", ".join(f"{name} {value}" for name, value in given.items()) or "all"


@dataclass(frozen=True)
class Chosen:
    """Entries without their payloads, in the order they run; and identifiers that mean nothing here."""

    entries: list[Entry]
    unknown: list[str]

    @property
    def ids(self) -> list[int]:
        return [entry.entry_id for entry in self.entries]


def choose(outbox: Outbox, selection: Selection) -> Chosen:
    """Everything that is meant."""
    if not selection.identifiers:
        return Chosen(list(matching(outbox, selection)), [])
    found: dict[int, Entry] = {}
    unknown = []
    for identifier in dict.fromkeys(selection.identifiers):
        entries = named(outbox, identifier)
        found |= {entry.entry_id: entry for entry in entries}
        if not entries:
            unknown.append(identifier)
    return Chosen(sorted(found.values(), key=lambda entry: entry.seq), unknown)


def named(outbox: Outbox, identifier: str) -> list[Entry]:
    """The entries meant by an id or an operation id: the one of this id; else of this operation the dead ones; else all."""
    if identifier.isdecimal() and len(identifier) <= ID_DIGITS and (entry := outbox.entry(int(identifier))) is not None:
        return [entry]
    dead = outbox.entries(EntryFilter(State.DEAD, operation_id=identifier))
    return dead or outbox.entries(EntryFilter(operation_id=identifier))


def matching(outbox: Outbox, selection: Selection, after_seq: int = 0) -> Iterator[Entry]:
    """The entries of a filter and a group, in order, without their payloads; read in pages."""
    while page := outbox.entries(selection.wanted, after_seq, PAGE, with_payload=False):
        for entry in page:
            if selection.group is None or cause_of(entry).key == selection.group:
                yield entry
        after_seq = page[-1].seq
