"""Within a batch: what follows a dead letter on its row goes back, where that is the policy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.applying import a_batch, again, create, create_user, outcomes, rows, sqlite_database, update
from worker.apply import BatchResult, apply_batch
from worker.messages import DispatchedOperation, Outcome


@pytest.fixture(autouse=True)
def _database(tmp_path: Path) -> Iterator[None]:
    with sqlite_database(tmp_path / "application.sqlite3"):
        yield


def apply_holding(*operations: DispatchedOperation) -> BatchResult:
    return apply_batch(msgspec.structs.replace(a_batch(*operations), holds_lanes=True))


def a_user_and_a_dead_update() -> tuple[DispatchedOperation, DispatchedOperation]:
    return create_user(1, id=1), update("User", 1, phoneContact="12")


def test_what_follows_a_dead_letter_on_its_row_goes_back() -> None:
    made, dead = a_user_and_a_dead_update()
    child = create("Business", userId=1, name="of the held row")

    result = apply_holding(made, dead, update("User", 1, firstName="Eva"), child, create_user(2, id=2))

    assert outcomes(result) == [
        Outcome.APPLIED,
        Outcome.DEAD,
        Outcome.HANDED_BACK,
        Outcome.HANDED_BACK,
        Outcome.APPLIED,
    ]
    assert rows("SELECT id FROM usuarios ORDER BY id") == [(1,), (2,)]


def test_a_batch_that_comes_twice_holds_what_it_held() -> None:
    made, dead = a_user_and_a_dead_update()
    follower = update("User", 1, firstName="Eva")
    apply_holding(made, dead, follower)

    result = apply_holding(again(made), again(dead), again(follower))

    assert outcomes(result) == [Outcome.APPLIED, Outcome.DEAD, Outcome.HANDED_BACK]


def test_by_default_what_follows_passes() -> None:
    made, dead = a_user_and_a_dead_update()

    result = apply_batch(a_batch(made, dead, update("User", 1, firstName="Eva")))

    assert outcomes(result) == [Outcome.APPLIED, Outcome.DEAD, Outcome.APPLIED]
