"""Which operations of a batch may share a stage while none fails: finer than the writesets, a pure function.

A writeset's key is wanted exclusively or shared. Two operations that both want it exclusively need not be kept apart where
one statement does what both would do one after the other: updates of one row are assignments in their order, new siblings are
rows of one INSERT in their order, new rows with ids of their own leave the sequence of ids the same whichever is first. So a
claim has a mode, and claims of one mode may share a stage.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeAlias


class Mode(NamedTuple):
    """How a key is claimed. Claims on it share a stage if their modes are equal, and not `EXCLUSIVE`.

    Parameters:
      name: What tells modes apart.
      keeps_order: Whether the later of two may not be in an earlier stage: within one, the batch's order is kept.
    """

    name: Hashable
    keeps_order: bool = False


EXCLUSIVE = Mode("exclusive")
SHARED = Mode("shared")

#: A row that is given values, of which the last one of each attribute stays.
ASSIGNED = Mode("assigned", keeps_order=True)

#: An entity's sequence of ids, which rows with ids of their own may advance.
ADVANCED = Mode("advanced")

#: The keys of an operation, each with its mode.
Claims: TypeAlias = Mapping[str, Mode]


def next_sibling(columns: tuple[str, ...]) -> Mode:
    """A place among siblings, for a new row of these columns: rows of other columns go into another INSERT."""
    return Mode(columns, keeps_order=True)


def stages_of_claims(batch: Sequence[Claims]) -> list[int]:
    """The stage of each operation of a batch, from 0: as early as its claims allow."""
    runs: dict[str, _Run] = {}
    stages = []
    for claims in batch:
        stage = 0
        for key, mode in claims.items():
            run = runs.get(key)
            if run is not None:
                first = run.first_stage_for(mode)
                if first > stage:
                    stage = first
        for key, mode in claims.items():
            run = runs.get(key)
            if run is None:
                runs[key] = _Run(mode, stage)
            else:
                run.note(mode, stage)
        stages.append(stage)
    return stages


class _Run:
    """The claims on a key since the last one of another mode."""

    __slots__ = ("_before", "_last", "_mode")

    def __init__(self, mode: Mode, stage: int) -> None:
        self._mode = mode
        self._before = -1  # the last stage of all claims before this run
        self._last = stage  # the last stage of this run's own

    def first_stage_for(self, mode: Mode) -> int:
        if mode is EXCLUSIVE or mode != self._mode:
            return max(self._before, self._last) + 1
        return max(self._before + 1, self._last) if mode.keeps_order else self._before + 1

    def note(self, mode: Mode, stage: int) -> None:
        if mode is EXCLUSIVE or mode != self._mode:
            self._before, self._mode, self._last = max(self._before, self._last), mode, stage
        elif stage > self._last:
            self._last = stage
