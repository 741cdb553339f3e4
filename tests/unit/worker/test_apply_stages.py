"""The order within a batch: stages against the definition, and whole batches against one operation after the other."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entities import database
from entities.envelope import decode
from entities.operations import actions_of
from entities.writesets import Writeset, conflicts, writeset
from tests.support.applying import a_user, an_operation, apply, outcomes, rows, sqlite_database, statements_sent
from worker.messages import DispatchedOperation, Outcome
from worker.stages import HeldKeys, stages_of

_keys = st.frozensets(st.sampled_from("abcdef"), max_size=3)


@st.composite
def writesets(draw: st.DrawFn) -> Writeset:
    exclusive, shared = draw(_keys), draw(_keys)
    return Writeset(exclusive, shared - exclusive, frozenset())


@given(st.lists(writesets(), max_size=12))
def test_a_stage_is_one_more_than_the_latest_that_it_conflicts_with(batch: list[Writeset]) -> None:
    expected: list[int] = []
    for number, one in enumerate(batch):
        before = [expected[other] for other in range(number) if conflicts(one, batch[other])]
        expected.append(max(before, default=-1) + 1)

    assert stages_of(batch) == expected


@given(st.lists(writesets(), max_size=6), writesets())
def test_held_keys_block_what_conflicts_with_any_of_them(held: list[Writeset], one: Writeset) -> None:
    held = [Writeset(each.exclusive | {f"op:{n}"}, each.shared, each.entities) for n, each in enumerate(held)]
    keys = HeldKeys()
    for each in held:
        keys.add(each)

    assert keys.block(one) == any(conflicts(one, each) for each in held)


_ids = st.integers(1, 4)


@st.composite
def operations(draw: st.DrawFn) -> DispatchedOperation:
    """Operations that get in each other's way: few rows, few addresses, parents that may be missing, values that are refused."""
    kind = draw(
        st.sampled_from(
            ["user", "user", "business", "finance", "update", "update", "business update", "delete", "bulk"]
        )
    )
    row_id = draw(_ids)
    data: dict[str, Any]
    if kind == "user":
        return an_operation("CREATE", "User", a_user(draw(_ids), id=row_id))
    if kind == "business":
        return an_operation("CREATE", "Business", {"id": row_id, "userId": draw(_ids), "name": f"b{row_id}"})
    if kind == "finance":
        sales = draw(st.sampled_from(["1_3_smmlv", "mas_6_smmlv", "menos_1_smmlv"]))
        return an_operation("CREATE", "Finance", {"id": row_id, "businessId": draw(_ids), "monthlyNetSales": sales})
    if kind == "update":
        data = draw(
            st.sampled_from(
                [
                    {"firstName": f"f{draw(_ids)}"},
                    {"lastName": f"l{draw(_ids)}"},
                    {"email": f"user{draw(_ids)}@example.co"},
                    {"role": "nobody"},
                    {},
                ]
            )
        )
        return an_operation("UPDATE", "User", {"id": row_id, **data})
    if kind == "business update":
        return an_operation("UPDATE", "Business", {"id": row_id, "userId": draw(_ids)})
    if kind == "delete":
        return an_operation("DELETE", draw(st.sampled_from(["User", "Business", "Finance"])), {"id": row_id})
    updates = [{"id": draw(_ids), "firstName": f"u{draw(_ids)}"} for _ in range(draw(st.integers(0, 3)))]
    return an_operation("BULK_UPDATE", "User", {"updates": updates})


def _everything() -> list[list[tuple[Any, ...]]]:
    return [
        rows("SELECT id, nombre, apellido, email, rol FROM usuarios ORDER BY id"),
        rows("SELECT id, usuario_id, nombre_emprendimiento FROM emprendimientos ORDER BY id"),
        rows("SELECT id, emprendimiento_id, ventas_netas_mes FROM finanzas ORDER BY id"),
        rows("SELECT operation_id, outcome, touched FROM settled_operations ORDER BY operation_id"),
    ]


