"""The kinds of fault, each a function that strikes an arena once and returns when its own part is over: what it took away is
back, or is on its way back under the supervisor. That the service has recovered is for the caller to see.

A kind names what it strikes at (`targets`): two kinds may strike together if they share no target. All of chance comes from
the `random.Random` that is handed in.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.faults.arena import Arena
from tests.support.waiting import eventually
from worker.fault_points import Point

#: Longer (s) than a lease, than the silence after which a worker counts as dead, and than a session in Kafka.
FREEZE_S = 3.5

#: How long (s) a disk is full at most.
FULL_S = 2.0

#: How long (s) after the messages were sent a random moment may be.
LATEST_MOMENT_S = 0.8

#: Points that only a beginning or an end of ingest passes.
AT_AN_ASSIGNMENT = frozenset({Point.BEGINNING, Point.IMPORTED, Point.EPOCH_RAISED})

#: Points that only an operator's discard brings about. Its own tests kill there.
ON_DEMAND = frozenset({Point.DISCARDED})

#: The points that a process of the actors passes; ingest passes the others.
OF_THE_ACTORS = frozenset(point for point in Point if point.value.startswith(("worker.", "cache.")))


class NotReached(Exception):
    """An armed point was not passed; the order was taken back."""


@dataclass(frozen=True)
class Struck:
    """What a fault did; made at the moment of the stroke.

    :ivar kills: how many processes were killed.
    :ivar point: the named point at which; None = no such.
    :ivar at: when, by the monotonic clock (s).
    """

    kills: int = 0
    point: Point | None = None
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    :ivar targets: what it strikes at.
    :ivar is_first: it must begin before messages are sent, for it waits for what they cause.
    :ivar weight: how often it is drawn, against the others.
    """

    name: str
    targets: frozenset[str]
    strike: Callable[[Arena, random.Random], Struck]
    weight: float = 1.0
    is_first: bool = False


def points_for(arena: Arena) -> list[Point]:
    """The points that can be reached with the arena's settings."""
    reached = [point for point in Point if point not in ON_DEMAND]
    return [point for point in reached if point is not Point.RETRY_TOLD or arena.max_retries > 0]


def kill_at(arena: Arena, point: Point, timeout: float = 20.0) -> Struck:
    """Kill whoever passes this point next; and whoever must be killed to get one to pass it.

    :raises NotReached: nobody passes it within `timeout` s.
    """
    arena.arm(point)
    provoked = 0
    if point in AT_AN_ASSIGNMENT:
        arena.supervisor.kill(arena.service.ingest)
        provoked = 1
    elif point is Point.STOPPING:
        arena.supervisor.terminate(arena.service.ingest)
    try:
        arena.wait_until_taken(point, timeout)
    except AssertionError:
        if arena.disarm(point):
            raise NotReached(point.value) from None
        arena.wait_until_taken(point)
    return Struck(1 + provoked, point)


def kill_at_a_point_of_ingest(arena: Arena, chance: random.Random) -> Struck:
    point = chance.choice([one for one in points_for(arena) if one not in OF_THE_ACTORS])
    return kill_at(arena, point)


def kill_at_a_point_of_the_actors(arena: Arena, chance: random.Random) -> Struck:
    point = chance.choice([one for one in points_for(arena) if one in OF_THE_ACTORS])
    return kill_at(arena, point)


def stop_at_a_point_of_the_actors(arena: Arena, chance: random.Random) -> Struck:
    """A worker freezes in the middle, in its transaction too, beyond its lease, and wakes up again."""
    point = chance.choice([one for one in points_for(arena) if one in OF_THE_ACTORS])
    arena.arm(point, "stop")
    try:
        process = arena.wait_until_taken(point)
    except AssertionError:
        if arena.disarm(point):
            raise NotReached(point.value) from None
        process = arena.wait_until_taken(point)
    struck = Struck(point=point)
    time.sleep(FREEZE_S)
    os.kill(process, signal.SIGCONT)
    return struck


