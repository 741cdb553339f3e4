"""What a plan's faults do to a history that runs: to its processes, its servers, and through the operator's hand.

A fault happens at its step, or, armed, when somebody has come to its point for the so-manieth time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from outbox.records import Entry
from tests.simulation.nodes import Disk, Process, Worker
from tests.simulation.plan import Fault, Kind
from tests.simulation.records import Decision, life_at
from worker.fault_points import Point

if TYPE_CHECKING:
    from tests.simulation.world import World

#: How long a killed process is away (s).
RESTART_S = 1.0

#: What is told of a fault at a point that nobody came to.
NEVER_REACHED = "nobody comes to the point at which it was to happen"


class Strokes:
    """The faults of one history."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._armed: list[tuple[Fault, list[int]]] = []

    @property
    def are_armed(self) -> bool:
        """Whether faults wait for somebody to come to their points."""
        return bool(self._armed)

    def arm(self, fault: Fault) -> None:
        """Have it happen when somebody comes to its point."""
        self._armed.append((fault, [fault.nth]))

    def reached(self, point: Point, process: Process) -> None:
        """Somebody has come to this point: what was armed there happens."""
        for armed in list(self._armed):
            fault, left = armed
            if fault.point is point and (process is self._world.active or isinstance(process, Worker)):
                left[0] -= 1
                if left[0] <= 0:
                    self._armed.remove(armed)
                    self.happen(fault, process)

    def happen(self, fault: Fault, process: Process | None) -> None:
        """Have it happen now; to this process, if it came to the fault's point."""
        world = self._world
        world.say(f"FAULT {fault}{f' in {process.name}' if process else ''}")
        world.happened[fault.kind.value, str(fault.point or "")] += 1
        worker = process if isinstance(process, Worker) else world.chance.choice(world.workers)
        match fault.kind:
            case Kind.KILL_INGEST:
                self._kill(world.active)
            case Kind.KILL_WORKER:
                self._kill(worker)
            case Kind.PAUSE_INGEST:
                world.active.pause(fault.seconds)
            case Kind.PAUSE_WORKER:
                worker.pause(fault.seconds)
            case Kind.TAKE_OVER:
                self._take_over(world.new_disk(), fault.seconds)
            case Kind.COME_BACK:
                self._take_over(world.chance.choice(world.disks), 0.0)
            case Kind.REBALANCE:
                world.topic.assign_to(world.active.consumer if world.active.is_alive else None)
            case Kind.MADE_ANEW:
                self._make_the_topic_anew(fault.seconds)
            case Kind.BROKEN_FETCH:
                if world.active.is_alive:
                    world.active.consumer.breaks_next_fetch = True
            case Kind.FLUSH_BROKER:
                world.broker_redis.flush()
                world.queues.messages.clear()
            case Kind.FLUSH_CACHE:
                world.cache_redis.flush()
            case Kind.REDIS_DOWN:
                world.broker_redis.is_down = world.cache_redis.is_down = True
                world.do_in(fault.seconds, self._redis_is_back)
            case Kind.DROP_MESSAGE:
                if world.queues.messages:
                    world.queues.messages.remove(world.chance.choice(world.queues.messages))
            case Kind.DOUBLE_MESSAGE:
                if world.queues.messages:
                    queued = world.chance.choice(world.queues.messages)
                    world.queues.put_again(queued)
            case Kind.LOSE_SETTLEMENTS:
                world.broker_redis.flush()
            case Kind.DATABASE_DOWN:
                world.database.go_down()
                world.do_in(fault.seconds, self._database_is_back)
            case Kind.CONNECTION_DROPPED:
                if world.database.holder is not None:
                    world.database.drop(world.database.holder)
            case Kind.COMMIT_LOST_BEFORE:
                world.database.next_commit_breaks = "before"
            case Kind.COMMIT_LOST_AFTER:
                world.database.next_commit_breaks = "after"
            case Kind.DEADLOCK:
                world.database.next_statement_fails = 1213
            case Kind.DISK_FULL:
                disk = world.active.disk
                disk.is_full = True
                world.do_in(fault.seconds, lambda: setattr(disk, "is_full", False))
            case Kind.LETTERS_REFUSED:
                world.letters.refuses = True
                world.do_in(fault.seconds, lambda: setattr(world.letters, "refuses", False))
            case Kind.REPLAY | Kind.DISCARD:
                self._use_the_desk(fault.kind)

    def _kill(self, process: Process) -> None:
        world = self._world
        if not process.is_alive:
            return
        process.kill()
        world.do_in(RESTART_S, lambda: world.restart(process))

    def _take_over(self, disk: Disk, lives_on_s: float) -> None:
        """Another ingest becomes the active one. The one before lives on for a while; its disk is free when it is dead."""
        world = self._world
        before = world.active
        if disk is before.disk:
            self._kill(before)
            return
        for ingest in world.ingests:
            if ingest is before and lives_on_s:
                world.do_in(lives_on_s, before.kill)
            elif ingest.is_alive and (ingest is before or ingest.disk is disk):
                ingest.kill()
        world.owed.clear()  # what only a lost disk had is lost; should it come back, it is put aside
        world.lost_decisions = len(world.decisions)
        world.active = world.new_ingest(disk)
        world.active.start()
        world.topic.assign_to(world.active.consumer)

    def _make_the_topic_anew(self, unnoticed_s: float) -> None:
        world = self._world
        disk = world.active.disk
        if not disk.database.in_transaction():
            world.owed |= {(life_at(timestamp), partition, offset) for timestamp, partition, offset in disk.places()}
        world.topic.make_anew()
        world.do_in(
            unnoticed_s, lambda: world.topic.assign_to(world.active.consumer if world.active.is_alive else None)
        )

    def _use_the_desk(self, kind: Kind) -> None:
        world = self._world
        disk = world.active.disk
        if not disk.is_full and not disk.database.in_transaction():
            self.decide(kind, disk.dead_letters()[: None if kind is Kind.REPLAY else 1])

    def decide(self, kind: Kind, letters: Sequence[Entry]) -> None:
        """The operator replays these letters, or discards them."""
        world = self._world
        disk, ids = world.active.disk, [letter.entry_id for letter in letters]
        if not letters:
            return
        disk.desk_writes += 1
        for letter in letters:
            world.say(f"the operator: {kind.value}: {letter.operation_id}")
            decision = Decision(len(world.committed), disk.outbox_id, letter.operation_id, letter.incarnation, kind)
            world.decisions.append(decision)
        if kind is Kind.REPLAY:
            disk.replay(ids, who="operator", why="mended")
        else:
            disk.discard(ids, who="operator", why="not wanted")

    def _redis_is_back(self) -> None:
        self._world.broker_redis.is_down = self._world.cache_redis.is_down = False

    def _database_is_back(self) -> None:
        self._world.database.is_down = False

    def end_all(self) -> None:
        """From now on all is well: servers are back, processes run, and nothing is armed any more."""
        world = self._world
        world.say("all faults end")
        for fault, _ in self._armed:
            world.happened[NEVER_REACHED, str(fault.point)] += 1
        self._armed.clear()
        self._redis_is_back()
        self._database_is_back()
        world.database.next_commit_breaks = world.database.next_statement_fails = None
        for _, then in world.later:
            then()
        world.later.clear()
        for disk in world.disks:
            disk.is_full = False
        for process in (world.active, *world.workers):
            world.restart(process)
