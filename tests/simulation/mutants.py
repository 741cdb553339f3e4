"""The service broken on purpose, a rule at a time: what the simulation must notice.

A mutant is a change of the source of one production function, made while the process runs. If the text that it replaces is no
longer there, the rule has moved: find it again.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any

from entities import ledger, writesets
from outbox.letters import Letters
from outbox.queries import Queries
from tests.simulation import directed
from tests.simulation.plan import Plan, plan_of
from worker import apply, assignment, outcomes
from worker.applier import Applier
from worker.batch_run import BatchRun
from worker.cache.rows import Cache
from worker.dispatcher import Dispatcher
from worker.holding import Holding
from worker.intake import Intake
from worker.lanes import Lanes
from worker.ledger_desk import LedgerDesk
from worker.planner import Planner
from worker.reading import Reading
from worker.scheduler import Scheduler
from worker.telling import Telling
from worker.tenure import Tenure
from worker.turns import Turns
from worker.work import Work


@dataclass(frozen=True)
class Mutant:
    """``rule``: what is broken. ``function``: where, and ``old`` becomes ``new`` in its source.

    ``history``: which one, told with each seed; None: the one that is drawn from the seed. ``noticed_after``: so many histories
    from seed 0 on, when it was measured.
    """

    rule: str
    function: Any
    old: str
    new: str
    history: Plan | None = None
    noticed_after: int = 1

    @property
    def plans(self) -> Iterator[Plan]:
        """The histories of the test: the one that noticed it, and more, since what a seed's history is changes with the code."""
        for seed in range(self.noticed_after - 1, self.noticed_after + 200):
            yield plan_of(seed) if self.history is None else replace(self.history, seed=seed)

    def __str__(self) -> str:
        return self.rule

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Break the rule for this block, wherever the function is called from."""
        function = inspect.unwrap(self.function)
        assert isinstance(function, FunctionType)
        source = textwrap.dedent(inspect.getsource(self.function))
        assert source.count(self.old) == 1, f"{function.__qualname__} no longer says {self.old!r} once"
        made: dict[str, Callable[..., Any]] = {}
        exec(compile(source.replace(self.old, self.new), function.__qualname__, "exec"), function.__globals__, made)
        before = function.__code__
        function.__code__ = made[function.__name__].__code__
        try:
            yield
        finally:
            function.__code__ = before


MUTANTS = (
    Mutant(
        "taking over does not raise the epoch",
        ledger.raise_epoch,
        "_next_epoch.run(group=consumer_group, outbox_id=outbox_id, now=now_ms)",
        "pass",
        noticed_after=16,
    ),
    Mutant(
        "offsets are committed before the records are in the outbox",
        Reading._hand_over,
        "self._tell(Fetched(self._assignment, records))",
        "self._tell(Fetched(self._assignment, records))\n"
        "        from tests.simulation.mutants import commit_of\n"
        "        self._to_commit.update({r.partition: commit_of(r) for r in records})",
        noticed_after=16,
    ),
    Mutant(
        "a takeover goes on from the committed offset",
        assignment.where_to_start,
        "mark = min(metadata.mark, commit.offset)",
        "mark = commit.offset",
        noticed_after=16,
    ),
    Mutant(
        "the commit's mark is the position",
        Intake.commits,
        "position.next_offset if mark is None else min(mark, position.next_offset)",
        "position.next_offset",
        noticed_after=16,
    ),
    Mutant(
        "dead letters of the ledger are not taken over",
        Tenure.take_letters,
        "for letter in event.letters",
        "for letter in ()",
        noticed_after=190,
    ),
    Mutant("lost batches are not looked for", Turns.go_on, "self._dispatcher.inspect(", "list(", noticed_after=65),
    Mutant(
        "an outage burns an attempt",
        outcomes.weigh_line,
        "case Outcome.FAILED | Outcome.WAITS:",
        "case Outcome.FAILED | Outcome.WAITS | Outcome.UNAVAILABLE:",
        noticed_after=25,
    ),
    Mutant(
        "what conflicts with a failed operation runs all the same",
        BatchRun._run_exactly,
        "if self._held.block(work.keys):",
        "if False:",
        noticed_after=1,
    ),
    Mutant(
        "the ledger gets no line of what was applied",
        LedgerDesk.write,
        "work.outcome in (Outcome.APPLIED, Outcome.DEAD)",
        "work.outcome is Outcome.DEAD",
    ),
    Mutant(
        "operations do not wait for their parents",
        writesets._take_for_insert,
        'shared.add(f"{row}{parent_id}")',
        "pass",
        noticed_after=1,
    ),
    Mutant(
        "parked operations are overtaken",
        Planner.add,
        "if parked is not None and parked.conflicts_with(planned.writeset):",
        "if False:",
        noticed_after=177,
    ),
    Mutant(
        "a resumed partition goes on where the library is",
        Reading._pause_and_resume,
        "self._consumer.seek(tp, self._fetched_to[partition])",
        "pass",
        noticed_after=27,
    ),
    Mutant(
        "what could not be read is skipped",
        Reading.go_back,
        "self._consumer.seek(TopicPartition(self._topic, partition), offset)",
        "pass",
        noticed_after=3,
    ),
    Mutant(
        "a replay is the same incarnation",
        Letters._replay,
        "1 + self._highest_incarnation(letter)",
        "letter.incarnation",
        noticed_after=3,
    ),
    Mutant(
        "a topic made anew is the same generation",
        assignment.made_anew,
        "start.generation + 1",
        "start.generation",
        noticed_after=92,
    ),
    Mutant(
        "the record before a start is not looked at",
        Reading._verified,
        "if start.check is None:",
        "if True:",
        noticed_after=92,
    ),
    Mutant(
        "nobody asks the database which topic it was",
        Tenure.decide,
        "any(needs_memory(commit) for commit in event.commits.values())",
        "False",
        noticed_after=219,
    ),
    Mutant(
        "an operation without an id is named alike in all of the topic's lives",
        Intake.append,
        "Origin(record.topic, generation,",
        "Origin(record.topic, 0,",
        directed.WITHOUT_AN_ID_AT_ONE_PLACE_IN_TWO_LIVES,
    ),
    Mutant(
        "what only the outbox has of a deleted topic is put aside with the rest",
        Intake.begin,
        "min(position.generation, start.generation)",
        "0",
        directed.THE_OUTBOX_ALONE_HAS_A_DELETED_TOPIC,
    ),
    Mutant(
        "operations are sent before the database knows their topic",
        Turns._may_dispatch,
        " and self._tenure.is_remembered",
        "",
        directed.LOST_BEFORE_THE_DATABASE_KNOWS_THE_TOPIC,
        noticed_after=6,
    ),
    Mutant(
        "a log that is shorter than the remembered one is the same",
        assignment._start_from_memory,
        "if log.end <= remembered.last.offset:",
        "if False:",
        noticed_after=192,
    ),
    Mutant(
        "a log that is shorter than the outbox's position is the same",
        assignment.where_to_start,
        "if log.end < known.next_offset:\n            return Start(Why.MADE_ANEW, known.generation + 1, log.begin)\n"
        "        offset",
        "offset",
        directed.A_COMMIT_TO_THE_TOPIC_THAT_FOLLOWS,
    ),
    Mutant(
        "a message of an older epoch is applied",
        apply._stop_if_fenced,
        "if current_epoch >",
        "if False and current_epoch >",
        directed.BATCHES_OF_AN_OLDER_EPOCH,
    ),
    Mutant(
        "a disk that comes back keeps its old entries",
        Intake.begin,
        "if start.archives and",
        "if False and",
        directed.A_DISK_THAT_HAS_COUNTED_MORE_GENERATIONS,
        noticed_after=8,
    ),
    Mutant(
        "a disk that comes back puts aside its last generation only",
        Intake.begin,
        "min(position.generation, start.generation)",
        "position.generation",
        directed.A_DISK_THAT_HAS_COUNTED_MORE_GENERATIONS,
        noticed_after=8,
    ),
    Mutant(
        "an operation that the ledger knows syncs no cache",
        Work.settled_as,
        "self.applied(line.touched)",
        "self.applied(())",
        directed.KILLED_BEFORE_THE_CACHE_IS_TOLD,
    ),
    Mutant(
        "a commit does not forget what is cached",
        Applier._finish,
        "self._cache.invalidate(sync)",
        "pass",
        directed.THE_SYNC_OF_THE_CACHE_IS_LOST,
        noticed_after=4,
    ),
    Mutant(
        "an UPDATE of a unique value takes no key",
        writesets._take_for_update,
        "exclusive.add(whole)",
        "pass",
        directed.A_VALUE_THAT_IS_TAKEN_NEXT,
        noticed_after=14,
    ),
    Mutant(
        "an outcome of another incarnation counts",
        Scheduler.weigh,
        "and planned.item.operation.incarnation == line.incarnation",
        "",
        directed.A_COPY_OF_A_LETTER_THAT_IS_REPLAYED,
        noticed_after=9,
    ),
    Mutant(
        "nothing waits behind a dead letter",
        Holding.holds,
        "if self._lanes else None",
        "if False else None",
        noticed_after=7,
    ),
    Mutant(
        "what rides behind a dead letter in its batch does not wait for it",
        BatchRun._hold_lanes,
        "if self._holds_lanes else ()",
        "if False else ()",
        directed.TAKEN_OVER_BEFORE_A_DEATH_IS_TOLD,
        noticed_after=6,
    ),
    Mutant(
        "what is held holds nothing in its turn",
        Lanes.hold,
        "self._add(first, set(filter(is_row, writeset.exclusive)))",
        "pass",
        directed.HELD_BY_WHAT_IS_HELD,
    ),
    Mutant(
        "a letter that is decided on lets nothing go",
        Turns._notice_the_desk,
        "self.scheduler.let_go(letters)",
        "pass",
        noticed_after=6,
    ),
    Mutant(
        "after a start letters hold nothing",
        Scheduler.open,
        "self.holding.look_at_letters()",
        "pass",
        directed.HELD_AFTER_A_START,
    ),
    Mutant(
        "a replayed letter without a row is not read again",
        Lanes.open,
        "if letter not in self._lanes",
        "if rows and letter not in self._lanes",
        directed.A_REPLAYED_LETTER_WITHOUT_A_ROW,
    ),
    Mutant(
        "what a letter from the ledger held is read again from the letter on",
        Lanes.first_seq,
        "min(letter, lane.after_seq + 1)",
        "letter",
        directed.HELD_BEHIND_A_LETTER_FROM_THE_LEDGER,
        noticed_after=13,
    ),
    Mutant(
        "a standstill does not end",
        Planner._end_a_standstill,
        "first.has_waited = True",
        "return",
        directed.A_LETTER_REPLAYED_BEFORE_WHAT_IS_UNDER_WAY,
    ),
    Mutant(
        "nobody is told of letters from the ledger",
        Tenure.take_letters,
        "announce=self._deaths is not None",
        "announce=False",
        directed.LOST_BEFORE_A_DEATH_IS_TOLD,
        noticed_after=155,
    ),
    Mutant("nobody is told of a death", Turns._record, "announce=self._deaths is not None", "announce=False"),
    Mutant(
        "a death counts as told when it is handed over",
        Telling.go_on,
        "self._hand_over(portion)",
        "self._hand_over(portion); self._outbox.forget_announcements([one.announcement_id for one in portion])",
        directed.KILLED_BEFORE_A_DEATH_IS_TOLD,
    ),
)

#: Rules that cover each other: broken alone, neither does harm; broken together, they are noticed in this history.
COVERED = (
    (
        Mutant(
            "what was in flight is not released at a start",
            Tenure.begin,
            "self._refusals.insist(self._outbox.release_dispatched)",
            "0",
        ),
        Mutant(
            "the window holds nothing that is in flight",
            Queries.window,
            "self._sql(_WINDOW_TEXT, (after_seq, after_seq, limit))",
            "self._sql(_OF_STATE.format(State.PENDING) + ' ORDER BY seq LIMIT ?', (after_seq, limit))",
        ),
        directed.IN_FLIGHT_AT_A_START,
    ),
    (
        Mutant(
            "a commit does not take the leases away",
            Cache.invalidate,
            "for name in (key, _lease(key))",
            "for name in (key,)",
        ),
        Mutant(
            "rows are not locked while they are cached", Cache._fill_portion, "with database.transaction():", "if True:"
        ),
        directed.OVERTAKEN_WHILE_IT_FILLS_THE_CACHE,
    ),
)

#: Not noticed, since what the rule is for cannot happen here, or something else mends it.
SELDOM_NOTICED = (
    # The ledger and the fence make a second copy harmless: all that is lost is work.
    Mutant(
        "a batch is lost when it is missed once",
        Dispatcher._judge,
        "if before is not None and before.was_missing:",
        "if True:",
    ),
    # The model's transactions run one at a time, so no copy is faster between the question to the ledger and the write.
    Mutant("duplicate key is believed at once", LedgerDesk.look_again, "self._raise_if_changed()", "pass"),
    # Who leaves early is settled by a late copy, or narrowed, while a third waits through it: test_planner has it.
    Mutant(
        "who leaves early does not pass on what it waits for",
        Planner._release,
        "for blocker in unfinished:\n            if blocker.seq not in",
        "for blocker in ():\n            if blocker.seq not in",
    ),
)


def commit_of(record: Any) -> Any:
    """A commit just behind a record, as a service without an outbox would make it."""
    from kafka.structs import OffsetAndMetadata

    return OffsetAndMetadata(record.offset + 1, "")
