"""Runs a batch's operations in a transaction so that all ends as if they had run one after the other.

Nearly always none fails. So a batch of operations that conflict first runs by its claims (`worker.foresight`), in as few
statements as keep its order while all goes well, behind a savepoint. If anything fails it is undone, and each half of the
batch is tried by itself; a small part runs in the exact order, by the writesets, and there it is found what failed and who
has to go back with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from entities import database
from worker.claims import stages_of_claims
from worker.foresight import claims_of
from worker.ledger_desk import LedgerDesk
from worker.messages import Outcome
from worker.narrowing import narrow_deletes
from worker.rows import Failed, RowRunner
from worker.stages import HeldKeys, stages_of
from worker.work import INVALID, Work

#: So few operations run in the exact order after a failure: to look for it in parts of them would not pay.
RUN_EXACTLY = 32


class BatchRun:
    """The run of one batch.

    Parameters:
      desk: The ledger's, which has answered for what was settled before.
      is_alone: See `worker.apply.apply_batch`.
      holds_lanes: Whether what follows a dead letter on its rows goes back, since ingest holds it then.
    """

    def __init__(self, desk: LedgerDesk, is_alone: bool, holds_lanes: bool) -> None:
        self._desk = desk
        self._holds_lanes = holds_lanes
        self._exact = RowRunner(is_alone, desk.look_again)
        self._hopeful = RowRunner(is_alone, desk.look_again, stops_at_failure=True)
        self._held = HeldKeys()
        self._settled: dict[str, Work] = {}

    def run(self, works: Sequence[Work]) -> None:
        """Run those of the works that are open, and note in each what became of it."""
        self._hold_lanes(works)
        self._run([work for work in works if work.outcome is None])

    def _run(self, works: Sequence[Work]) -> None:
        if not self._can_hope(works):
            self._run_exactly(works)
        elif not self._run_in_hope(works):
            if len(works) <= RUN_EXACTLY:
                self._run_exactly(works)
            else:
                half = len(works) // 2
                self._run(works[:half])
                self._run(works[half:])

    # -------------------------------------------------------------------------------------------------- while all is well

    def _can_hope(self, works: Sequence[Work]) -> bool:
        """Whether there is anything to win, and nothing in the way that is known already."""
        ids = {work.id for work in works}
        if len(ids) < len(works) or not ids.isdisjoint(self._settled):
            return False
        if any(work.invalid_reason for work in works) and self._holds_lanes:
            return False
        return not any(self._held.block(work.keys) for work in works) and any(stages_of([work.keys for work in works]))

    def _run_in_hope(self, works: Sequence[Work]) -> bool:
        """Whether all were applied; else none was, and all are open again."""
        valid = [work for work in works if not work.invalid_reason]
        try:
            with database.savepoint():
                for stage in _by_stage(valid, stages_of_claims(claims_of(valid))):
                    self._hopeful.run(stage)
        except Failed:
            for work in valid:
                work.reopened()
            return False
        for work in works:
            if work.invalid_reason:
                work.ended(Outcome.DEAD, INVALID, work.invalid_reason)
            self._settled[work.id] = work
        return True

    # --------------------------------------------------------------------------------------------------- in the exact order

    def _run_exactly(self, works: Sequence[Work]) -> None:
        for stage in _exact_stages(works):
            ready = []
            for work in stage:
                if self._held.block(work.keys):
                    work.ended(Outcome.HANDED_BACK, "", "an earlier operation that it conflicts with is not settled")
                elif work.id in self._settled:
                    self._desk.answer_copy(work, self._settled[work.id])
                elif work.invalid_reason:
                    work.ended(Outcome.DEAD, INVALID, work.invalid_reason)
                else:
                    ready.append(work)
            self._exact.run(ready)
            for work in stage:
                if work.is_held:
                    self._held.add(work.keys)
                else:
                    self._settled.setdefault(work.id, work)  # the first one's is the line of that id
            self._hold_lanes(stage)

    def _hold_lanes(self, works: Iterable[Work]) -> None:
        """Have what follows the dead letters among these on their rows go back: ingest holds it then."""
        for work in works if self._holds_lanes else ():
            if work.outcome is Outcome.DEAD:
                self._held.add(work.lane)


def _exact_stages(works: Sequence[Work]) -> Iterator[list[Work]]:
    """The operations by stages, in the batch's order within each."""
    numbers = stages_of([work.keys for work in works])
    if any(numbers):
        narrow_deletes(works)
        numbers = stages_of([work.keys for work in works])
    return _by_stage(works, numbers)


def _by_stage(works: Sequence[Work], numbers: Sequence[int]) -> Iterator[list[Work]]:
    stages: dict[int, list[Work]] = {}
    for work, number in zip(works, numbers, strict=True):
        stages.setdefault(number, []).append(work)
    return (stages[number] for number in sorted(stages))
