"""Judges a history that has come to rest: the promises of the design, each against the simplest thing that can be right.

The order that counts is the outbox's. Where another ingest took over, it is the order of the outboxes one after the other: what
the first one's messages have settled comes before what the next one's have, since the epoch keeps them apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from entities import base, ledger
from entities.cache_value import cache_values, cached_names
from entities.envelope import decode
from entities.errors import InvalidOperation
from entities.operations import actions_of
from entities.registry import entity_named
from entities.statements import values_for_share
from entities.writesets import invalid_writeset
from outbox.models import ARCHIVED_ENTRIES, ENTRIES, PARTITION_LOGS
from outbox.states import State
from tests.simulation.world import World
from tests.support.streams import FIRST_GENERATED, Refused, StreamOperation
from tests.support.streams import World as Serial

#: Columns whose values the database makes, or that no operation of the histories sets.
NOT_COMPARED = {"id", "registration_date", "calculation_date", "total_percentage"}

_ENTRIES_TEXT = """
    SELECT log.generation, log.partition, entry.offset, entry.seq, entry.state, entry.attempts, entry.operation_id,
        entry.incarnation, coalesce(entry.first_seq, entry.seq)
    FROM {} AS entry JOIN {} AS log ON entry.log_id = log.id"""


@dataclass(frozen=True)
class Stored:
    """An entry of an outbox, as much as is judged. ``first_seq``: its place before a replay moved it."""

    seq: int
    state: State
    attempts: int
    operation_id: str
    incarnation: int
    first_seq: int


Place = tuple[int, int, int]  # generation, partition, offset


def faults_of(world: World) -> list[str]:
    """What is wrong with this history, in words; empty if nothing is."""
    if not world.is_quiet:
        return [f"it does not come to rest: {_unrest(world)}"]
    before = base.database.obj
    base.database.initialize(world.database)
    try:
        return list(_Judge(world).faults())
    finally:
        base.database.initialize(before)


def _unrest(world: World) -> str:
    active = world.active
    messages = [f"{queued.message.actor_name} {queued.message.args}" for queued in world.queues.messages]
    entries = [f"{one.operation_id} {one.state.label}" for one in active.disk.window(0, 100, 10**9)]
    return (
        f"entries {entries}, {active.turns.scheduler.in_flight_operations} in flight, messages {messages}, "
        f"epoch {active.turns.scheduler.epoch}, healthy {active.monitor.is_healthy}"
    )


class _Judge:
    def __init__(self, world: World) -> None:
        self._world = world
        self._raws = {_id_of(world, operation, offset): operation.raw for operation, offset in reversed(world.produced)}
        self._lines = ledger.settled(list(self._raws))
        self._outboxes = {disk.outbox_id: _entries(disk) for disk in world.disks}

    def faults(self) -> Iterator[str]:
        yield from self._lost()
        yield from self._doubled()
        yield from self._not_fenced()
        yield from self._out_of_order()
        yield from self._stale_in_the_cache()
        yield from self._untrue_in_the_outbox()

    def _lost(self) -> Iterator[str]:
        for operation_id in self._raws:
            if operation_id not in self._lines:
                yield f"lost: {operation_id} has no line in the ledger"

    def _doubled(self) -> Iterator[str]:
        applied = Counter(line.operation_id for _, _, line in self._world.committed if line.outcome == "applied")
        for operation_id, times in applied.items():
            if times > 1:
                yield f"doubled: {operation_id} was applied {times} times"

    def _not_fenced(self) -> Iterator[str]:
        """An epoch is one outbox's, and once a newer one has settled something an older one settles nothing more."""
        newest, owners = 0, dict[int, str]()
        for outbox_id, epoch, line in self._world.committed:
            if epoch < newest or owners.setdefault(epoch, outbox_id) != outbox_id:
                yield f"not fenced: {line.operation_id} was settled by {outbox_id} in epoch {epoch} after epoch {newest}"
            newest = max(newest, epoch)

    # -------------------------------------------------------------------------------------------------------- order

    def _out_of_order(self) -> Iterator[str]:
        order = self._order()
        serial, refused = Serial(), set()
        for operation_id in order:
            try:
                serial.apply(_operation(operation_id, self._raws[operation_id]))
            except (Refused, InvalidOperation):
                refused.add(operation_id)
        dead = {operation_id for operation_id, line in self._lines.items() if line.outcome != "applied"}
        if self._world.plan.sizes.max_retry_attempts and dead | refused:
            # Something failed at its turn and may have passed at a later one: then only what has an effect is compared.
            serial = Serial()
            for operation_id in self._applied_in_turn():
                try:
                    serial.apply(_operation(operation_id, self._raws[operation_id]))
                except Refused as error:
                    yield f"out of order: {operation_id} was applied, but by the order of the commits: {error}"
        elif dead != refused:
            for operation_id in sorted(dead - refused):
                line = self._lines[operation_id]
                yield f"out of order: {operation_id} is dead ({line.reason}), but serially it passes; {order}"
            for operation_id in sorted(refused - dead):
                yield f"out of order: {operation_id} was applied, but serially it is refused; {order}"
            return
        else:
            burnt = [one.operation_id for one in self._active().values() if one.attempts and one.state is State.APPLIED]
            if burnt:
                yield f"attempts burnt: {burnt}"
        for name in ("User", "Business", "Rating"):
            there, expected = _rows(self._world, name), _expected_rows(serial, name)
            if there != expected:
                more, less = list((there - expected).items()), list((expected - there).items())
                yield f"out of order: {name} holds {more} instead of {less}; {order}"

    def _order(self) -> list[str]:
        """The operations in the order that counts."""
        phase, last = 0, ""
        places: dict[str, tuple[int, int]] = {}
        for outbox_id, _, line in self._world.committed:
            phase += outbox_id != last
            last = outbox_id
            entry = self._outboxes[outbox_id].get((line.generation, line.partition, line.offset))
            if entry is not None and line.operation_id in self._raws:
                # a replay that was lost with its disk has moved the entry, but what is settled is the run before it
                is_moved_since = entry.incarnation > line.incarnation
                places[line.operation_id] = phase, entry.first_seq if is_moved_since else entry.seq
        return sorted(places, key=lambda operation_id: places[operation_id])

    def _applied_in_turn(self) -> list[str]:
        return [line.operation_id for _, _, line in self._world.committed if line.outcome == "applied"]

    # ------------------------------------------------------------------------------------------------ cache and outbox

    def _stale_in_the_cache(self) -> Iterator[str]:
        cached: dict[str, dict[str, int]] = {}
        for key in self._world.cache_redis.all_keys():
            name, _, row_id = key.decode().rpartition(":")
            if name in ("User", "Business", "Rating"):
                cached.setdefault(name, {})[key.decode()] = int(row_id)
        for name, ids in cached.items():
            entity = entity_named(name)
            rows = values_for_share(entity, cached_names(entity, False), list(ids.values()))
            values = dict(cache_values(entity, rows, False))
            for key in ids:
                if self._world.cache_redis.get(key) != values.get(key):
                    yield f"stale: {key}"

    def _untrue_in_the_outbox(self) -> Iterator[str]:
        entries = self._active()
        for place, entry in entries.items():
            line = self._lines.get(entry.operation_id)
            if line is None or place != (line.generation, line.partition, line.offset):
                continue  # a duplicate: it got the outcome that the ledger held at its turn
            if (line.outcome != "applied") != (entry.state in (State.DEAD, State.DISCARDED)):
                yield f"untrue: {entry.operation_id} is {entry.state.label} in the outbox and {line.outcome} in the ledger"
            if entry.attempts > self._world.plan.sizes.max_retry_attempts + 1:
                yield f"untrue: {entry.operation_id} has had {entry.attempts} attempts"
        for line in self._lines.values():
            if line.is_dead and (line.generation, line.partition, line.offset) not in entries:
                yield f"lost: the dead letter {line.operation_id} is not in the active outbox"

    def _active(self) -> dict[Place, Stored]:
        return self._outboxes[self._world.active.disk.outbox_id]


