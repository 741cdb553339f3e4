"""The ledger: which operations are settled, and how; and the epoch that fences late messages.

A line commits together with the operation's write, so one that is delivered twice has one effect. A dead letter is a line
too, with payload and reason; only a replay's higher incarnation may turn it, and once it is discarded, nothing may. Lines are
written and read in bulk; who may write which, and when, is `worker.apply`'s business.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec
import peewee

from entities import database
from entities.kept import KeptQuery, Slot
from entities.own_tables import IngestEpochs, IngestNodes, MissingTables, SettledOperations, create_own_tables

__all__ = [
    "Discard",
    "MissingTables",
    "SettledOperation",
    "ask_to_write",
    "create_own_tables",
    "dead_letters",
    "discard",
    "epoch_for_share",
    "probe",
    "prune",
    "raise_epoch",
    "record",
    "settled",
    "turn",
]

#: The most characters of a reason that the ledger keeps.
REASON_CHARACTERS = 10_000

#: The most rows of a multi-row statement.
LINES_PER_STATEMENT = 1_000

#: Dead letters are read so many at a time: each may bring a payload of a megabyte.
LETTERS_PER_PAGE = 20

#: What a line costs in a statement beside its payload, touched keys and reason, in bytes; generous.
LINE_OVERHEAD_BYTES = 2_500


class SettledOperation(msgspec.Struct, frozen=True, gc=False):
    """A line of the ledger. `touched` are cache keys; `payload` and the three before it are a dead letter's."""

    operation_id: str
    content: bytes
    outcome: Literal["applied", "dead", "discarded"]
    incarnation: int
    entity: str
    type: str
    touched: tuple[str, ...]
    topic: str
    generation: int
    partition: int
    offset: int
    attempts: int = 0
    error_kind: str = ""
    reason: str = ""
    payload: bytes | None = None

    @property
    def is_dead(self) -> bool:
        return self.outcome == "dead"

    @property
    def is_discarded(self) -> bool:
        return self.outcome == "discarded"


class Discard(msgspec.Struct, frozen=True):
    """A dead letter that an operator has put aside: where in Kafka it stands, up to which incarnation, and why."""

    topic: str
    generation: int
    partition: int
    offset: int
    incarnation: int
    why: str


def settled(operation_ids: Sequence[str]) -> dict[str, SettledOperation]:
    """The lines of those of these operations that have one, without their payloads."""
    lines: dict[str, SettledOperation] = {}
    for start in range(0, len(operation_ids), LINES_PER_STATEMENT):
        ids = [operation_id.encode() for operation_id in operation_ids[start : start + LINES_PER_STATEMENT]]
        for row in database.execute(_select_text(len(ids)), ids).fetchall():
            line = _line_of(row)
            lines[line.operation_id] = line
    return lines


def record(lines: Sequence[SettledOperation]) -> None:
    """Write new lines. Raises `peewee.IntegrityError` if one of the operations has been settled meanwhile."""
    now_ms = time.time_ns() // 1_000_000
    for portion in _portions([line for line in lines if not line.is_dead]):
        parameters = [value for line in portion for value in _applied_values(line, now_ms)]
        database.execute(_insert_text(_APPLIED_COLUMNS, len(portion)), parameters)
    for portion in _portions([_that_fits(line) for line in lines if line.is_dead]):
        parameters = [value for line in portion for value in _dead_values(line, now_ms)]
        database.execute(_insert_text(_ALL_COLUMNS, len(portion)), parameters)


def ask_to_write() -> None:
    """Change nothing, by a statement that writes: raises Peewee's error where the server takes no write, or not from us."""
    table, key, column = map(database.quoted, ("settled_operations", "operation_id", "attempts"))
    database.execute(f"UPDATE {table} SET {column} = {column} WHERE {key} = {database.placeholder()}", [b""])


