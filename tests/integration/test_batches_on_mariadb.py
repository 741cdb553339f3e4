"""Whole batches on a real server against their operations one by one: what is merged must end as it would have in its order.

On SQLite the same is shown in tests/unit/worker/test_apply_stages.py, but for updates of one row in one statement, which only
MySQL and MariaDB check value by value.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entities import database
from tests.support.applying import (
    a_user,
    an_operation,
    apply,
    create,
    create_user,
    delete,
    outcomes,
    reasons,
    rows,
    statements_sent,
    update,
)
from worker.messages import DispatchedOperation, Outcome

APPLIED, DEAD, WAITS = Outcome.APPLIED, Outcome.DEAD, Outcome.WAITS

TABLES = ("usuarios", "emprendimientos", "finanzas")


pytestmark = pytest.mark.usefixtures("bound")


_ids = st.integers(1, 4)


@st.composite
def operations(draw: st.DrawFn) -> DispatchedOperation:
    """Operations on few rows that get in each other's way; a value in ten is refused, a row in some is not there."""
    kind = draw(st.sampled_from(["user", "business", "finance", "new", "update", "update", "values", "delete", "bulk"]))
    row_id = draw(_ids)
    data: dict[str, Any]
    match kind:
        case "user":
            return an_operation("CREATE", "User", a_user(draw(_ids), id=row_id))
        case "business":
            return create("Business", id=row_id, userId=draw(_ids), name=f"b{row_id}")
        case "finance":
            return create("Finance", id=row_id, businessId=draw(_ids), monthlyNetSales="1_3_smmlv")
        case "new":
            return create("Business", userId=row_id, name=f"n{draw(_ids)}")
        case "update":
            data = draw(
                st.sampled_from(
                    [{"firstName": f"f{row_id}"}, {"lastName": "l"}, {"email": f"user{draw(_ids)}@example.co"}, {}]
                )
            )
            return update("User", row_id, **data)
        case "values":
            sales = draw(st.sampled_from(["1_3_smmlv", "menos_1_smmlv", "3_mas_smmlv", "mas_6_smmlv"]))
            return update("Finance", row_id, monthlyNetSales=sales)
        case "delete":
            return delete(draw(st.sampled_from(["User", "Business", "Finance"])), row_id)
        case _:
            changed = draw(st.lists(_ids, unique=True, max_size=3))
            return an_operation(
                "BULK_UPDATE", "User", {"updates": [{"id": one, "firstName": f"u{draw(_ids)}"} for one in changed]}
            )


def _start(before: list[DispatchedOperation]) -> None:
    database.execute("SET FOREIGN_KEY_CHECKS = 0")
    for table in (*TABLES, "settled_operations"):
        database.execute(f"TRUNCATE TABLE {table}")
    database.execute("SET FOREIGN_KEY_CHECKS = 1")
    for operation in before:
        apply(operation)


def _everything() -> list[list[tuple[Any, ...]]]:
    return [
        rows("SELECT id, nombre, apellido, email FROM usuarios ORDER BY id"),
        rows("SELECT id, usuario_id, nombre_emprendimiento FROM emprendimientos ORDER BY id"),
        rows("SELECT id, emprendimiento_id, ventas_netas_mes FROM finanzas ORDER BY id"),
        rows("SELECT operation_id, outcome FROM settled_operations ORDER BY operation_id"),
    ]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(operations(), min_size=2, max_size=16), st.lists(operations(), max_size=8))
def test_a_batch_without_anyone_who_waits_ends_as_its_operations_one_by_one(
    batch: list[DispatchedOperation], before: list[DispatchedOperation]
) -> None:
    # Rows with generated ids are beyond those that operations name.
    before = [create_user(99, id=99), create("Business", id=99, userId=99, name="x"), *before]
    _start(before)
    ended = [apply(operation).outcomes[0].outcome for operation in batch]
    expected = ended, _everything()
    _start(before)

    result = outcomes(apply(*batch)), _everything()

    if {WAITS, Outcome.HANDED_BACK}.isdisjoint(ended):
        assert _without_generated_ids(result) == _without_generated_ids(expected)
    else:
        first = min(number for number, outcome in enumerate(ended) if outcome is WAITS)
        assert result[0][: first + 1] == ended[: first + 1]


