"""One history: the processes, the servers, the faults, and whose turn it is, in one thread under a virtual clock.

``run`` lets the faults of a plan happen, ends them, and lets everything run until nothing moves any more. What then stands in
the database, the outboxes, the cache and Kafka is for `tests.simulation.checker` to judge.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from tests.simulation.broker_model import ModelQueues
from tests.simulation.database_model import ModelSQLite, Session
from tests.simulation.kafka_model import LetterTopic, Topic
from tests.simulation.nodes import Disk, Ingest, Process, Worker
from tests.simulation.plan import Kind, Plan
from tests.simulation.process_globals import lent_to
from tests.simulation.records import EPOCH_MS, LIFE_MS, Committed, Decision, Produced, origin_of
from tests.simulation.redis_model import ModelRedis
from tests.simulation.settings import settings_of
from tests.simulation.strokes import Strokes
from tests.simulation.threads import FOREVER, Killed, Thread
from worker.fault_points import Point
from worker.messages import Batch

TOPIC = "db-operations-buffer"

#: What a step takes (s).
STEP_S = 0.002

#: A history that still moves after so many steps is one that does not come to rest.
MOST_STEPS = 6_000

#: At the end dead letters that hold others are decided on so often; but for the first times all are discarded.
ROUNDS_AT_THE_DESK, REPLAYED_IN = 20, 2


class World:
    """A history that runs.

    Parameters:
      database: made once a process and emptied for each history.
      tell: takes a line for each thing that happens, for people.
    """

    def __init__(self, plan: Plan, database: ModelSQLite, tell: Callable[[str], None] | None = None) -> None:
        self.plan = plan
        self.database = database
        self.now = 0.0
        self.steps = 0
        self.chance = random.Random(plan.seed ^ 0x5EED)
        self._tell = tell
        self._current: tuple[Process, Thread] | None = None
        self.strokes = Strokes(self)
        self._faults = list(plan.faults)
        self._operations = list(plan.operations)
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.settings = settings_of(plan.sizes)
        self.topic = Topic(TOPIC, plan.sizes.partitions)
        self.letters = LetterTopic()
        #: How often what happened, for the table of what histories cover.
        self.happened: Counter[tuple[str, str]] = Counter()
        self.produced: list[Produced] = []
        #: Where records stood that the active ingest had in its outbox when the topic was deleted: only there they still are.
        self.owed: set[tuple[int, int, int]] = set()
        self.broker_redis = ModelRedis(self.now_ms)
        self.cache_redis = ModelRedis(self.now_ms)
        self.queues = ModelQueues(self.broker_redis, self.clock, self.chance)
        #: Lines of the ledger in the order of their commits.
        self.committed: list[Committed] = []
        #: What the operator did, in order.
        self.decisions: list[Decision] = []
        #: So many of them may be lost with the disk that they were made on.
        self.lost_decisions = 0
        self.disks: list[Disk] = []
        self.ingests: list[Ingest] = []
        self.workers = [Worker(self, f"worker{number + 1}") for number in range(plan.sizes.workers)]
        database.reset()
        database.wait = self._wait_for
        database.on_commit = self._note_commit
        self.active = self.new_ingest(self.new_disk())

    # ----------------------------------------------------------------------------------------------------- its course

    def run(self) -> None:
        """The whole history, until nothing moves any more, or for too long."""
        with lent_to(self):
            self.active.start()
            self.topic.assign_to(self.active.consumer)
            for worker in self.workers:
                worker.start()
            self._run_while_faults_come()
            self.strokes.end_all()
            self._run_until_quiet()
        for process in (*self.ingests, *self.workers):
            for thread in process.threads:
                if not thread.is_inside:
                    thread.kill()

    def _run_while_faults_come(self) -> None:
        """Until the last fault has happened, or nobody comes any more to the points of those that are left."""
        while self._faults or self._operations or self.later or self.strokes.are_armed:
            upcoming = [one.at for one in self._faults[:1]] + [one.at for one in self._operations[:1]]
            if not upcoming and not self.later and self.is_at_rest:
                return
            if not self._step() and upcoming:
                self.steps = max(self.steps, *upcoming[:1], min(upcoming))
            elif not upcoming and self.steps > MOST_STEPS // 2:
                return
            self._let_happen()

    def _let_happen(self) -> None:
        while self._operations and self._operations[0].at <= self.steps:
            operation = self._operations.pop(0)
            life = self.topic.life
            timestamp = EPOCH_MS + operation.timestamp + life * LIFE_MS
            offset = self.topic.produce(operation.partition, timestamp, operation.raw)
            self.produced.append(Produced(operation, life, offset))
            if self._tell:
                self.say(f"{operation} is produced at offset {offset}")
        while self._faults and self._faults[0].at <= self.steps:
            fault = self._faults.pop(0)
            if fault.point is None:
                self.strokes.happen(fault, None)
            else:
                self.strokes.arm(fault)

    def _step(self) -> bool:
        """One thread's turn, or the clock moves on to the next; False if there is none."""
        self.steps += 1
        self.now += STEP_S
        now = self.now
        while self.later and self.later[0][0] <= now:
            self.later.pop(0)[1]()
        ready: list[tuple[Process, Thread]] = []
        first = FOREVER
        for process in (*self.ingests, *self.workers):
            for thread in process.threads:
                # Asked a thousand times a history: most threads are neither in the middle of a step nor stopped.
                due = thread.due(now) if thread.is_inside or thread.not_before > now else thread.work_due()
                if due <= now:
                    ready.append((process, thread))
                elif due < first:
                    first = due
        if ready:
            self._run(*(ready[0] if len(ready) == 1 else self.chance.choice(ready)))
            return True
        if self.later:
            first = min(first, self.later[0][0])
        if first == FOREVER:
            return False
        self.now = first
        return True

    def _run(self, process: Process, thread: Thread) -> None:
        self._current = process, thread
        self.database.session = thread.session
        try:
            thread.run()
        except Killed:
            pass
        finally:
            self._current = None
            self.database.session = self.database._rescue

    def _run_until_quiet(self) -> None:
        """Until nothing moves any more; what dead letters hold then, the operator lets go."""
        limit = self.steps + MOST_STEPS
        for number in range(1 + ROUNDS_AT_THE_DESK):
            while self.steps < limit and self._step() and not self.is_at_rest:
                pass
            if self.is_quiet or not self.is_at_rest:
                return
            self._decide_on_all(is_last=number >= REPLAYED_IN)

    def _decide_on_all(self, is_last: bool) -> None:
        letters = self.active.disk.dead_letters()
        for letter in letters:
            self.strokes.decide(Kind.DISCARD if is_last or self.chance.random() < 0.3 else Kind.REPLAY, [letter])

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is left to be done."""
        return self.is_at_rest and not self.active.disk.counts().held

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing moves: all is read and settled or waits for the operator, no message waits, and nobody is in the
        middle of something (a worker that slept past its lease comes to its end, too)."""
        active = self.active
        return (
            active.turns.scheduler.epoch is not None
            and active.inbox.empty()
            and not self.queues.messages
            and not active.consumer.has_news
            and active.turns.scheduler.in_flight_operations == 0
            and active.has_noticed_the_desk
            and not active.is_announcing
            and not any(thread.is_inside for process in (*self.ingests, *self.workers) for thread in process.threads)
            and (counts := active.disk.counts()).unsettled == counts.held
            and not active.disk.has_to_tell
            and self._read_to() == [len(log) for log in self.topic.logs]
        )

    def _read_to(self) -> list[int]:
        positions = {position.partition: position.next_offset for position in self.active.disk.positions()}
        return [positions.get(partition, -1) for partition in range(self.plan.sizes.partitions)]

    # ---------------------------------------------------------------------------------------- what production code asks

    def clock(self) -> float:
        return self.now

    def now_ms(self) -> int:
        return EPOCH_MS + int(self.now * 1000)

    def sleep(self, seconds: float) -> None:
        """Called in a thread: others run meanwhile."""
        if self._current is not None:
            self._interrupt(until=self.now + seconds)

    def _wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        if self._current is None:
            return False
        until = self.now + seconds
        while not condition() and self.now < until:
            self._interrupt(until, condition)
        return condition()

    def _interrupt(self, until: float = 0.0, waits_for: Callable[[], bool] | None = None) -> None:
        assert self._current is not None
        process, thread = self._current
        thread.interrupt(until, waits_for)
        self._current = process, thread

    def reached(self, point: Point) -> None:
        """A fault point of the production code."""
        if self._current is None:
            return
        process, thread = self._current
        self.strokes.reached(point, process)
        if not process.is_alive:
            raise Killed
        if thread.not_before > self.now or self.chance.random() < self.plan.sizes.interruptions:
            self._interrupt(thread.not_before)

    def _note_commit(self, session: Session) -> None:
        sent = session.sent
        if sent is not None and session.lines:
            (disk,) = [disk for disk in self.disks if disk.outbox_id == sent.outbox_id]
            # As they ran: new lines are written before old ones are changed.
            members = sent.operations if isinstance(sent, Batch) else sent.verdicts
            turns = {origin: number for number, origin in enumerate(member.origin for member in members)}
            lines = sorted(session.lines, key=lambda line: turns[origin_of(line)])
            self.committed += [Committed(disk.outbox_id, sent.epoch, disk.place_in_order(line), line) for line in lines]
        if self._tell:
            for line in session.lines:
                self.say(f"committed: {line.operation_id}#{line.incarnation} {line.outcome} {line.reason}")

    # ---------------------------------------------------------------------------------------------------- its processes

    def new_disk(self) -> Disk:
        """An outbox in which nothing has happened yet."""
        disk = Disk.made(len(self.disks) + 1, self.now_ms)
        if self.plan.sizes.holds_lanes:
            disk.note_policy(holds_lanes=True)
        self.disks.append(disk)
        return disk

    def new_ingest(self, disk: Disk) -> Ingest:
        """An ingest on this disk, not yet started."""
        ingest = Ingest(self, f"ingest{len(self.ingests) + 1}", disk)
        self.ingests.append(ingest)
        return ingest

    def restart(self, process: Process) -> None:
        """Start it again, unless it runs or another ingest has taken its place."""
        if process.is_alive or (isinstance(process, Ingest) and process is not self.active):
            return
        self.say(f"{process.name} starts again")
        process.start()
        if isinstance(process, Ingest):
            self.topic.assign_to(process.consumer)

    def do_in(self, seconds: float, then: Callable[[], None]) -> None:
        """Have this done so many seconds from now, or when all faults end."""
        self.later.append((self.now + seconds, then))
        self.later.sort(key=lambda pair: pair[0])

    def kill_thread(self, thread: Thread) -> None:
        """End a thread in the middle of what it does; its transactions are undone."""
        if self._current is not None and self._current[1] is thread:
            return  # it is the one that reached the point: `reached` ends it
        session, self.database.session = self.database.session, thread.session
        current, self._current = self._current, None
        try:
            thread.kill()
            holder = self.database.holder
            if holder is not None and holder is thread.session:
                self.database.drop(holder)
        finally:
            self._current, self.database.session = current, session

    def say(self, line: str) -> None:
        """Tell what happens, if anybody wants to know."""
        if self._tell is not None:
            self._tell(f"{self.steps:5d} {self.now:8.3f} s  {line}")
