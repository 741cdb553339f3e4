"""The judge is awake: each rule that is broken on purpose is noticed within a bounded number of histories."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation import histories
from tests.simulation.mutants import COVERED, MUTANTS, SELDOM_NOTICED, Mutant
from tests.simulation.plan import Plan


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_broken_rule_is_noticed(mutant: Mutant) -> None:
    with mutant.at_work():
        noticed = any(map(histories.judge, mutant.plans))

    assert noticed


@pytest.mark.parametrize(("one", "other", "history"), COVERED, ids=str)
def test_two_rules_that_cover_each_other_are_missed_together(one: Mutant, other: Mutant, history: Plan) -> None:
    with one.at_work(), other.at_work():
        noticed = any(histories.judge(replace(history, seed=seed)) for seed in range(200))

    assert noticed


@pytest.mark.parametrize("mutant", SELDOM_NOTICED, ids=str)
def test_a_rule_that_is_not_noticed_here_is_still_where_it_is_said_to_be(mutant: Mutant) -> None:
    with mutant.at_work():
        pass  # raises if the rule has moved
