"""Lists: the dead letters by cause, and entries by state, entity, type, group and words in them, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec

from outbox import Entry, EntryFilter, Outbox, State
from outbox.masking import mask_string, mask_text
from outbox.states import state_named
from worker.desk import session
from worker.desk.causes import groups
from worker.desk.selection import Selection, matching, named
from worker.pages.http import BadRequest, Request, Response
from worker.pages.place import Place
from worker.pages.view import page

#: Entries on a page, and how many are looked at for one that is searched by words.
PAGE, LOOKED_AT = 50, 20_000


class Search(msgspec.Struct, frozen=True):
    """What is looked for. ``words`` stand in the operation id, the entity, the type or the reason, in whatever case."""

    state: State | None
    entity: str
    type: str
    group: str
    words: str

    @property
    def fields(self) -> dict[str, str]:
        """As a link says it."""
        label = self.state.label if self.state is not None else "all"
        return {"state": label, "entity": self.entity, "type": self.type, "group": self.group, "q": self.words}


class Found(msgspec.Struct, frozen=True):
    """A page of what was found. ``next``: the place to go on behind; None: that was all. ``is_cut``: looking was broken off."""

    entries: list[Entry]
    next: int | None
    is_cut: bool = False


def show_groups(request: Request, place: Place) -> Response:
    """All dead letters by their cause."""
    with place.outbox() as outbox:
        return page(request, "groups", groups=groups(outbox))


def show_letters(request: Request, place: Place) -> Response:
    """A page of entries."""
    search = search_of(request)
    after = request.asked("after")
    if after and not (after.isdecimal() and len(after) < 19):
        raise BadRequest("after is no place in the order")
    with place.outbox() as outbox:
        found = find(outbox, search, int(after or 0))
        total = outbox.counts().of(search.state) if search.state is not None else outbox.counts().total
    return page(request, "letters", search=search, found=found, total=total, is_first=not after, looked_at=LOOKED_AT)


def search_of(request: Request) -> Search:
    """What the fields of the search ask for; raises `BadRequest`."""
    label = request.asked("state") or "dead"
    try:
        state = None if label == "all" else state_named(label)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    entity = session.entity(request.asked("entity") or None) or ""
    return Search(state, entity, request.asked("type").upper(), request.asked("group"), request.asked("q"))


def find(outbox: Outbox, search: Search, after: int, size: int = PAGE, looked_at: int = LOOKED_AT) -> Found:
    """The page behind this place in the order. An id finds its entry, in whatever state."""
    if search.words and not after and len(search.words) < 256:
        exact = [entry for entry in named_quickly(outbox, search.words) if search.state in (None, entry.state)]
        if exact:
            return Found(exact, None)
    wanted = EntryFilter(search.state, search.entity or None, search.type or None)
    shown: list[Entry] = []
    entry = None
    candidates = matching(outbox, Selection(wanted=wanted, group=search.group or None), after)
    for entry in islice(candidates, looked_at):
        if len(shown) == size:
            return Found(shown, shown[-1].seq)
        if not search.words or _has(entry, search.words):
            shown.append(entry)
    if entry is not None and next(candidates, None) is not None:
        return Found(shown, entry.seq, is_cut=True)
    return Found(shown, None)


def named_quickly(outbox: Outbox, words: str) -> list[Entry]:
    """The entry of this id, if the words are one."""
    return named(outbox, words) if words.isdecimal() else []


def _has(entry: Entry, words: str) -> bool:
    return any(words.lower() in text.lower() for text in _texts(entry))


def _texts(entry: Entry) -> Iterator[str]:
    """What is searched is what is shown: a secret cannot be guessed at."""
    yield from (mask_string(entry.operation_id), entry.entity or "", entry.type or "", mask_text(entry.reason or ""))
    yield entry.error_kind or ""
