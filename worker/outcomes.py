"""What an outcome means for an operation: pure rules from a settlement's line to changes of the outbox and of the order.

What is final is true whoever tells it: a copy that was given up may still have committed. Anything else counts only from the
batch that the operation rides in now. An attempt is burnt by a failure of the operation's own and by nothing else: not by an
outage, a hand-back, a lock of others, a newer epoch, nor by what an earlier operation may yet mend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from outbox.records import FailedAttempt, HandedBack, Settled
from outbox.states import State
from worker.failures import FailureKind
from worker.messages import Outcome, OutcomeLine, Settlement
from worker.planner import Planned
from worker.tasks import Task, Verdictable
from worker.work import DEADLY


@dataclass(slots=True)
class Changes:
    """What settlements change: first committed to the outbox, then adopted by the scheduler."""

    settled: list[Settled] = field(default_factory=list)
    failed: list[FailedAttempt] = field(default_factory=list)
    handed_back: list[HandedBack] = field(default_factory=list)
    verdicts: dict[int, Verdictable] = field(default_factory=dict)
    applied: list[Task] = field(default_factory=list)
    dead: list[Task] = field(default_factory=list)
    retried: list[Task] = field(default_factory=list)
    heard: set[str] = field(default_factory=set)
    is_outage: bool = False
    is_fenced: bool = False

    def __bool__(self) -> bool:
        return bool(self.settled or self.failed or self.handed_back)


def backoff_ms(attempts: int, base_ms: int) -> int:
    """The wait (ms) before the next attempt, after so many failed ones (at least one): base, 2·base, 4·base …"""
    return base_ms << (attempts - 1)


def weigh_line(
    changes: Changes,
    settlement: Settlement,
    line: OutcomeLine,
    planned: Planned[Task],
    *,
    epoch: int | None,
    retry_at: Callable[[int], int],
) -> None:
    """Add to the changes what this line means for the operation it is about.

    Parameters:
      epoch: ours; None while the gate is shut. Being fenced off by it is only news while it is the newest we know.
      retry_at: when (ms since 1970) an operation is to be tried again after so many failed attempts.
    """
    task = planned.item
    if line.outcome is Outcome.APPLIED:
        changes.applied.append(task)
        changes.settled.append(Settled(task.seq, line.incarnation, State.APPLIED, line.attempts))
        return
    if line.outcome is Outcome.DEAD:
        task.attempts, task.error_kind, task.reason = line.attempts, line.error_kind, line.reason
        changes.dead.append(task)
        changes.settled.append(
            Settled(task.seq, line.incarnation, State.DEAD, line.attempts, line.error_kind, line.reason)
        )
        return
    if line.outcome is Outcome.DISCARDED:
        changes.settled.append(
            Settled(task.seq, line.incarnation, State.DISCARDED, line.attempts, line.error_kind, line.reason)
        )
        return
    if task.batch_id != settlement.batch_id:
        return  # a copy that was given up: only what is final is still true
    match line.outcome:
        case Outcome.RETRYING:
            changes.retried.append(task)
            changes.failed.append(
                FailedAttempt(
                    task.seq, line.incarnation, line.attempts, line.error_kind, line.reason, line.next_attempt_at
                )
            )
        case Outcome.WAITS if not planned.waits_wider:
            changes.handed_back.append(
                HandedBack(task.seq, line.incarnation, waits_wider=True, error_kind=line.error_kind, why=line.reason)
            )
        case Outcome.FAILED | Outcome.WAITS:
            attempts = task.attempts + 1
            changes.retried.append(task)
            changes.failed.append(
                FailedAttempt(
                    task.seq, line.incarnation, attempts, line.error_kind, line.reason, retry_at(attempts), True
                )
            )
            changes.handed_back.append(HandedBack(task.seq, line.incarnation, goes_alone=True))
        case Outcome.DEADLY:
            if planned.goes_alone:
                changes.verdicts[task.seq] = Verdictable(DEADLY, line.reason)
            changes.handed_back.append(
                HandedBack(
                    task.seq,
                    line.incarnation,
                    goes_alone=True,
                    deaths=task.deaths + 1,
                    error_kind=DEADLY,
                    why=line.reason,
                )
            )
        case Outcome.HANDED_BACK if line.error_kind == FailureKind.CONTENTION:
            # Locks of others: its neighbours are not to wait with it, so it goes alone; alone already, it waits a while first.
            changes.handed_back.append(
                HandedBack(
                    task.seq,
                    line.incarnation,
                    goes_alone=True,
                    error_kind=line.error_kind,
                    why=line.reason,
                    next_attempt_at=retry_at(task.attempts + 1) if planned.goes_alone else None,
                )
            )
        case Outcome.HANDED_BACK | Outcome.UNAVAILABLE | Outcome.FENCED:
            changes.handed_back.append(HandedBack(task.seq, line.incarnation))
            changes.is_outage |= line.outcome is Outcome.UNAVAILABLE
            changes.is_fenced |= line.outcome is Outcome.FENCED and settlement.epoch == epoch
