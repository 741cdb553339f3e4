"""Within one batch a DELETE need not keep everything apart that its cascade might reach: what it does reach can be seen.

Its writeset takes whole entities, because nobody knows beforehand which rows hang on the one that goes, nor which unique
values they give free. Inside the transaction both can be read, under lock. With the keys of just those rows, the DELETEs
of a mixed batch no longer cut it into many small stages. Batches that run beside each other still go by the whole
writesets, and so does a batch in which another operation might change what hangs on what, or who holds which unique value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from entities.base import Entity
from entities.cascade import lock_cascade
from entities.operations import Delete, Insert, RowAction, Update
from entities.registry import cascade_below, cascade_reach
from entities.statements import rows_for_share
from entities.writesets import Writeset, writeset
from worker.work import Work


def narrow_deletes(works: Sequence[Work]) -> None:
    """Give the DELETEs among the operations of an open transaction the keys of the rows that they will remove."""
    deletes: dict[type[Entity], list[tuple[Work, int]]] = {}
    for work in works:
        match work.actions:
            case (Delete(entity=entity, id=row_id),) if cascade_below(entity) or entity.attributes().unique_keys:
                deletes.setdefault(entity, []).append((work, row_id))
    if not deletes:
        return
    restless = _restless_entities(action for work in works for action in work.actions)
    for entity, members in deletes.items():
        if restless.isdisjoint(cascade_reach(entity)):
            ids = sorted({row_id for _, row_id in members})
            doomed = lock_cascade(entity, ids)
            freed = unique_values_for_share(entity, ids)
            for work, row_id in members:
                work.keys = _narrowed(work, entity, doomed[row_id], freed.get(row_id, frozenset()))


def _restless_entities(actions: Iterable[RowAction]) -> set[type[Entity]]:
    """The entities of which a row may come to hang on another one, appear under a known id, or change a unique value."""
    restless: set[type[Entity]] = set()
    for action in actions:
        table = action.entity.attributes()
        if isinstance(action, Insert):
            if "id" in action.values:
                restless.add(action.entity)
        elif isinstance(action, Update):
            telling = {name for key in table.unique_keys for name in key.attributes}
            telling.update(key.name for key in table.foreign_keys)
            if not telling.isdisjoint(action.values):
                restless.add(action.entity)
    return restless


def unique_values_for_share(entity: type[Entity], ids: Sequence[int]) -> dict[int, frozenset[str]]:
    """The keys of the unique values that each of these rows holds; the rows are locked against writers."""
    names = {name for key in entity.attributes().unique_keys for name in key.attributes}
    if not names:
        return {}
    return {
        row.id: unique_keys_of(entity, {name: row.__data__[name] for name in names})
        for row in rows_for_share(entity, ids)
    }


def unique_keys_of(entity: type[Entity], values: Mapping[str, Any]) -> frozenset[str]:
    """The keys of the unique values among these, by Python name; the whole attribute's, where a text may equal others."""
    prefix = f"{entity.__name__}."
    return frozenset(key for key in writeset("", (Insert(entity, dict(values)),)).exclusive if key.startswith(prefix))


def _narrowed(work: Work, entity: type[Entity], doomed: Iterable[str], freed: frozenset[str]) -> Writeset:
    """Its rows and what is given free exclusively; the entities, and the whole unique keys of which values are free, shared.

    Rows below that hold unique values take those keys whole, as before: a batch may add some of them.
    """
    own_keys = {f"{entity.__name__}.{key.name}" for key in entity.attributes().unique_keys}
    below = {
        f"{child.__name__}.{key.name}" for child in cascade_below(entity) for key in child.attributes().unique_keys
    }
    reach = {reached.__name__ for reached in cascade_reach(entity)}
    exclusive = frozenset((f"op:{work.id}", *doomed)) | freed | below
    return Writeset(exclusive, frozenset(own_keys | reach) - exclusive, work.keys.entities)
