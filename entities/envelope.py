"""From the bytes of a message to its envelope, or to the reason why there is none.

msgspec reads what is in form, in microseconds. Only when it refuses does the standard library look again: to explain,
naming the field, and to take what msgspec is too strict for and the contract is not (half a surrogate pair or a
number beyond 64-bit floats in a place that nobody reads). Both give the same values for the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import Any, Final, NamedTuple

import msgspec

from entities.conversions import digits, has_surrogates
from entities.errors import InvalidOperation, is_no_name, named, shown

#: The most characters of an operation id: what a key of the ledger holds.
OPERATION_ID_CHARACTERS: Final = 255

#: How deep lists and objects in `data` may lie in each other. The contract needs 3; what is left is for new operation
#: types.
NESTING_LIMIT: Final = 64

#: The latest usable timestamp, in milliseconds since 1970: the year 9999.
TIMESTAMP_LIMIT: Final = 253_402_300_799_999

#: The most steps of a path that a reason shows.
SHOWN_STEPS: Final = 8

#: The most characters that `peek` tells of a name.
PEEKED_CHARACTERS: Final = 64


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """An operation as the application sent it, its shape checked, its names and values not yet.

    Parameters:
      operation_id: None if the producer gave none.
      timestamp: In milliseconds since 1970; None if the producer gave no usable one.
    """

    type: str
    entity: str
    data: dict[str, Any]
    operation_id: str | None = None
    timestamp: int | None = None


class Peek(msgspec.Struct, frozen=True, gc=False):
    """What can be told of any bytes at all; None where there is nothing usable."""

    operation_id: str | None = None
    timestamp: int | None = None
    entity: str | None = None
    type: str | None = None


class _Message(msgspec.Struct, gc=False):
    type: str
    entity: str
    data: dict[str, Any]
    metadata: Any = None


class _Head(msgspec.Struct):
    type: Any = None
    entity: Any = None
    metadata: Any = None


class _NotANumber:
    """Stands where NaN or an infinity stood: Python's decoder takes them, JSON does not have them."""


_message_decoder = msgspec.json.Decoder(_Message)
_head_decoder = msgspec.json.Decoder(_Head)
_canonical_encoder = msgspec.json.Encoder(order="deterministic")
_not_a_number: Final = _NotANumber()


def decode(raw: bytes) -> Envelope:
    """The envelope in a message's value; raises InvalidOperation, which names the field."""
    try:
        if not raw.isascii():
            raw.decode()  # msgspec does not look into strings that it skips
        message = _message_decoder.decode(raw)
        fields = message.type, message.entity, message.data, message.metadata
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = _decode_slowly(raw)
    kind, entity, data, metadata = fields
    if raw.count(b"[") + raw.count(b"{") > NESTING_LIMIT and _is_deeper_than(NESTING_LIMIT, data):
        raise InvalidOperation("data", f"must not be nested deeper than {NESTING_LIMIT} levels")
    if not isinstance(metadata, dict):
        return Envelope(kind, entity, data)
    operation_id = _operation_id(metadata.get("operationId"))
    return Envelope(kind, entity, data, operation_id, _timestamp(metadata.get("timestamp")))


def peek(raw: bytes) -> Peek:
    """What the merge and a list for people need of a message, whatever is wrong with the rest; never raises."""
    try:
        head = _head_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        head = _head_slowly(raw)
    operation_id = timestamp = None
    if isinstance(head.metadata, dict):
        timestamp = _timestamp(head.metadata.get("timestamp"))
        with contextlib.suppress(InvalidOperation):
            operation_id = _operation_id(head.metadata.get("operationId"))
    return Peek(operation_id, timestamp, _peeked(head.entity), _peeked(head.type))


def content_digest(envelope: Envelope) -> bytes:
    """16 bytes that tell whether two messages ask for the same: of type, entity and data, whatever the order of keys.

    The metadata is not in it: the application stamps a message anew when it sends it again.
    """
    content = (envelope.type, envelope.entity, envelope.data)
    try:
        canonical = _canonical_encoder.encode(content)
    except (UnicodeEncodeError, OverflowError, msgspec.ValidationError):  # half a surrogate pair, a huge integer
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.blake2b(canonical, digest_size=16).digest()


