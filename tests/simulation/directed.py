"""Histories that are not drawn: each leads to a coincidence that drawing seldom meets. The seed still chooses who runs next."""

from __future__ import annotations

from typing import Any

from tests.simulation.plan import Fault, Kind, Operation, Plan, Sizes
from tests.support.streams import a_user
from worker.fault_points import Point


def _send(
    name: str, at: int, type: str, entity: str, data: dict[str, Any], *, partition: int = 0, is_anonymous: bool = False
) -> Operation:
    return Operation(name, partition, at, at, type, entity, data, is_anonymous)


def _plan(sizes: Sizes, *happenings: Operation | Fault) -> Plan:
    in_time = sorted(happenings, key=lambda one: one.at)
    return Plan(
        0,
        sizes,
        tuple(one for one in in_time if isinstance(one, Operation)),
        tuple(one for one in in_time if isinstance(one, Fault)),
    )


_ANA = _send("ana", 0, "CREATE", "User", a_user("ana@x.co", id=1))
_EVA = _send("eva", 60, "UPDATE", "User", {"id": 1, "firstName": "Eva"})
_ORPHAN = _send("orphan", 0, "CREATE", "Business", {"userId": 1, "name": "b"})
_ORPHAN_OF_ROW_1 = _send("orphan", 0, "CREATE", "Business", {"id": 1, "userId": 1, "name": "b"})

A_REPLAYED_LETTER_WITHOUT_A_ROW = _plan(Sizes(holds_lanes=True), _ORPHAN, Fault(Kind.REPLAY, 60))

HELD_BEHIND_A_LETTER_FROM_THE_LEDGER = _plan(
    Sizes(holds_lanes=True),
    _ORPHAN_OF_ROW_1,
    Fault(Kind.TAKE_OVER, 60),
    _send("follows", 60, "UPDATE", "Business", {"id": 1, "name": "c"}),
)

A_LETTER_REPLAYED_BEFORE_WHAT_IS_UNDER_WAY = _plan(
    Sizes(holds_lanes=True, max_in_flight_batches=1, batch_max_operations=3, interruptions=0.8),
    _send("first", 0, "CREATE", "Business", {"id": 2, "userId": 2, "name": "b"}),
    _send("second", 0, "CREATE", "Business", {"id": 1, "userId": 2, "name": "c"}),
    Fault(Kind.REPLAY, 82),
)

A_DISK_THAT_HAS_COUNTED_MORE_GENERATIONS = _plan(
    Sizes(workers=3, batch_max_operations=1, interruptions=0.3),
    _ORPHAN_OF_ROW_1,
    Fault(Kind.MADE_ANEW, 13),
    Fault(Kind.TAKE_OVER, 23),
    _send("other", 31, "DELETE", "User", {"id": 2}),
    _send("another", 43, "DELETE", "User", {"id": 1}),
    Fault(Kind.COME_BACK, 78),
)

THE_OUTBOX_ALONE_HAS_A_DELETED_TOPIC = _plan(
    Sizes(interruptions=0.1),
    Fault(Kind.PAUSE_WORKER, 1, seconds=15.0),
    _ANA,
    Fault(Kind.MADE_ANEW, 30),
    Fault(Kind.REBALANCE, 38),
)

LOST_BEFORE_THE_DATABASE_KNOWS_THE_TOPIC = _plan(
    Sizes(interruptions=0.1),
    _send("without", 40, "CREATE", "User", a_user("ana@x.co"), is_anonymous=True),
    Fault(Kind.MADE_ANEW, 40, Point.COMMITTED_ROWS),
    Fault(Kind.TAKE_OVER, 40, Point.COMMITTED_ROWS),
    _send("another", 100, "CREATE", "User", a_user("beto@x.co"), is_anonymous=True),
)

KILLED_BEFORE_THE_CACHE_IS_TOLD = _plan(Sizes(), _ANA, _EVA, Fault(Kind.KILL_WORKER, 60, Point.COMMITTED_ROWS))

THE_SYNC_OF_THE_CACHE_IS_LOST = _plan(Sizes(), _ANA, _EVA, Fault(Kind.DROP_MESSAGE, 60, Point.SETTLED))

A_VALUE_THAT_IS_TAKEN_NEXT = _plan(
    Sizes(workers=2, batch_max_operations=1, is_fair=False, interruptions=0.1),
    _ANA,
    _send("takes", 60, "UPDATE", "User", {"id": 1, "email": "carla@x.co"}),
    _send("wants", 61, "CREATE", "User", a_user("carla@x.co")),
)

