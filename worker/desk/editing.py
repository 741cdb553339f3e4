"""Giving a dead letter another payload: what may be changed, and that it would be taken.

The new payload must decode and be in form (`entities.envelope`, `entities.operations`), or it is not taken. It stays the
same operation, under the same operation id: the next incarnation of it, which the ledger knows by what it came as. To send
something as another operation, export it and produce it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from entities.envelope import Envelope, decode, peek
from entities.errors import InvalidOperation
from entities.operations import actions_of
from outbox import Entry, Outbox
from worker.desk.placeholders import Concealed, UnknownPlaceholder
from worker.messages import Origin
from worker.work import content_of

#: The parts of an envelope. A path that begins with another name begins in `data`.
_PARTS = ("type", "entity", "data", "metadata")

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


class CannotEdit(ValueError):
    """The change cannot be made, or would make no operation. The text says what to do."""


class Edited(msgspec.Struct, frozen=True):
    """A payload that may be taken in place of the letter's own."""

    letter: Entry
    raw: bytes
    envelope: Envelope

    def __repr__(self) -> str:
        return f"Edited({self.letter!r}, {len(self.raw)} bytes)"


def edited_text(letter: Entry, concealed: Concealed, text: str) -> Edited:
    """What an operator made of ``concealed.text`` in an editor; raises `CannotEdit`."""
    try:
        raw = concealed.restore(text)
    except UnknownPlaceholder as error:
        raise CannotEdit(str(error)) from None
    return checked(letter, raw)


def edited_attributes(letter: Entry, concealed: Concealed, set_: Sequence[str], unset: Sequence[str]) -> Edited:
    """The letter with attributes changed.

    Parameters:
      set_: `path=value`, as in `name=Ana`, `creationYear=2022`, `records[3].score=7`, `type=UPDATE`. The value is JSON if it
        can be read as such, else text.
      unset: Paths to remove.

    Raises `CannotEdit`.
    """
    if not concealed.is_json or not isinstance(concealed.document, dict):
        raise CannotEdit("the payload is no JSON object: attributes cannot be set in it; edit it whole, without --set")
    document = json.loads(json.dumps(concealed.document))
    for assignment in set_:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise CannotEdit(f"{assignment!r}: say which attribute gets which value, as in name=Ana")
        _put(document, _steps(path), _value(text), path)
    for path in unset:
        _take(document, _steps(path), path)
    try:
        raw = concealed.encode(document)
    except UnknownPlaceholder as error:
        raise CannotEdit(str(error)) from None
    return checked(letter, raw)


def checked(letter: Entry, raw: bytes) -> Edited:
    """The payload, if it may be taken in place of the letter's own; raises `CannotEdit`."""
    try:
        envelope = decode(raw)
        actions_of(envelope)
    except InvalidOperation as error:
        raise CannotEdit(f"it would be a dead letter again: {error}") from None
    own_id = Origin(letter.topic, letter.generation, letter.partition, letter.offset).own_id
    was_named = letter.operation_id != own_id
    if (envelope.operation_id or own_id) != letter.operation_id and (was_named or peek(letter.raw).entity is not None):
        raise CannotEdit(
            f"metadata.operationId must stay {letter.operation_id!r}: it is what the ledger knows this operation by. "
            "To send it as another operation, export it, change it there and send it with python -m worker.produce"
            if was_named
            else "metadata.operationId was missing and must stay so: the ledger knows this operation by its place in Kafka"
        )
    if raw == letter.raw or _canonical(raw) == _canonical(letter.raw):
        raise CannotEdit("nothing was changed")
    return Edited(letter, raw, envelope)


def take(outbox: Outbox, edited: Edited, who: str, why: str) -> bool:
    """Put the edited payload in the letter's place; False if the letter was replayed or changed meanwhile."""
    letter = edited.letter
    return outbox.edit(
        letter.entry_id,
        edited.raw,
        expected=letter.raw,
        came_as=letter.came_as or content_of(letter.raw),
        entity=edited.envelope.entity,
        type=edited.envelope.type,
        who=who,
        why=why,
    )


def take_back(outbox: Outbox, letter: Entry, who: str, why: str) -> bool:
    """Put the original payload back; False if there is none, or the letter was replayed or changed meanwhile."""
    edits = outbox.edits(letter.entry_id)
    if not edits or edits[0].raw_before == letter.raw:
        return False
    original = edits[0].raw_before
    seen = peek(original)
    came_as = letter.came_as if letter.came_as != content_of(original) else None
    changes = {"expected": letter.raw, "came_as": came_as, "entity": seen.entity, "type": seen.type}
    return outbox.edit(letter.entry_id, original, **changes, who=who, why=why)  # type: ignore[arg-type]


def _canonical(raw: bytes) -> str | None:
    """The JSON without spaces and the order of keys; 1, 1.0 and true stay apart. None: it is no JSON, or nested too deeply."""
    try:
        return json.dumps(json.loads(raw), sort_keys=True)
    except (ValueError, RecursionError):
        return None


def _steps(path: str) -> list[str | int]:
    found = list(_STEP.finditer(path))
    if not found or "".join(step[0] for step in found) != path.replace(".", ""):
        raise CannotEdit(f"{path!r} is no path to an attribute, such as name or records[3].score")
    steps: list[str | int] = [step[1] if step[1] is not None else int(step[2]) for step in found]
    return steps if steps[0] in _PARTS else ["data", *steps]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _container(document: Any, steps: Sequence[str | int], path: str) -> Any:
    place = document
    for step in steps[:-1]:
        place = _at(place, step, path)
    last = steps[-1]
    if not isinstance(place, dict if isinstance(last, str) else list):
        raise CannotEdit(f"{path}: there is no such place in the payload")
    return place


def _at(place: Any, step: str | int, path: str) -> Any:
    try:
        return place[step]
    except (KeyError, IndexError, TypeError):
        raise CannotEdit(f"{path}: there is no such place in the payload") from None


def _put(document: Any, steps: Sequence[str | int], value: Any, path: str) -> None:
    place, last = _container(document, steps, path), steps[-1]
    if isinstance(last, int):
        _at(place, last, path)
    place[last] = value


def _take(document: Any, steps: Sequence[str | int], path: str) -> None:
    place, last = _container(document, steps, path), steps[-1]
    _at(place, last, path)
    del place[last]
