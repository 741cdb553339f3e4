"""What the tests of the apply path share: operations that are right in every point, batches, and databases to apply them to."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import peewee

from entities import base, database, ledger
from entities.database import DatabaseConfig, ServiceDatabase
from entities.schema import create_application_tables
from tests.support.mariadb_server import PASSWORD, USER, MariaDBServer
from worker.apply import BatchResult, apply_batch
from worker.messages import Batch, DispatchedOperation, Origin, Outcome, Verdict, Verdicts

GROUP = "database-writer-group"
TOPIC = "db-operations-buffer"

_numbers = itertools.count(1)


def a_user(number: int, **attributes: Any) -> dict[str, Any]:
    """What CREATE needs of a User; the e-mail address is the number's own."""
    return {
        "firstName": "Ana",
        "lastName": f"Pérez {number}",
        "email": f"user{number}@example.co",
        "passwordHash": "$2b$10$abcdefghijklmnop",
        "phoneContact": "3001234567",
        **attributes,
    }


def an_operation(
    type: str, entity: str, data: dict[str, Any], *, id: str | None = None, incarnation: int = 0
) -> DispatchedOperation:
    """An operation at an offset of its own, with an operation id of its own unless one is given."""
    number = next(_numbers)
    operation_id = id or f"op_{1_699_876_543_210 + number}_k3j9x2b1a"
    message = {
        "type": type,
        "entity": entity,
        "data": data,
        "metadata": {
            "operationId": operation_id,
            "timestamp": 1_699_876_543_210 + number,
            "source": "adelante-sumerce",
        },
    }
    return a_raw_operation(json.dumps(message).encode(), id=operation_id, incarnation=incarnation, offset=number)


def a_raw_operation(raw: bytes, *, id: str, incarnation: int = 0, offset: int | None = None) -> DispatchedOperation:
    """An operation of these bytes, whatever they are."""
    offset = next(_numbers) if offset is None else offset
    return DispatchedOperation(Origin(TOPIC, 0, offset % 3, offset), id, incarnation, raw)


def create(entity: str, **data: Any) -> DispatchedOperation:
    return an_operation("CREATE", entity, data)


def create_user(number: int, **attributes: Any) -> DispatchedOperation:
    return an_operation("CREATE", "User", a_user(number, **attributes))


def update(entity: str, row_id: int, **data: Any) -> DispatchedOperation:
    return an_operation("UPDATE", entity, {"id": row_id, **data})


def delete(entity: str, row_id: int) -> DispatchedOperation:
    return an_operation("DELETE", entity, {"id": row_id})


def again(operation: DispatchedOperation, *, incarnation: int | None = None) -> DispatchedOperation:
    """The operation delivered once more, or replayed with a higher incarnation."""
    number = operation.incarnation if incarnation is None else incarnation
    return msgspec.structs.replace(operation, incarnation=number)


def a_batch(*operations: DispatchedOperation, epoch: int = 1) -> Batch:
    return Batch(f"batch-{next(_numbers)}", "outbox-1", GROUP, epoch, operations)


def verdicts_on(*operations: DispatchedOperation, reason: str = "it failed", epoch: int = 1) -> Verdicts:
    """Verdicts on operations whose retries are exhausted."""
    verdicts = [
        Verdict(one.origin, one.operation_id, one.incarnation, one.raw, "order", reason, 5) for one in operations
    ]
    return Verdicts(f"verdicts-{next(_numbers)}", "outbox-1", GROUP, epoch, tuple(verdicts))


def apply(*operations: DispatchedOperation, is_alone: bool = False) -> BatchResult:
    """Apply operations as one batch."""
    return apply_batch(a_batch(*operations), is_alone=is_alone)


def outcomes(result: BatchResult) -> list[Outcome]:
    return [line.outcome for line in result.outcomes]


def reasons(result: BatchResult) -> list[str]:
    return [line.reason for line in result.outcomes]


def rows(text: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """The rows of a query, its parameters written `%s`."""
    text = text.replace("%s", database.placeholder())
    return [tuple(row) for row in database.execute(text, parameters).fetchall()]


@contextmanager
def sqlite_database(path: Path) -> Iterator[ServiceDatabase]:
    """An application's database in a file, with our own tables in it."""
    with _bound(DatabaseConfig(engine="sqlite", name=str(path))) as opened:
        yield opened


@contextmanager
def mariadb_database(server: MariaDBServer, name: str) -> Iterator[ServiceDatabase]:
    """An application's database on a server, with our own tables in it."""
    config = DatabaseConfig(host="127.0.0.1", port=server.port, user=USER, password=PASSWORD, name=name)
    with _bound(config) as opened:
        yield opened


@contextmanager
def _bound(config: DatabaseConfig) -> Iterator[ServiceDatabase]:
    before = base.database.obj
    opened = database.open_database(config)
    try:
        create_application_tables()
        ledger.create_own_tables()
        ledger.raise_epoch(GROUP, "outbox-1")
        yield opened
    finally:
        database.close()
        base.database.obj = before


class Statements:
    """The texts of the statements that were sent, and how many transactions were begun."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.transactions = 0

    def count(self, start: str) -> int:
        """How many began like this."""
        return sum(text.lstrip().upper().startswith(start.upper()) for text in self.texts)


@contextmanager
def statements_sent() -> Iterator[Statements]:
    """Counts what is sent to the bound database in this block."""
    seen = Statements()
    bound: Any = database.current()
    begin: Callable[..., Any] = bound.begin

    def note(event: peewee.QueryEvent) -> None:
        seen.texts.append(event.sql)

    def counted_begin(*arguments: Any) -> Any:
        seen.transactions += 1
        return begin(*arguments)

    bound.query_hooks.append(note)
    bound.begin = counted_begin
    try:
        yield seen
    finally:
        bound.query_hooks.remove(note)
        del bound.begin
