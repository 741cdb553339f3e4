"""Stages by claims: finer than by writesets, and never against the order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.claims import ADVANCED, ASSIGNED, EXCLUSIVE, SHARED, Claims, Mode, next_sibling, stages_of_claims

_modes = st.sampled_from([EXCLUSIVE, SHARED, ASSIGNED, ADVANCED, next_sibling(("a",)), next_sibling(("b",))])
_batches = st.lists(st.dictionaries(st.sampled_from("abcd"), _modes, max_size=3), max_size=12)


def _may_share_a_stage(one: Mode, other: Mode) -> bool:
    return one == other and one is not EXCLUSIVE


@given(_batches)
def test_claims_of_different_modes_or_exclusive_ones_are_run_in_the_batchs_order(batch: list[Claims]) -> None:
    stages = stages_of_claims(batch)

    for later, claims in enumerate(batch):
        for earlier in range(later):
            for key in claims.keys() & batch[earlier].keys():
                if not _may_share_a_stage(claims[key], batch[earlier][key]):
                    assert stages[earlier] < stages[later]


@given(_batches)
def test_what_keeps_its_order_within_a_stage_is_never_in_an_earlier_one(batch: list[Claims]) -> None:
    stages = stages_of_claims(batch)

    for later, claims in enumerate(batch):
        for earlier in range(later):
            if any(claims[key].keeps_order for key in claims.keys() & batch[earlier].keys()):
                assert stages[earlier] <= stages[later]


@given(_batches)
def test_each_is_as_early_as_its_claims_allow(batch: list[Claims]) -> None:
    stages = stages_of_claims(batch)

    for number, claims in enumerate(batch):
        earliest = 0
        for before in range(number):
            for key in claims.keys() & batch[before].keys():
                shares = _may_share_a_stage(claims[key], batch[before][key])
                if not shares:
                    earliest = max(earliest, stages[before] + 1)
                elif claims[key].keeps_order:
                    earliest = max(earliest, stages[before])
        assert stages[number] == earliest


def test_updates_of_one_row_share_a_stage_and_a_delete_between_them_parts_them() -> None:
    update: Claims = {"User:1": SHARED, "User:1 values": ASSIGNED}
    delete: Claims = {"User:1": EXCLUSIVE}

    assert stages_of_claims([update, update, delete, update]) == [0, 0, 1, 2]