def kill_ingest(arena: Arena, chance: random.Random) -> Struck:
    _wait_for_a_random_moment(chance)
    arena.supervisor.kill(arena.service.ingest)
    return Struck(kills=1)


def kill_a_worker(arena: Arena, chance: random.Random) -> Struck:
    """One worker process. Dramatiq's main process ends the other one then, and itself."""
    _wait_for_a_random_moment(chance)
    os.kill(_a_worker(arena, chance), signal.SIGKILL)
    return Struck(kills=1)


def freeze_a_worker(arena: Arena, chance: random.Random) -> Struck:
    _wait_for_a_random_moment(chance)
    worker = _a_worker(arena, chance)
    os.kill(worker, signal.SIGSTOP)
    struck = Struck()
    time.sleep(FREEZE_S)
    with suppress(ProcessLookupError):
        os.kill(worker, signal.SIGCONT)
    return struck


def freeze_ingest(arena: Arena, chance: random.Random) -> Struck:
    """Kafka gives its partitions away meanwhile; it comes back as one that is late."""
    _wait_for_a_random_moment(chance)
    with arena.supervisor.lock:
        ingest = arena.service.ingest
        process = ingest.pid if ingest.is_running else None
    if process is None:
        return Struck()
    os.kill(process, signal.SIGSTOP)
    struck = Struck()
    time.sleep(FREEZE_S)
    os.kill(process, signal.SIGCONT)
    return struck


def kill_the_main_process(arena: Arena, chance: random.Random) -> Struck:
    """Dramatiq's main process is killed and started anew beside its children, which live on for a while."""
    _wait_for_a_random_moment(chance)
    actors = arena.service.actors
    _a_worker(arena, chance)
    group = arena.supervisor.kill_leader(actors)
    struck = Struck(kills=3)
    time.sleep(chance.uniform(1.0, 3.0))
    arena.supervisor.end_orphans(group)
    return struck


def kill_the_database(arena: Arena, chance: random.Random) -> Struck:
    _wait_for_a_random_moment(chance)
    arena.pipeline.mariadb.kill()
    struck = Struck(kills=1)
    arena.pipeline.mariadb.start()
    return struck


def kill_redis(arena: Arena, chance: random.Random) -> Struck:
    _wait_for_a_random_moment(chance)
    arena.pipeline.redis_server.kill()
    struck = Struck(kills=1)
    arena.pipeline.redis_server.start()
    return struck


def kill_kafka(arena: Arena, chance: random.Random) -> Struck:
    _wait_for_a_random_moment(chance)
    arena.pipeline.kafka.kill()
    struck = Struck(kills=1)
    arena.pipeline.kafka.start()
    return struck


def flush_the_broker(arena: Arena, chance: random.Random) -> Struck:
    """The broker's database of Redis is emptied; in one case of two the cache's too."""
    _wait_for_a_random_moment(chance)
    with arena.pipeline.redis_server.client(1) as client:
        if chance.random() < 0.5:
            client.flushall()
        else:
            client.flushdb()
    return Struck()


def lose_the_outbox(arena: Arena, chance: random.Random) -> Struck:
    """Ingest is killed and its outbox deleted."""
    _wait_for_a_random_moment(chance)
    ingest = arena.service.ingest
    with arena.supervisor.held(ingest):
        arena.supervisor.kill(ingest)
        struck = Struck(kills=1)
        for file in arena.outbox_files():
            file.unlink()
    return struck


def lose_the_outbox_at_a_point(arena: Arena, chance: random.Random) -> Struck:
    """Ingest kills itself at a named point, and its outbox is deleted."""
    point = chance.choice([one for one in points_for(arena) if one not in OF_THE_ACTORS | AT_AN_ASSIGNMENT])
    with arena.supervisor.held(arena.service.ingest):
        struck = kill_at(arena, point)
        arena.supervisor.kill(arena.service.ingest)  # it may have left the point's file and live for a moment yet
        for file in arena.outbox_files():
            file.unlink()
    return struck


