"""Random streams of operations with heavy conflicts, and the smallest model of the database that can judge an order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from entities.envelope import decode
from entities.operations import Delete, Insert, RowAction, actions_of
from entities.writesets import Writeset, writeset

#: Ids that the model generates begin here; explicit ones in the streams are far below.
FIRST_GENERATED = 1_000

EMAILS = ("ana@x.co", "ANA@X.co", "beto@x.co", "carla@x.co")
EXPLICIT_IDS = st.integers(1, 3)


class Refused(Exception):
    """The model's database refuses an operation: row not found, duplicate key, missing parent."""


@dataclass(frozen=True)
class StreamOperation:
    """An operation of a stream with what the service derives from it."""

    operation_id: str
    raw: bytes
    actions: tuple[RowAction, ...]
    writeset: Writeset


def an_operation(operation_id: str, type: str, entity: str, data: dict[str, Any], **metadata: Any) -> StreamOperation:
    """An operation in the application's own format."""
    raw = a_message(operation_id, type, entity, data, **metadata)
    actions = actions_of(decode(raw))
    return StreamOperation(operation_id, raw, actions, writeset(operation_id, actions))


def a_message(operation_id: str | None, type: str, entity: str, data: Any, **metadata: Any) -> bytes:
    """The bytes that the application would send."""
    if operation_id is not None:
        metadata["operationId"] = operation_id
    return json.dumps({"type": type, "entity": entity, "data": data, "metadata": metadata}).encode()


def a_user(email: str, **more: Any) -> dict[str, Any]:
    """The attributes of a user that is in form."""
    return {
        "firstName": "Ana",
        "lastName": "Rojas",
        "email": email,
        "passwordHash": "not-a-real-hash",
        "phoneContact": "3001234567",
        **more,
    }


@st.composite
def operation_data(draw: st.DrawFn) -> tuple[str, str, dict[str, Any]]:
    """Type, entity and data of an operation on very few rows."""
    kind = draw(st.integers(0, 11))
    row, parent = draw(EXPLICIT_IDS), draw(EXPLICIT_IDS)
    email, number = draw(st.sampled_from(EMAILS)), draw(st.integers(0, 9))
    match kind:
        case 0:
            return "CREATE", "User", a_user(email)
        case 1:
            return "CREATE", "User", a_user(email, id=row)
        case 2:
            return "UPDATE", "User", {"id": row, "email": email}
        case 3:
            return "UPDATE", "User", {"id": row, "firstName": f"n{number}"}
        case 4:
            return "DELETE", "User", {"id": row}
        case 5:
            return "CREATE", "Business", {"id": row, "userId": parent, "name": f"b{number}"}
        case 6:
            return "CREATE", "Business", {"userId": parent, "name": f"b{number}"}
        case 7:
            return "UPDATE", "Business", {"id": row, "name": f"b{number}", "userId": parent}
        case 8:
            return "DELETE", "Business", {"id": row}
        case 9:
            return "CREATE", "Rating", {"businessId": row, "totalScore": number}
        case 10:
            records = [{"businessId": row, "totalScore": number}, {"businessId": parent, "totalScore": number}]
            return "BULK_CREATE", "Rating", {"records": records}
        case _:
            updates = [{"id": row, "name": f"b{number}"}, {"id": parent, "name": f"c{number}"}]
            return "BULK_UPDATE", "Business", {"updates": updates}


def streams(max_size: int = 30) -> st.SearchStrategy[list[StreamOperation]]:
    """Streams of up to so many operations."""
    return st.lists(operation_data(), min_size=1, max_size=max_size).map(
        lambda stream: [an_operation(f"op_{n}", *operation) for n, operation in enumerate(stream)]
    )


@dataclass
class World:
    """Rows by entity and id, with the constraints that matter for order: keys, parents, cascades, one unique attribute.

    A generated id is kept as the operation that made the row: its value is not part of the promise.
    """

    rows: dict[str, dict[Any, dict[str, Any]]] = field(
        default_factory=lambda: {"User": {}, "Business": {}, "Rating": {}}
    )
    generated: list[tuple[str, int]] = field(default_factory=list)

    def apply(self, operation: StreamOperation) -> None:
        """All of the operation or nothing; raises Refused."""
        before = {name: {key: dict(row) for key, row in table.items()} for name, table in self.rows.items()}
        try:
            for number, action in enumerate(operation.actions):
                self._apply_action(operation.operation_id, number, action)
        except Refused:
            self.rows = before
            raise

    def _apply_action(self, operation_id: str, number: int, action: RowAction) -> None:
        name = action.entity.__name__
        table = self.rows[name]
        if isinstance(action, Delete):
            self._delete(name, action.id)
        elif isinstance(action, Insert):
            key = action.values.get("id", (operation_id, number))
            if key in table:
                raise Refused("duplicate key")
            self._check(name, key, action.values)
            table[key] = {column: value for column, value in action.values.items() if column != "id"}
        else:
            if action.id not in table:
                raise Refused("row not found")
            self._check(name, action.id, action.values)
            table[action.id] = {**table[action.id], **action.values}

    def _check(self, name: str, key: Any, values: dict[str, Any]) -> None:
        parent = {"Business": ("user", "User"), "Rating": ("business", "Business")}.get(name)
        if parent is not None and parent[0] in values and values[parent[0]] not in self.rows[parent[1]]:
            raise Refused("missing parent")
        if name == "User" and "email" in values:
            email = _collated(values["email"])
            if any(_collated(row["email"]) == email for other, row in self.rows["User"].items() if other != key):
                raise Refused("duplicate key")

    def _delete(self, name: str, key: Any) -> None:
        for table, reached in self.reached(name, key):
            self.rows[table].pop(reached, None)

    def reached(self, name: str, key: Any) -> list[tuple[str, Any]]:
        """The row and all that hang on it."""
        child = {"User": ("Business", "user"), "Business": ("Rating", "business")}.get(name)
        reached = [(name, key)]
        if child is not None:
            for child_key in [k for k, row in self.rows[child[0]].items() if row[child[1]] == key]:
                reached += self.reached(child[0], child_key)
        return reached


def serial_outcome(stream: Sequence[StreamOperation]) -> tuple[World, list[str]]:
    """What the stream comes to when applied one after the other: the rows, and the ids of what was refused."""
    world, refused = World(), []
    for operation in stream:
        try:
            world.apply(operation)
        except Refused:
            refused.append(operation.operation_id)
    return world, refused


def _collated(text: str) -> str:
    return text.rstrip().lower()
