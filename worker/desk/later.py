"""What has happened to a dead letter's rows since: a replay behind it would go back in time.

A letter that changes row User:3 is behind every later operation that changed User:3: replayed at the tail of the order,
it would put its older values over theirs. A DELETE is also behind those that hung something on its row. Later operations
are found in the outbox; what it has pruned already, or never had, the database's ledger still knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from entities.envelope import decode
from entities.errors import InvalidOperation
from entities.ledger_search import applied_since, settled_at
from entities.operations import Delete, Insert, RowAction, Update, actions_of
from entities.registry import children_of, entity_named
from outbox import Entry, EntryFilter, Outbox, State
from outbox.records import NO_TIMESTAMP

#: Entries read at a time.
PAGE = 500

#: In these states an operation has changed its rows, or will before a letter that is replayed at the tail of the order.
_COUNTS = (State.APPLIED, State.DISPATCHED, State.PENDING)

#: The same where letters hold others: a replay keeps its place, before what still waits.
_COUNTS_WHERE_HELD = (State.APPLIED,)


class Later(msgspec.Struct, frozen=True):
    """A later operation on a row of a letter.

    Parameters:
      row: Its key, `User:3`.
      state: Of the later operation; applied, or still to run before a replay.
      at: When it changed to that state; ms.
      overwrites: The attributes, by their names on the wire, that both set and the replay would put back; empty if they
        set different ones, if one of the two creates or deletes the row, or if only the ledger knows the later one.
    """

    row: str
    operation_id: str
    type: str | None
    state: State
    at: int
    overwrites: tuple[str, ...] = ()


class Since(msgspec.Struct, frozen=True):
    """What is known of a letter's rows: the later operations, and whether there may be more that nobody knows of."""

    later: tuple[Later, ...] = ()
    is_unsure: bool = False

    @property
    def is_clear(self) -> bool:
        return not self.later and not self.is_unsure


class _Wanted(msgspec.Struct):
    letter: Entry
    actions: tuple[RowAction, ...]
    rows: frozenset[str]
    named_by_children: bool


def since(outbox: Outbox, letters: Sequence[Entry], *, has_database: bool) -> dict[int, Since]:
    """What has happened to each letter's rows since, by entry id.

    Parameters:
      letters: Whole, with their payloads.
      has_database: The models are bound to a database that can be asked; else what is pruned here stays unknown.
    """
    wanted = [one for letter in letters if (one := _wanted(letter)) is not None]
    found: dict[int, list[Later]] = {one.letter.entry_id: [] for one in wanted}
    by_row: dict[str, list[_Wanted]] = {}
    for one in wanted:
        for row in one.rows:
            by_row.setdefault(row, []).append(one)
    for entry in _candidates(outbox, wanted):
        for action in _actions(entry):
            for row in _rows_of(action) | (_parents_of(action)):
                for one in by_row.get(row, ()):
                    letter = one.letter
                    if entry.seq <= letter.entry_id or entry.entry_id == letter.entry_id:
                        continue
                    if row in _rows_of(action) or one.named_by_children:
                        later = Later(row, entry.operation_id, entry.type, entry.state, entry.changed_at)
                        found[letter.entry_id].append(
                            msgspec.structs.replace(later, overwrites=_both_set(one.actions, action))
                        )
    unsure = [one for one in wanted if may_be_pruned(outbox, one.letter)]
    if has_database and unsure:
        for entry_id, later in _in_ledger(unsure):
            found[entry_id].append(later)
        unsure = []
    known = {letter.entry_id: Since() for letter in letters}
    doubtful = {one.letter.entry_id for one in unsure}
    for entry_id, laters in found.items():
        known[entry_id] = Since(tuple(_without_copies(laters)), entry_id in doubtful)
    return known


def _wanted(letter: Entry) -> _Wanted | None:
    actions = tuple(_actions(letter))
    rows = frozenset(row for action in actions for row in _rows_of(action))
    return _Wanted(letter, actions, rows, any(isinstance(action, Delete) for action in actions)) if rows else None


def _actions(entry: Entry) -> Sequence[RowAction]:
    try:
        return actions_of(decode(entry.raw))
    except InvalidOperation:
        return ()


def _candidates(outbox: Outbox, wanted: Sequence[_Wanted]) -> Iterator[Entry]:
    """The entries behind the first letter that may touch one of the rows: of the letters' entities, and what hangs on them."""
    first: dict[str, int] = {}
    for one in wanted:
        for action in one.actions:
            reached = [action.entity.__name__]
            if isinstance(action, Delete):
                reached += [child.__name__ for child, _ in children_of(action.entity)]
            for name in reached:
                first[name] = min(first.get(name, one.letter.entry_id), one.letter.entry_id)
    for name, after in first.items():
        for state in _COUNTS_WHERE_HELD if outbox.holds_lanes() else _COUNTS:
            after_seq = after
            while page := outbox.entries(EntryFilter(state, name), after_seq, PAGE):
                yield from page
                after_seq = page[-1].seq


def _rows_of(action: RowAction) -> set[str]:
    """The rows it changes, as far as it names them: a generated id is nobody else's yet."""
    row_id = action.values.get("id") if isinstance(action, Insert) else action.id
    return {f"{action.entity.__name__}:{row_id}"} if row_id is not None else set()


def _parents_of(action: RowAction) -> set[str]:
    if isinstance(action, Delete):
        return set()
    keys = action.entity.attributes().foreign_keys
    named = ((key.rel_model.__name__, action.values.get(key.name)) for key in keys)
    return {f"{name}:{row_id}" for name, row_id in named if row_id is not None}


def _both_set(actions: Iterable[RowAction], later: RowAction) -> tuple[str, ...]:
    if not isinstance(later, Update):
        return ()
    names = later.entity._meta.fields
    return tuple(
        names[name].wire_name
        for action in actions
        if isinstance(action, Update) and (action.entity, action.id) == (later.entity, later.id)
        for name in action.values
        if name in later.values
    )


def may_be_pruned(outbox: Outbox, letter: Entry) -> bool:
    """Whether later operations may be gone from this outbox, or never were in it (a letter that another outbox had)."""
    return letter.entry_id <= outbox.pruned_to() or letter.kafka_timestamp == NO_TIMESTAMP


def _in_ledger(wanted: Sequence[_Wanted]) -> Iterator[tuple[int, Later]]:
    """What the ledger knows of these letters' rows, by entry id: one pass for all."""
    died_at = settled_at([one.letter.operation_id for one in wanted])
    since_ms = [died_at.get(one.letter.operation_id, one.letter.changed_at) for one in wanted]
    names = {row.rpartition(":")[0] for one in wanted for row in one.rows}
    related = names | {child.__name__ for name in names for child, _ in children_of(entity_named(name))}
    for line in applied_since(min(since_ms), sorted(related)):
        for one, died in zip(wanted, since_ms, strict=True):
            if line.settled_at > died and line.operation_id != one.letter.operation_id:
                for row in sorted(one.rows.intersection(line.touched)):
                    later = Later(row, line.operation_id, line.type, State.APPLIED, line.settled_at)
                    yield one.letter.entry_id, later


def _without_copies(later: Iterable[Later]) -> list[Later]:
    """One for each row and operation, in time. The outbox's word comes first, and tells the attributes."""
    first: dict[tuple[str, str], Later] = {}
    for one in later:
        first.setdefault((one.row, one.operation_id), one)
    return sorted(first.values(), key=lambda one: one.at)
