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
from outbox.records import NO_TIMESTAMP
from outbox.states import State
from tests.simulation.plan import Kind
from tests.simulation.records import Committed, Produced, life_at
from tests.simulation.rows import Rows, rows_of
from tests.simulation.world import World
from tests.support.streams import FIRST_GENERATED, Refused, StreamOperation
from tests.support.streams import World as Serial

#: Columns whose values the database makes, or that no operation of the histories sets.
NOT_COMPARED = {"id", "registration_date", "calculation_date", "total_percentage"}

_ENTRIES_TEXT = """
    SELECT log.generation, log.partition, entry.offset, entry.seq, entry.state, entry.attempts, entry.operation_id,
        entry.incarnation, coalesce(entry.first_seq, entry.seq), entry.kafka_timestamp
    FROM {} AS entry JOIN {} AS log ON entry.log_id = log.id"""


@dataclass(frozen=True)
class Stored:
    """An entry of an outbox, as much as is judged.

    ``is_live``: not put aside. ``is_imported``: it came from the ledger. ``first_seq``: its place before a replay moved it.
    ``life``: the topic's when the record was sent; None if that cannot be told.
    """

    is_live: bool
    is_imported: bool
    seq: int
    state: State
    attempts: int
    operation_id: str
    incarnation: int
    first_seq: int
    life: int | None


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
        self._outboxes = {disk.outbox_id: _entries(disk) for disk in world.disks}
        self._produced: dict[tuple[int | None, int, int], Produced] = {one.place: one for one in world.produced}
        self._settled_by = {(one.outbox_id, one.line.operation_id) for one in world.committed}
        self._ids = [self._ids_of(produced) for produced in world.produced]
        self._raws = {
            operation_id: produced.operation.raw
            for produced, ids in zip(reversed(world.produced), reversed(self._ids), strict=True)
            for operation_id in ids
        }
        self._lines = ledger.settled(list(self._raws))

    def _ids_of(self, produced: Produced) -> set[str]:
        """Under which ids the service knows it; without one of its own it is named for its place, and for the generation of the
        topic: which one that is, the outboxes say. One that was lost with all that it had may have counted otherwise."""
        if not produced.operation.is_anonymous:
            return {produced.operation.operation_id}
        return {
            entry.operation_id
            for outbox_id, entries in self._outboxes.items()
            for (_, partition, offset), entry in entries.items()
            if (entry.life, partition, offset) == produced.place
            and (outbox_id == self._world.active.disk.outbox_id or (outbox_id, entry.operation_id) in self._settled_by)
        }

    def faults(self) -> Iterator[str]:
        yield from self._lost()
        yield from self._mixed_up()
        yield from self._doubled()
        yield from self._not_fenced()
        yield from self._out_of_order()
        yield from self._not_held()
        yield from self._stale_in_the_cache()
        yield from self._untrue_in_the_outbox()

    def _lost(self) -> Iterator[str]:
        """What stood in a topic that is deleted is only owed if the outbox had it, and is not lost with its disk."""
        for produced, ids in zip(self._world.produced, self._ids, strict=True):
            is_owed = produced.life == self._world.topic.life or produced.place in self._world.owed
            if is_owed and ids.isdisjoint(self._lines):
                yield f"lost: {produced.operation.operation_id} has no line in the ledger"

    def _mixed_up(self) -> Iterator[str]:
        """A generation of a partition is one life of the topic, and a message without an id has a name of its own."""
        names = Counter(
            name
            for produced, ids in zip(self._world.produced, self._ids, strict=True)
            for name in (ids if produced.operation.is_anonymous else ())
        )
        for name, times in names.items():
            if times > 1:
                yield f"mixed up: {times} messages without an id are {name}"
        for outbox_id, entries in self._outboxes.items():
            lives = dict[tuple[int, int], int]()
            for (generation, partition, _), entry in entries.items():
                if entry.is_live and not entry.is_imported and entry.life is not None:
                    life = lives.setdefault((generation, partition), entry.life)
                    if life != entry.life:
                        where = f"generation {generation} of partition {partition}"
                        yield f"mixed up: {outbox_id} has records of the topic's lives {life} and {entry.life} in {where}"

    def _doubled(self) -> Iterator[str]:
        for produced, ids in zip(self._world.produced, self._ids, strict=True):
            if len(ids & self._lines.keys()) > 1:
                yield f"doubled: {produced.operation.operation_id} was settled as {sorted(ids)}"
        committed = self._world.committed
        applied = Counter(one.line.operation_id for one in committed if one.line.outcome == "applied")
        for operation_id, times in applied.items():
            if times > 1:
                yield f"doubled: {operation_id} was applied {times} times"

    def _not_fenced(self) -> Iterator[str]:
        """An epoch is one outbox's, and once a newer one has settled something an older one settles nothing more."""
        newest, owners = 0, dict[int, str]()
        for one in self._world.committed:
            if one.epoch < newest or owners.setdefault(one.epoch, one.outbox_id) != one.outbox_id:
                what = f"{one.line.operation_id} was settled by {one.outbox_id} in epoch {one.epoch}"
                yield f"not fenced: {what} after epoch {newest}"
            newest = max(newest, one.epoch)

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
        if self._has_had_another_turn and dead | refused:
            # Something failed at its turn and may have passed at a later one: then only what has an effect is compared.
            yield from self._overtaken()
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

    @property
    def _has_had_another_turn(self) -> bool:
        """Whether an operation may have been tried at another place than its own in the order: what was held passes others that
        it conflicts with elsewhere than on a row, and a replay that holds its rows keeps its place."""
        sizes = self._world.plan.sizes
        if sizes.max_retry_attempts:
            return True
        replays = (decision.kind is Kind.REPLAY for decision in self._world.decisions)
        return sizes.holds_lanes and (any(disk.has_held for disk in self._world.disks) or any(replays))

    def _in_turn(self) -> list[tuple[tuple[int, int], Committed]]:
        """What was settled, by its commits, and its place in the order that counts: by who had the epoch, and the seq there."""
        phase, last = 0, ""
        found = []
        for one in self._world.committed:
            phase += one.outbox_id != last
            last = one.outbox_id
            if one.seq is not None and one.line.operation_id in self._raws:
                found.append(((phase, one.seq), one))
        return found

    def _order(self) -> list[str]:
        """The operations in the order that counts."""
        places = {one.line.operation_id: place for place, one in self._in_turn()}
        return sorted(places, key=lambda operation_id: places[operation_id])

    def _overtaken(self) -> Iterator[str]:
        """Whatever failed meanwhile: on one row nothing is applied before what comes before it. What waits for the operator keeps
        to itself the rows that it is to write; what is being retried, those that it names, too."""
        holds_lanes = self._world.plan.sizes.holds_lanes
        applied = [(place, one, self._rows(one)) for place, one in self._in_turn() if one.line.outcome == "applied"]
        for number, (place, one, rows) in enumerate(applied):
            for earlier_place, earlier, earlier_rows in applied[:number]:
                if earlier_place > place and rows.precede(earlier_rows, but_for_parents=holds_lanes):
                    ids = earlier.line.operation_id, one.line.operation_id
                    yield f"out of order: {ids[0]} was applied before {ids[1]}, which comes before it"

    def _not_held(self) -> Iterator[str]:
        """Nothing is applied on a dead letter's rows that comes after it, until the operator has decided on the letter."""
        committed = self._world.committed if self._world.plan.sizes.holds_lanes else []
        for number, letter in enumerate(committed):
            held = self._rows(letter).written if letter.line.outcome == "dead" else frozenset()
            for after, one in enumerate(committed[number + 1 :] if held else (), number + 1):
                if _place(one.line) == _place(letter.line) or self._is_decided(letter, one.outbox_id, number, after):
                    break
                is_behind = one.line.outcome == "applied" and self._comes_after(one, letter)
                if is_behind and not held.isdisjoint(self._rows(one).all):
                    yield f"not held: {one.line.operation_id} was applied behind the dead letter {letter.line.operation_id}"

    def _is_decided(self, letter: Committed, outbox_id: str, died: int, by: int) -> bool:
        """Whether the operator has decided on a letter by then, as far as this outbox knows."""
        entry = self._outboxes[letter.outbox_id].get(_place(letter.line))
        return any(
            died < decision.after <= by
            and (decision.kind is Kind.DISCARD or decision.outbox_id == outbox_id)
            and entry is not None
            and decision.operation_id == entry.operation_id
            for decision in self._world.decisions
        )

    def _comes_after(self, one: Committed, letter: Committed) -> bool:
        """Whether an operation comes after a dead letter in its own outbox: after one taken over from the ledger all do."""
        if one.outbox_id == letter.outbox_id:
            return one.seq is not None and letter.seq is not None and one.seq > letter.seq
        there = self._outboxes[one.outbox_id].get(_place(letter.line))
        if there is None or there.is_imported:
            return True
        return one.seq is not None and one.seq > there.first_seq

    def _rows(self, one: Committed) -> Rows:
        entry = self._outboxes[one.outbox_id].get(_place(one.line))
        produced = self._produced.get((entry.life, *_place(one.line)[1:])) if entry is not None else None
        return rows_of(produced.operation) if produced is not None else Rows()

    def _applied_in_turn(self) -> list[str]:
        return [one.line.operation_id for one in self._world.committed if one.line.outcome == "applied"]

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
            for row_key in ids:
                if self._world.cache_redis.get(row_key) != values.get(row_key):
                    yield f"stale: {row_key}"

    def _untrue_in_the_outbox(self) -> Iterator[str]:
        entries = self._active()
        for place, entry in entries.items():
            line = self._lines.get(entry.operation_id) if entry.is_live else None
            if line is None or place != _place(line):
                continue  # a duplicate: it got the outcome that the ledger held at its turn
            if (line.outcome != "applied") != (entry.state in (State.DEAD, State.DISCARDED)):
                yield f"untrue: {entry.operation_id} is {entry.state.label} in the outbox and {line.outcome} in the ledger"
            if entry.attempts > self._world.plan.sizes.max_retry_attempts + 1:
                yield f"untrue: {entry.operation_id} has had {entry.attempts} attempts"
        for decision in self._world.decisions[self._world.lost_decisions :]:
            line = self._lines.get(decision.operation_id)
            is_dead = line is not None and line.is_dead and line.incarnation <= decision.incarnation
            if is_dead and decision.kind is Kind.REPLAY:
                yield f"untrue: {decision.operation_id}#{decision.incarnation} was replayed, and has not run again"
        for line in self._lines.values():
            if line.is_dead and _place(line) not in entries:
                yield f"lost: the dead letter {line.operation_id} is not in the active outbox"
            is_told = (*_place(line), line.incarnation) in self._world.letters.told
            if line.is_dead and self._world.plan.sizes.announces and not is_told:
                yield f"untold: nobody was told of the dead letter {line.operation_id}#{line.incarnation}"

    def _active(self) -> dict[Place, Stored]:
        return self._outboxes[self._world.active.disk.outbox_id]


def _place(line: ledger.SettledOperation) -> Place:
    return line.generation, line.partition, line.offset


def _entries(disk: Any) -> dict[Place, Stored]:
    """All entries of a disk by their places; an archived one counts only where no other has come."""
    found: dict[Place, Stored] = {}
    for table in (ARCHIVED_ENTRIES, ENTRIES):
        rows = disk._sql(_ENTRIES_TEXT.format(table, PARTITION_LOGS))
        for (
            generation,
            partition,
            offset,
            seq,
            state,
            attempts,
            operation_id,
            incarnation,
            first_seq,
            timestamp,
        ) in rows:
            place = generation, partition, offset
            is_imported = timestamp == NO_TIMESTAMP
            before = found.get(place) if is_imported else None
            life: int | None = life_at(timestamp)
            if is_imported:
                life = None if before is None else before.life
            found[place] = Stored(
                table is ENTRIES,
                is_imported,
                seq,
                State(state),
                attempts,
                operation_id,
                incarnation,
                first_seq,
                life,
            )
    return found


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
