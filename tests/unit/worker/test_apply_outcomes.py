"""What becomes of the operations of a batch, on SQLite: each kind of failure, and what stands behind a failing one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import peewee
import pytest

from entities import ledger
from tests.support.applying import (
    GROUP,
    a_batch,
    a_raw_operation,
    a_user,
    an_operation,
    apply,
    create,
    create_user,
    delete,
    outcomes,
    reasons,
    rows,
    sqlite_database,
    update,
)
from worker import apply as apply_module
from worker.apply import Fenced, apply_batch
from worker.messages import Outcome

APPLIED, DEAD, WAITS, FAILED = Outcome.APPLIED, Outcome.DEAD, Outcome.WAITS, Outcome.FAILED
HANDED_BACK = Outcome.HANDED_BACK


@pytest.fixture(autouse=True)
def _database(tmp_path: Path) -> Iterator[None]:
    with sqlite_database(tmp_path / "application.sqlite3"):
        yield


def test_operations_that_build_on_each_other_ride_in_one_batch() -> None:
    result = apply(
        create_user(1, id=1),
        create("Business", id=7, userId=1, name="Panadería"),
        create("Rating", businessId=7, totalPercentage="12.345"),
        update("Business", 7, name="La Esquina", creationYear=2022),
        delete("Business", 7),
        create("Business", userId=1, name="Otra"),
    )

    assert outcomes(result) == [APPLIED] * 6
    assert rows("SELECT usuario_id, nombre_emprendimiento FROM emprendimientos") == [(1, "Otra")]
    assert rows("SELECT count(*) FROM calificaciones") == [(0,)]


def test_each_kind_of_failure_has_its_outcome_and_a_reason_that_names_the_field() -> None:
    apply(create_user(1, id=1), create("Business", id=1, userId=1, name="x"))

    result = apply(
        update("User", 77, firstName="Z"),
        create_user(1),
        create("Business", userId=99, name="x"),
        create("Finance", businessId=1, monthlyNetSales="mas_6_smmlv"),
        create("Finance", businessId=1, monthlyNetSales="nada"),
        a_raw_operation(b"{no JSON", id="op_raw"),
    )

    assert outcomes(result) == [WAITS, WAITS, WAITS, DEAD, DEAD, DEAD]
    assert [line.error_kind for line in result.outcomes] == ["order", "order", "order", "refused", "invalid", "invalid"]
    assert reasons(result) == [
        "User 77 is not there",
        "User.email 'user1@example.co' is already there (duplicate key email, error 2067)",
        "Business.userId: User 99 is not there (error 787)",
        "Finance.monthlyNetSales: column ventas_netas_mes refuses 'mas_6_smmlv': check constraint failed (error 275)",
        "Finance.monthlyNetSales: must be one of menos_1_smmlv, 1_3_smmlv, 3_6_smmlv, mas_6_smmlv, 3_mas_smmlv, not 'nada'",
        "message: is not JSON: Expecting property name enclosed in double quotes at character 1",
    ]


def test_alone_what_might_have_waited_counts_as_failed() -> None:
    result = apply(update("User", 77, firstName="Z"), is_alone=True)

    assert outcomes(result) == [FAILED]


def test_what_follows_a_waiting_operation_goes_back_transitively_and_nothing_else_does() -> None:
    apply(create_user(1, id=1), create_user(2, id=2))

    result = apply(
        update("User", 9, firstName="A"),
        update("User", 1, firstName="B"),
        create("Business", id=5, userId=9, name="behind the first"),
        create("Rating", businessId=5),
        update("User", 2, firstName="C"),
    )

    assert outcomes(result) == [WAITS, APPLIED, HANDED_BACK, HANDED_BACK, APPLIED]
    assert rows("SELECT count(*) FROM emprendimientos") == [(0,)]


def test_what_follows_a_dead_letter_goes_on_as_one_after_the_other_it_would() -> None:
    apply(create_user(1, id=1), create("Business", id=1, userId=1, name="x"))
    apply(create("Finance", id=3, businessId=1))

    result = apply(
        update("Finance", 3, monthlyNetSales="mas_6_smmlv"),
        update("Finance", 3, monthlyNetSales="1_3_smmlv"),
    )

    assert outcomes(result) == [DEAD, APPLIED]
    assert rows("SELECT ventas_netas_mes FROM finanzas") == [("1_3_smmlv",)]


def test_an_earlier_operation_does_not_go_back_because_of_a_later_one() -> None:
    apply(create_user(1, id=1))

    result = apply(
        update("User", 1, firstName="B"), an_operation("BULK_UPDATE", "User", {"updates": [{"id": 1}, {"id": 9}]})
    )

    assert outcomes(result) == [APPLIED, WAITS]


def test_a_bulk_operation_is_one_unit_and_its_reason_names_the_record() -> None:
    apply(create_user(1, id=1), create("Business", id=1, userId=1, name="x"))
    records = [{"businessId": 1, "monthlyNetSales": "1_3_smmlv"} for _ in range(300)]
    records[217]["monthlyNetSales"] = "mas_6_smmlv"

    result = apply(an_operation("BULK_CREATE", "Finance", {"records": records}))

    assert outcomes(result) == [DEAD]
    assert reasons(result)[0].startswith("records[217] Finance.monthlyNetSales: column ventas_netas_mes refuses")
    assert rows("SELECT count(*) FROM finanzas") == [(0,)]


def test_a_bulk_operation_with_a_missing_row_changes_nothing_and_its_neighbours_are_applied() -> None:
    apply(create_user(1, id=1), create_user(2, id=2), create_user(3, id=3))

    result = apply(
        update("User", 3, firstName="C"),
        an_operation("BULK_UPDATE", "User", {"updates": [{"id": 1, "firstName": "A"}, {"id": 9, "firstName": "B"}]}),
        update("User", 2, firstName="D"),
    )

    assert outcomes(result) == [APPLIED, WAITS, APPLIED]
    assert reasons(result)[1] == "updates[1] User 9 is not there"
    assert rows("SELECT nombre FROM usuarios ORDER BY id") == [("Ana",), ("D",), ("C",)]


def test_a_bulk_operation_may_write_a_row_twice_and_rows_of_different_attributes() -> None:
    apply(create_user(1, id=1))

    result = apply(
        an_operation(
            "BULK_UPDATE",
            "User",
            {"updates": [{"id": 1, "firstName": "A", "lastName": "B"}, {"id": 1, "firstName": "C"}, {"id": 1}]},
        ),
        an_operation(
            "BULK_CREATE", "User", {"records": [a_user(2), a_user(3, role="administrador"), a_user(4, id=40)]}
        ),
    )

    assert outcomes(result) == [APPLIED, APPLIED]
    assert rows("SELECT nombre, apellido, rol FROM usuarios ORDER BY id")[0] == ("C", "B", "emprendedor")
    assert rows("SELECT id, rol FROM usuarios WHERE id > 1") == [
        (2, "emprendedor"),
        (3, "administrador"),
        (40, "emprendedor"),
    ]


def test_updates_of_different_attributes_share_a_statement_and_null_clears() -> None:
    apply(
        create_user(1, id=1), *(create("Business", id=n, userId=1, name=f"b{n}", creationYear=2000) for n in (1, 2, 3))
    )

    apply(
        update("Business", 1, name="one", managerName=None),
        update("Business", 2, creationYear=None, economicSector="Pan & 'más' %s ?"),
        update("Business", 3),
    )

    assert rows("SELECT nombre_emprendimiento, año_creacion, sector_economico FROM emprendimientos ORDER BY id") == [
        ("one", 2000, None),
        ("b2", None, "Pan & 'más' %s ?"),
        ("b3", 2000, None),
    ]


def test_a_row_that_is_not_there_counts_as_deleted_and_an_empty_bulk_as_applied() -> None:
    result = apply(delete("User", 5), an_operation("BULK_CREATE", "User", {"records": []}))

    assert outcomes(result) == [APPLIED, APPLIED]


def test_a_delete_tells_the_keys_of_all_that_the_cascade_removes() -> None:
    apply(create_user(1, id=1), create_user(2, id=2))
    apply(create("Business", id=1, userId=1, name="a"), create("Business", id=2, userId=2, name="b"))
    apply(
        create("Rating", id=4, businessId=1),
        create("WorkTeam", id=5, businessId=1),
        create("Rating", id=6, businessId=2),
    )

    result = apply(delete("User", 1))

    assert set(result.touched_keys) == {"User:1", "Business:1", "Rating:4", "WorkTeam:5"}
    assert set(result.touched_entities) == {"User", "Business", "Rating", "WorkTeam"}
    assert set(ledger.settled([result.settled_keys[0][1]]).popitem()[1].touched) == set(result.touched_keys)


def test_the_keys_of_settled_operations_are_those_they_name_or_create_dead_letters_too() -> None:
    created = create_user(1)
    dead = an_operation("UPDATE", "User", {"id": 7, "email": "none"})
    waiting = update("User", 9, firstName="x")

    result = apply(created, dead, waiting)

    assert result.settled_keys == (("User:1", created.operation_id), ("User:7", dead.operation_id))


@pytest.mark.parametrize(("told", "keys"), [(7.0, ["User:7"]), ("007", ["User:7"]), (-3, []), (2**31, []), ("x", [])])
def test_the_row_of_an_invalid_operation_is_named_as_a_valid_ones_is(told: object, keys: list[str]) -> None:
    result = apply(an_operation("UPDATE", "User", {"id": told, "email": "none"}))

    assert outcomes(result) == [DEAD]
    assert [key for key, _ in result.settled_keys] == keys


def test_a_message_of_an_older_epoch_does_nothing() -> None:
    epoch = ledger.raise_epoch(GROUP, "another")

    with pytest.raises(Fenced):
        apply_batch(a_batch(create_user(1), epoch=epoch - 1))

    assert rows("SELECT count(*) FROM usuarios") == [(0,)]


def test_a_reason_never_shows_a_secret() -> None:
    result = apply(create("User", **a_user(1, passwordHash=["hush"])))

    assert outcomes(result) == [DEAD]
    assert "hush" not in reasons(result)[0]


@pytest.mark.parametrize("is_alone", [False, True])
def test_a_lock_that_others_hold_is_no_failure_of_an_operation(is_alone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*arguments: object) -> None:
        raise peewee.OperationalError(1205, "Lock wait timeout exceeded")

    monkeypatch.setattr(apply_module, "_apply", locked)
    monkeypatch.setattr(apply_module, "RETRY_WAIT_S", 0)

    result = apply(create_user(1), is_alone=is_alone)

    assert outcomes(result) == [HANDED_BACK]
    assert result.outcomes[0].error_kind == "contention"
