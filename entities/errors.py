"""The one error that says "this operation can never be applied", and how a refused value is shown to a person.

Its text is kept in ledgers, logs and on operators' screens, so it never holds a secret, never grows with its input,
and is always printable.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

#: The most characters of a refused value that a reason shows.
SHOWN_CHARACTERS: Final = 80

#: The most faults that a reason lists for one record.
SHOWN_FAULTS: Final = 20

#: The most characters of a whole reason.
REASON_CHARACTERS: Final = 8_000

#: A text with one of these in it may be a whole object, encoded twice, with a secret in it; the last one is how JSON may write
#: any letter of such a name.
_NAME_OF_A_SECRET: Final = re.compile(r"passw|contrase|secret|token|\\u00[4-7]", re.IGNORECASE)


class InvalidOperation(ValueError):
    """The operation is out of form: a dead letter at once, since no retry can mend it.

    Parameters:
      field: What is wrong: an attribute ("User.email", in bulk "records[3] User.email") or a part of the envelope
        ("type", "metadata.operationId").
      complaint: What is allowed there, and what stood there instead.

    `reason` is the text of both, and so is `str()`.
    """

    def __init__(self, field: str, complaint: str) -> None:
        if len(complaint) > REASON_CHARACTERS:
            complaint = f"{complaint[:REASON_CHARACTERS]}…"
        self.field = field
        self.complaint = complaint
        self.reason = f"{field}: {complaint}"
        super().__init__(self.reason)

    @classmethod
    def of(cls, faults: Sequence[InvalidOperation], limit: int = SHOWN_FAULTS) -> InvalidOperation:
        """All these faults (at least one) told at once; `field` is the first one's."""
        first, *others = faults
        complaints = [first.complaint, *(fault.reason for fault in others[: limit - 1])]
        if len(faults) > limit:
            complaints.append(f"and {len(faults) - limit} more")
        return cls(first.field, "; ".join(complaints))

    def within(self, place: str) -> InvalidOperation:
        """The same fault, said of a place: `records[3]`."""
        return type(self)(f"{place} {self.field}", self.complaint)


def shown(value: Any) -> str:
    """A decoded JSON value as a reason shows it: short, printable, its kind plain to see, without what may be a secret.

    >>> shown("7 OR 1=1"), shown([1, 2]), shown(True), shown(None), shown('{"passwordHash":"x"}')
    ("'7 OR 1=1'", 'a list', 'true', 'null', 'text of 20 characters')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str):
        if may_hold_secret(value):
            return f"text of {len(value)} characters"
        start = repr(value[:SHOWN_CHARACTERS])
        return start if len(value) <= SHOWN_CHARACTERS else f"{start}… ({len(value)} characters)"
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def may_hold_secret(text: str) -> bool:
    """Whether a text from outside names a secret, whose value may then stand in it as well: only its length may be told."""
    return _NAME_OF_A_SECRET.search(text) is not None


def is_no_name(name: str) -> bool:
    """Whether what should name something is no name and may hold a secret, as an object encoded twice: nobody may be shown it."""
    return not name.isidentifier() and may_hold_secret(name)


def named(owner: str, name: str) -> str:
    """The path of something that has a name from outside, which may be anything: "User.colour", "User['a b']"."""
    if name.isidentifier() and len(name) <= SHOWN_CHARACTERS:
        return f"{owner}.{name}" if owner else name
    return f"{owner}[{shown(name)}]"
