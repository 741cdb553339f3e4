"""A history before it runs: the operations, the faults and the sizes, all drawn from a seed; and as values, so that a failing
history can be shrunk by leaving some of them out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, cached_property
from typing import Any, TypeVar

from tests.support.streams import a_message, a_user
from worker.fault_points import Point

#: Histories are about so many steps long while faults come.
STEPS = 120

EMAILS = ("ana@x.co", "ANA@X.co", "beto@x.co", "carla@x.co")


class Kind(StrEnum):
    """What may happen to the service."""

    KILL_INGEST = "the ingest is killed"
    KILL_WORKER = "a worker is killed"
    PAUSE_INGEST = "the ingest is stopped for a while"
    PAUSE_WORKER = "a worker is stopped for a while"
    TAKE_OVER = "another ingest takes over without the first one's disk"
    COME_BACK = "an ingest comes back with an older disk"
    REBALANCE = "the group is rebalanced"
    MADE_ANEW = "the topic is deleted and made anew"
    BROKEN_FETCH = "a batch of records cannot be read the first time"
    FLUSH_BROKER = "the broker's Redis is emptied"
    FLUSH_CACHE = "the cache's Redis is emptied"
    REDIS_DOWN = "Redis is away"
    DROP_MESSAGE = "Redis loses a message"
    DOUBLE_MESSAGE = "a message is delivered twice"
    LOSE_SETTLEMENTS = "Redis loses the settlements"
    DATABASE_DOWN = "the database is away"
    CONNECTION_DROPPED = "the database drops the connection that has a transaction open"
    COMMIT_LOST_BEFORE = "the connection breaks before a COMMIT"
    COMMIT_LOST_AFTER = "the connection breaks after a COMMIT"
    DEADLOCK = "a statement meets a deadlock"
    DISK_FULL = "the outbox's disk is full"
    REPLAY = "the operator replays the dead letters"
    DISCARD = "the operator discards a dead letter"
    LETTERS_REFUSED = "Kafka takes no dead letters"


#: How often each is drawn.
WEIGHTS = {
    Kind.KILL_INGEST: 8,
    Kind.KILL_WORKER: 8,
    Kind.PAUSE_INGEST: 3,
    Kind.PAUSE_WORKER: 6,
    Kind.TAKE_OVER: 4,
    Kind.COME_BACK: 3,
    Kind.REBALANCE: 2,
    Kind.MADE_ANEW: 3,
    Kind.BROKEN_FETCH: 2,
    Kind.FLUSH_BROKER: 3,
    Kind.FLUSH_CACHE: 3,
    Kind.REDIS_DOWN: 2,
    Kind.DROP_MESSAGE: 3,
    Kind.DOUBLE_MESSAGE: 4,
    Kind.LOSE_SETTLEMENTS: 3,
    Kind.DATABASE_DOWN: 4,
    Kind.CONNECTION_DROPPED: 2,
    Kind.COMMIT_LOST_BEFORE: 2,
    Kind.COMMIT_LOST_AFTER: 3,
    Kind.DEADLOCK: 2,
    Kind.DISK_FULL: 2,
    Kind.REPLAY: 4,
    Kind.DISCARD: 2,
    Kind.LETTERS_REFUSED: 1,
}

INGEST_THREADS = ("kafka", "ingest", "dispatcher", "settlements", "announcer")
WORKER_POINTS = tuple(point for point in Point if point.value.partition(".")[0] in ("worker", "cache"))
INGEST_POINTS = tuple(point for point in Point if point.value.partition(".")[0] in INGEST_THREADS)


@dataclass(frozen=True)
class Operation:
    """A message that the application sends. ``at``: the step; ``timestamp``: milliseconds since the history's beginning.

    ``is_anonymous``: it brings no operation id, so that the service names it for its place.
    """

    operation_id: str
    partition: int
    at: int
    timestamp: int
    type: str
    entity: str
    data: Any
    is_anonymous: bool = False

    @cached_property
    def raw(self) -> bytes:
        if self.type == "garbage":
            return b"{no json " + self.operation_id.encode()
        operation_id = None if self.is_anonymous else self.operation_id
        return a_message(operation_id, self.type, self.entity, self.data, timestamp=self.timestamp)

    def __str__(self) -> str:
        return f"{self.operation_id}: {self.type} {self.entity} {self.data}, partition {self.partition}, step {self.at}"


@dataclass(frozen=True)
class Fault:
    """Something that happens: at a step, or, with a point, at the so-manieth time that somebody reaches it from then on.

    ``seconds``: how long it lasts, where it does.
    """

    kind: Kind
    at: int
    point: Point | None = None
    nth: int = 1
    seconds: float = 0.0

    def __str__(self) -> str:
        when = f"step {self.at}" + (f", {self.point.value} for the {self.nth}. time" if self.point else "")
        return f"{self.kind.value} ({when}{f', {self.seconds:g} s' if self.seconds else ''})"


Timed = TypeVar("Timed", Operation, Fault)


@dataclass(frozen=True)
class Sizes:
    """The settings and the odds of a history. ``holds_lanes``: what follows a dead letter on its row waits for the operator.
    ``announces``: Kafka's topic of dead letters is told of them."""

    partitions: int = 1
    workers: int = 1
    max_retry_attempts: int = 0
    max_in_flight_batches: int = 8
    batch_max_operations: int = 500
    window_max_operations: int = 1000
    portion: int = 1000
    buffer_records: int = 5000
    interruptions: float = 0.0
    is_fair: bool = True
    holds_lanes: bool = False
    announces: bool = False