def fill_the_disk(arena: Arena, chance: random.Random) -> Struck:
    """The outbox and the logs have no room for a while."""
    if arena.disk is None:
        raise NotReached("a disk that may be filled up")
    _wait_for_a_random_moment(chance)
    arena.disk.fill()
    struck = Struck()
    time.sleep(chance.uniform(0.2, FULL_S))
    arena.disk.make_room()
    return struck


def kill_the_active_of_two(arena: Arena, chance: random.Random) -> Struck:
    """A second host stands by, with an outbox of its own, old or new; the active one is killed, or freezes and comes late."""
    active, standby = arena.service, arena.standby
    position = standby.ingest.log_position()
    arena.supervisor.watch(standby, standby.ingest)
    eventually(lambda: arena.pipeline.kafka.members(active.settings["KAFKA_GROUP_ID"]) >= 2, 30, "two members")
    _wait_for_a_random_moment(chance)
    arena.supervisor.dismiss(active.ingest)
    is_late = chance.random() < 0.5
    with arena.supervisor.lock:
        is_late = is_late and active.ingest.is_running
        if is_late:
            active.ingest.pause()
        else:
            active.ingest.kill()
    struck = Struck(kills=1)
    arena.swap_hosts()
    standby.ingest.wait_for_log("this ingest is the active one", 30, position)
    if is_late:
        active.ingest.resume()
        time.sleep(chance.uniform(0.2, 1.0))  # what it still does in this time must do no harm
        active.ingest.kill()
    return struck


KINDS = {
    kind.name: kind
    for kind in (
        Kind("ingest at a point", frozenset({"ingest"}), kill_at_a_point_of_ingest, 6, is_first=True),
        Kind("actors at a point", frozenset({"actors"}), kill_at_a_point_of_the_actors, 5, is_first=True),
        Kind("ingest", frozenset({"ingest"}), kill_ingest, 3),
        Kind("worker", frozenset({"actors"}), kill_a_worker, 2),
        Kind("dramatiq main", frozenset({"actors"}), kill_the_main_process, 2),
        Kind("mariadb", frozenset({"mariadb"}), kill_the_database, 3),
        Kind("redis", frozenset({"redis"}), kill_redis, 3),
        Kind("kafka", frozenset({"kafka", "ingest"}), kill_kafka, 0.5),
        Kind("outbox deleted", frozenset({"ingest"}), lose_the_outbox, 1),
        Kind("outbox deleted at a point", frozenset({"ingest"}), lose_the_outbox_at_a_point, 1, is_first=True),
        Kind("disk full", frozenset({"ingest"}), fill_the_disk, 0.7),
        Kind("active of two", frozenset({"ingest"}), kill_the_active_of_two, 0.7),
        Kind("flushall", frozenset({"redis"}), flush_the_broker, 0.7),
        Kind("worker frozen", frozenset({"actors"}), freeze_a_worker, 0.5),
        Kind("worker frozen at a point", frozenset({"actors"}), stop_at_a_point_of_the_actors, 0.7, is_first=True),
        Kind("ingest frozen", frozenset({"ingest"}), freeze_ingest, 0.4),
    )
}


def draw(chance: random.Random, names: list[str], most: int = 3) -> list[Kind]:
    """One to `most` kinds that may strike together."""
    drawn: list[Kind] = []
    taken: set[str] = set()
    for _ in range(chance.choice(range(1, most + 1))):
        possible = [KINDS[name] for name in names if taken.isdisjoint(KINDS[name].targets)]
        if possible:
            kind = chance.choices(possible, [one.weight for one in possible])[0]
            drawn.append(kind)
            taken |= kind.targets
    return drawn


def _wait_for_a_random_moment(chance: random.Random) -> None:
    time.sleep(chance.uniform(0, LATEST_MOMENT_S))


def _a_worker(arena: Arena, chance: random.Random) -> int:
    """The id of one of the actors' worker processes, once dramatiq has forked them."""

    def workers() -> list[int]:
        with arena.supervisor.lock:
            return arena.service.actors.children() if arena.service.actors.is_running else []

    return chance.choice(eventually(workers, 30, "a worker runs", ignoring=(OSError,)))
