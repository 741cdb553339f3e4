"""An operation takes effect once, whatever is delivered again: the rules of operation ids and incarnations, on SQLite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from entities import ledger
from tests.support.applying import (
    GROUP,
    TOPIC,
    a_raw_operation,
    a_user,
    again,
    an_operation,
    apply,
    create_user,
    delete,
    outcomes,
    reasons,
    rows,
    sqlite_database,
    update,
    verdicts_on,
)
from worker.apply import Fenced, bury_verdicts
from worker.messages import DispatchedOperation, Outcome
from worker.work import content_of

APPLIED, DEAD, WAITS, HANDED_BACK = Outcome.APPLIED, Outcome.DEAD, Outcome.WAITS, Outcome.HANDED_BACK


@pytest.fixture(autouse=True)
def _database(tmp_path: Path) -> Iterator[None]:
    with sqlite_database(tmp_path / "application.sqlite3"):
        yield


def users() -> int:
    [(count,)] = rows("SELECT count(*) FROM usuarios")
    return int(count)


def test_an_operation_delivered_twice_has_one_effect_and_its_keys_are_told_again() -> None:
    operation = create_user(1)
    first = apply(operation)

    second = apply(again(operation))

    assert outcomes(second) == [APPLIED]
    assert second.touched_keys == first.touched_keys == ("User:1",)
    assert users() == 1


def test_an_operation_twice_in_one_batch_has_one_effect() -> None:
    operation = create_user(1)

    result = apply(operation, create_user(2), again(operation))

    assert outcomes(result) == [APPLIED] * 3
    assert users() == 2


def test_the_second_copy_in_a_batch_goes_back_with_the_first() -> None:
    operation = update("User", 1, firstName="x")

    result = apply(operation, again(operation))

    assert outcomes(result) == [WAITS, HANDED_BACK]


def test_an_id_that_comes_with_other_content_is_a_dead_letter_under_its_own_id() -> None:
    first = an_operation("CREATE", "User", a_user(1), id="op_1")
    apply(first)
    second = an_operation("CREATE", "User", a_user(2), id="op_1")

    result = apply(second)
    repeated = apply(again(second))

    assert outcomes(result) == outcomes(repeated) == [DEAD]
    assert reasons(result) == ["operation id 'op_1' was already used by another operation"]
    assert ledger.settled(["op_1"])["op_1"].outcome == "applied"
    assert ledger.settled([second.origin.own_id])[second.origin.own_id].is_dead
    assert users() == 1


def test_an_id_that_comes_with_other_content_in_one_batch_is_a_dead_letter_too() -> None:
    result = apply(
        an_operation("CREATE", "User", a_user(1), id="op_1"), an_operation("CREATE", "User", a_user(2), id="op_1")
    )

    assert outcomes(result) == [APPLIED, DEAD]
    assert users() == 1


def test_a_copy_behind_another_operation_of_its_id_is_still_a_copy() -> None:
    operation = create_user(1)
    other = an_operation("CREATE", "User", a_user(2), id=operation.operation_id)

    assert outcomes(apply(operation, other, again(operation))) == [APPLIED, DEAD, APPLIED]


def test_an_id_chosen_to_look_like_anothers_own_id_stops_nothing() -> None:
    victim = an_operation("CREATE", "User", a_user(2))
    apply(an_operation("CREATE", "User", a_user(1), id=victim.origin.own_id))
    nameless = an_operation("CREATE", "User", a_user(2), id=victim.origin.own_id)
    nameless = type(nameless)(victim.origin, victim.origin.own_id, 0, nameless.raw)

    assert outcomes(apply(nameless)) == [DEAD]
    assert outcomes(apply(again(nameless))) == [DEAD]


def test_the_order_of_keys_and_the_metadata_are_no_other_content() -> None:
    first = an_operation("UPDATE", "User", {"id": 1, "firstName": "A"}, id="op_1")
    apply(create_user(1, id=1), first)

    result = apply(an_operation("UPDATE", "User", {"firstName": "A", "id": 1}, id="op_1"))

    assert outcomes(result) == [APPLIED]


def test_a_dead_letter_stays_dead_for_late_copies() -> None:
    operation = update("User", 1, firstName="x")
    bury_verdicts(verdicts_on(operation, reason="User 1 is not there"))
    apply(create_user(1, id=1))

    result = apply(again(operation))

    assert outcomes(result) == [DEAD]
    assert (reasons(result), result.outcomes[0].attempts) == (["User 1 is not there"], 5)


def test_a_replay_turns_the_verdict_and_late_copies_of_the_first_run_find_it_applied() -> None:
    operation = update("User", 1, firstName="x")
    bury_verdicts(verdicts_on(operation))
    apply(create_user(1, id=1))

    replayed = apply(again(operation, incarnation=1))
    late = apply(again(operation))

    assert outcomes(replayed) == outcomes(late) == [APPLIED]
    line = ledger.settled([operation.operation_id])[operation.operation_id]
    assert (line.outcome, line.incarnation, line.reason) == ("applied", 1, "")
    assert rows("SELECT nombre FROM usuarios") == [("x",)]


def test_a_replay_that_fails_again_keeps_its_own_verdict() -> None:
    operation = an_operation("CREATE", "User", {"id": 0})
    apply(operation)

    result = apply(again(operation, incarnation=3))

    assert outcomes(result) == [DEAD]
    assert ledger.settled([operation.operation_id])[operation.operation_id].incarnation == 3


def test_a_verdict_does_not_touch_what_was_applied_meanwhile() -> None:
    operation = create_user(1)
    apply(operation)

    result = bury_verdicts(verdicts_on(operation))

    assert outcomes(result) == [APPLIED]
    assert result.touched_keys == ("User:1",)
    assert ledger.settled([operation.operation_id])[operation.operation_id].outcome == "applied"


def test_a_verdict_is_written_with_its_reason_attempts_and_payload() -> None:
    operation = delete("User", 1)

    result = bury_verdicts(verdicts_on(operation, reason="because"))

    assert outcomes(result) == [DEAD]
    [letter] = ledger.dead_letters(TOPIC)
    assert (letter.operation_id, letter.reason, letter.attempts, letter.payload) == (
        operation.operation_id,
        "because",
        5,
        operation.raw,
    )


def test_verdicts_of_an_older_epoch_are_not_written() -> None:
    ledger.raise_epoch(GROUP, "another")

    with pytest.raises(Fenced):
        bury_verdicts(verdicts_on(create_user(1)))

    assert list(ledger.dead_letters(TOPIC)) == []


def test_dead_letters_are_paged_in_the_order_of_partition_and_offset() -> None:
    operations = [delete("User", number) for number in range(1, 3 * ledger.LETTERS_PER_PAGE)]
    bury_verdicts(verdicts_on(*reversed(operations)))

    letters = list(ledger.dead_letters(TOPIC))

    assert [(letter.partition, letter.offset) for letter in letters] == sorted(
        (operation.origin.partition, operation.origin.offset) for operation in operations
    )


def test_pruning_takes_applied_lines_below_the_logs_start_only() -> None:
    old, young, dead = create_user(1), create_user(2), create_user(3, role="none")
    apply(old, young, dead)
    far = 2**60

    assert ledger.prune(TOPIC, 0, young.origin.partition, young.origin.offset, far, 10) == 0
    assert ledger.prune(TOPIC, 0, old.origin.partition, old.origin.offset + 1, 0, 10) == 0
    assert ledger.prune(TOPIC, 0, old.origin.partition, old.origin.offset + 1, far, 10) == 1
    assert ledger.prune(TOPIC, 1, dead.origin.partition, dead.origin.offset + 1, far, 10) == 0
    assert set(ledger.settled([one.operation_id for one in (old, young, dead)])) == {
        young.operation_id,
        dead.operation_id,
    }


def test_pruning_leaves_what_a_replay_has_applied() -> None:
    """A replayed letter that the outbox does not know to be settled is below the mark, and would be applied again."""
    operation = update("User", 1, firstName="x")
    bury_verdicts(verdicts_on(operation))
    apply(create_user(1, id=1))
    apply(again(operation, incarnation=1))

    assert ledger.prune(TOPIC, 0, operation.origin.partition, operation.origin.offset + 1, 2**60, 10) == 0
    assert ledger.settled([operation.operation_id])[operation.operation_id].outcome == "applied"


def edited(operation: DispatchedOperation, **data: Any) -> DispatchedOperation:
    """The operation replayed after an operator has changed attributes of it."""
    message = json.loads(operation.raw)
    message["data"] |= data
    raw = json.dumps(message).encode()
    return msgspec.structs.replace(
        operation,
        raw=raw,
        incarnation=operation.incarnation + 1,
        came_as=operation.came_as or content_of(operation.raw),
    )


def test_a_dead_letter_that_an_operator_has_changed_is_applied_as_the_next_incarnation() -> None:
    operation = create_user(1, email="nobody")
    assert outcomes(apply(operation)) == [DEAD]

    result = apply(edited(operation, email="ana@example.co"))

    assert outcomes(result) == [APPLIED], reasons(result)
    assert rows("SELECT email FROM usuarios") == [("ana@example.co",)]
    line = ledger.settled([operation.operation_id])[operation.operation_id]
    assert (line.outcome, line.incarnation, line.content) == ("applied", 1, content_of(operation.raw))


def test_neither_a_copy_of_a_changed_letter_nor_its_original_is_applied_after_it() -> None:
    operation = create_user(1, email="nobody")
    apply(operation)
    changed = edited(operation, email="ana@example.co")
    apply(changed)

    again_changed, again_original = apply(again(changed)), apply(again(operation))

    assert outcomes(again_changed) == outcomes(again_original) == [APPLIED]
    assert users() == 1


def test_a_changed_letter_that_dies_again_keeps_what_it_was_changed_to_and_can_be_changed_again() -> None:
    operation = create_user(1, email="nobody")
    apply(operation)
    changed = edited(operation, email="nobody either")
    assert outcomes(apply(changed)) == [DEAD]

    (letter,) = ledger.dead_letters(TOPIC)
    result = apply(edited(changed, email="ana@example.co"))

    assert (letter.payload, letter.content, letter.incarnation) == (changed.raw, content_of(operation.raw), 1)
    assert outcomes(result) == [APPLIED], reasons(result)


def test_changed_bytes_that_were_no_message_are_still_the_same_operation() -> None:
    operation = a_raw_operation(b'{"type": "CREATE", ', id="db-operations-buffer-1-7")
    apply(operation)
    raw = create_user(1).raw
    replayed = msgspec.structs.replace(operation, raw=raw, incarnation=1, came_as=content_of(operation.raw))

    assert outcomes(apply(replayed)) == [APPLIED]


def test_another_operation_under_the_same_id_stays_a_dead_letter_even_if_it_was_changed() -> None:
    first = create_user(1, email="nobody")
    apply(first)
    other = an_operation("CREATE", "User", a_user(2), id=first.operation_id)
    assert outcomes(apply(other)) == [DEAD]

    result = apply(edited(other, lastName="Rojas"))

    assert outcomes(result) == [DEAD]
    assert "already used by another operation" in reasons(result)[0]


def test_a_verdict_on_a_changed_letter_turns_its_own_line() -> None:
    operation = create_user(1, email="nobody")
    apply(operation)
    changed = edited(operation, email="still nobody")
    verdicts = verdicts_on(changed, reason="it failed again")
    (verdict,) = verdicts.verdicts
    verdict = msgspec.structs.replace(verdict, came_as=changed.came_as)

    result = bury_verdicts(msgspec.structs.replace(verdicts, verdicts=(verdict,)))

    line = ledger.settled([operation.operation_id])[operation.operation_id]
    assert (outcomes(result), line.incarnation, line.reason) == ([DEAD], 1, "it failed again")


def the_discard_of(operation: DispatchedOperation, incarnation: int = 0) -> ledger.Discard:
    origin = operation.origin
    return ledger.Discard(
        origin.topic, origin.generation, origin.partition, origin.offset, incarnation, "the user asked us to"
    )


def test_a_discarded_letter_is_no_letter_any_more_and_its_payload_goes() -> None:
    kept, discarded = delete("User", 1), delete("User", 2)
    bury_verdicts(verdicts_on(kept, discarded))

    assert ledger.discard([the_discard_of(discarded)]) == 1

    assert [letter.operation_id for letter in ledger.dead_letters(TOPIC)] == [kept.operation_id]
    line = ledger.settled([discarded.operation_id])[discarded.operation_id]
    assert (line.outcome, line.reason) == ("discarded", "the user asked us to")
    assert rows("SELECT payload IS NULL FROM settled_operations WHERE outcome = 'discarded'") == [(1,)]


def test_a_discard_told_again_changes_nothing() -> None:
    operation = delete("User", 1)
    bury_verdicts(verdicts_on(operation))
    ledger.discard([the_discard_of(operation)])

    assert ledger.discard([the_discard_of(operation)]) == 0


def test_late_copies_and_late_verdicts_of_a_discarded_letter_end_as_discarded() -> None:
    apply(create_user(1, id=1))
    operation = update("User", 1, firstName="x")
    bury_verdicts(verdicts_on(operation))
    ledger.discard([the_discard_of(operation)])

    late = apply(again(operation))
    verdict = bury_verdicts(verdicts_on(again(operation)))

    assert outcomes(late) == outcomes(verdict) == [Outcome.DISCARDED]
    assert (reasons(late), late.outcomes[0].attempts, late.touched_keys) == (["the user asked us to"], 5, ())


def test_a_replay_of_what_was_discarded_elsewhere_is_not_applied() -> None:
    apply(create_user(1, id=1))
    operation = update("User", 1, firstName="x")
    bury_verdicts(verdicts_on(operation))
    ledger.discard([the_discard_of(operation)])

    assert outcomes(apply(again(operation, incarnation=7))) == [Outcome.DISCARDED]
    assert rows("SELECT nombre FROM usuarios") == [("Ana",)]


def test_a_letter_that_died_again_under_a_higher_incarnation_is_not_discarded_by_an_older_word() -> None:
    operation = delete("User", 1)
    bury_verdicts(verdicts_on(again(operation, incarnation=2)))

    assert ledger.discard([the_discard_of(operation, incarnation=1)]) == 0
    assert ledger.discard([the_discard_of(operation, incarnation=2)]) == 1


def test_what_was_applied_is_not_discarded() -> None:
    operation = create_user(1)
    apply(operation)

    assert ledger.discard([the_discard_of(operation)]) == 0


def test_a_replayed_letter_under_a_reused_id_dies_as_its_next_incarnation() -> None:
    """Else the ledger would take a discard of the earlier one for a discard of this one."""
    apply(an_operation("CREATE", "User", a_user(1), id="op_1"))
    second = an_operation("CREATE", "User", a_user(2), id="op_1")
    apply(second)

    result = apply(again(second, incarnation=1))

    own_id = second.origin.own_id
    assert outcomes(result) == [DEAD]
    assert ledger.settled([own_id])[own_id].incarnation == 1


def test_a_replay_in_the_batch_of_its_letter_waits_until_the_ledger_has_said_what_became_of_that() -> None:
    operation = delete("User", 0)

    result = apply(operation, again(operation, incarnation=1))

    assert outcomes(result) == [DEAD, HANDED_BACK]


def test_a_letter_twice_in_one_batch_is_dead_twice() -> None:
    operation = delete("User", 0)

    assert outcomes(apply(operation, again(operation))) == [DEAD, DEAD]


def test_only_a_dead_letter_of_a_lower_incarnation_is_turned() -> None:
    dead, applied = delete("User", 0), create_user(1)
    apply(again(dead, incarnation=2), applied)
    of_dead, of_applied = (ledger.settled([one.operation_id])[one.operation_id] for one in (dead, applied))

    turned = [ledger.turn(msgspec.structs.replace(of_dead, incarnation=incarnation)) for incarnation in (1, 2, 3)]

    assert turned == [False, False, True]
    assert not ledger.turn(msgspec.structs.replace(of_applied, incarnation=1))


def test_a_discarded_letter_under_a_reused_id_stays_discarded() -> None:
    apply(an_operation("CREATE", "User", a_user(1), id="op_1"))
    second = an_operation("CREATE", "User", a_user(2), id="op_1")
    apply(second)
    ledger.discard([the_discard_of(second)])

    assert outcomes(apply(again(second))) == outcomes(apply(again(second, incarnation=1))) == [Outcome.DISCARDED]
    assert users() == 1


def test_changed_bytes_that_are_still_no_message_turn_their_own_line() -> None:
    operation = a_raw_operation(b"{", id="db-operations-buffer-1-7")
    apply(operation)
    replayed = msgspec.structs.replace(operation, raw=b"[", incarnation=1, came_as=content_of(operation.raw))

    result = apply(replayed)

    line = ledger.settled([operation.operation_id])[operation.operation_id]
    assert (outcomes(result), line.incarnation, "already used" in reasons(result)[0]) == ([DEAD], 1, False)