@dataclass(frozen=True)
class Plan:
    """All of a history but the choice of who runs next, which the seed makes as it goes."""

    seed: int
    sizes: Sizes
    operations: tuple[Operation, ...]
    faults: tuple[Fault, ...]

    def without(self, operations: frozenset[int] = frozenset(), faults: frozenset[int] = frozenset()) -> Plan:
        """The plan less those operations and faults, by their indices."""
        return replace(
            self,
            operations=tuple(one for number, one in enumerate(self.operations) if number not in operations),
            faults=tuple(one for number, one in enumerate(self.faults) if number not in faults),
        )


def plan_of(seed: int) -> Plan:
    """The history of this seed."""
    chance = random.Random(seed)
    window = chance.choice((2, 4, 1000, 1000))
    sizes = Sizes(
        partitions=chance.choice((1, 2, 3)),
        workers=chance.choice((1, 2, 2, 3)),
        max_retry_attempts=chance.choice((0, 0, 0, 1, 2)),
        max_in_flight_batches=chance.choice((1, 2, 4)),
        batch_max_operations=min(window, chance.choice((1, 2, 3, 500, 500))),
        window_max_operations=window,
        portion=chance.choice((1, 2, 3, 1000)),
        buffer_records=chance.choice((1, 2, 5000)),
        interruptions=chance.choice((0.0, 0.1, 0.3, 0.6)),
        is_fair=chance.random() < 0.6,
        holds_lanes=chance.random() < 0.2,
        announces=chance.random() < 0.2,
    )
    operations = _operations(chance, sizes)
    faults = [_fault(chance, sizes, operations) for _ in range(chance.randint(0, 3))]
    for fault in [one for one in faults if one.kind is Kind.MADE_ANEW]:
        operations += _operations_after(chance, sizes, operations, fault.at)
        if chance.random() < 0.4:  # without the disk
            faults.append(Fault(Kind.TAKE_OVER, fault.at + chance.choice((0, 0, 10))))
    return Plan(seed, sizes, _in_time(operations), _in_time(faults))


def _in_time(those: Sequence[Timed]) -> tuple[Timed, ...]:
    return tuple(sorted(those, key=lambda one: one.at))


def _operations_after(chance: random.Random, sizes: Sizes, before: Sequence[Operation], at: int) -> list[Operation]:
    """What is sent to a topic that was made anew at that step: something new, or the same again."""
    operations = []
    for number in range(len(before), len(before) + chance.randint(1, 2)):
        if before and chance.random() < 0.3:
            operation = replace(chance.choice(before), at=at + chance.randint(0, 30))
        else:
            type, entity, data = _operation(chance, number)
            operation = Operation(f"op_{number}", 0, at + chance.randint(0, 30), number * 10, type, entity, data)
            operation = _sent(chance, operation)
        operations.append(replace(operation, partition=chance.randrange(sizes.partitions)))
    return operations