def _entries(disk: Any) -> dict[Place, Stored]:
    """All entries of a disk by their places; an archived one counts only where no other has come."""
    found: dict[Place, Stored] = {}
    for table in (ARCHIVED_ENTRIES, ENTRIES):
        for generation, partition, offset, seq, state, *rest in disk._sql(_ENTRIES_TEXT.format(table, PARTITION_LOGS)):
            found[generation, partition, offset] = Stored(seq, State(state), *rest)
    return found


def _id_of(world: World, operation: Any, offset: int) -> str:
    if operation.type == "garbage":
        return f"{world.topic.name}-{operation.partition}-{offset}"
    return str(operation.operation_id)


def _operation(operation_id: str, raw: bytes) -> StreamOperation:
    return StreamOperation(operation_id, raw, actions_of(decode(raw)), invalid_writeset(operation_id))


def _rows(world: World, name: str) -> Counter[str]:
    entity = entity_named(name)
    fields = entity.attributes().fields
    columns = ", ".join(f'"{field.column_name}"' for field in fields)
    return Counter(
        _row(dict(zip((field.name for field in fields), row, strict=True)))
        for row in world.database.rows(f'SELECT {columns} FROM "{entity._meta.table_name}"')
    )


def _expected_rows(serial: Serial, name: str) -> Counter[str]:
    return Counter(
        _row({**row, "id": key if isinstance(key, int) else FIRST_GENERATED}) for key, row in serial.rows[name].items()
    )


def _row(values: dict[str, Any]) -> str:
    row_id = values["id"] if values["id"] < FIRST_GENERATED else "generated"
    shown = sorted((name, value) for name, value in values.items() if value is not None and name not in NOT_COMPARED)
    return f"{row_id} {shown}"
