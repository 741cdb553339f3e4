"""A rehearsal says what would become of operations, and leaves the database as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entities import ledger
from tests.support.applying import again, apply, create, create_user, rows, sqlite_database, update
from worker.messages import Outcome
from worker.rehearsal import rehearse


@pytest.fixture(autouse=True)
def _database(tmp_path: Path) -> Iterator[None]:
    with sqlite_database(tmp_path / "application.sqlite3"):
        yield


def everything() -> list[Any]:
    return [
        rows("SELECT * FROM usuarios"),
        rows("SELECT * FROM emprendimientos"),
        rows("SELECT * FROM settled_operations"),
    ]


def test_it_tells_each_outcome_with_its_reason_and_changes_nothing() -> None:
    apply(create_user(1, id=1))
    before = everything()

    good, refused, missing, wrong = rehearse(
        [
            update("User", 1, lastName="Rojas"),
            create_user(1),
            update("Business", 9, name="x"),
            create_user(2, email="nobody"),
        ]
    )

    assert (good.outcome, good.touched) == (Outcome.APPLIED, ("User:1",))
    assert (refused.outcome, refused.error_kind) == (Outcome.FAILED, "order")
    assert "User.email" in refused.reason
    assert (missing.outcome, missing.reason) == (Outcome.FAILED, "Business 9 is not there")
    assert (wrong.outcome, wrong.error_kind) == (Outcome.DEAD, "invalid")
    assert everything() == before


def test_an_operation_sees_what_those_before_it_would_have_done() -> None:
    user, business = rehearse([create_user(1, id=5), create("Business", userId=5, name="Panadería")])

    assert (user.outcome, business.outcome) == (Outcome.APPLIED, Outcome.APPLIED)
    assert rows("SELECT * FROM usuarios") == []


def test_what_the_ledger_has_settled_is_told_as_done_already() -> None:
    operation = create_user(1)
    apply(operation)

    (told,) = rehearse([again(operation, incarnation=2)])

    assert (told.outcome, told.is_duplicate) == (Outcome.APPLIED, True)


def test_a_dead_letter_is_rehearsed_as_its_next_incarnation() -> None:
    letter = update("User", 1, lastName="Rojas")
    apply(letter, is_alone=True)
    apply(create_user(1, id=1))

    (told,) = rehearse([again(letter, incarnation=1)])

    assert (told.outcome, told.is_duplicate) == (Outcome.APPLIED, False)
    assert ledger.settled([letter.operation_id]) == {}


def test_more_than_a_transaction_holds_are_all_told() -> None:
    told = list(rehearse([create_user(number) for number in range(120)]))

    assert [one.outcome for one in told] == [Outcome.APPLIED] * 120
    assert rows("SELECT count(*) FROM usuarios") == [(0,)]