def _without_generated_ids(ended: tuple[list[Outcome], list[list[tuple[Any, ...]]]]) -> Any:
    states, (users, businesses, *others) = ended
    # A failure skips numbers, and more of them where a batch was tried before it was found.
    return states, users, [row if row[0] < 100 else ("generated", *row[1:]) for row in businesses], others


def test_updates_of_one_row_are_one_statement_and_the_last_value_of_each_attribute_stays() -> None:
    apply(create_user(1, id=1), create_user(2, id=2))
    names = [update("User", 1, **{"firstName" if number % 2 else "lastName": f"n{number}"}) for number in range(40)]

    with statements_sent() as sent:
        result = apply(*names, update("User", 2, firstName="Eva"))

    assert set(outcomes(result)) == {APPLIED}
    assert sent.count("UPDATE") == 2
    assert rows("SELECT nombre, apellido FROM usuarios ORDER BY id") == [("n39", "n38"), ("Eva", "Pérez 2")]
    assert rows("SELECT count(*) FROM settled_operations WHERE outcome = 'applied'") == [(43,)]


def test_a_refused_value_is_a_dead_letter_though_a_later_update_replaces_it() -> None:
    apply(create_user(1, id=1), create("Business", id=1, userId=1, name="x"), create("Finance", id=1, businessId=1))
    sales = ["menos_1_smmlv", "mas_6_smmlv", "1_3_smmlv"]

    result = apply(*(update("Finance", 1, monthlyNetSales=value) for value in sales))

    assert outcomes(result) == [APPLIED, DEAD, APPLIED]
    assert rows("SELECT ventas_netas_mes FROM finanzas") == [("1_3_smmlv",)]


def test_a_failure_in_a_long_batch_is_found_and_all_others_are_applied_in_order() -> None:
    apply(create_user(1, id=1))
    batch = [update("User", 1, firstName=f"n{number}") for number in range(200)]
    batch[120] = update("User", 77, firstName="nobody")

    with statements_sent() as sent:
        result = apply(*batch)

    assert [number for number, outcome in enumerate(outcomes(result)) if outcome is not APPLIED] == [120]
    assert rows("SELECT nombre FROM usuarios") == [("n199",)]
    assert sent.transactions == 1


def test_new_siblings_of_one_batch_have_ids_in_its_order() -> None:
    apply(create_user(1, id=1), create("Business", id=1, userId=1, name="x"))
    batch = [create("Rating", businessId=1, totalScore=number) for number in range(20)]

    with statements_sent() as sent:
        apply(*batch)

    assert [score for (score,) in rows("SELECT puntaje_total FROM calificaciones ORDER BY id")] == list(range(20))
    assert sent.count("INSERT INTO `calificaciones`") == 1


def test_a_row_with_an_id_above_all_others_comes_before_the_ids_that_are_generated_after_it() -> None:
    apply(create_user(1, id=1))

    result = apply(create_user(2), create_user(3, id=3), create_user(4), create_user(5, id=2_000), create_user(6))

    assert set(outcomes(result)) == {APPLIED}
    emails = rows("SELECT id, email FROM usuarios WHERE email IN ('user4@example.co', 'user6@example.co') ORDER BY id")
    assert emails == [(4, "user4@example.co"), (2_001, "user6@example.co")]


def test_rows_that_the_batch_makes_under_ids_of_their_own_go_with_the_delete_behind_them() -> None:
    apply(*(create_user(number, id=number) for number in (1, 2)))

    result = apply(
        create("Business", id=7, userId=1, name="x"),
        create("Finance", id=5, businessId=7),
        update("Finance", 5, monthlyNetSales="1_3_smmlv"),
        delete("User", 1),
        create_user(1, id=1),
        create("Business", id=7, userId=2, name="y"),
        create("Finance", id=5, businessId=7),
        update("Business", 7, name="z"),
    )

    assert set(outcomes(result)) == {APPLIED}
    assert rows("SELECT id, usuario_id, nombre_emprendimiento FROM emprendimientos") == [(7, 2, "z")]
    assert rows("SELECT id, emprendimiento_id, ventas_netas_mes FROM finanzas") == [(5, 7, None)]