A_COPY_OF_A_LETTER_THAT_IS_REPLAYED = _plan(
    Sizes(workers=2, interruptions=0.3),
    _ORPHAN,
    Fault(Kind.DOUBLE_MESSAGE, 0, Point.BURIED),
    Fault(Kind.REPLAY, 0, Point.SETTLED, 3),  # it waits, it fails, it dies
)

BATCHES_OF_AN_OLDER_EPOCH = _plan(
    Sizes(batch_max_operations=1, is_fair=False),
    *(_send(name, 0, "CREATE", "User", a_user(f"{name}@x.co")) for name in "abcdef"),
    Fault(Kind.PAUSE_WORKER, 0, Point.PICKED_UP, seconds=4.0),
    Fault(Kind.TAKE_OVER, 0, Point.SENT, 5),
)

OVERTAKEN_WHILE_IT_FILLS_THE_CACHE = _plan(
    Sizes(workers=2, interruptions=0.1),
    _ANA,
    Fault(Kind.PAUSE_WORKER, 0, Point.READ, seconds=4.0),
    _send("eva", 30, "UPDATE", "User", {"id": 1, "firstName": "Eva"}),
    Fault(Kind.DROP_MESSAGE, 30, Point.SETTLED),
)

IN_FLIGHT_AT_A_START = _plan(
    Sizes(),
    _ANA,
    Fault(Kind.PAUSE_WORKER, 0, Point.PICKED_UP, seconds=1.0),
    Fault(Kind.KILL_INGEST, 0, Point.SETTLEMENT_PUSHED),
)

KILLED_BEFORE_A_DEATH_IS_TOLD = _plan(Sizes(announces=True), _ORPHAN, Fault(Kind.KILL_INGEST, 0, Point.ANNOUNCING))

WITHOUT_AN_ID_AT_ONE_PLACE_IN_TWO_LIVES = _plan(
    Sizes(),
    _send("first", 0, "CREATE", "User", a_user("ana@x.co"), is_anonymous=True),
    Fault(Kind.MADE_ANEW, 60),
    _send("second", 70, "CREATE", "User", a_user("beto@x.co"), is_anonymous=True),
)

A_COMMIT_TO_THE_TOPIC_THAT_FOLLOWS = _plan(
    Sizes(),
    *(_send(name, 0, "CREATE", "User", a_user(f"{name}@x.co")) for name in "abc"),
    Fault(Kind.MADE_ANEW, 0, Point.COMMITTING, seconds=2.0),
    _send("d", 100, "CREATE", "User", a_user("d@x.co")),
)

TAKEN_OVER_BEFORE_A_DEATH_IS_TOLD = _plan(
    Sizes(holds_lanes=True, interruptions=0.1),
    _ANA,
    _send("dies", 1, "CREATE", "Business", {"id": 1, "userId": 2, "name": "b"}),
    _send("follows", 2, "CREATE", "Business", {"id": 1, "userId": 1, "name": "c"}),
    Fault(Kind.TAKE_OVER, 0, Point.BURIED),
)

HELD_BY_WHAT_IS_HELD = _plan(
    Sizes(holds_lanes=True),
    _ANA,
    _send("business", 1, "CREATE", "Business", {"id": 1, "userId": 1, "name": "b"}),
    _send("dies", 2, "CREATE", "User", a_user("ana@x.co", id=2)),
    _send("is held", 3, "UPDATE", "Business", {"id": 1, "userId": 2}),
    _send("follows", 4, "UPDATE", "Business", {"id": 1, "name": "c"}),
    _send("mends", 60, "UPDATE", "User", {"id": 1, "email": "beto@x.co"}),
    Fault(Kind.REPLAY, 100),
)

HELD_AFTER_A_START = _plan(
    Sizes(holds_lanes=True),
    _ANA,
    _send("dies", 1, "CREATE", "Business", {"id": 1, "userId": 2, "name": "b"}),
    Fault(Kind.KILL_INGEST, 50),
    _send("follows", 60, "CREATE", "Business", {"id": 1, "userId": 1, "name": "c"}),
)

LOST_BEFORE_A_DEATH_IS_TOLD = _plan(
    Sizes(announces=True),
    Fault(Kind.LETTERS_REFUSED, 0, seconds=30.0),
    _ORPHAN,
    _send("other", 50, "CREATE", "User", a_user("ana@x.co")),
    Fault(Kind.TAKE_OVER, 80),
)

DIRECTED = {name: plan for name, plan in list(globals().items()) if isinstance(plan, Plan)}