def _decode_slowly(raw: bytes) -> tuple[str, str, dict[str, Any], Any]:
    """The fields of an envelope that msgspec refused; raises InvalidOperation with all that is wrong with it."""
    document, stranger = _load(raw)
    if stranger is not None:
        raise InvalidOperation(_place_of(_not_a_number, document), f"is not JSON: {stranger} stands there")
    if not isinstance(document, dict):
        raise InvalidOperation("message", f"must be a JSON object, not {shown(document)}")
    faults = []
    for field, kind, allowed in (("type", str, "text"), ("entity", str, "text"), ("data", dict, "an object")):
        if field not in document:
            faults.append(InvalidOperation(field, "is missing"))
        elif not isinstance(document[field], kind):
            faults.append(InvalidOperation(field, f"must be {allowed}, not {shown(document[field])}"))
    if faults:
        raise InvalidOperation.of(faults)
    return document["type"], document["entity"], document["data"], document.get("metadata")


def _head_slowly(raw: bytes) -> _Head:
    try:
        document, _ = _load(raw)
    except InvalidOperation:
        return _Head()
    if not isinstance(document, dict):
        return _Head()
    return _Head(document.get("type"), document.get("entity"), document.get("metadata"))


def _load(raw: bytes) -> tuple[Any, str | None]:
    """The document by the standard library, and the NaN or infinity in it, if any; raises InvalidOperation."""
    if not raw.strip():
        raise InvalidOperation("message", "is empty")
    strangers: list[str] = []

    def stranger(name: str) -> _NotANumber:
        strangers.append(name)
        return _not_a_number

    try:
        document = json.loads(raw.decode(), parse_constant=stranger, parse_int=_integer, parse_float=_float)
    except UnicodeDecodeError as error:
        raise InvalidOperation("message", f"is not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise InvalidOperation("message", f"is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise InvalidOperation("message", "is nested too deeply") from None
    return document, strangers[-1] if strangers else None


def _integer(text: str) -> int | str:
    # Python refuses to convert more than 4,300 digits. As text it is still right for a text attribute, and for no
    # other.
    return int(text) if len(text) < 4_300 else text


def _float(text: str) -> float | str:
    number = float(text)
    return number if number - number == 0 else text  # 1e400 would be an infinity; as text it says what it was


def _operation_id(value: Any) -> str | None:
    """A text or a number as an operation id, None if there is none; raises InvalidOperation."""
    if value is None or value == "":
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = digits(value)
    if not isinstance(value, str):
        raise InvalidOperation("metadata.operationId", f"must be text, not {shown(value)}")
    if len(value) > OPERATION_ID_CHARACTERS:
        allowed = f"must be text of at most {OPERATION_ID_CHARACTERS} characters"
        raise InvalidOperation("metadata.operationId", f"{allowed}, not {len(value)} characters")
    if has_surrogates(value):
        raise InvalidOperation("metadata.operationId", f"must be text without half surrogate pairs, not {shown(value)}")
    return value


def _timestamp(value: Any) -> int | None:
    """Milliseconds since 1970, from a number or its digits; None if it is unusable."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 15:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= TIMESTAMP_LIMIT:
        return value
    return None


def _peeked(name: Any) -> str | None:
    if not isinstance(name, str):
        return None
    start = name[:PEEKED_CHARACTERS]
    # It is shown to people wherever the entry is.
    return None if has_surrogates(start) or is_no_name(start) else start


def _is_deeper_than(limit: int, value: Any) -> bool:
    level: list[Any] = [value]
    for _ in range(limit):
        inner: list[Any] = []
        for container in level:
            values = container.values() if isinstance(container, dict) else container
            inner += [item for item in values if isinstance(item, dict | list)]
        if not inner:
            return False
        level = inner
    return True


class _Step(NamedTuple):
    """A value in a document, and the way to it."""

    value: Any
    came_from: _Step | None = None
    key: str | int = ""

    def path(self) -> str:
        """`data.records[3].score`; shortened from the left where it is absurdly long."""
        keys: list[str | int] = []
        step = self
        while step.came_from is not None:
            keys.append(step.key)
            step = step.came_from
        path = "…" if len(keys) > SHOWN_STEPS else ""
        for key in reversed(keys[:SHOWN_STEPS]):
            path = f"{path}[{key}]" if isinstance(key, int) else named(path, key)
        return path


def _place_of(sought: object, document: Any) -> str:
    """Where a value stands in a document; "message" if it is the document, or replaced by a later key of its name."""
    waiting = [_Step(document)]
    while waiting:
        step = waiting.pop()
        if step.value is sought:
            return step.path() or "message"
        if isinstance(step.value, dict):
            waiting += [_Step(value, step, key) for key, value in step.value.items()]
        elif isinstance(step.value, list):
            waiting += [_Step(value, step, number) for number, value in enumerate(step.value)]
    return "message"
