"""Which operations of a batch may share a statement: a pure function of their writesets, linear in the number of keys.

The planner's rule (`worker.planner`) within one batch. Operations of one stage do not conflict, so they may run in any order
and be merged freely; each stage comes after whatever it conflicts with. `HeldKeys` keeps what follows an operation that was
not settled from overtaking it.
"""

from __future__ import annotations

from collections.abc import Sequence

from entities.writesets import Writeset


def stages_of(writesets: Sequence[Writeset]) -> list[int]:
    """The stage of each operation: one more than the latest stage of those before it that it conflicts with; else 0."""
    last_exclusive: dict[str, int] = {}
    last_shared: dict[str, int] = {}
    stages = []
    for writeset in writesets:
        after = -1
        for key in writeset.exclusive:
            after = max(after, last_exclusive.get(key, -1), last_shared.get(key, -1))
        for key in writeset.shared:
            after = max(after, last_exclusive.get(key, -1))
        stage = after + 1
        for key in writeset.exclusive:
            last_exclusive[key] = stage
        for key in writeset.shared:
            last_shared[key] = max(stage, last_shared.get(key, -1))
        stages.append(stage)
    return stages


class HeldKeys:
    """The keys of the operations that go back unsettled, or fail: what conflicts with them later has to go back too.

    Run by stages, an operation that comes earlier in the batch than a held one it conflicts with has run before it is held.
    """

    def __init__(self) -> None:
        self._exclusive: set[str] = set()
        self._shared: set[str] = set()

    def add(self, writeset: Writeset) -> None:
        self._exclusive |= writeset.exclusive
        self._shared |= writeset.shared

    def block(self, writeset: Writeset) -> bool:
        """Whether an operation with these keys would overtake a held one."""
        if not self._exclusive:  # what goes back holds at least its own id; a lane only ever holds rows exclusively
            return False
        return not (
            self._exclusive.isdisjoint(writeset.exclusive)
            and self._exclusive.isdisjoint(writeset.shared)
            and self._shared.isdisjoint(writeset.exclusive)
        )