def _one_by_one(batch: list[DispatchedOperation]) -> list[Outcome]:
    """The definition: each by itself, unless it conflicts with an earlier one that was not settled."""
    held: list[Writeset] = []
    ended = []
    for operation in batch:
        try:
            keys = writeset(operation.operation_id, actions_of(decode(operation.raw)))
        except ValueError:
            keys = Writeset(frozenset((f"op:{operation.operation_id}",)), frozenset(), frozenset())
        if any(conflicts(keys, other) for other in held):
            outcome = Outcome.HANDED_BACK
        else:
            [outcome] = outcomes(apply(operation))
        if outcome not in (Outcome.APPLIED, Outcome.DEAD):
            held.append(keys)
        ended.append(outcome)
    return ended


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(operations(), min_size=1, max_size=14), st.lists(operations(), max_size=6))
def test_a_batch_ends_as_its_operations_one_after_the_other(
    batch: list[DispatchedOperation], before: list[DispatchedOperation]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with sqlite_database(Path(folder) / "one_by_one.sqlite3"):
            database.execute("PRAGMA synchronous = OFF")
            _one_by_one(before)
            expected = _one_by_one(batch), _everything()
        with sqlite_database(Path(folder) / "as_a_batch.sqlite3"):
            database.execute("PRAGMA synchronous = OFF")
            _one_by_one(before)
            result = outcomes(apply(*batch)), _everything()

    assert result == expected


@st.composite
def calm_operations(draw: st.DrawFn) -> DispatchedOperation:
    """Operations among which DELETEs are narrowed to the rows that they remove: none gives an id or moves a row."""
    kind = draw(st.sampled_from(["user", "business", "finance", "update", "business update", "delete", "delete"]))
    row_id = draw(_ids)
    if kind == "user":
        return an_operation("CREATE", "User", a_user(draw(_ids)))  # an address that a DELETE may give free
    if kind == "business":
        return an_operation("CREATE", "Business", {"userId": row_id, "name": f"b{draw(_ids)}"})
    if kind == "finance":
        sales = draw(st.sampled_from(["1_3_smmlv", "mas_6_smmlv"]))
        return an_operation("CREATE", "Finance", {"businessId": row_id, "monthlyNetSales": sales})
    if kind == "update":
        return an_operation("UPDATE", "User", {"id": row_id, "firstName": f"f{draw(_ids)}"})
    if kind == "business update":
        return an_operation("UPDATE", "Business", {"id": row_id, "name": f"n{draw(_ids)}"})
    return an_operation("DELETE", draw(st.sampled_from(["User", "Business", "Finance"])), {"id": row_id})


def _everything_but_generated_ids() -> list[list[tuple[Any, ...]]]:
    return [
        sorted(rows("SELECT nombre, email FROM usuarios")),
        sorted(rows("SELECT usuario_id, nombre_emprendimiento FROM emprendimientos")),
        sorted(rows("SELECT emprendimiento_id, ventas_netas_mes FROM finanzas")),
        rows("SELECT operation_id, outcome FROM settled_operations ORDER BY operation_id"),
    ]


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(calm_operations(), min_size=2, max_size=14), st.lists(st.tuples(_ids, _ids), max_size=4))
def test_a_batch_with_deletes_ends_as_its_operations_one_after_the_other(
    batch: list[DispatchedOperation], businesses: list[tuple[int, int]]
) -> None:
    # Rows with generated ids are beyond those that operations name. First, so that no refused one holds them back.
    before = [an_operation("CREATE", "User", a_user(99, id=99))]
    before.append(an_operation("CREATE", "Business", {"id": 99, "userId": 99, "name": "x"}))
    before.append(an_operation("CREATE", "Finance", {"id": 99, "businessId": 99}))
    before += [an_operation("CREATE", "User", a_user(number, id=number)) for number in (1, 2, 3)]
    before += [
        an_operation("CREATE", "Business", {"id": number, "userId": owner, "name": "x"}) for number, owner in businesses
    ]
    with tempfile.TemporaryDirectory() as folder:
        with sqlite_database(Path(folder) / "one_by_one.sqlite3"):
            database.execute("PRAGMA synchronous = OFF")
            _one_by_one(before)
            ended = [apply(operation).outcomes[0].outcome for operation in batch]
            expected = ended, _everything_but_generated_ids()
        with sqlite_database(Path(folder) / "as_a_batch.sqlite3"):
            database.execute("PRAGMA synchronous = OFF")
            _one_by_one(before)
            result = outcomes(apply(*batch)), _everything_but_generated_ids()

    if {Outcome.WAITS, Outcome.HANDED_BACK}.isdisjoint(result[0]):
        assert result == expected
    else:
        first = min(number for number, outcome in enumerate(result[0]) if outcome is Outcome.WAITS)
        assert result[0][: first + 1] == ended[: first + 1]