def _operations(chance: random.Random, sizes: Sizes) -> list[Operation]:
    # Mostly few. With two less at most a history costs a tenth less, and some mutants are noticed a hundred times later.
    count = min(chance.randint(1, 9) for _ in range(4))
    late = chance.random() < 0.6
    operations: list[Operation] = []
    if chance.random() < 0.5:  # rows for the others to meet
        rows = ("User", a_user("ana@x.co", id=1)), ("Business", {"id": 1, "userId": 1, "name": "first"})
        for number, (entity, data) in enumerate(rows):
            partition = chance.randrange(sizes.partitions)
            operations.append(Operation(f"first_{number}", partition, 0, number, "CREATE", entity, data))
    for number in range(count):
        at = chance.randint(0, STEPS // 2) if late and number else 0
        timestamp = max(0, number * 10 + chance.choice((0, 0, 5, -15)))
        if operations and chance.random() < 0.06:
            again = chance.choice(operations)
            operations.append(replace(again, partition=chance.randrange(sizes.partitions), at=at, timestamp=timestamp))
            continue
        type, entity, data = _operation(chance, number)
        operations.append(
            _sent(
                chance, Operation(f"op_{number}", chance.randrange(sizes.partitions), at, timestamp, type, entity, data)
            )
        )
    return operations


def _sent(chance: random.Random, operation: Operation) -> Operation:
    """With or without an id of its own."""
    return replace(operation, is_anonymous=operation.type == "garbage" or chance.random() < 0.1)


def _operation(chance: random.Random, number: int) -> tuple[str, str, Any]:
    row, parent, email = chance.randint(1, 2), chance.randint(1, 2), chance.choice(EMAILS)
    match chance.choice("uuuuUUvveeddbbbbBBcDDrrRRxiy"):
        case "u":
            return "CREATE", "User", a_user(email, id=row)
        case "U":
            return "CREATE", "User", a_user(email)
        case "v":
            return "UPDATE", "User", {"id": row, "firstName": f"n{number}"}
        case "e":
            return "UPDATE", "User", {"id": row, "email": email}
        case "d":
            return "DELETE", "User", {"id": row}
        case "b":
            return "CREATE", "Business", {"id": row, "userId": parent, "name": f"b{number}"}
        case "B":
            return "CREATE", "Business", {"userId": parent, "name": f"b{number}"}
        case "c":
            return "UPDATE", "Business", {"id": row, "name": f"b{number}", "userId": parent}
        case "D":
            return "DELETE", "Business", {"id": row}
        case "r":
            return "CREATE", "Rating", {"businessId": row, "totalScore": number}
        case "R":
            records = [{"businessId": row, "totalScore": number}, {"businessId": parent, "totalScore": number}]
            return "BULK_CREATE", "Rating", {"records": records}
        case "x":
            return "garbage", "", None
        case "y":
            return "UPDATE", "Business", {"id": row, "creationYear": "never"}
        case _:
            return "CREATE", "Business", {"userId": "nobody", "name": ""}


@cache
def _points(sizes: Sizes, of_a_worker: bool) -> tuple[Point, ...]:
    """The points that somebody may come to in a history of these sizes."""
    nobody_comes_to = {Point.STOPPING}
    if not sizes.announces:
        nobody_comes_to |= {Point.ANNOUNCING, Point.ANNOUNCED}
    if not sizes.max_retry_attempts:
        nobody_comes_to.add(Point.RETRY_TOLD)
    return tuple(point for point in (WORKER_POINTS if of_a_worker else INGEST_POINTS) if point not in nobody_comes_to)


def _fault(chance: random.Random, sizes: Sizes, operations: Sequence[Operation]) -> Fault:
    (kind,) = chance.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))
    at = chance.randint(1, STEPS)
    if kind in (Kind.KILL_INGEST, Kind.KILL_WORKER, Kind.PAUSE_WORKER, Kind.PAUSE_INGEST, Kind.TAKE_OVER):
        points = _points(sizes, of_a_worker=kind in (Kind.KILL_WORKER, Kind.PAUSE_WORKER))
        point = chance.choice(points) if chance.random() < 0.8 else None
        if point is not None:  # armed when an operation is sent: later nobody may come there any more
            at = chance.choice(operations).at
        return Fault(kind, at, point, chance.choice((1, 1, 1, 2, 3)), _seconds(chance, kind))
    return Fault(kind, at, seconds=_seconds(chance, kind))


def _seconds(chance: random.Random, kind: Kind) -> float:
    if kind in (Kind.PAUSE_WORKER, Kind.PAUSE_INGEST):
        return chance.choice((1.0, 4.0, 15.0, 40.0))  # a lock's wait is 5 s, a lease 10 s
    if kind in (Kind.REDIS_DOWN, Kind.DATABASE_DOWN, Kind.DISK_FULL, Kind.LETTERS_REFUSED):
        return chance.choice((0.5, 3.0, 30.0))
    if kind is Kind.MADE_ANEW:
        return chance.choice((0.0, 0.0, 0.1, 2.0))  # until the group notices
    if kind is Kind.TAKE_OVER:
        return chance.choice((0.0, 0.0, 2.0, 20.0))  # so long the first one lives on without knowing
    return 0.0
