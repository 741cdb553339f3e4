"""What went wrong with an operation, in words for the person who reads the dead letter.

A reason names entity and attribute as the application knows them, the column, the value (from the operation's own data: the
servers' texts lack it or quote it wrongly, and a secret's is never shown) and the server's error number.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from entities.base import Entity
from entities.errors import shown
from entities.operations import Delete, Insert, RowAction, Update
from entities.values import Attribute, ForeignKey
from worker.failures import Cause, Failure, FailureKind

#: The most characters of a reason.
REASON_CHARACTERS = 500

#: What is said of a value that the database does not take.
_COMPLAINTS = {
    Cause.NOT_NULL: "must not be null",
    Cause.TRUNCATED: "data truncated",
    Cause.CHARACTERS: "incorrect value for the column's type or character set",
    Cause.TOO_LONG: "data too long",
    Cause.OUT_OF_RANGE: "out of range",
    Cause.WRONG_VALUE: "incorrect value",
    Cause.CHECK: "check constraint failed",
}


def not_found(action: RowAction) -> Failure:
    """The failure of an UPDATE whose row is not there."""
    return Failure(FailureKind.ORDER, Cause.OTHER, 0, "", f"{action.entity.__name__} {_id_of(action)} is not there")


def too_big(size: int, limit: int) -> Failure:
    """The failure of an operation that no statement could carry; sizes in bytes."""
    reason = f"too big: a statement of some {size:,} bytes, the database takes {limit:,} (max_allowed_packet)"
    return Failure(FailureKind.REFUSED, Cause.TOO_BIG, 0, "", reason)


def explain(failure: Failure, action: RowAction, record: str = "") -> str:
    """The reason of an operation that failed with this.

    Parameters:
      action: The row action that failed.
      record: Where it stands in a bulk operation, `records[3]`; empty if it is the only one.
    """
    reason = _explained(failure, action)
    return (f"{record} {reason}" if record else reason)[:REASON_CHARACTERS]


def _explained(failure: Failure, action: RowAction) -> str:
    if failure.code == 0:
        return failure.reason  # found by ourselves, and told
    error = f"error {failure.code}"
    if failure.cause is Cause.DUPLICATE:
        fields = _fields_of_key(action, failure.name)
        if fields:
            values = ", ".join(f"{field.path} {_value_shown(field, action)}" for field in fields)
            return f"{values} is already there (duplicate key {failure.name}, {error})"
    elif failure.cause is Cause.MISSING_PARENT:
        keys = _parents_of(action, failure.name)
        if keys:
            parents = " or ".join(f"{key.rel_model.__name__} {_value_shown(key, action)}" for key in keys)
            return f"{keys[0].path}: {parents} is not there ({error})"
    elif failure.cause is Cause.NO_IDS_LEFT:
        return f"{action.entity.__name__}.id: the table can generate no more ids: its AUTO_INCREMENT is at the end ({error})"
    elif failure.cause in _COMPLAINTS:
        field = _field_of_column(action.entity, failure.name)
        if field is not None:
            refused = "" if failure.cause is Cause.NOT_NULL else f" refuses {_value_shown(field, action)}:"
            return f"{field.path}: column {field.column_name}{refused} {_COMPLAINTS[failure.cause]} ({error})"
        return f"{action.entity.__name__}: {_COMPLAINTS[failure.cause]} {failure.name} ({error})"
    return f"{action.entity.__name__}: {failure.reason}"


def _fields_of_key(action: RowAction, name: str) -> list[Attribute]:
    """The attributes of the unique key that the server names: PRIMARY, its name, its first column, or all of them."""
    entity = action.entity
    if name.upper() == "PRIMARY":
        return [entity._meta.fields["id"]]
    columns = {column.strip().rsplit(".")[-1] for column in name.split(",")}  # SQLite: usuarios.a, usuarios.b
    keys = [[entity._meta.fields[attribute] for attribute in key.attributes] for key in entity.attributes().unique_keys]
    for fields in keys:
        if columns == {field.column_name for field in fields} or name == "_".join(
            field.column_name for field in fields
        ):
            return fields
    if columns == {"id"}:
        return [entity._meta.fields["id"]]
    # Sequelize's names: email, email_2, usuarios_email_unique. With one key there is no doubt at all.
    return next((fields for fields in keys if len(keys) == 1 or fields[0].column_name in name), [])


def _parents_of(action: RowAction, column: str) -> list[ForeignKey]:
    """The foreign key of this column; all that the action sets if the server does not tell (SQLite)."""
    values = _values_of(action)
    keys = [key for key in action.entity.attributes().foreign_keys if values.get(key.name) is not None]
    return [key for key in keys if key.column_name == column] or keys


def _field_of_column(entity: type[Entity], column: str) -> Attribute | None:
    for field in entity.attributes().fields:
        if column in (field.column_name, f"{entity._meta.table_name}.{field.column_name}"):
            return field
    # SQLite names a CHECK by its text: "rol" IN ('emprendedor',…)
    return next((field for field in entity.attributes().fields if column.startswith(f'"{field.column_name}"')), None)


def _value_shown(field: Attribute, action: RowAction) -> str:
    if field.secret:
        return "(not shown)"
    value = _id_of(action) if field.name == "id" else _values_of(action).get(field.name)
    if isinstance(value, (datetime, Decimal)):
        return str(value)
    return shown(value)


def _values_of(action: RowAction) -> dict[str, Any]:
    return action.values if isinstance(action, (Insert, Update)) else {}


def _id_of(action: RowAction) -> Any:
    return action.id if isinstance(action, (Update, Delete)) else action.values.get("id")
