"""The quick way into a row agrees with the long way in everything it takes, and leaves it all that is out of form."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entities.base import Entity
from entities.errors import InvalidOperation
from entities.operations import Insert, RowAction, Update, insert, update
from entities.registry import all_entities
from entities.shapes import Shape
from entities.user import User
from tests.unit.entities.builders import REQUIRED, a_record

#: What attributes may be sent, right or wrong: the bounds of each kind of attribute are among them.
VALUES: list[Any] = [
    *(None, True, False, [], {"id": 1}),
    *(-(2**31) - 1, -(2**31), -1, 0, 1, 5, 2**31 - 1, 2**31, 2**70, 7.0, 7.5, 99.995, 1e300, 1_699_876_543_210),
    *("", " ", "\u3000", "\x1f", "5", "-1", "7.0", "99.994", "true", "0_6_meses", "consolidado", "emprendedor"),
    *("ana@x.co", "ana@x.co\n", " ana@x.co", "año@ñandú.co", "ana@x", "3001234567", "30012345678"),
    *("2023-11-13", "2023-11-13T25:00:00Z", "1699876543210"),
    *("\ud83c", "ñ\udc80"),
    *(letter * length for letter in "xñ🎉" for length in (20, 21, 100, 101, 200, 201, 255, 256)),
    *(letter * length for letter in "xñ🎉" for length in (16_383, 16_384, 65_535, 65_536)),
]


class NoShape(Shape):
    """A shape that takes nothing: all goes the long way."""

    def __init__(self) -> None:
        super().__init__((), frozenset())

    def values(self, record: Any) -> None:
        return None


@st.composite
def a_record_in_any_state(draw: st.DrawFn) -> tuple[type[Entity], dict[str, Any]]:
    entity = draw(st.sampled_from(all_entities()))
    names = [*entity.attributes().by_wire_name, "nobodyKnowsIt"]
    changes = draw(st.dictionaries(st.sampled_from(names), st.sampled_from(VALUES), max_size=3))
    left_out = draw(st.sets(st.sampled_from(names), max_size=1))
    record = {**a_record(entity.__name__), **changes}
    return entity, {name: value for name, value in record.items() if name not in left_out}


def told(action: Any, entity: type[Entity], record: dict[str, Any]) -> tuple[Any, ...] | str:
    """What comes of a record, so that types and the order of values count too."""
    try:
        made: RowAction = action(entity, record)
    except InvalidOperation as error:
        return error.reason
    values = [] if not isinstance(made, Insert | Update) else list(made.values.items())
    return type(made), getattr(made, "id", None), [(name, type(value), value) for name, value in values]


def told_without_shapes(action: Any, entity: type[Entity], record: dict[str, Any]) -> tuple[Any, ...] | str:
    table = entity.attributes()
    entity._table = table._replace(new_row=NoShape(), changed_row=NoShape())
    try:
        return told(action, entity, record)
    finally:
        entity._table = table


@pytest.mark.parametrize("action", [insert, update])
@pytest.mark.parametrize("name", REQUIRED)
def test_both_ways_make_the_same_of_every_value(action: Any, name: str) -> None:
    [entity] = [one for one in all_entities() if one.__name__ == name]

    for attribute in entity.attributes().by_wire_name:
        for value in VALUES:
            record = a_record(name, **{"id": 3, attribute: value})

            assert told(action, entity, record) == told_without_shapes(action, entity, record), (attribute, value)


@pytest.mark.parametrize("action", [insert, update])
@given(drawn=a_record_in_any_state())
def test_both_ways_make_the_same_of_a_record(action: Any, drawn: tuple[type[Entity], dict[str, Any]]) -> None:
    entity, record = drawn

    assert told(action, entity, record) == told_without_shapes(action, entity, record)


@pytest.mark.parametrize("name", REQUIRED)
def test_what_the_application_sends_goes_the_quick_way(name: str) -> None:
    [entity] = [one for one in all_entities() if one.__name__ == name]

    assert entity.attributes().new_row.values(a_record(name)) is not None
    assert entity.attributes().changed_row.values(a_record(name, id=3)) is not None


def test_half_a_surrogate_pair_is_left_to_the_long_way() -> None:
    assert User.attributes().new_row.values(a_record("User", firstName="Ana \ud83c")) is None