def test_neighbours_of_one_kind_share_a_statement_though_they_change_different_attributes(tmp_path: Path) -> None:
    with sqlite_database(tmp_path / "application.sqlite3"):
        apply(*(an_operation("CREATE", "User", a_user(n, id=n)) for n in range(1, 21)))

        with statements_sent() as sent:
            apply(
                *(
                    an_operation("UPDATE", "User", {"id": n, "firstName" if n % 2 else "lastName": "x"})
                    for n in range(1, 21)
                )
            )

    assert sent.count("UPDATE") == 1
    assert sent.transactions == 1


def test_a_delete_in_a_mixed_batch_keeps_only_its_own_rows_apart(tmp_path: Path) -> None:
    with sqlite_database(tmp_path / "application.sqlite3"):
        apply(*(an_operation("CREATE", "User", a_user(n, id=n)) for n in range(1, 31)))
        apply(*(an_operation("CREATE", "Business", {"id": n, "userId": n, "name": "x"}) for n in range(1, 31)))
        mixed = []
        for number in range(1, 11):
            mixed.append(an_operation("UPDATE", "Business", {"id": number, "name": "y"}))
            mixed.append(an_operation("DELETE", "User", {"id": 10 + number}))
            mixed.append(an_operation("CREATE", "Business", {"userId": 20 + number, "name": "z"}))
            mixed.append(an_operation("CREATE", "User", a_user(100 + number)))

        with statements_sent() as sent:
            result = apply(*mixed)

        assert set(outcomes(result)) == {Outcome.APPLIED}
        assert (sent.count("UPDATE"), sent.count("DELETE"), sent.count("INSERT")) == (1, 1, 3)


def test_an_address_that_a_delete_gives_free_is_taken_after_it(tmp_path: Path) -> None:
    with sqlite_database(tmp_path / "application.sqlite3"):
        apply(an_operation("CREATE", "User", a_user(1, id=1)))

        result = apply(
            an_operation("CREATE", "User", a_user(2)),
            an_operation("DELETE", "User", {"id": 1}),
            an_operation("CREATE", "User", a_user(1)),
        )

        assert set(outcomes(result)) == {Outcome.APPLIED}


def test_a_row_that_a_cascade_removes_is_not_found_after_it(tmp_path: Path) -> None:
    with sqlite_database(tmp_path / "application.sqlite3"):
        apply(*(an_operation("CREATE", "User", a_user(n, id=n)) for n in (1, 2)))
        apply(*(an_operation("CREATE", "Business", {"id": n, "userId": n, "name": "x"}) for n in (1, 2)))

        result = apply(
            an_operation("UPDATE", "Business", {"id": 1, "name": "y"}),
            an_operation("DELETE", "User", {"id": 2}),
            an_operation("UPDATE", "Business", {"id": 2, "name": "y"}),
        )

        assert outcomes(result) == [Outcome.APPLIED, Outcome.APPLIED, Outcome.WAITS]
