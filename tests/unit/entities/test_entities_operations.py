"""The operation types: which row actions they make, and that all that is wrong is told at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from entities import operations
from entities.base import Entity
from entities.business import Business
from entities.errors import REASON_CHARACTERS, InvalidOperation
from entities.operations import Delete, Insert, RowAction, Update, configure, delete, insert, operation_type
from entities.rating import Rating
from entities.user import User
from tests.unit.entities.builders import REQUIRED, a_record, actions


def reason(kind: str, entity: str, data: dict[str, Any]) -> str:
    with pytest.raises(InvalidOperation) as caught:
        actions(kind, entity, data)
    return caught.value.reason


@pytest.fixture
def unknown_attributes_are_ignored() -> Iterator[None]:
    configure(unknown="ignore")
    yield
    configure(unknown="refuse")


@pytest.mark.parametrize("entity", REQUIRED)
def test_create_needs_its_required_attributes_and_no_more(entity: str) -> None:
    [action] = actions("CREATE", entity, a_record(entity))

    assert isinstance(action, Insert)
    assert action.entity.__name__ == entity


@pytest.mark.parametrize(("entity", "name"), [(entity, name) for entity in REQUIRED for name in REQUIRED[entity]])
def test_create_without_a_required_attribute_is_refused(entity: str, name: str) -> None:
    record = a_record(entity)
    del record[name]

    assert reason("CREATE", entity, record) == f"{entity}.{name}: is required"


@pytest.mark.parametrize(("entity", "name"), [(entity, name) for entity in REQUIRED for name in REQUIRED[entity]])
@pytest.mark.parametrize("kind", ["CREATE", "UPDATE"])
def test_null_does_not_clear_a_required_attribute(kind: str, entity: str, name: str) -> None:
    assert reason(kind, entity, a_record(entity, id=1, **{name: None})) == f"{entity}.{name}: must not be null"


def test_create_stores_values_by_python_name_in_the_models_order_with_defaults() -> None:
    [action] = actions("CREATE", "User", {**a_record("User", registrationDate="2023-11-13"), "email": "b@x.co"})

    assert isinstance(action, Insert)
    assert list(action.values.items()) == [
        ("first_name", "Ana"),
        ("last_name", "Ruiz"),
        ("email", "b@x.co"),
        ("password_hash", "$2b$10$secret"),
        ("phone_contact", "3001234567"),
        ("role", "emprendedor"),
        ("registration_date", datetime(2023, 11, 13)),
    ]


def test_create_fills_in_the_defaults_of_numbers() -> None:
    [action] = actions("CREATE", "Rating", {"businessId": 5, "totalScore": "80"})

    assert isinstance(action, Insert)
    assert action.values["total_score"] == 80
    assert action.values["finance_score"] == 0
    assert action.values["total_percentage"] == Decimal(0)
    assert "calculation_date" not in action.values  # the database's clock


def test_null_in_create_is_stored_even_where_there_is_a_default() -> None:
    [action] = actions("CREATE", "Rating", {"businessId": 5, "totalScore": None})

    assert isinstance(action, Insert)
    assert action.values["total_score"] is None


def test_an_explicit_id_is_kept_and_a_null_one_is_none() -> None:
    [explicit] = actions("CREATE", "Business", a_record("Business", id="7"))
    [null] = actions("CREATE", "Business", a_record("Business", id=None))

    assert isinstance(explicit, Insert)
    assert explicit.values["id"] == 7
    assert isinstance(null, Insert)
    assert "id" not in null.values


@pytest.mark.parametrize("name", ["userId", "usuario_id"])
def test_a_foreign_key_is_taken_under_either_name(name: str) -> None:
    [action] = actions("CREATE", "Business", {name: "3", "name": "x"})

    assert action == Insert(Business, {"user": 3, "name": "x"})


def test_a_foreign_key_under_both_names_must_agree() -> None:
    assert actions("UPDATE", "Business", {"id": 1, "userId": 3, "usuario_id": "3"}) == (
        Update(Business, 1, {"user": 3}),
    )
    assert "Business.userId: is there twice" in reason("UPDATE", "Business", {"id": 1, "userId": 3, "usuario_id": 4})


def test_update_changes_what_it_names_and_null_clears() -> None:
    assert actions("UPDATE", "Business", {"id": "7", "creationYear": None, "name": "x"}) == (
        Update(Business, 7, {"name": "x", "creation_year": None}),
    )


def test_update_of_nothing_is_an_update() -> None:
    assert actions("UPDATE", "Business", {"id": 7}) == (Update(Business, 7, {}),)


@pytest.mark.parametrize("kind", ["UPDATE", "DELETE"])
def test_update_and_delete_need_an_id(kind: str) -> None:
    assert reason(kind, "Business", {}) == "Business.id: is required"
    assert reason(kind, "Business", {"id": None}) == "Business.id: is required"


@pytest.mark.parametrize("row_id", [0, -1, 1.5, True, [1], {"id": 1}, "7 OR 1=1", 2**31])
@pytest.mark.parametrize("kind", ["CREATE", "UPDATE", "DELETE"])
def test_an_id_out_of_form_is_refused_once(kind: str, row_id: Any) -> None:
    data = {"id": row_id} if kind == "DELETE" else a_record("Business", id=row_id)

    assert reason(kind, "Business", data).count("Business.id: must be a whole number") == 1


def test_delete_names_a_row_and_nothing_else() -> None:
    assert actions("DELETE", "User", {"id": 3.0}) == (Delete(User, 3),)
    assert reason("DELETE", "User", {"id": 3, "role": "emprendedor"}) == "User.role: is unknown"


def test_bulk_create_and_update_are_like_their_single_ones() -> None:
    assert actions(
        "BULK_CREATE", "Business", {"records": [{"userId": 3, "name": "a"}, {"userId": 4, "name": "b"}]}
    ) == (
        Insert(Business, {"user": 3, "name": "a"}),
        Insert(Business, {"user": 4, "name": "b"}),
    )
    assert actions("BULK_UPDATE", "Business", {"updates": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}) == (
        Update(Business, 1, {"name": "a"}),
        Update(Business, 1, {"name": "b"}),
    )


@pytest.mark.parametrize(("kind", "key"), [("BULK_CREATE", "records"), ("BULK_UPDATE", "updates")])
def test_an_empty_bulk_list_does_nothing(kind: str, key: str) -> None:
    assert actions(kind, "User", {key: []}) == ()


@pytest.mark.parametrize(("kind", "key"), [("BULK_CREATE", "records"), ("BULK_UPDATE", "updates")])
def test_a_bulk_list_that_is_none_is_refused(kind: str, key: str) -> None:
    assert reason(kind, "User", {}) == f"data.{key}: is missing"
    assert reason(kind, "User", {key: {}}) == f"data.{key}: must be a list of objects, not an object"
    assert reason(kind, "User", {key: [7]}) == f"{key}[0] User: must be an object, not 7"
    assert reason(kind, "User", {key: [], "recrods": 1}) == "data.recrods: is unknown" + (
        " (did you mean records?)" if key == "records" else ""
    )


def test_all_that_is_wrong_is_told_at_once() -> None:
    told = reason("CREATE", "User", {"firstName": " ", "emial": "a@x.co", "phoneContact": 7, "role": "rey"})

    assert told.split("; ") == [
        "User.firstName: must be text that is not blank, not ' '",
        "User.emial: is unknown (did you mean email?)",
        "User.phoneContact: must be a mobile number (3 and nine more digits), not 7",
        "User.role: must be one of emprendedor, administrador, not 'rey'",
        "User.lastName: is required",
        "User.email: is required",
        "User.passwordHash: is required",
    ]


def test_type_and_entity_are_told_together() -> None:
    told = reason("create", "user", {})

    assert told.startswith(
        "type: must be one of CREATE, UPDATE, DELETE, BULK_CREATE, BULK_UPDATE, not 'create'; entity: "
    )


def test_a_bulk_reason_names_each_wrong_record() -> None:
    records = [{"businessId": 1}, {"businessId": 0}, {"businessId": 1}, {"totalScore": "x"}]

    told = reason("BULK_CREATE", "Rating", {"records": records})

    assert told.split("; ") == [
        "records[1] Rating.businessId: must be a whole number from 1 to 2147483647, not 0",
        "records[3] Rating.totalScore: must be a whole number from -2147483648 to 2147483647, not 'x'",
        "Rating.businessId: is required",
    ]


def test_a_bulk_reason_lists_the_first_20_wrong_records_and_stops() -> None:
    told = reason("BULK_UPDATE", "Rating", {"updates": [{"id": 0}] * 25})

    assert "updates[19] " in told
    assert "updates[20]" not in told
    assert told.endswith("data.updates: more records are wrong")


def test_the_20th_wrong_record_is_the_last_that_is_told_when_there_are_20() -> None:
    assert "more records" not in reason("BULK_UPDATE", "Rating", {"updates": [{"id": 0}] * 20})


def test_a_hostile_message_gets_a_short_reason() -> None:
    hostile = {f"emial{number}" * 5: "x" for number in range(1_500)}

    told = reason("BULK_CREATE", "User", {"records": [hostile] * 30})  # 1 MB

    assert len(told) < REASON_CHARACTERS + 200


def test_a_secret_in_a_wrong_record_is_not_told() -> None:
    told = reason("BULK_CREATE", "User", {"records": [a_record("User", passwordHash=["$2b$10$secret"], email="x")]})

    assert "records[0] User.email: must be an e-mail address, not 'x'" in told
    assert "secret" not in told


@pytest.mark.parametrize("name", ["usuario_id", "nombre", "__class__", "pk", "save", "password_hash", "", "\n", "🍞"])
def test_an_unknown_attribute_is_refused_by_name(name: str) -> None:
    told = reason("UPDATE", "User", {"id": 1, name: 1})

    assert told.startswith("User")
    assert "is unknown" in told
    assert told.isprintable()


@pytest.mark.usefixtures("unknown_attributes_are_ignored")
def test_unknown_attributes_can_be_dropped_with_one_warning_for_each_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    for _ in range(3):
        assert actions("UPDATE", "Business", {"id": 1, "colour": 1, "size": 2}) == (Update(Business, 1, {}),)

    assert [record.getMessage() for record in caplog.records] == [
        "Unknown attribute ignored: Business.colour",
        "Unknown attribute ignored: Business.size",
    ]


@pytest.mark.usefixtures("unknown_attributes_are_ignored")
def test_the_names_warned_of_do_not_fill_the_memory() -> None:
    for number in range(2_000):
        actions("DELETE", "Business", {"id": 1, f"x{number}": 1})

    assert len(operations._Policy.warned) == 1_000


def test_a_sixth_operation_type_is_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_handlers", dict(operations._handlers))

    @operation_type("REPLACE")
    def replace(entity: type[Entity], data: dict[str, Any]) -> list[RowAction]:
        return [delete(entity, {"id": data.get("id")}), insert(entity, data)]

    assert actions("REPLACE", "Rating", {"id": 5, "businessId": 1})[0] == Delete(Rating, 5)
    assert isinstance(actions("REPLACE", "Rating", {"id": 5, "businessId": 1})[1], Insert)
    assert reason("REPLACE", "Rating", {"businessId": 1}) == "Rating.id: is required"
    assert "REPLACE" in reason("RENAME", "Rating", {})
