"""Dead letters in a file of JSON lines, to keep, to look at elsewhere, to bring back or to send again.

A line holds the message as it is (``raw``, or ``rawBase64`` where it is not UTF-8), where it came from and why it died.
Secrets are not masked, or nobody could bring the letter back: the file is made for its owner alone. `python -m
worker.produce` sends such lines as messages again; `import` takes them in as dead letters.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import msgspec

from entities.envelope import peek
from outbox import Entry, ImportedLetter
from outbox.masking import mask_json, mask_string, mask_text

#: The longest line that is read, in bytes: a message of Kafka is a megabyte, and JSON escapes can make it six.
LONGEST_LINE = 16_000_000


class BadLine(ValueError):
    """A line that is no letter. The text says what is wrong with it."""


class LetterLine(msgspec.Struct, rename="camel", omit_defaults=True):
    """A letter as a line: everything that another outbox needs to take it in. Times are ms since 1970."""

    operation_id: str
    topic: str
    partition: int
    offset: int
    generation: int = 0
    entity: str | None = None
    type: str | None = None
    state: str = "dead"
    error_kind: str = ""
    reason: str = ""
    attempts: int = 0
    incarnation: int = 0
    sent_at: int = 0
    died_at: int = 0
    came_as: bytes | None = None
    raw: str | None = None
    raw_base64: str | None = None
    is_masked: bool = False


_decoder = msgspec.json.Decoder(LetterLine)


def line_of(entry: Entry, *, masked: bool = False) -> bytes:
    """The entry as a line, without the line's end.

    Parameters:
      masked: With its secrets masked: to be shown to others, not to be brought back.
    """
    raw: str | None = None
    raw_base64: str | None = None
    if masked:
        raw = mask_json(entry.raw, indent=None)
    else:
        try:
            raw = entry.raw.decode()
        except UnicodeDecodeError:
            raw_base64 = base64.b64encode(entry.raw).decode()
    line = LetterLine(
        mask_string(entry.operation_id) if masked else entry.operation_id,
        entry.topic,
        entry.partition,
        entry.offset,
        entry.generation,
        entry.entity,
        entry.type,
        entry.state.label,
        entry.error_kind or "",
        mask_text(entry.reason or ""),
        entry.attempts,
        entry.incarnation,
        entry.order_timestamp,
        entry.changed_at,
        entry.came_as,
        raw,
        raw_base64,
        masked,
    )
    return msgspec.json.encode(line)


def letter_of(line: bytes) -> ImportedLetter:
    """The dead letter in a line; raises `BadLine`."""
    if len(line) > LONGEST_LINE:
        raise BadLine(f"is longer than {LONGEST_LINE:,} bytes")
    try:
        told = _decoder.decode(line)
        raw = _raw(told)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, BadLine):
            raise
        if _looks_like_a_message(line):
            raise BadLine("is a message, not a letter: send it with python -m worker.produce") from None
        raise BadLine(f"is no letter of an export: {error}") from None
    if told.is_masked:
        raise BadLine("was exported with its secrets masked, and cannot be brought back")
    seen = peek(raw)
    return ImportedLetter(
        told.topic,
        told.generation,
        told.partition,
        told.offset,
        told.operation_id,
        told.entity or seen.entity,
        told.type or seen.type,
        raw,
        told.incarnation,
        told.attempts,
        told.error_kind or "imported",
        told.reason or "imported without a reason",
        told.died_at or told.sent_at,
        told.came_as,
    )


def lines_in(content: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that hold something, with their numbers, from 1."""
    for number, line in enumerate(content, 1):
        if line.strip():
            yield number, line.strip()


def _raw(told: LetterLine) -> bytes:
    if told.raw is not None:
        return told.raw.encode()
    if told.raw_base64 is not None:
        return base64.b64decode(told.raw_base64, validate=True)
    raise BadLine("holds no message: neither raw nor rawBase64")


def _looks_like_a_message(line: bytes) -> bool:
    try:
        document: Any = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(document, dict) and {"type", "entity", "data"} <= document.keys()
