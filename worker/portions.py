"""What may share a statement, and how much of it: operations grouped by shape and cut to what the server takes.

No I/O: what the server takes is asked once for a connection (`entities.database.ServerFacts`). Sizes are upper bounds, cheap
where the message is small.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import TypeAlias

from entities import statements
from entities.database import ServerFacts
from entities.operations import Delete, Insert, RowAction, Update
from worker.work import Work

#: A bulk operation of more rows runs by itself: merged, it would be run again for each culprit among its neighbours.
MERGED_ROWS = 100

#: A row with more updates than this gets a statement of its own, where its values need not be looked for among other rows'.
UPDATES_OF_A_ROW = 4

#: A row action and its place in its operation.
Numbered: TypeAlias = tuple[int, RowAction]


def groups_of(works: Sequence[Work], facts: ServerFacts) -> tuple[list[list[Work]], list[Work]]:
    """The operations that may be merged, in groups of one shape, and those that must run by themselves."""
    groups: dict[Hashable, list[Work]] = {}
    apart: list[Work] = []
    for work in works:
        if is_mergeable(work, facts):
            groups.setdefault(_shape(work.actions[0]), []).append(work)
        else:
            apart.append(work)
    return list(groups.values()), apart


def is_mergeable(work: Work, facts: ServerFacts) -> bool:
    """Whether all its rows fit into one statement beside others: of one shape, no row twice, the order of no consequence."""
    actions = work.actions
    if len(actions) == 1:
        return True
    if len(actions) > MERGED_ROWS or bytes_at_most(work) > facts.max_statement_bytes // 2:
        return False
    shape = _shape(actions[0])
    if any(_shape(action) != shape for action in actions) or sum(map(changes_unique_value, actions)) > 1:
        return False
    return isinstance(actions[0], Insert) or len({_id_of(action) for action in actions}) == len(actions)


def hot_rows_apart(group: Sequence[Work]) -> list[list[Work]]:
    """A group, those cut off that update a row which many of it update: a group for each such row, in their order."""
    counts = Counter(action.id for work in group for action in work.actions if isinstance(action, Update))
    hot = {row_id for row_id, count in counts.items() if count > UPDATES_OF_A_ROW}
    for work in group if hot else ():
        if len(work.actions) > 1:  # it goes with all of its rows, and they with it, or their order would be lost
            hot.difference_update(action.id for action in work.actions if isinstance(action, Update))
    groups: dict[int | None, list[Work]] = {None: []}
    for work in group:
        first = work.actions[0]
        row_id = first.id if isinstance(first, Update) and first.id in hot else None
        groups.setdefault(row_id, []).append(work)
    return [members for members in groups.values() if members]


def portions_of(group: Sequence[Work], facts: ServerFacts) -> Iterator[list[Work]]:
    """The members of a group, cut so that each part fits into a statement; an operation is never cut."""
    portion: list[Work] = []
    room = _Room(facts)
    for work in group:
        size, parameters = bytes_at_most(work), sum(map(_parameters, work.actions))
        if portion and not room.has_place_for(work.actions[0], len(work.actions), parameters, size):
            yield portion
            portion, room = [], _Room(facts)
        room.take(len(work.actions), parameters, size)
        portion.append(work)
    if portion:
        yield portion


def runs_of(actions: Sequence[RowAction], facts: ServerFacts) -> Iterator[list[Numbered]]:
    """The actions of one operation in order, numbered, cut where they can no longer share a statement.

    A statement changes rows in the order of their ids. So one holds at most one update that changes a unique value: in the
    operation's order, one may need what another gives free, or take what another has yet to give.
    """
    run: list[Numbered] = []
    ids: set[int] = set()
    room = _Room(facts)
    gives_free = False
    for number, action in enumerate(actions):
        size, parameters = weight(action), _parameters(action)
        has_place = room.has_place_for(action, 1, parameters, size) and _id_of(action) not in ids
        is_next = gives_free and changes_unique_value(action)
        if run and (is_next or not (has_place and _shape(action) == _shape(run[0][1]))):
            yield run
            run, ids, room, gives_free = [], set(), _Room(facts), False
        room.take(1, parameters, size)
        run.append((number, action))
        gives_free = gives_free or changes_unique_value(action)
        row_id = _id_of(action)
        if row_id is not None:
            ids.add(row_id)
    if run:
        yield run


def changes_unique_value(action: RowAction) -> bool:
    """Whether it is an update that gives a unique value free, and takes another."""
    if not isinstance(action, Update):
        return False
    return any(not action.values.keys().isdisjoint(key.attributes) for key in action.entity.attributes().unique_keys)


def bytes_at_most(work: Work) -> int:
    """What an operation's rows may take in a statement, told by its message.

    JSON never writes a text shorter than UTF-8 does, and SQL escapes a byte with one more at most.
    """
    return 2 * len(work.operation.raw) + statements.VALUE_OVERHEAD_BYTES * (sum(map(_parameters, work.actions)) + 1)


def weight(action: RowAction) -> int:
    """What a row takes in a statement, its texts counted, in bytes."""
    return statements.weight(() if isinstance(action, Delete) else action.values.values())


def _shape(action: RowAction) -> Hashable:
    """Equal for actions that one statement can hold. An UPDATE may change other attributes in each row."""
    return (Insert, action.entity, *action.values) if isinstance(action, Insert) else (type(action), action.entity)


def _id_of(action: RowAction) -> int | None:
    return None if isinstance(action, Insert) else action.id


def _parameters(action: RowAction) -> int:
    if isinstance(action, Insert):
        return len(action.values)
    return 2 * len(action.values) + 1 if isinstance(action, Update) else 1


class _Room:
    """What still fits into a statement: rows, parameters, and bytes, half of what the server takes."""

    def __init__(self, facts: ServerFacts) -> None:
        self._rows = 0
        self._parameters = facts.max_parameters
        self._bytes = facts.max_statement_bytes // 2

    def has_place_for(self, first: RowAction, rows: int, parameters: int, size: int) -> bool:
        limit = statements.ROWS_PER_UPDATE if isinstance(first, Update) else statements.ROWS_PER_STATEMENT
        return self._rows + rows <= limit and parameters <= self._parameters and size <= self._bytes

    def take(self, rows: int, parameters: int, size: int) -> None:
        self._rows += rows
        self._parameters -= parameters
        self._bytes -= size
