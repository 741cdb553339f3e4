"""What each operation of a batch claims while none fails, from what the database holds when the batch begins.

A writeset (`entities.writesets`) knows only what stands in the message, and takes what it cannot know as a whole: a DELETE the
entities below, whoever gives a unique value free the attribute, a row with an id of its own the sequence of ids. Inside the
transaction most of that can be read, under lock, and what the batch itself adds before can be told from its messages.
Where it cannot, the writeset's keys stay. It is no more than a plan: a batch that goes by it and meets a failure is undone and
runs in the exact order (`worker.batch_run`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from entities import database
from entities.base import Entity
from entities.cascade import lock_cascade
from entities.operations import Delete, Insert, Update
from entities.registry import cascade_below, cascade_reach
from entities.statements import highest_id
from worker.claims import ADVANCED, ASSIGNED, EXCLUSIVE, SHARED, Claims, Mode, next_sibling
from worker.narrowing import unique_keys_of, unique_values_for_share
from worker.portions import changes_unique_value, is_mergeable
from worker.work import Work


def claims_of(works: Sequence[Work]) -> list[Claims]:
    """The claims of the valid operations of an open transaction; locks what their DELETEs will remove."""
    seen = _Batch(works)
    return [seen.claims_of(work) for work in works]


class _Batch:
    """A batch's rows, by what is to be known of them."""

    def __init__(self, works: Sequence[Work]) -> None:
        self._facts = database.facts()
        self._folds = not database.is_sqlite()  # SQLite looks only at the last of several values for one column
        self._moving: set[type[Entity]] = set()
        self._given: dict[type[Entity], list[Insert]] = defaultdict(list)
        self._generating: set[type[Entity]] = set()
        self._values_set: dict[tuple[type[Entity], int], set[str]] = defaultdict(set)
        deleted: dict[type[Entity], dict[int, None]] = defaultdict(dict)
        changed: dict[type[Entity], dict[int, None]] = defaultdict(dict)  # rows of which a unique value changes
        for work in works:
            for action in work.actions:
                if isinstance(action, Insert):
                    self._note_insert(action)
                elif isinstance(action, Update):
                    if self._note_update(action):
                        changed[action.entity][action.id] = None
                else:
                    deleted[action.entity][action.id] = None
        self._highest = {entity: highest_id(entity) for entity in self._given if entity in self._generating}
        self._doomed = {
            entity: lock_cascade(entity, list(ids)) for entity, ids in deleted.items() if self._can_be_told(entity)
        }
        self._freed: dict[type[Entity], dict[int, frozenset[str]]] = {}
        for entity in {*self._doomed, *changed}:
            if _has_simple_unique_keys(entity):
                ids = {**deleted.get(entity, {}), **changed.get(entity, {})}
                self._freed[entity] = unique_values_for_share(entity, list(ids))

    def _note_insert(self, action: Insert) -> None:
        row_id = action.values.get("id")
        if row_id is None:
            self._generating.add(action.entity)
            return
        self._given[action.entity].append(action)
        self._values_set[action.entity, row_id].update(unique_keys_of(action.entity, action.values))

    def _note_update(self, action: Update) -> bool:
        """Whether it changes a unique value."""
        table = action.entity.attributes()
        if any(key.name in action.values for key in table.foreign_keys):
            self._moving.add(action.entity)
        if not changes_unique_value(action):
            return False
        self._values_set[action.entity, action.id].update(unique_keys_of(action.entity, action.values))
        return True

    def _can_be_told(self, entity: type[Entity]) -> bool:
        """Whether it can be told what a DELETE of this entity removes and gives free."""
        unique_keys = entity.attributes().unique_keys
        return self._moving.isdisjoint(cascade_reach(entity)) and (not unique_keys or _has_simple_unique_keys(entity))

    # ----------------------------------------------------------------------------------------------- an operation's

    def claims_of(self, work: Work) -> Claims:
        """The keys of its writeset, some of them in a finer mode or replaced by finer ones."""
        claims: dict[str, Mode] = dict.fromkeys(work.keys.shared, SHARED)
        claims.update(dict.fromkeys(work.keys.exclusive, EXCLUSIVE))
        first = work.actions[0] if work.actions else None
        if isinstance(first, Delete) and len(work.actions) == 1:
            self._foresee_delete(claims, first)
        elif isinstance(first, Insert) and is_mergeable(work, self._facts):
            self._foresee_inserts(claims, [one for one in work.actions if isinstance(one, Insert)])
        elif isinstance(first, Update) and is_mergeable(work, self._facts):
            self._foresee_updates(claims, [one for one in work.actions if isinstance(one, Update)])
        return claims

    def _foresee_inserts(self, claims: dict[str, Mode], inserts: Sequence[Insert]) -> None:
        """They are rows of one INSERT with all others of their columns."""
        entity, values = inserts[0].entity, inserts[0].values
        name = entity.__name__
        if claims.get(f"{name}#ids") is EXCLUSIVE:
            # An id that is not above all others leaves the sequence as it is.
            highest = self._highest.get(entity, 0)
            is_below = all(one.values["id"] <= highest for one in inserts)
            claims[f"{name}#ids"] = SHARED if is_below else ADVANCED
        place = next_sibling(tuple(values))
        for key in entity.attributes().foreign_keys:
            for one in inserts:
                parent_id = one.values.get(key.name)
                if parent_id is not None:
                    claims[f"{name} of {key.rel_model.__name__}:{parent_id}"] = place

    def _foresee_updates(self, claims: dict[str, Mode], updates: Sequence[Update]) -> None:
        """They are assignments of one UPDATE with all others of their entity."""
        entity = updates[0].entity
        name = entity.__name__
        if any(changes_unique_value(one) for one in updates):
            if not _has_simple_unique_keys(entity):
                return
            for key in entity.attributes().unique_keys:
                claims[f"{name}.{key.name}"] = SHARED
            for one in updates:
                self._free_values(claims, entity, one.id)
            return
        if self._folds and not any(
            key.name in one.values for one in updates for key in entity.attributes().foreign_keys
        ):
            for one in updates:
                row = f"{name}:{one.id}"
                claims[row] = SHARED  # who only needs the row to be there is not in the way
                claims[f"{row} values"] = ASSIGNED

    def _foresee_delete(self, claims: dict[str, Mode], delete: Delete) -> None:
        """It takes the rows that go and the values that are free then, instead of whole entities and attributes."""
        entity = delete.entity
        doomed = self._doomed.get(entity)
        if doomed is None:
            return
        for reached in cascade_reach(entity):
            claims[reached.__name__] = SHARED
        for row in self._with_given_rows(entity, doomed[delete.id]):
            claims[row] = EXCLUSIVE
        for key in entity.attributes().unique_keys:
            claims[f"{entity.__name__}.{key.name}"] = SHARED
        self._free_values(claims, entity, delete.id)
        # Of the rows below nobody has read the unique values.
        for child in cascade_below(entity):
            for key in child.attributes().unique_keys:
                claims[f"{child.__name__}.{key.name}"] = EXCLUSIVE

    def _free_values(self, claims: dict[str, Mode], entity: type[Entity], row_id: int) -> None:
        """Claim the unique values that the row holds now, or is given by any operation of the batch."""
        held_now = self._freed.get(entity, {}).get(row_id, ())
        for value in (*held_now, *self._values_set.get((entity, row_id), ())):
            claims[value] = EXCLUSIVE

    def _with_given_rows(self, entity: type[Entity], doomed: Iterable[str]) -> set[str]:
        """The rows that go, with those among them that the batch itself adds under ids of their own."""
        rows = set(doomed)
        candidates = [one for child in cascade_below(entity) for one in self._given.get(child, ())]
        while True:
            added = {
                f"{one.entity.__name__}:{one.values['id']}" for one in candidates if not rows.isdisjoint(_parents(one))
            } - rows
            if not added:
                return rows
            rows |= added


def _parents(insert: Insert) -> list[str]:
    return [
        f"{key.rel_model.__name__}:{insert.values[key.name]}"
        for key in insert.entity.attributes().foreign_keys
        if insert.values.get(key.name) is not None
    ]


def _has_simple_unique_keys(entity: type[Entity]) -> bool:
    """Whether each unique key is one attribute: what an UPDATE sets then tells the new value."""
    unique_keys = entity.attributes().unique_keys
    return bool(unique_keys) and all(len(key.attributes) == 1 for key in unique_keys)