def turn(line: SettledOperation) -> bool:
    """Replace a dead letter's line by one of a higher incarnation. False, and nothing is done, if that is not what is there."""
    line = _that_fits(line)
    values = dict(zip(_ALL_COLUMNS, _dead_values(line, time.time_ns() // 1_000_000), strict=True))
    del values["operation_id"], values["content"]
    table = SettledOperations
    changed = (
        table.update({getattr(table, name): value for name, value in values.items()})
        .where(table.operation_id == line.operation_id, table.outcome == "dead", table.incarnation < line.incarnation)
        .execute()
    )
    return bool(changed)


def discard(discards: Sequence[Discard]) -> int:
    """Make discarded what is dead at these places, unless a higher incarnation died there meanwhile. How many there were.

    Their payloads go: nobody will run them. The lines stay, so that whoever reads those messages again knows.
    """
    table = SettledOperations
    changed = 0
    for one in discards:
        values = {table.outcome: "discarded", table.reason: one.why[:REASON_CHARACTERS], table.payload: None}
        changed += (
            table.update(values)
            .where(
                table.topic == one.topic,
                table.outcome == "dead",
                table.partition == one.partition,
                table.generation == one.generation,
                table.offset == one.offset,
                table.incarnation <= one.incarnation,
            )
            .execute()
        )
    return changed


def dead_letters(topic: str) -> Iterator[SettledOperation]:
    """Every dead letter of a topic with its payload, in pages, by partition and offset; for an outbox that starts anew."""
    partition, generation, offset = -1, -1, -1
    while True:
        rows = _letters.run(topic=topic, partition=partition, generation=generation, offset=offset).fetchall()
        if not rows:
            return
        letters = [_line_of(row) for row in rows]
        yield from letters
        partition, generation, offset = letters[-1].partition, letters[-1].generation, letters[-1].offset


def prune(topic: str, generation: int, partition: int, below_offset: int, before_ms: int, limit: int) -> int:
    """Delete up to `limit` lines of applied operations of one partition, and tell how many.

    Parameters:
      generation: Nothing of an older one can be read or run again.
      below_offset: What stands at or behind it may be read or run again: its line must stay, or it would be applied twice.
      before_ms: Only lines settled before this time, in milliseconds since 1970.

    Dead letters stay, and discarded ones: they are what a new outbox knows of them. So do the few that a replay has applied:
    whoever runs one again is behind no offset.
    """
    rows = _prunable.run(
        limit, topic=topic, partition=partition, generation=generation, offset=below_offset, before=before_ms
    ).fetchall()
    ids = [operation_id for (operation_id,) in rows]
    for start in range(0, len(ids), LINES_PER_STATEMENT):
        some = ids[start : start + LINES_PER_STATEMENT]
        database.execute(_delete_text(len(some)), some)
    return len(ids)


def raise_epoch(consumer_group: str, outbox_id: str) -> int:
    """Make this outbox the group's active one and give its epoch. Waits for the transactions that read the older one."""
    with database.transaction():
        now_ms = time.time_ns() // 1_000_000
        _first_epoch.run(group=consumer_group, outbox_id=outbox_id, now=now_ms)
        _next_epoch.run(group=consumer_group, outbox_id=outbox_id, now=now_ms)
        (epoch,) = _epoch.run(group=consumer_group).fetchone()
        return int(epoch)


def epoch_for_share(consumer_group: str) -> int:
    """The group's epoch (0 if there is none yet), which cannot be raised before the transaction ends."""
    row = _epoch_for_share.run(group=consumer_group).fetchone()
    return int(row[0]) if row else 0


def probe(outbox_id: str) -> None:
    """Write a row, as an operation would: raises Peewee's error if the database is gone, read-only or full."""
    with database.transaction():
        _seen.run(outbox_id=outbox_id, now=time.time_ns() // 1_000_000)


# What a line of an applied operation has; the others keep their columns' defaults. Fewer parameters, and this is the
# statement that every operation pays for.
_APPLIED_COLUMNS = (
    "operation_id",
    "content",
    "outcome",
    "incarnation",
    "entity",
    "type",
    "touched",
    "topic",
    "generation",
    "partition",
    "offset",
    "settled_at",
)
_ALL_COLUMNS = (*_APPLIED_COLUMNS, "attempts", "error_kind", "reason", "payload")
_READ_COLUMNS = tuple(name for name in _ALL_COLUMNS if name not in ("settled_at", "payload"))

_keys_encoder = msgspec.json.Encoder()
_keys_decoder = msgspec.json.Decoder(tuple[str, ...])


def _applied_values(line: SettledOperation, now_ms: int) -> tuple[Any, ...]:
    return (
        line.operation_id.encode(),
        line.content,
        line.outcome,
        line.incarnation,
        line.entity,
        line.type,
        _keys_encoder.encode(line.touched).decode() if line.touched else None,
        line.topic,
        line.generation,
        line.partition,
        line.offset,
        now_ms,
    )


def _dead_values(line: SettledOperation, now_ms: int) -> tuple[Any, ...]:
    reason = line.reason[:REASON_CHARACTERS] or None
    return (*_applied_values(line, now_ms), line.attempts, line.error_kind, reason, line.payload)


def _line_of(row: Sequence[Any]) -> SettledOperation:
    """A row of `_READ_COLUMNS`, or of those and the payload."""
    operation_id, content, outcome, incarnation, entity, kind, touched, *others = row
    topic, generation, partition, offset, attempts, error_kind, reason, *payload = others
    return SettledOperation(
        operation_id if isinstance(operation_id, str) else bytes(operation_id).decode(),
        bytes(content),
        outcome,
        incarnation,
        entity,
        kind,
        _keys_decoder.decode(touched) if touched else (),
        topic,
        generation,
        partition,
        offset,
        attempts,
        error_kind,
        reason or "",
        bytes(payload[0]) if payload and payload[0] is not None else None,
    )


def _that_fits(line: SettledOperation) -> SettledOperation:
    """The line, without its payload if no statement could carry it (escaped, a byte may take two)."""
    if line.payload is None or 2 * len(line.payload) + _weight(line) < database.facts().max_statement_bytes:
        return line
    lacking = f"{line.reason} [payload of {len(line.payload)} bytes not kept: above the database's packet]"
    return msgspec.structs.replace(line, payload=None, reason=lacking)


def _weight(line: SettledOperation) -> int:
    return LINE_OVERHEAD_BYTES + 8 * min(len(line.reason), REASON_CHARACTERS) + 4 * sum(map(len, line.touched))


def _portions(lines: Sequence[SettledOperation]) -> Iterator[list[SettledOperation]]:
    """The lines, cut so that each part fits into a statement: half of what the server takes, at most."""
    limit = database.facts().max_statement_bytes // 2
    portion: list[SettledOperation] = []
    portion_bytes = 0
    for line in lines:
        line_bytes = _weight(line) + 2 * len(line.payload or b"")
        if portion and (portion_bytes + line_bytes > limit or len(portion) == LINES_PER_STATEMENT):
            yield portion
            portion, portion_bytes = [], 0
        portion.append(line)
        portion_bytes += line_bytes
    if portion:
        yield portion


def _insert_text(columns: tuple[str, ...], count: int) -> str:
    head, row = _insert_parts(columns, database.is_sqlite())
    return head + ",".join([row] * count)


@lru_cache(maxsize=16)
def _insert_parts(columns: tuple[str, ...], for_sqlite: bool) -> tuple[str, str]:
    """The INSERT's text up to VALUES, and one row of it, as Peewee makes them: made once, repeated for each row."""
    table = SettledOperations
    row: list[Any] = [None] * len(columns)
    fields = [getattr(table, name) for name in columns]
    head, values = database.sql_text(peewee.Insert(table, [row], columns=fields)).split(" VALUES ")
    return f"{head} VALUES ", values


def _select_text(count: int) -> str:
    return _select_head(database.is_sqlite()) + f" IN ({database.placeholders(count)})"


def _delete_text(count: int) -> str:
    table, key = database.quoted("settled_operations"), database.quoted("operation_id")
    return f"DELETE FROM {table} WHERE {key} IN ({database.placeholders(count)})"


@lru_cache(maxsize=16)
def _select_head(for_sqlite: bool) -> str:
    columns = ", ".join(map(database.quoted, _READ_COLUMNS))
    table, key = database.quoted("settled_operations"), database.quoted("operation_id")
    return f"SELECT {columns} FROM {table} WHERE {key}"


@KeptQuery
def _letters() -> Any:
    table = SettledOperations
    partition, generation, offset = Slot("partition"), Slot("generation"), Slot("offset")
    return (
        table.select(*(getattr(table, name) for name in (*_READ_COLUMNS, "payload")))
        .where(
            table.topic == Slot("topic"),
            table.outcome == "dead",
            (table.partition > partition)
            | ((table.partition == partition) & (table.generation > generation))
            | ((table.partition == partition) & (table.generation == generation) & (table.offset > offset)),
        )
        .order_by(table.partition, table.generation, table.offset)
        .limit(LETTERS_PER_PAGE)
    )


@KeptQuery
def _prunable(limit: int) -> Any:
    table = SettledOperations
    generation = Slot("generation")
    return (
        table.select(table.operation_id)
        .where(
            table.topic == Slot("topic"),
            table.outcome == "applied",
            table.incarnation == 0,
            table.partition == Slot("partition"),
            (table.generation < generation) | ((table.generation == generation) & (table.offset < Slot("offset"))),
            table.settled_at < Slot("before"),
        )
        .limit(limit)
    )


@KeptQuery
def _first_epoch() -> Any:
    row = {"consumer_group": Slot("group"), "epoch": 0, "outbox_id": Slot("outbox_id"), "raised_at": Slot("now")}
    return IngestEpochs.insert(row).on_conflict_ignore()


@KeptQuery
def _next_epoch() -> Any:
    table = IngestEpochs
    changes = {table.epoch: table.epoch + 1, table.outbox_id: Slot("outbox_id"), table.raised_at: Slot("now")}
    return table.update(changes).where(table.consumer_group == Slot("group"))


@KeptQuery
def _epoch() -> Any:
    return IngestEpochs.select(IngestEpochs.epoch).where(IngestEpochs.consumer_group == Slot("group"))


@KeptQuery
def _epoch_for_share() -> Any:
    query = IngestEpochs.select(IngestEpochs.epoch).where(IngestEpochs.consumer_group == Slot("group"))
    return peewee.NodeList((query, peewee.SQL(database.share_lock())), glue="")


@KeptQuery
def _seen() -> Any:
    row = {"outbox_id": Slot("outbox_id"), "seen_at": Slot("now")}
    return IngestNodes.insert(row).on_conflict_replace()