def test_an_address_that_an_update_gives_free_is_taken_after_it() -> None:
    apply(create_user(1, id=1), create_user(2, id=2))

    result = apply(
        update("User", 1, email="moved@example.co"),
        update("User", 2, email="user1@example.co"),
        create_user(2),
        update("User", 1, email="again@example.co"),
        create_user(3, email="moved@example.co"),
    )

    assert set(outcomes(result)) == {APPLIED}
    assert rows("SELECT email FROM usuarios WHERE id IN (1, 2) ORDER BY id") == [
        ("again@example.co",),
        ("user1@example.co",),
    ]


def _bulk_of_addresses(**addresses: str) -> DispatchedOperation:
    updates = [{"id": int(name.removeprefix("user")), "email": email} for name, email in addresses.items()]
    return an_operation("BULK_UPDATE", "User", {"updates": updates})


def test_the_records_of_a_bulk_update_change_addresses_in_their_order_and_not_in_that_of_the_ids() -> None:
    apply(create_user(1, id=1), create_user(2, id=2))

    too_early = apply(_bulk_of_addresses(user2="user1@example.co", user1="moved@example.co"), is_alone=True)
    in_turn = apply(_bulk_of_addresses(user1="moved@example.co", user2="user1@example.co"), is_alone=True)

    assert outcomes(too_early) == [Outcome.FAILED]
    assert reasons(too_early)[0].startswith("updates[0] User.email")
    assert outcomes(in_turn) == [APPLIED]


def _users() -> list[tuple[Any, ...]]:
    return rows("SELECT id, nombre FROM usuarios ORDER BY id")


def _bulk_update(first_name: str, *ids: int) -> DispatchedOperation:
    updates = [{"id": row_id, "firstName": first_name} for row_id in ids]
    return an_operation("BULK_UPDATE", "User", {"updates": updates})


def test_updates_of_several_rows_in_one_statement_leave_each_with_its_last_value() -> None:
    apply(create_user(1, id=1), create_user(2, id=2))

    with statements_sent() as sent:
        apply(update("User", 1, firstName="a"), update("User", 2, firstName="b"), update("User", 1, firstName="c"))

    assert _users() == [(1, "c"), (2, "b")]
    assert sent.count("UPDATE") == 1


def test_a_bulk_update_of_a_hot_row_and_others_keeps_its_place() -> None:
    apply(create_user(1, id=1), create_user(2, id=2))

    apply(*(update("User", 1, firstName=f"n{number}") for number in range(9)), _bulk_update("bulk", 2, 1))

    assert _users() == [(1, "bulk"), (2, "bulk")]


def test_an_update_does_not_overtake_one_of_its_row_that_has_to_wait_for_another_row() -> None:
    apply(create_user(1, id=1), create_user(2, id=2))

    apply(update("User", 2, email="x@example.co"), _bulk_update("bulk", 1, 2), update("User", 1, firstName="last"))

    assert _users() == [(1, "last"), (2, "bulk")]


def test_siblings_of_different_attributes_have_ids_in_the_batchs_order_too() -> None:
    apply(create_user(1, id=1), create("Business", id=1, userId=1, name="x"))
    names = ["valueProposition", "salesChannels", "valueProposition", "incomeSources", "salesChannels"]

    apply(*(create("BusinessModel", businessId=1, **{name: f"v{number}"}) for number, name in enumerate(names)))

    values = rows("SELECT coalesce(propuesta_valor, canales_venta, fuentes_ingreso) FROM modelo_negocio ORDER BY id")
    assert values == [(f"v{number}",) for number in range(5)]


def test_an_address_that_is_still_taken_at_its_turn_is_refused_though_it_is_free_soon_after() -> None:
    apply(create_user(1, id=1), create_user(2, id=2))

    result = apply(update("User", 2, firstName="x"), create_user(1), update("User", 1, email="moved@example.co"))

    assert outcomes(result)[1] is not APPLIED


def test_what_can_be_foreseen_is_not_tried_twice() -> None:
    apply(*(create_user(number, id=number) for number in (1, 2)))

    with statements_sent() as sent:
        apply(
            create("Business", id=7, userId=1, name="x"),
            create("Finance", id=5, businessId=7),
            update("Finance", 5, monthlyNetSales="1_3_smmlv"),
            delete("User", 1),
            create_user(1),
            update("User", 2, email="moved@example.co"),
            create_user(2),
        )

    assert sent.count("SAVEPOINT") == 1
    assert sent.count("ROLLBACK") == 0
