"""The judge is awake: each rule that is broken on purpose is noticed within a bounded number of histories."""

from __future__ import annotations

import pytest

from tests.simulation import histories
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.plan import plan_of


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_broken_rule_is_noticed(mutant: Mutant) -> None:
    with mutant.at_work():
        noticed = any(histories.judge(plan_of(seed)) for seed in mutant.seeds)

    assert noticed
