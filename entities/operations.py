"""The operation types: what each does with the rows of an entity, once everything about it has been checked.

A type is one function, registered under its name on the wire. It gets the entity and the message's `data`, and
answers with the row actions in order, or raises InvalidOperation; an operation is one unit, all of it or nothing.
`insert`, `update`, `delete` and `each` make and check the actions, and find all that is wrong before they raise:

    @operation_type("REPLACE")
    def replace(entity, data):
        return [delete(entity, {"id": data.get("id")}), insert(entity, data)]
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from entities.base import Entity
from entities.envelope import Envelope
from entities.errors import SHOWN_CHARACTERS, SHOWN_FAULTS, InvalidOperation, named, shown
from entities.registry import entity_named

logger = logging.getLogger(__name__)

#: The most wrong records that the reason of a bulk operation lists.
SHOWN_RECORDS: Final = 20


# gc=False on what is made for every operation: no cycle can lead through it, and the collector has less to walk through.
class Insert(msgspec.Struct, frozen=True, gc=False):
    """A new row. `values`, ready for the database, by the fields' Python names and in the model's order.

    `id` is among them only if the producer gave one; absent attributes that have a default are there with it.
    """

    entity: type[Entity]
    values: dict[str, Any]


class Update(msgspec.Struct, frozen=True, gc=False):
    """New values for a row that must be there; with none it only asks for that."""

    entity: type[Entity]
    id: int
    values: dict[str, Any]


class Delete(msgspec.Struct, frozen=True, gc=False):
    """The removal of a row, there or not, and of all that hangs on it."""

    entity: type[Entity]
    id: int


RowAction: TypeAlias = Insert | Update | Delete
Handler: TypeAlias = Callable[[type[Entity], dict[str, Any]], Sequence[RowAction]]

_handlers: dict[str, Handler] = {}


def operation_type(name: str) -> Callable[[Handler], Handler]:
    """Registers a function as what the operation type of this name does."""

    def register(handler: Handler) -> Handler:
        _handlers[name] = handler
        return handler

    return register


def operation_types() -> tuple[str, ...]:
    """The names of all types, as they stand on the wire."""
    return tuple(_handlers)


def actions_of(envelope: Envelope) -> tuple[RowAction, ...]:
    """What the operation does to which rows, in order; raises InvalidOperation with all that is wrong."""
    handler = _handlers.get(envelope.type)
    if handler is None:
        allowed = f"must be one of {', '.join(_handlers)}, not {shown(envelope.type)}"
        faults = [InvalidOperation("type", allowed)]
        try:
            entity_named(envelope.entity)
        except InvalidOperation as fault:
            faults.append(fault)
        raise InvalidOperation.of(faults)
    return tuple(handler(entity_named(envelope.entity), envelope.data))


@operation_type("CREATE")
def create(entity: type[Entity], data: dict[str, Any]) -> Sequence[RowAction]:
    return (insert(entity, data),)


@operation_type("UPDATE")
def change(entity: type[Entity], data: dict[str, Any]) -> Sequence[RowAction]:
    return (update(entity, data),)


@operation_type("DELETE")
def remove(entity: type[Entity], data: dict[str, Any]) -> Sequence[RowAction]:
    return (delete(entity, data),)


@operation_type("BULK_CREATE")
def create_all(entity: type[Entity], data: dict[str, Any]) -> Sequence[RowAction]:
    return each(insert, entity, data, "records")


@operation_type("BULK_UPDATE")
def change_all(entity: type[Entity], data: dict[str, Any]) -> Sequence[RowAction]:
    return each(update, entity, data, "updates")


def insert(entity: type[Entity], record: dict[str, Any]) -> Insert:
    """A new row from attributes by their names on the wire; raises InvalidOperation.

    An `id` of null counts as absent, as MySQL has it.
    """
    table = entity.attributes()
    plain = table.new_row.values(record)
    if plain is not None:
        if plain.get("id", 0) is None:
            del plain["id"]
        return Insert(entity, plain)
    values, faults = _parsed(entity, record)
    if "id" in values and values["id"] is None:
        del values["id"]
    if not table.required_names <= values.keys():
        for field in table.required:
            if field.name not in values and not any(fault.field == field.path for fault in faults):
                faults.append(InvalidOperation(field.path, "is required"))
    if faults:
        raise InvalidOperation.of(faults)
    values = {**table.defaults, **values}
    return Insert(entity, {name: values[name] for name in table.names if name in values})


def update(entity: type[Entity], record: dict[str, Any]) -> Update:
    """New values of a row from its `id` and the attributes to change; raises InvalidOperation."""
    plain = entity.attributes().changed_row.values(record)
    if plain is not None and plain["id"] is not None:
        return Update(entity, plain.pop("id"), plain)
    values, faults = _parsed(entity, record)
    row_id = _identified(entity, values, faults)
    return Update(entity, row_id, {name: values[name] for name in entity.attributes().names if name in values})


def delete(entity: type[Entity], record: dict[str, Any]) -> Delete:
    """The removal of a row, named by its `id` and nothing else (a condition is not to be overlooked)."""
    values, faults = _parsed(entity, record, ("id",))
    return Delete(entity, _identified(entity, values, faults))


def each(
    action: Callable[[type[Entity], dict[str, Any]], RowAction], entity: type[Entity], data: dict[str, Any], key: str
) -> list[RowAction]:
    """One action for each record of the list `data[key]`; raises InvalidOperation with the first 20 that are wrong."""
    unknown = [name for name in data if name != key and not _is_dropped("data", name)]
    faults = [_unknown("data", name, [key]) for name in unknown[:SHOWN_FAULTS]]
    records = data.get(key)
    if not isinstance(records, list):
        complaint = f"must be a list of objects, not {shown(records)}" if key in data else "is missing"
        raise InvalidOperation.of([InvalidOperation(f"data.{key}", complaint), *faults])
    actions: list[RowAction] = []
    wrong_records = 0
    for number, record in enumerate(records):
        try:
            if not isinstance(record, dict):
                raise InvalidOperation(entity.__name__, f"must be an object, not {shown(record)}")
            actions.append(action(entity, record))
        except InvalidOperation as fault:
            if wrong_records == SHOWN_RECORDS:
                faults.append(InvalidOperation(f"data.{key}", "more records are wrong"))
                break
            wrong_records += 1
            faults.append(fault.within(f"{key}[{number}]"))
    if faults:
        raise InvalidOperation.of(faults, limit=len(faults))
    return actions


class _Policy:
    """What happens to attributes that the model does not know: the setting `UNKNOWN_ATTRIBUTES`."""

    #: The most names that are remembered as warned of: names come from outside and are not to fill the memory.
    MOST_WARNINGS: Final = 1_000

    ignores_unknown = False
    warned: Final[set[tuple[str, str]]] = set()


def configure(unknown: Literal["refuse", "ignore"]) -> None:
    """Says for the process what unknown attributes are: a fault, or dropped with one warning for each name."""
    _Policy.ignores_unknown = unknown == "ignore"
    _Policy.warned.clear()


def _parsed(
    entity: type[Entity], record: Mapping[str, Any], known: Iterable[str] | None = None
) -> tuple[dict[str, Any], list[InvalidOperation]]:
    """The record's values by Python name, and its faults. `known` narrows the names on the wire that are taken."""
    by_wire_name = entity.attributes().by_wire_name
    values: dict[str, Any] = {}
    faults: list[InvalidOperation] = []
    for wire_name, raw in record.items():
        field = by_wire_name.get(wire_name)
        if field is None or (known is not None and wire_name not in known):
            if not _is_dropped(entity.__name__, wire_name):
                # Only faults that will be told are worth a search for what was meant.
                candidates = list(known or by_wire_name) if len(faults) < SHOWN_FAULTS else []
                faults.append(_unknown(entity.__name__, wire_name, candidates))
            continue
        try:
            if raw is not None:
                value = field.parse(raw)
            elif field.required:
                raise InvalidOperation(field.path, "must not be null")
            else:
                value = None
            if field.name in values and values[field.name] != value:
                raise InvalidOperation(field.path, f"is there twice with different values, once as {wire_name}")
            values[field.name] = value
        except InvalidOperation as fault:
            faults.append(fault)
    return values, faults


def _identified(entity: type[Entity], values: dict[str, Any], faults: list[InvalidOperation]) -> int:
    """Takes the id, which must be there, out of the values; raises InvalidOperation with this fault and the others."""
    row_id: int | None = values.pop("id", None)
    path = f"{entity.__name__}.id"
    if row_id is None and not any(fault.field == path for fault in faults):
        faults.insert(0, InvalidOperation(path, "is required"))
    if row_id is None or faults:
        raise InvalidOperation.of(faults)
    return row_id


def _is_dropped(owner: str, name: str) -> bool:
    """Whether an unknown attribute is to be ignored; warns the first time."""
    if not _Policy.ignores_unknown:
        return False
    if (owner, name) not in _Policy.warned and len(_Policy.warned) < _Policy.MOST_WARNINGS:
        _Policy.warned.add((owner, name))
        logger.warning("Unknown attribute ignored: %s", named(owner, name))
    return True


def _unknown(owner: str, name: str, candidates: Sequence[str]) -> InvalidOperation:
    meant = difflib.get_close_matches(name[:SHOWN_CHARACTERS], candidates, n=1)
    hint = f" (did you mean {meant[0]}?)" if meant else ""
    return InvalidOperation(named(owner, name), f"is unknown{hint}")
