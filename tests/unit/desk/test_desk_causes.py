"""Dead letters by cause: what a reason tells, and the groups."""

from __future__ import annotations

import pytest

from tests.unit.desk.builders import Desk
from worker.desk.causes import cause_of, groups


@pytest.mark.parametrize(
    ("entity", "kind", "reason", "key"),
    [
        ("User", "invalid", "User.email: must be an e-mail address, not 'x'", "User:invalid:email:value"),
        ("User", "invalid", "User.nick: is unknown; User.id: is required", "User:invalid:nick:unknown"),
        ("User", "invalid", "User.id: is required; User.nick: is unknown", "User:invalid:id:required"),
        ("User", "invalid", "User['a b']: is unknown", "User:invalid:-:unknown"),
        ("Rating", "invalid", "records[3] Rating.totalScore: must be a number", "Rating:invalid:totalScore:value"),
        ("", "invalid", "message: is not JSON: Expecting value at character 0", "-:invalid:message:not-json"),
        ("Client", "invalid", "entity: must be one of Business, not 'Client'", "Client:invalid:entity:value"),
        (
            "User",
            "order",
            "User.email 'x' is already there (duplicate key email, error 1062)",
            "User:order:email:duplicate",
        ),
        ("Business", "order", "Business.userId: User 7 is not there (error 1452)", "Business:order:userId:missing"),
        ("Business", "order", "updates[1] Business 9 is not there", "Business:order:-:missing"),
        (
            *("Finance", "refused"),
            "Finance.monthlyNetSales: column ventas_netas_mes refuses 'x': data truncated (error 1265)",
            "Finance:refused:monthlyNetSales:truncated",
        ),
        ("User", "unexpected", "User: error 1146: Table 'x.y' doesn't exist", "User:unexpected:-:1146"),
        ("User", "deadly", "its worker died 4 times while applying it", "User:deadly:-:worker-died"),
        ("a b:c", "invalid", "", "a_b_c:invalid:-:-"),
    ],
)
def test_a_cause_is_read_from_the_reason(desk: Desk, entity: str, kind: str, reason: str, key: str) -> None:
    letter = desk.outbox.entry(desk.dead(entity=entity, kind=kind, reason=reason))

    assert letter is not None
    assert cause_of(letter).key == key


def test_letters_of_one_cause_are_one_group_with_its_newest_as_the_example(desk: Desk) -> None:
    first = desk.now
    desk.dead(reason="Business 9 is not there")
    desk.now += 60_000
    newest = desk.dead(reason="Business 10 is not there")
    desk.dead("CREATE", "User", kind="invalid", reason="User.email: is required")

    largest, other = groups(desk.outbox)

    assert (largest.cause.key, largest.count) == ("Business:order:-:missing", 2)
    assert (largest.first_at, largest.last_at) == (first, first + 60_000)
    assert (largest.example.entry_id, largest.example.raw) == (newest, b"")
    assert other.cause.key == "User:invalid:email:required"


def test_groups_can_be_narrowed_and_are_told_in_json(desk: Desk) -> None:
    desk.dead()
    desk.dead("CREATE", "User", kind="invalid", reason="User.email: is required")

    (group,) = desk.lines("groups", "--entity", "user")

    assert (group["group"], group["count"], group["field"]) == ("User:invalid:email:required", 1, "email")
    assert desk.run("groups", "--entity", "Rating").exit_code == 1


def test_a_group_chooses_what_is_listed_and_replayed(desk: Desk) -> None:
    meant, other = desk.dead(), desk.dead("CREATE", "User", kind="invalid", reason="User.email: is required")

    assert [line["entry_id"] for line in desk.lines("list", "--group", "Business:order:-:missing")] == [meant]

    desk.done("replay", "--group", "Business:order:-:missing", "--yes")
    assert [desk.state(meant).label, desk.state(other).label] == ["pending", "dead"]
