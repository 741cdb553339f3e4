"""Thousands of histories, and none breaks a promise."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tests.simulation import histories
from tests.simulation.directed import DIRECTED
from tests.simulation.mutants import MUTANTS
from tests.simulation.plan import plan_of

HISTORIES = 20_000
PROCESSES = min(2, os.cpu_count() or 1)


@pytest.mark.timeout(1_500)
def test_no_history_breaks_a_promise() -> None:
    portions = histories.run(range(HISTORIES), processes=PROCESSES)
    failures = [failure for portion in portions for failure in portion.failures]

    if failures:
        first = min(failures, key=lambda failure: failure.seed)
        pytest.fail(
            f"{len(failures)} of {HISTORIES} histories failed\n{histories.explained(first.seed)}", pytrace=False
        )


@pytest.mark.parametrize("name", DIRECTED)
def test_no_directed_history_breaks_a_promise(name: str) -> None:
    faults = [fault for seed in range(10) for fault in histories.judge(replace(DIRECTED[name], seed=seed))]

    assert faults == []


def test_a_seed_tells_the_same_history_again() -> None:
    for seed in range(20):
        assert histories.story(plan_of(seed)) == histories.story(plan_of(seed))


def test_a_failing_history_is_made_short_and_told() -> None:
    (mutant,) = (one for one in MUTANTS if one.rule == "the ledger gets no line of what was applied")
    with mutant.at_work():
        seed = next(seed for seed in range(100) if histories.judge(plan_of(seed)))

        told = histories.explained(seed)
        short = histories.shrink(plan_of(seed))

    assert (len(short.operations), len(short.faults)) == (1, 0)
    assert f"--replay {seed}" in told
    assert "WRONG: lost: " in told
