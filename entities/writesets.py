"""Which keys of the world an operation takes: two may change places unless they want one key, and not both shared.

This is the writeset rule of MySQL's parallel replica with the intention locks of a database (DESIGN, step 2), as pure
functions of the row actions. What it cannot know, and what happens then:

- An UPDATE or DELETE of an id that an earlier CREATE has yet to generate: the row is not found, and the operation
  waits for the earlier ones (failure table, "row not found"). Generated ids are outside the promise.
- The value that a row holds now. An UPDATE that changes a unique attribute, and a DELETE, give an unknown value free,
  which another operation may set (or must find taken): they take the attribute's whole key (`User.email`)
  exclusively, and each operation that sets the attribute shares it. They may still ride in one batch, in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final, NamedTuple

import msgspec

from entities.base import Entity
from entities.operations import Delete, Insert, RowAction, Update
from entities.registry import cascade_below

#: Control characters that utf8mb4_unicode_ci does not see; tab, newline and their like it does.
_IGNORED: Final = dict.fromkeys([*range(0x09), *range(0x0E, 0x20), 0x7F])


class Writeset(msgspec.Struct, frozen=True, gc=False):
    """An operation's keys.

    Parameters:
      exclusive: Keys that no other operation may want meanwhile: rows (`User:3`), unique values
        (`User.email=ana@x.co`), a place among siblings (`Rating of Business:5`), id sequences (`User#ids`), the
        operation id (`op:…`), whole entities (`User`).
      shared: Keys that others may share but not take: parents, sequences, entities.
      entities: The names of the entities of every row it touches or names.
    """

    exclusive: frozenset[str]
    shared: frozenset[str]
    entities: frozenset[str]


def writeset(operation_id: str, actions: Sequence[RowAction]) -> Writeset:
    """The keys of an operation; one that is both exclusive and shared counts as exclusive."""
    exclusive = {f"op:{operation_id}"}
    shared: set[str] = set()
    entities: set[str] = set()
    for action in actions:
        if isinstance(action, Insert):
            _take_for_insert(action, exclusive, shared, entities)
        elif isinstance(action, Update):
            _take_for_update(action, exclusive, shared, entities)
        else:
            _take_for_delete(action, exclusive, entities)
    shared |= entities
    shared -= exclusive
    return Writeset(frozenset(exclusive), frozenset(shared), frozenset(entities))


def invalid_writeset(operation_id: str, rows: Iterable[str] = ()) -> Writeset:
    """The keys of an operation that is out of form: it touches no row, but its id must not be settled twice at once.

    Parameters:
      rows: the keys of rows that are nevertheless to wait for it.
    """
    return Writeset(frozenset((f"op:{operation_id}", *rows)), frozenset(), frozenset())


def after_failure(keys: Writeset) -> Writeset:
    """What an operation still holds while it is being retried: its rows, parents, unique values, places and its id.

    It has failed at its turn, so what it may yet do is outside the promise of a serial end; but were it to hold whole
    attributes and sequences, and to share whole entities, then one stale UPDATE and one DELETE behind it would stop an
    entity for as long as the retries last. Entities that it takes exclusively (a DELETE's cascade) stay.
    """
    return Writeset(
        frozenset(key for key in keys.exclusive if _is_of_a_row(key) or not ("." in key or "#" in key)),
        frozenset(key for key in keys.shared if _is_of_a_row(key)),
        keys.entities,
    )


def is_row(key: str) -> bool:
    """Whether the key is that of one row (`User:3`), and of nothing that belongs to it, as `Rating of Business:5` does."""
    entity, _, row_id = key.partition(":")
    return entity.isidentifier() and row_id.isdecimal() and entity != "op"


def _is_of_a_row(key: str) -> bool:
    return ":" in key or "=" in key


def conflicts(one: Writeset, other: Writeset) -> bool:
    """Whether the two must keep their order."""
    return not (
        one.exclusive.isdisjoint(other.exclusive)
        and one.exclusive.isdisjoint(other.shared)
        and one.shared.isdisjoint(other.exclusive)
    )


def loose(text: str) -> str | None:
    """The text as the loosest of MySQL's collations compares it; None if it may equal texts that look quite different.

    Two texts that a collation holds equal are the same here, or one of them is None: case, trailing spaces and ignored
    characters make no difference. With a letter beyond ASCII only None is safe: é is e to most collations, ü is y to
    latin1_swedish_ci (the default of old servers) and ue to another, ß is s or ss, all emoji are one. Too much sameness
    costs no more than a wait. Not for the Roman and Lithuanian collations, to which even i is j, or y.

    >>> loose("ANA@x.co  "), loose("año"), loose("straße")
    ('ana@x.co', None, None)
    """
    if not text.isascii():
        return None
    if not text.isprintable():
        text = text.translate(_IGNORED)
    return text.lower().rstrip(" ")


class _KeyNames(NamedTuple):
    """An entity's name and the beginnings of its keys, put together once for those who ask for every operation."""

    entity: str
    row: str
    ids: str
    #: Of each foreign key: the attribute, the parent's name, the beginnings of the parent's row and of the place under it.
    parents: tuple[tuple[str, str, str, str], ...]
    #: Of each unique key: its attributes, the whole key, the beginning of the key of a value.
    unique: tuple[tuple[tuple[str, ...], str, str], ...]


@cache
def _names_of(entity: type[Entity]) -> _KeyNames:
    name, table = entity.__name__, entity.attributes()
    parents = [(key.name, key.rel_model.__name__) for key in table.foreign_keys]
    return _KeyNames(
        name,
        f"{name}:",
        f"{name}#ids",
        tuple((attribute, parent, f"{parent}:", f"{name} of {parent}:") for attribute, parent in parents),
        tuple((key.attributes, f"{name}.{key.name}", f"{name}.{key.name}=") for key in table.unique_keys),
    )


def _take_for_insert(action: Insert, exclusive: set[str], shared: set[str], entities: set[str]) -> None:
    names, values = _names_of(action.entity), action.values
    entities.add(names.entity)
    if "id" in values:
        exclusive.add(f"{names.row}{values['id']}")
        exclusive.add(names.ids)
    else:
        shared.add(names.ids)
    for attribute, parent, row, place in names.parents:
        parent_id = values.get(attribute)
        if parent_id is not None:
            entities.add(parent)
            shared.add(f"{row}{parent_id}")
            exclusive.add(f"{place}{parent_id}")
    for attributes, whole, beginning in names.unique:
        given = [values.get(attribute) for attribute in attributes]
        if None in given:
            continue  # NULL collides with nothing
        folded = [loose(str(value)) for value in given]
        if None in folded:
            exclusive.add(whole)
        else:
            exclusive.add(beginning + "+".join(filter(None, folded)))
            shared.add(whole)


def _take_for_update(action: Update, exclusive: set[str], shared: set[str], entities: set[str]) -> None:
    names, values = _names_of(action.entity), action.values
    entities.add(names.entity)
    exclusive.add(f"{names.row}{action.id}")
    for attribute, parent, row, _ in names.parents:
        parent_id = values.get(attribute)
        if parent_id is not None:
            entities.add(parent)
            shared.add(f"{row}{parent_id}")
    for attributes, whole, _ in names.unique:
        if not values.keys().isdisjoint(attributes):
            exclusive.add(whole)


def _take_for_delete(action: Delete, exclusive: set[str], entities: set[str]) -> None:
    names = _names_of(action.entity)
    entities.add(names.entity)
    exclusive.add(f"{names.row}{action.id}")
    exclusive.update(entity.__name__ for entity in cascade_below(action.entity))
    exclusive.update(whole for _, whole, _ in names.unique)
