"""Operations as lines of JSON: a message of the application a line, or a line of an export that holds one as it came.

What each line is worth is found here: the message to send, or what is wrong with it, by the rules that the service itself
applies. Reading files and sending is `worker.produce`'s.
"""

from __future__ import annotations

import base64
import json
import random
import string
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from entities.envelope import decode
from entities.errors import InvalidOperation, shown
from entities.operations import actions_of

#: Where a line of an export has the message, as text or in base64 where it is no UTF-8; and what says that it is not whole.
EXPORTED_MESSAGE: Final = "raw"
EXPORTED_BYTES: Final = "rawBase64"
MASKED: Final = "isMasked"

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_EXPORTED: Final = (EXPORTED_MESSAGE, EXPORTED_BYTES)
_LETTERS: Final = string.digits + string.ascii_lowercase


@dataclass(frozen=True)
class OperationLine:
    """A line with an operation that is in form.

    Parameters:
      number: Counted from 1, empty lines too.
      message: What Kafka is to be given.
      timestamp: The operation's own, in milliseconds since 1970; None if it has none.
    """

    number: int
    message: bytes
    type: str
    entity: str
    operation_id: str | None
    timestamp: int | None


@dataclass(frozen=True)
class WrongLine:
    """A line that the service would make a dead letter of, and why. `reason` holds no secret."""

    number: int
    reason: str


def read_lines(lines: Iterable[bytes]) -> Iterator[OperationLine | WrongLine]:
    """What each line holds; empty ones are passed over."""
    for number, line in enumerate(lines, start=1):
        text = (line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line).strip()
        if not text:
            continue
        try:
            message = message_of(text)
            envelope = decode(message)
            actions_of(envelope)
        except InvalidOperation as error:
            yield WrongLine(number, error.reason)
        else:
            yield OperationLine(
                number, message, envelope.type, envelope.entity, envelope.operation_id, envelope.timestamp
            )


def message_of(line: bytes) -> bytes:
    """The message in a line: the line itself, or what an export keeps of it; raises InvalidOperation."""
    try:
        document = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return line  # whoever decodes it as a message explains what is wrong
    if not isinstance(document, dict) or "data" in document or document.keys().isdisjoint(_EXPORTED):
        return line
    if document.get(MASKED):
        raise InvalidOperation(MASKED, "the secrets of this message were masked when it was exported")
    if isinstance(document.get(EXPORTED_BYTES), str):
        return _from_base64(document[EXPORTED_BYTES])
    message = document.get(EXPORTED_MESSAGE)
    if not isinstance(message, str):
        raise InvalidOperation(EXPORTED_MESSAGE, f"must be the message as text, not {shown(message)}")
    return message.encode()


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidOperation(EXPORTED_BYTES, "must be base64") from None


def with_operation_id(message: bytes, operation_id: str) -> bytes:
    """A message in form, with this operation id instead of what it had."""
    document = json.loads(message)
    metadata = document.get("metadata")
    document["metadata"] = {**(metadata if isinstance(metadata, dict) else {}), "operationId": operation_id}
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()


def new_operation_id() -> str:
    """An operation id of the application's form, op_<milliseconds>_<nine letters or digits>, that nobody has."""
    return f"op_{time.time_ns() // 1_000_000}_{''.join(random.choices(_LETTERS, k=9))}"
