from __future__ import annotations

import dramatiq
import msgspec
import pytest
from dramatiq.errors import DecodeError

from worker.messages import (
    Batch,
    CacheSync,
    DispatchedOperation,
    MessagePackEncoder,
    Origin,
    Outcome,
    OutcomeLine,
    Settlement,
    Verdict,
    Verdicts,
    apply_operation_message,
    apply_operations_message,
    bury_message,
    decode_settlement,
    encode_settlement,
    sync_cache_message,
)

RAW = b'{"data": {"passwordHash": "s3cret\xff"}}'


@pytest.fixture(autouse=True)
def _our_encoder() -> None:
    dramatiq.set_encoder(MessagePackEncoder())


def a_batch(size: int = 1) -> Batch:
    operations = tuple(DispatchedOperation(Origin("topic", 0, 1, n), f"op_{n}", 0, RAW) for n in range(size))
    return Batch("batch-1", "outbox-1", "group", 7, operations)


def some_verdicts() -> Verdicts:
    verdict = Verdict(Origin("topic", 1, 2, 3), "op_1", 2, RAW, "invalid", "User.email: text is expected", 0)
    return Verdicts("verdicts-1", "outbox-1", "group", 7, (verdict,))


def sent_and_received(message: dramatiq.Message[None]) -> dramatiq.Message[None]:
    return dramatiq.Message.decode(message.encode())


@pytest.mark.parametrize(
    "message",
    [
        apply_operations_message(a_batch(500)),
        apply_operation_message(a_batch(), retries=2, max_retries=5),
        bury_message(some_verdicts()),
        sync_cache_message(CacheSync(("User:3",), ("User",))),
    ],
    ids=lambda message: str(message.actor_name),
)
def test_a_message_arrives_as_it_was_sent(message: dramatiq.Message[None]) -> None:
    assert sent_and_received(message) == message


def test_the_bytes_of_an_operation_travel_as_they_are() -> None:
    assert RAW in apply_operations_message(a_batch()).encode()


def test_a_failed_message_inside_a_message_keeps_its_structs() -> None:
    failed = apply_operation_message(a_batch(), retries=5, max_retries=5)
    bury: dramatiq.Message[None] = dramatiq.Message("apply", "bury", (failed.asdict(), {"retries": 5}), {}, {})

    received = sent_and_received(bury)

    assert received.args[0]["args"] == [a_batch()]
    assert received.args[1] == {"retries": 5}


def test_a_traceback_does_not_travel() -> None:
    failed = apply_operations_message(a_batch()).copy(options={"traceback": "1062 Duplicate entry 'x'", "retries": 1})
    bury: dramatiq.Message[None] = dramatiq.Message("apply", "bury", (failed.asdict(),), {}, {})

    assert sent_and_received(failed).options == {"retries": 1}
    assert b"Duplicate" not in bury.encode()


def test_the_message_has_the_id_of_its_batch() -> None:
    assert apply_operations_message(a_batch()).message_id == "batch-1"
    assert apply_operation_message(a_batch(), retries=0, max_retries=5).message_id == "batch-1"
    assert bury_message(some_verdicts()).message_id == "verdicts-1"


def test_an_operation_of_its_own_carries_the_retries_it_had() -> None:
    message = apply_operation_message(a_batch(), retries=2, max_retries=5)

    assert message.options == {"retries": 2, "max_retries": 5}


@pytest.mark.parametrize(
    "argument", [a_batch(500), some_verdicts(), a_batch().operations[0], some_verdicts().verdicts[0]]
)
def test_the_repr_is_short_and_shows_no_contents(argument: msgspec.Struct) -> None:
    assert "s3cret" not in repr(argument)
    assert "passwordHash" not in repr(argument)
    assert len(repr(argument)) < 300


def test_the_repr_names_what_a_reader_looks_for() -> None:
    assert "op_0" in str(apply_operations_message(a_batch()))
    assert "topic-1-0" in str(apply_operations_message(a_batch()))


def test_something_that_is_no_message_is_refused() -> None:
    for data in (b"", b"\xc1", b'{"json": 1}', msgspec.msgpack.encode({"args": msgspec.msgpack.Ext(99, b"")})):
        with pytest.raises(DecodeError):
            dramatiq.Message.decode(data)


def test_a_settlement_is_read_back() -> None:
    line = OutcomeLine(
        Origin("topic", 0, 1, 2), 1, Outcome.RETRYING, 3, "order", "User:3 is not there", 1_700_000_000_000
    )
    settlement = Settlement("batch-1", 7, (line, OutcomeLine(Origin("topic", 0, 1, 3), 0, Outcome.APPLIED)))

    assert decode_settlement(encode_settlement(settlement)) == settlement


def test_something_that_is_no_settlement_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_settlement(msgspec.msgpack.encode(["batch-1", 7, [["no origin"]]]))


@pytest.mark.parametrize(("generation", "own_id"), [(0, "topic-4-17"), (2, "topic-4-17-g2")])
def test_an_operation_without_an_id_is_named_by_its_place(generation: int, own_id: str) -> None:
    assert Origin("topic", generation, 4, 17).own_id == own_id
