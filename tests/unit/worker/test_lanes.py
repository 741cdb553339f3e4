"""Lanes: which operations a dead letter holds, and which it lets pass."""

from __future__ import annotations

import pytest

from entities.operations import Delete, Insert, RowAction, Update
from entities.registry import entity_named
from entities.writesets import Writeset, invalid_writeset, is_row, writeset
from worker.lanes import Lanes

User, Business, Rating = map(entity_named, ("User", "Business", "Rating"))


def keys(*actions: RowAction, operation_id: str = "op-1") -> Writeset:
    return writeset(operation_id, actions)


def update(row_id: int, **values: object) -> Writeset:
    return keys(Update(Business, row_id, values or {"name": "x"}), operation_id=f"op-{row_id}")


def test_what_follows_a_dead_letter_on_its_row_is_held() -> None:
    lanes = Lanes()

    lanes.open(10, update(5))

    assert lanes.hold(11, update(5)) == 10
    assert lanes.hold(12, update(6)) is None


def test_what_came_before_the_letter_passes() -> None:
    lanes = Lanes()

    lanes.open(10, update(5))

    assert lanes.hold(9, update(5)) is None


def test_a_letter_from_the_ledger_comes_before_everything_here() -> None:
    lanes = Lanes()

    lanes.open(10, update(5), after_seq=0)

    assert lanes.hold(9, update(5)) == 10


def test_a_child_waits_for_the_dead_letter_of_its_parent() -> None:
    lanes = Lanes()

    lanes.open(10, keys(Insert(Business, {"id": 5, "user": 1, "name": "x"})))

    assert lanes.hold(11, keys(Insert(Rating, {"business": 5}))) == 10
    assert lanes.hold(12, keys(Insert(Rating, {"business": 6}))) is None


def test_a_held_operation_holds_its_rows_in_turn() -> None:
    lanes = Lanes()
    lanes.open(10, update(5))
    both = keys(Update(Business, 5, {"name": "x"}), Update(Business, 6, {"name": "x"}))

    assert lanes.hold(11, both) == 10

    assert lanes.hold(12, update(6)) == 10


def test_a_held_operation_holds_no_parent_no_unique_value_and_no_entity() -> None:
    lanes = Lanes()
    lanes.open(10, keys(Delete(User, 3), operation_id="a"))
    held = keys(Update(User, 3, {"email": "ana@x.co"}), operation_id="b")

    assert lanes.hold(11, held) == 10

    assert lanes.hold(12, keys(Insert(User, {"email": "ana@x.co"}), operation_id="c")) is None
    assert lanes.hold(13, update(5, user=4)) is None


def test_a_lane_is_let_go_as_a_whole() -> None:
    lanes = Lanes()
    lanes.open(10, update(5))
    lanes.hold(11, keys(Update(Business, 5, {"name": "x"}), Update(Business, 6, {"name": "x"})))

    lanes.close([10])

    assert not lanes
    assert lanes.hold(12, update(6)) is None


def test_a_row_of_two_letters_stays_held_by_the_other() -> None:
    lanes = Lanes()
    lanes.open(10, update(5))
    lanes.open(11, update(5))

    lanes.close([10])

    assert lanes.hold(12, update(5)) == 11
    assert lanes.hold(11, update(5)) is None  # the letter itself, once it is replayed in its place


def test_a_letter_that_writes_no_known_row_holds_nothing() -> None:
    lanes = Lanes()

    lanes.open(10, invalid_writeset("op-1"))
    lanes.open(11, keys(Insert(User, {"email": "ana@x.co"})))

    assert not lanes


@pytest.mark.parametrize("key", ["User#ids", "User", "User.email=3:4", "Rating of Business:5", "op:5", "op:User:5"])
def test_a_key_that_is_no_row(key: str) -> None:
    assert not is_row(key)


def test_a_key_that_is_a_row() -> None:
    assert is_row("SocialEnvironmentalImpact:2147483647")
