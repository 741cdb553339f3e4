"""What a line of JSON is worth: a message to send, or what is wrong with it."""

from __future__ import annotations

import base64
import json
import re

import pytest

from entities.envelope import decode
from tests.support.streams import a_message
from worker.operation_lines import OperationLine, WrongLine, new_operation_id, read_lines, with_operation_id

DELETE_7 = a_message("op-7", "DELETE", "User", {"id": 7}, timestamp=1_700_000_000_000)


def test_a_message_of_the_application_is_sent_as_it_stands() -> None:
    assert list(read_lines([DELETE_7 + b"\r\n"])) == [
        OperationLine(1, DELETE_7, "DELETE", "User", "op-7", 1_700_000_000_000)
    ]


def test_a_line_of_an_export_holds_the_message_as_it_came() -> None:
    exported = {"type": "DELETE", "entity": "User", "state": "dead", "reason": "?", "raw": DELETE_7.decode()}

    (line,) = read_lines([json.dumps(exported).encode()])

    assert isinstance(line, OperationLine)
    assert line.message == DELETE_7


def test_an_exported_message_that_is_no_text_is_wrong() -> None:
    (line,) = read_lines([b'{"raw": {"type": "DELETE"}}'])

    assert line == WrongLine(1, "raw: must be the message as text, not an object")


def test_an_exported_message_may_be_in_base64() -> None:
    (line,) = read_lines([json.dumps({"rawBase64": base64.b64encode(DELETE_7).decode()}).encode()])

    assert isinstance(line, OperationLine)
    assert line.message == DELETE_7


@pytest.mark.parametrize(
    ("exported", "reason"),
    [
        ({"rawBase64": "?"}, "rawBase64: must be base64"),
        ({"raw": DELETE_7.decode(), "isMasked": True}, "isMasked: the secrets of this message were masked"),
    ],
)
def test_an_export_that_does_not_hold_the_message_as_it_came_is_wrong(exported: dict[str, object], reason: str) -> None:
    (line,) = read_lines([json.dumps(exported).encode()])

    assert isinstance(line, WrongLine)
    assert line.reason.startswith(reason)


def test_half_a_surrogate_pair_in_an_exported_message_is_wrong() -> None:
    (line,) = read_lines([b'{"raw": "\\ud800"}'])

    assert isinstance(line, WrongLine)


def test_empty_lines_are_passed_over_and_counted() -> None:
    lines = list(read_lines([b"\n", DELETE_7, b"  \n", b"hello\n"]))

    assert [(line.number, type(line)) for line in lines] == [(2, OperationLine), (4, WrongLine)]


def test_what_an_editor_puts_before_the_first_line_does_no_harm() -> None:
    (line,) = read_lines([b"\xef\xbb\xbf" + DELETE_7])

    assert isinstance(line, OperationLine)
    assert line.message == DELETE_7


def test_what_the_service_would_refuse_is_wrong_with_its_reason_and_without_its_secrets() -> None:
    raw = a_message(None, "UPDATE", "User", {"id": 0, "passwordHash": ["hunter2"]})

    (line,) = read_lines([raw])

    assert isinstance(line, WrongLine)
    assert "User.id" in line.reason
    assert "User.passwordHash" in line.reason
    assert "hunter2" not in line.reason


def test_an_operation_id_is_put_into_a_message_that_has_none_and_nothing_else_is_changed() -> None:
    without = a_message(None, "UPDATE", "Rating", {"id": 1, "totalPercentage": 12.5}, timestamp=5, userId=3)

    given = with_operation_id(without, "op_1_abc")

    before, after = decode(without), decode(given)
    assert after.operation_id == "op_1_abc"
    assert (after.type, after.entity, after.data, after.timestamp) == (
        before.type,
        before.entity,
        before.data,
        before.timestamp,
    )
    assert json.loads(given)["metadata"]["userId"] == 3


def test_metadata_that_is_no_object_gives_way_to_the_operation_id() -> None:
    raw = b'{"type":"DELETE","entity":"User","data":{"id":7},"metadata":"?"}'

    assert decode(with_operation_id(raw, "op_1_abc")).operation_id == "op_1_abc"


def test_new_operation_ids_have_the_applications_form() -> None:
    ids = {new_operation_id() for _ in range(1_000)}

    assert len(ids) == 1_000
    assert all(re.fullmatch(r"op_[0-9]{13}_[0-9a-z]{9}", one) for one in ids)
