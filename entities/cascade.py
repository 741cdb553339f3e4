"""What a DELETE takes with it: the rows that the database's cascade will remove, known before they are gone.

The cache must forget them too. They are locked from the parents downwards: a child that is added meanwhile must share-lock
its parent's row, so once the parents are locked, what is found below them is all there is and all there will be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from entities.base import Entity
from entities.cache_value import cache_key
from entities.registry import children_of
from entities.statements import ROWS_PER_STATEMENT, children_of_rows, lock_children, lock_rows


def lock_cascade(entity: type[Entity], ids: Collection[int]) -> dict[int, list[str]]:
    """Lock rows and everything below them; for each id the cache keys of all that goes with it, its own first.

    Costs nothing for an entity without children, else one statement, and on each level one for all foreign keys of entities
    without children and one for each other.
    """
    doomed = {row_id: [cache_key(entity.__name__, row_id)] for row_id in ids}
    if not children_of(entity):
        return doomed
    lock_rows(entity, ids)
    seen: dict[type[Entity], set[int]] = {entity: set(ids)}
    level = {entity: {row_id: row_id for row_id in ids}}  # of each row the root that it hangs on
    while level:
        below: dict[type[Entity], dict[int, int]] = {}
        for parent, roots in level.items():
            for child, row_id, parent_id in _rows_below(parent, roots):
                if row_id in seen.setdefault(child, set()):
                    continue
                seen[child].add(row_id)
                root = roots[parent_id]
                below.setdefault(child, {})[row_id] = root
                doomed[root].append(cache_key(child.__name__, row_id))
        level = below
    return doomed


def _rows_below(parent: type[Entity], ids: Collection[int]) -> Iterator[tuple[type[Entity], int, int]]:
    """The rows that hang on these: entity, id, and the id of the parent. Those on which others may hang are locked."""
    keys = children_of(parent)
    leaves = [(child, key) for child, key in keys if not children_of(child)]
    for child, key in keys:
        if children_of(child):
            for portion in _portions(ids):
                for row_id, parent_id in lock_children(child, key, portion):
                    yield child, row_id, parent_id
    for portion in _portions(ids) if leaves else ():
        for (child, _), found in zip(leaves, children_of_rows(leaves, portion), strict=True):
            for row_id, parent_id in found:
                yield child, row_id, parent_id


def _portions(ids: Collection[int]) -> list[list[int]]:
    remaining = iter(ids)
    return [
        portion
        for _ in range(0, len(ids), ROWS_PER_STATEMENT)
        if (portion := list(islice(remaining, ROWS_PER_STATEMENT)))
    ]
