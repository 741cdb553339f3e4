"""The desk over an outbox of its own: operations in it as the application sends them, and the commands as typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from outbox import NewRecord, Outbox, Settled, State
from outbox.file import system_clock
from tests.support.streams import a_message
from worker.assignment import value_hash
from worker.desk.program import app
from worker.messages import Origin

TOPIC = "db-operations-buffer"


class Desk:
    """An outbox, and somebody who works with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = system_clock()
        self.outbox = Outbox.open(path, lambda: self.now)
        self.outbox.database.execute_sql("PRAGMA synchronous = off")
        self.offset = 0

    # ------------------------------------------------------------------------------------------------- what is in it

    def raw(self, raw: bytes, *, id: str | None = None, entity: str | None = None, type: str | None = None) -> int:
        """A pending operation of these bytes; its entry id. Without an id it has its place's, as the intake does it."""
        origin = Origin(TOPIC, 0, self.offset % 3, self.offset // 3)
        self.offset += 1
        sent_at = self.now - 1_000
        record = NewRecord(
            *(origin.topic, origin.generation, origin.partition, origin.offset, sent_at, sent_at, value_hash(raw)),
            *(id or origin.own_id, entity, type, raw),
        )
        (seq,) = self.outbox.append([record])
        assert seq is not None
        return seq

    def pending(self, type: str, entity: str, data: dict[str, Any], id: str | None = None) -> int:
        """A pending operation; its entry id."""
        operation_id = id or f"op_{self.offset}"
        return self.raw(a_message(operation_id, type, entity, data), id=operation_id, entity=entity, type=type)

    def applied(self, type: str, entity: str, data: dict[str, Any], id: str | None = None) -> int:
        seq = self.pending(type, entity, data, id)
        assert self.outbox.settle([Settled(seq, 0, State.APPLIED)]) == 1
        return seq

    def dead(
        self,
        type: str = "UPDATE",
        entity: str = "Business",
        data: dict[str, Any] | None = None,
        *,
        id: str | None = None,
        kind: str = "order",
        reason: str = "Business 9 is not there",
    ) -> int:
        """A dead letter; its entry id."""
        return self.die(self.pending(type, entity, data or {"id": 9, "name": "Nueva"}, id), kind, reason)

    def die(self, seq: int, kind: str = "invalid", reason: str = "message: is not JSON") -> int:
        assert self.outbox.settle([Settled(seq, 0, State.DEAD, 6, kind, reason)]) == 1
        return seq

    def state(self, entry_id: int) -> State:
        entry = self.outbox.entry(entry_id)
        assert entry is not None
        return entry.state

    def payload(self, entry_id: int) -> Any:
        entry = self.outbox.entry(entry_id)
        assert entry is not None
        return json.loads(entry.raw)

    # --------------------------------------------------------------------------------------------------- what is typed

    def run(self, *arguments: object, input: str | None = None) -> Result:
        """A command as typed, where nobody can be asked."""
        return CliRunner().invoke(app, ["--file", str(self.path), *map(str, arguments)], input=input)

    def done(self, *arguments: object) -> str:
        """The same, and it did all that it was told; what it said."""
        result = self.run(*arguments)
        assert result.exit_code == 0, (arguments, result.output, result.exception)
        return result.output

    def lines(self, *arguments: object) -> list[Any]:
        """What it says in JSON, an object a line."""
        return [json.loads(line) for line in self.done(*arguments, "--json").splitlines()]

    def document(self, *arguments: object) -> Any:
        """What it says in JSON, one document."""
        return json.loads(self.done(*arguments, "--json"))
