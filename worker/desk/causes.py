"""Dead letters by their cause: of a thousand at night, a thousand usually have one.

A cause is the entity, the kind of error, the attribute at fault and what is wrong with it, read from the reason in the
words that the service gives reasons (entities.errors, worker.reasons). It is written as one word without spaces,
``Finance:refused:monthlyNetSales:truncated``, which people can type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from outbox import Entry, EntryFilter, Outbox, State

#: Letters read in one page; without their payloads.
PAGE = 1_000

#: What is wrong, by the words of the reason.
_FAULTS = (
    ("is already there", "duplicate"),
    ("is not there", "missing"),
    ("data truncated", "truncated"),
    ("character set", "characters"),
    ("data too long", "too-long"),
    ("out of range", "out-of-range"),
    ("must not be null", "null"),
    ("is required", "required"),
    ("is unknown", "unknown"),
    ("is missing", "absent"),
    ("is not JSON", "not-json"),
    ("is not UTF-8", "not-utf8"),
    ("is empty", "empty"),
    ("nested", "nested"),
    ("already used by another", "id-reused"),
    ("worker died", "worker-died"),
    ("too big", "too-big"),
    ("must be", "value"),
)

#: Where a reason names what is at fault: `User.email: …`, `records[3] User.email 'x' …`, `metadata.operationId: …`.
_PLACE = re.compile(r"(?:\w+\[\d+\] )?(?P<path>\w+(?:\.\w+)*)(?=: | |\[)")
_ERROR_NUMBER = re.compile(r"\berror (\d+)\b")

#: Parts of the envelope, which a reason names without an entity.
_ENVELOPE = ("type", "entity", "data", "metadata", "message")


class Cause(msgspec.Struct, frozen=True, order=True):
    """Why letters died. Parts that a reason does not tell are empty; ``fault`` is a word, or the server's error number."""

    entity: str
    kind: str
    field: str
    fault: str

    @property
    def key(self) -> str:
        """The cause in one word: what ``--group`` takes."""
        return ":".join(
            re.sub(r"[^\w.-]+", "_", part) or "-" for part in (self.entity, self.kind, self.field, self.fault)
        )


class Group(msgspec.Struct, frozen=True):
    """The dead letters of one cause. Times in ms; ``example`` is the newest letter, without its payload."""

    cause: Cause
    count: int
    first_at: int
    last_at: int
    example: Entry


def cause_of(letter: Entry) -> Cause:
    """Why this letter died, as far as its reason tells."""
    reason, entity = letter.reason or "", letter.entity or ""
    found = _PLACE.match(reason)
    path = found["path"] if found is not None else ""
    owner, _, attribute = path.partition(".")
    field = attribute if owner == entity else path if owner in _ENVELOPE else ""
    told = [(reason.index(words), word) for words, word in _FAULTS if words in reason]
    fault = min(told)[1] if told else ""  # a reason may tell of several faults: the first counts, as the place does
    if not fault and (number := _ERROR_NUMBER.search(reason)) is not None:
        fault = number[1]
    return Cause(entity, letter.error_kind or "", field, fault)


def dead_letters(outbox: Outbox, wanted: EntryFilter | None = None) -> Iterator[Entry]:
    """All dead letters that match, in order, without their payloads; read in pages."""
    wanted = msgspec.structs.replace(wanted or EntryFilter(), state=State.DEAD)
    after_seq = 0
    while page := outbox.entries(wanted, after_seq, PAGE, with_payload=False):
        yield from page
        after_seq = page[-1].seq


def groups(outbox: Outbox, wanted: EntryFilter | None = None) -> list[Group]:
    """The dead letters that match by cause, the largest group first."""
    found: dict[Cause, Group] = {}
    for letter in dead_letters(outbox, wanted):
        cause, at = cause_of(letter), letter.changed_at
        known = found.get(cause)
        found[cause] = (
            Group(cause, 1, at, at, letter)
            if known is None
            else Group(
                cause,
                known.count + 1,
                min(known.first_at, at),
                max(known.last_at, at),
                letter if at >= known.last_at else known.example,
            )
        )
    return sorted(found.values(), key=lambda group: (-group.count, group.cause))
