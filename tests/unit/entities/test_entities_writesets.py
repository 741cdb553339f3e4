"""Which keys operations take, and therefore which of them keep their order."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entities.writesets import Writeset, conflicts, invalid_writeset, loose, writeset
from tests.unit.entities.builders import REQUIRED, a_record, actions, keys


def a_create(entity: str, **attributes: Any) -> Writeset:
    return keys("CREATE", entity, a_record(entity, **attributes))


def an_update(entity: str, row_id: int, **attributes: Any) -> Writeset:
    return keys("UPDATE", entity, {"id": row_id, **attributes})


def a_delete(entity: str, row_id: int) -> Writeset:
    return keys("DELETE", entity, {"id": row_id})


def test_a_create_takes_its_unique_value_and_shares_the_rest() -> None:
    assert keys("CREATE", "User", a_record("User", email="Ana@X.co "[:-1]), "op_1") == Writeset(
        exclusive=frozenset({"op:op_1", "User.email=ana@x.co"}),
        shared=frozenset({"User", "User#ids", "User.email"}),
        entities=frozenset({"User"}),
    )


def test_a_create_of_a_child_takes_its_place_among_its_siblings() -> None:
    assert keys("CREATE", "Rating", {"businessId": 5}, "op_1") == Writeset(
        exclusive=frozenset({"op:op_1", "Rating of Business:5"}),
        shared=frozenset({"Rating", "Rating#ids", "Business:5", "Business"}),
        entities=frozenset({"Rating", "Business"}),
    )


def test_a_create_with_an_id_takes_the_row_and_the_sequence() -> None:
    assert keys("CREATE", "Rating", {"businessId": 5, "id": 9}, "op_1") == Writeset(
        exclusive=frozenset({"op:op_1", "Rating:9", "Rating#ids", "Rating of Business:5"}),
        shared=frozenset({"Rating", "Business:5", "Business"}),
        entities=frozenset({"Rating", "Business"}),
    )


def test_an_update_takes_its_row() -> None:
    assert keys("UPDATE", "Rating", {"id": 9, "totalScore": 1}, "op_1") == Writeset(
        exclusive=frozenset({"op:op_1", "Rating:9"}), shared=frozenset({"Rating"}), entities=frozenset({"Rating"})
    )


def test_an_update_that_changes_the_parent_shares_the_new_one() -> None:
    assert keys("UPDATE", "Rating", {"id": 9, "businessId": 5}, "op_1") == Writeset(
        exclusive=frozenset({"op:op_1", "Rating:9"}),
        shared=frozenset({"Rating", "Business:5", "Business"}),
        entities=frozenset({"Rating", "Business"}),
    )


def test_an_update_that_changes_a_unique_attribute_takes_the_whole_attribute() -> None:
    assert keys("UPDATE", "User", {"id": 3, "email": "b@x.co"}, "op_1").exclusive == {"op:op_1", "User:3", "User.email"}


def test_a_delete_takes_what_the_cascade_reaches_below_it() -> None:
    assert keys("DELETE", "Business", {"id": 5}, "op_1") == Writeset(
        exclusive=frozenset({"op:op_1", "Business:5"} | REQUIRED.keys() - {"User", "Business"}),
        shared=frozenset({"Business"}),
        entities=frozenset({"Business"}),
    )


def test_a_delete_of_a_leaf_takes_its_row() -> None:
    assert keys("DELETE", "Rating", {"id": 9}, "op_1") == Writeset(
        exclusive=frozenset({"op:op_1", "Rating:9"}), shared=frozenset({"Rating"}), entities=frozenset({"Rating"})
    )


def test_a_bulk_operation_takes_what_its_records_take() -> None:
    bulk = keys("BULK_UPDATE", "Rating", {"updates": [{"id": 1}, {"id": 2}]}, "op_1")

    assert bulk.exclusive == {"op:op_1", "Rating:1", "Rating:2"}


def test_an_empty_bulk_and_an_invalid_operation_take_their_id_alone() -> None:
    alone = Writeset(frozenset({"op:op_1"}), frozenset(), frozenset())

    assert keys("BULK_CREATE", "User", {"records": []}, "op_1") == alone
    assert invalid_writeset("op_1") == alone


AFTER_EACH_OTHER = {
    "two updates of a row": (an_update("Rating", 1), an_update("Rating", 1)),
    "an update and the delete of its row": (an_update("Rating", 1), a_delete("Rating", 1)),
    "a create with an id and an update of it": (a_create("Rating", id=7), an_update("Rating", 7)),
    "a create with an id and one without": (a_create("Rating", id=7), a_create("Rating", businessId=6)),
    "two creates under one parent": (a_create("Rating"), a_create("Rating")),
    "a create and an update of its parent": (a_create("Rating"), an_update("Business", 5, name="x")),
    "a create and the delete of its parent": (a_create("Rating"), a_delete("Business", 5)),
    "a create and the delete of a grandparent": (a_create("Rating"), a_delete("User", 99)),
    "an update of a child and the delete of some parent": (an_update("Rating", 1), a_delete("Business", 9)),
    "a move to another parent and its delete": (an_update("Rating", 1, businessId=5), a_delete("Business", 5)),
    "two creates with one e-mail": (a_create("User", email="a@x.co"), a_create("User", email="A@X.CO", firstName="B")),
    "a create and a change to its e-mail": (a_create("User", email="a@x.co"), an_update("User", 1, email="a@x.co")),
    "a create and a change that may free its e-mail": (a_create("User"), an_update("User", 1, email="b@x.co")),
    "a create and a delete that may free its e-mail": (a_create("User"), a_delete("User", 1)),
    "two swaps of e-mails": (an_update("User", 1, email="a@x.co"), an_update("User", 2, email="b@x.co")),
    "two with one operation id": (invalid_writeset("op"), keys("DELETE", "User", {"id": 1}, "op")),
}

BESIDE_EACH_OTHER = {
    "updates of two rows": (an_update("User", 1, firstName="A"), an_update("User", 2, firstName="B")),
    "creates with two e-mails": (a_create("User", email="a@x.co"), a_create("User", email="b@x.co")),
    "creates under two parents": (a_create("Rating", businessId=1), a_create("Rating", businessId=2)),
    "creates of two entities under one parent": (a_create("Rating"), a_create("Finance")),
    "a create and an update of another row": (a_create("Rating"), an_update("Rating", 9)),
    "deletes of two leaves": (a_delete("Rating", 1), a_delete("Rating", 2)),
    "a delete of a leaf and a create": (a_delete("Rating", 1), a_create("Rating")),
    "an update of a user and a delete of another": (an_update("User", 1, firstName="A"), a_delete("User", 2)),
    "a delete of a business and an update of a user": (a_delete("Business", 1), an_update("User", 1)),
    "two that are invalid": (invalid_writeset("a"), invalid_writeset("b")),
}


@pytest.mark.parametrize("case", AFTER_EACH_OTHER)
def test_these_keep_their_order(case: str) -> None:
    one, other = AFTER_EACH_OTHER[case]

    assert conflicts(one, other)
    assert conflicts(other, one)


@pytest.mark.parametrize("case", BESIDE_EACH_OTHER)
def test_these_may_change_places(case: str) -> None:
    one, other = BESIDE_EACH_OTHER[case]

    assert not conflicts(one, other)
    assert not conflicts(other, one)


ids = st.integers(1, 3)
emails = st.sampled_from(["a@x.co", "A@x.co", "b@x.co", "ñ@x.co", "n@x.co", "ß@x.co"])
small_operations = st.one_of(
    st.tuples(st.just("CREATE"), st.just("User"), st.builds(lambda email: a_record("User", email=email), emails)),
    st.tuples(st.just("CREATE"), st.just("Rating"), st.fixed_dictionaries({"businessId": ids}, optional={"id": ids})),
    st.tuples(st.just("UPDATE"), st.just("User"), st.fixed_dictionaries({"id": ids}, optional={"email": emails})),
    st.tuples(st.just("UPDATE"), st.just("Rating"), st.fixed_dictionaries({"id": ids}, optional={"businessId": ids})),
    st.tuples(st.just("DELETE"), st.sampled_from(sorted(REQUIRED)), st.fixed_dictionaries({"id": ids})),
)


@given(operations=st.lists(small_operations, min_size=1, max_size=4))
def test_a_writeset_is_whole(operations: list[tuple[str, str, dict[str, Any]]]) -> None:
    rows = [action for operation in operations for action in actions(*operation)]

    whole = writeset("op", rows)

    assert whole.exclusive.isdisjoint(whole.shared)
    assert whole.entities <= whole.shared | whole.exclusive
    for row in rows:
        part = writeset("op", [row])
        assert part.exclusive <= whole.exclusive
        assert part.shared <= whole.shared | whole.exclusive
        assert part.entities <= whole.entities


@given(one=small_operations, other=small_operations)
def test_a_conflict_is_mutual_and_every_operation_conflicts_with_itself(
    one: tuple[str, str, dict[str, Any]], other: tuple[str, str, dict[str, Any]]
) -> None:
    assert conflicts(keys(*one), keys(*other)) == conflicts(keys(*other), keys(*one))
    assert conflicts(keys(*one), keys(*one))


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Ana@X.co", "ana@x.co"),
        ("ana  ", "ana"),
        ("ana\t", "ana\t"),
        ("  ana", "  ana"),
        ("an\x00a\x7f \x1f", "ana"),
        ("", ""),
    ],
)
def test_case_trailing_spaces_and_unseen_characters_make_no_difference(text: str, folded: str) -> None:
    assert loose(text) == folded


@pytest.mark.parametrize(
    "text", ["José", "ü", "straße", "STRAẞE", "ﬁn", "Ø", "ı", "🍞", "a\u200db", "a\u00adb", "７", "Ж", "a\u0301", "𝐚"]
)
def test_what_collations_equate_with_texts_that_look_different_is_not_folded(text: str) -> None:
    assert loose(text) is None


@pytest.mark.parametrize("email", ["ß@example.co", "josé@example.co", "ana@españa.рф", "🍞@example.co"])
def test_a_create_whose_value_cannot_be_folded_takes_the_whole_attribute(email: str) -> None:
    folded = a_create("User", email="ss@example.co")
    unfolded = a_create("User", email=email)

    assert "User.email" in unfolded.exclusive
    assert conflicts(folded, unfolded)
    assert conflicts(unfolded, a_create("User", email=email, firstName="B"))


@given(text=st.text())
def test_texts_that_differ_in_case_or_normal_form_alone_are_one(text: str) -> None:
    folded = loose(text)

    assert loose(text + "  ") == folded
    decomposed, composed = unicodedata.normalize("NFD", text), unicodedata.normalize("NFC", text)
    for variant in (decomposed, composed, text.upper(), text.lower(), text.casefold()):
        assert loose(variant) in (folded, None) or folded is None


@given(text=st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    folded = loose(text)

    assert folded is None or (loose(folded) == folded and folded.isascii())
