"""The service broken on purpose, a rule at a time: what the simulation must notice.

A mutant is a change of the source of one production function, made while the process runs. If the text that it replaces is no
longer there, the rule has moved: find it again.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from entities import ledger, writesets
from outbox.letters import Letters
from worker import apply, assignment, outcomes
from worker.applier import Applier
from worker.batch_run import BatchRun
from worker.cache.rows import Cache
from worker.dispatcher import Dispatcher
from worker.intake import Intake
from worker.ledger_desk import LedgerDesk
from worker.planner import Planner
from worker.reading import Reading
from worker.scheduler import Scheduler
from worker.tenure import Tenure
from worker.turns import Turns
from worker.work import Work


@dataclass(frozen=True)
class Mutant:
    """``rule``: what is broken. ``function``: where, and ``old`` becomes ``new`` in its source.

    ``noticed_after``: so many histories from seed 0 on, when it was measured.
    """

    rule: str
    function: Any
    old: str
    new: str
    noticed_after: int = 1

    @property
    def seeds(self) -> range:
        """The histories of the test: the one that noticed it, and more, since what a seed's history is changes with the code."""
        return range(self.noticed_after - 1, self.noticed_after + 200)

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
        function.__code__ = made[function.__name__].__code__  # type: ignore[attr-defined]
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
        noticed_after=19,
    ),
    Mutant(
        "offsets are committed before the records are in the outbox",
        Reading._hand_over,
        "self._tell(Fetched(self._assignment, records))",
        "self._tell(Fetched(self._assignment, records))\n"
        "        from tests.simulation.mutants import commit_of\n"
        "        self._to_commit.update({r.partition: commit_of(r) for r in records})",
        noticed_after=6,
    ),
    Mutant(
        "a takeover goes on from the committed offset",
        assignment.where_to_start,
        "mark = min(metadata.mark, commit.offset)",
        "mark = commit.offset",
        noticed_after=7,
    ),
    Mutant(
        "the commit's mark is the position",
        Intake.commits,
        "position.next_offset if mark is None else min(mark, position.next_offset)",
        "position.next_offset",
        noticed_after=7,
    ),
    Mutant(
        "dead letters of the ledger are not taken over",
        Tenure.take_letters,
        "for letter in event.letters",
        "for letter in ()",
        noticed_after=69,
    ),
    Mutant("lost batches are not looked for", Turns.go_on, "self._dispatcher.inspect(", "list(", noticed_after=14),
    Mutant(
        "an outage burns an attempt",
        outcomes.weigh_line,
        "case Outcome.FAILED | Outcome.WAITS:",
        "case Outcome.FAILED | Outcome.WAITS | Outcome.UNAVAILABLE:",
        noticed_after=1,
    ),
    Mutant(
        "what conflicts with a failed operation runs all the same",
        BatchRun._run_exactly,
        "if self._held.block(work.keys):",
        "if False:",
        noticed_after=2,
    ),
    Mutant(
        "the ledger gets no line of what was applied",
        LedgerDesk.write,
        "work.outcome in (Outcome.APPLIED, Outcome.DEAD)",
        "work.outcome is Outcome.DEAD",
        noticed_after=1,
    ),
    Mutant(
        "operations do not wait for their parents",
        writesets._take_for_insert,
        'shared.add(f"{row}{parent_id}")',
        "pass",
        noticed_after=2,
    ),
    Mutant(
        "parked operations are overtaken",
        Planner.add,
        "if parked is not None and parked.conflicts_with(planned.writeset):",
        "if False:",
        noticed_after=102,
    ),
    Mutant(
        "a resumed partition goes on where the library is",
        Reading._pause_and_resume,
        "self._consumer.seek(tp, self._fetched_to[partition])",
        "pass",
        noticed_after=5,
    ),
    Mutant(
        "what could not be read is skipped",
        Reading.go_back,
        "self._consumer.seek(TopicPartition(self._topic, partition), offset)",
        "pass",
        noticed_after=117,
    ),
    Mutant(
        "a replay is the same incarnation",
        Letters._replay,
        "1 + self._highest_incarnation(letter)",
        "letter.incarnation",
        noticed_after=30,
    ),
)

#: Not noticed within 600 histories when it was measured. Some are covered by another rule (a late message by the ledger, a batch
#: sent twice by the ledger, what was in flight by the window, which reads it all the same); others need a rarer coincidence.
SELDOM_NOTICED = (
    Mutant(
        "a message of an older epoch is applied",
        apply._stop_if_fenced,
        "if current_epoch >",
        "if False and current_epoch >",
    ),
    Mutant("a disk that comes back keeps its old entries", Intake.begin, "if start.archives and", "if False and"),
    Mutant(
        "what was in flight is not released at a start",
        Tenure.begin,
        "self._refusals.insist(self._outbox.release_dispatched)",
        "0",
    ),
    Mutant(
        "an operation that the ledger knows syncs no cache",
        Work.settled_as,
        "self.applied(line.touched)",
        "self.applied(())",
    ),
    Mutant(
        "a commit does not take the leases away",
        Cache.invalidate,
        "for name in (key, _lease(key))",
        "for name in (key,)",
    ),
    Mutant("a commit does not forget what is cached", Applier._finish, "self._cache.invalidate(sync)", "pass"),
    Mutant(
        "an UPDATE of a unique value takes no key",
        writesets._take_for_update,
        "exclusive.add(whole)",
        "pass",
    ),
    Mutant(
        "who leaves early does not pass on what it waits for",
        Planner._release,
        "for blocker in unfinished:\n            if blocker.seq not in",
        "for blocker in ():\n            if blocker.seq not in",
    ),
    Mutant(
        "a batch is lost when it is missed once",
        Dispatcher._judge,
        "if before is not None and before.was_missing:",
        "if True:",
    ),
    Mutant(
        "an outcome of another incarnation counts",
        Scheduler.weigh,
        "and planned.item.operation.incarnation == line.incarnation",
        "",
    ),
    Mutant("duplicate key is believed at once", LedgerDesk.look_again, "self._raise_if_changed()", "pass"),
)


def commit_of(record: Any) -> Any:
    """A commit just behind a record, as a service without an outbox would make it."""
    from kafka.structs import OffsetAndMetadata

    return OffsetAndMetadata(record.offset + 1, "")
