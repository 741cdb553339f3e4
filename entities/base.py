"""What every entity is: a Peewee model whose attributes know their names on the wire.

The database is bound later (`entities.database`), so a model can be read, validated against and planned with where
there is no database at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, cast

import peewee

from entities.shapes import Shape
from entities.values import Attribute, ForeignKey, Id

database = peewee.DatabaseProxy()


class UniqueKey(NamedTuple):
    """Attributes of which no two rows may hold the same values together."""

    #: The names on the wire, joined by a plus sign: "email", "businessId+year".
    name: str
    #: The Python names.
    attributes: tuple[str, ...]


class AttributeTable(NamedTuple):
    """An entity's attributes, arranged once for those who ask for every operation."""

    #: Each in the model's order, `id` first.
    fields: tuple[Attribute, ...]
    #: Their Python names, in that order.
    names: tuple[str, ...]
    #: By each name under which an attribute may arrive.
    by_wire_name: Mapping[str, Attribute]
    #: Those that CREATE must bring.
    required: tuple[Attribute, ...]
    #: Their Python names.
    required_names: frozenset[str]
    #: What CREATE stores where an attribute is absent, by Python name.
    defaults: Mapping[str, Any]
    #: From `unique=True` and from the unique indexes of `Meta.indexes`; the id is not among them.
    unique_keys: tuple[UniqueKey, ...]
    #: The parents, and the attributes that name them.
    foreign_keys: tuple[ForeignKey, ...]
    #: What a CREATE's record and an UPDATE's look like in plain form.
    new_row: Shape
    changed_row: Shape


class Entity(peewee.Model):
    """The base of the models. The class's name is the entity's name on the wire.

    A subclass in a module of this package is found by itself; so is one defined elsewhere, once it is imported.
    """

    _table: ClassVar[AttributeTable | None] = None

    id = Id()

    class Meta:
        database = database

    @classmethod
    def attributes(cls) -> AttributeTable:
        """The entity's attributes."""
        if "_table" not in cls.__dict__ or cls._table is None:
            cls._table = _arranged(cls)
        return cls._table


def _arranged(entity: type[Entity]) -> AttributeTable:
    fields = cast("list[Attribute]", entity._meta.sorted_fields)
    unique = [(field,) for field in fields if field.unique]
    unique += [tuple(entity._meta.fields[name] for name in index[0]) for index in entity._meta.indexes if index[1]]
    foreign_keys = tuple(field for field in fields if isinstance(field, ForeignKey))
    required_names = frozenset(field.name for field in fields if field.required)
    defaults = {field.name: field.default for field in fields if field.default is not None}
    return AttributeTable(
        fields=tuple(fields),
        names=tuple(field.name for field in fields),
        by_wire_name={
            **{field.column_name: field for field in foreign_keys},
            **{field.wire_name: field for field in fields},
        },
        required=tuple(field for field in fields if field.required),
        required_names=required_names,
        defaults=defaults,
        unique_keys=tuple(
            UniqueKey("+".join(field.wire_name for field in key), tuple(field.name for field in key)) for key in unique
        ),
        foreign_keys=foreign_keys,
        new_row=Shape(fields, required_names, defaults),
        changed_row=Shape(fields, frozenset(("id",))),
    )
