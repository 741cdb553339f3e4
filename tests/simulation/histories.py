"""Many histories, one after the other or in several processes; and a failing one made short enough to be read."""

from __future__ import annotations

import gc
import logging
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from tests.simulation.checker import faults_of
from tests.simulation.database_model import ModelSQLite
from tests.simulation.plan import Plan, plan_of
from tests.simulation.world import World

#: Histories that a process runs until it says so.
PORTION = 50

#: A history is shrunk by so many tries at most.
MOST_TRIES = 400


@dataclass(frozen=True)
class Failure:
    """A seed whose history broke a promise, and which."""

    seed: int
    faults: tuple[str, ...]


@cache
def _database() -> ModelSQLite:
    database = ModelSQLite()
    database.make_tables()
    return database


def judge(
    plan: Plan, tell: Callable[[str], None] | None = None, happened: Counter[tuple[str, str]] | None = None
) -> tuple[str, ...]:
    """Run a history; what is wrong with it. An exception that production code lets out of a thread is a fault, too.

    Parameters:
      happened: counts what really happened.
    """
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        world = World(plan, _database(), tell)
        world.run()
        if happened is not None:
            happened.update(world.happened)
        return tuple(faults_of(world))
    except Exception as error:
        return (f"a thread ended by {type(error).__name__}: {error}",)
    finally:
        logging.disable(level)


@dataclass(frozen=True)
class Portion:
    """Some histories: how many, those that failed, and what happened in them, and how often."""

    count: int
    failures: list[Failure]
    happened: Counter[tuple[str, str]]


def run(seeds: Sequence[int], processes: int) -> Iterator[Portion]:
    """Run the histories of these seeds, and tell of each portion."""
    portions = [seeds[start : start + PORTION] for start in range(0, len(seeds), PORTION)]
    if processes == 1:
        yield from map(_run_portion, portions)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(_run_portion, portions)


def _run_portion(seeds: Sequence[int]) -> Portion:
    gc.disable()  # a history is all cycles, and short: they are collected together, which saves a sixth of the time
    gc.freeze()  # and the collector then need not walk through what was there before
    try:
        happened = Counter[tuple[str, str]]()
        judged = ((seed, judge(plan_of(seed), happened=happened)) for seed in seeds)
        return Portion(len(seeds), [Failure(seed, faults) for seed, faults in judged if faults], happened)
    finally:
        gc.collect()
        gc.unfreeze()
        gc.enable()


def shrink(plan: Plan) -> Plan:
    """A plan that fails as well, with as few operations and faults as can be found by leaving out one at a time.

    Any fault counts: what is left shows a broken promise, if perhaps not the first one.
    """
    tries = 0
    has_shrunk = True
    while has_shrunk:
        has_shrunk = False
        for smaller in _smaller(plan):
            tries += 1
            if tries > MOST_TRIES:
                return plan
            if judge(smaller):
                plan, has_shrunk = smaller, True
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    for number in range(len(plan.faults)):
        yield plan.without(faults=frozenset((number,)))
    for number in range(len(plan.operations)):
        yield plan.without(operations=frozenset((number,)))


def story(plan: Plan) -> str:
    """The history step by step, for people."""
    lines: list[str] = [str(plan.sizes)]
    faults = judge(plan, lines.append)
    return "\n".join([*lines, *(f"WRONG: {fault}" for fault in faults)])


def explained(seed: int) -> str:
    """A failing seed, shrunk and told, with the command that replays it."""
    plan = plan_of(seed)
    short = shrink(plan)
    return (
        f"seed {seed}: {'; '.join(judge(plan))}\n"
        f"replay it: tests/simulation/run --replay {seed}\n"
        f"shrunk from {len(plan.operations)} operations and {len(plan.faults)} faults to {len(short.operations)} and "
        f"{len(short.faults)}:\n{story(short)}"
    )
