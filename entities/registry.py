"""Who is there: the entities by name, who hangs on whom, and what a DELETE may take with it.

There is no list to maintain. Every module of the package is imported at the first question, and whatever derives
from `Entity` directly is an entity; one that is defined outside, later, is found as well.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, NamedTuple

import peewee

import entities
from entities.base import Entity
from entities.errors import InvalidOperation, shown
from entities.values import ForeignKey


class _Catalogue(NamedTuple):
    models: list[type[Any]]  # as __subclasses__ told them: another answer makes another catalogue
    in_order: tuple[type[Entity], ...]
    by_name: Mapping[str, type[Entity]]
    children: Mapping[type[Entity], tuple[tuple[type[Entity], ForeignKey], ...]]
    below: Mapping[type[Entity], frozenset[type[Entity]]]


_catalogue: _Catalogue | None = None


def all_entities() -> tuple[type[Entity], ...]:
    """Every entity, parents before their children."""
    return _current().in_order


def entity_named(name: str) -> type[Entity]:
    """The entity of this name on the wire; raises InvalidOperation with field "entity"."""
    by_name = _current().by_name
    entity = by_name.get(name)
    if entity is None:
        raise InvalidOperation("entity", f"must be one of {', '.join(sorted(by_name))}, not {shown(name)}")
    return entity


def children_of(entity: type[Entity]) -> tuple[tuple[type[Entity], ForeignKey], ...]:
    """The entities that have a foreign key to this one, each with that key."""
    return _current().children[entity]


def cascade_reach(entity: type[Entity]) -> frozenset[type[Entity]]:
    """The entities whose rows a DELETE of this one may remove, itself included."""
    return cascade_below(entity) | {entity}


def cascade_below(entity: type[Entity]) -> frozenset[type[Entity]]:
    """Those whose rows the cascade of a DELETE may remove: itself only if its foreign keys lead back to it."""
    return _current().below[entity]


def _current() -> _Catalogue:
    global _catalogue
    if _catalogue is None:
        for module in pkgutil.iter_modules(entities.__path__):
            importlib.import_module(f"entities.{module.name}")
    if _catalogue is None or _catalogue.models != Entity.__subclasses__():
        _catalogue = _build(Entity.__subclasses__())
    return _catalogue


def _build(models: list[type[Entity]]) -> _Catalogue:
    children = {
        entity: tuple(
            (model, key) for model in models for key in model.attributes().foreign_keys if key.rel_model is entity
        )
        for entity in models
    }
    below: dict[type[Entity], frozenset[type[Entity]]] = {}
    for entity in models:
        reached: set[type[Entity]] = set()
        frontier = [entity]
        while frontier:
            new = {child for child, _ in children[frontier.pop()]} - reached
            reached |= new
            frontier += new
        below[entity] = frozenset(reached)
    return _Catalogue(
        models=models,
        in_order=tuple(peewee.sort_models(models)),  # type: ignore[attr-defined]  # missing in Peewee's stubs
        by_name={model.__name__: model for model in models},
        children=children,
        below=below,
    )
