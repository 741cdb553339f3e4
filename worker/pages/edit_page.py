"""Giving a dead letter another payload: a form with its secrets as placeholders, then the changes and what they would come to.

The form carries a digest of the payload it was made from: placeholders stand for the secrets of that one and no other.
"""

from __future__ import annotations

import hashlib

import msgspec

from outbox import Entry, Outbox, State
from worker.desk import acting
from worker.desk.editing import CannotEdit, Edited, edited_text, take
from worker.desk.placeholders import Concealed
from worker.desk.show_entries import NO_LINES, changed_lines
from worker.pages.acts_page import planned, prospects
from worker.pages.entry_page import the_entry
from worker.pages.http import BadRequest, Request, Response, redirect
from worker.pages.links import link
from worker.pages.place import Place
from worker.pages.view import page
from worker.work import content_of

CHANGED_MEANWHILE = "The letter was changed meanwhile: look at it again."


def show_form(request: Request, place: Place, entry_id: int) -> Response:
    """The form with the payload as it is."""
    with place.outbox() as outbox:
        letter = _letter(outbox, entry_id)
    return _form(request, letter, Concealed(letter.raw).text)


def review(request: Request, place: Place, entry_id: int) -> Response:
    """What the new payload changes, and what it would come to."""
    with place.outbox() as outbox:
        letter = _letter(outbox, entry_id)
        try:
            edited = _edited(request, letter)
        except CannotEdit as error:
            return _form(request, letter, _text(request), str(error))
        return _review(request, place, outbox, edited)


def take_it(request: Request, place: Place, entry_id: int) -> Response:
    """Put the new payload in the letter's place, and replay it if that is wanted."""
    why, is_replayed = request.sent("why"), request.sent("do") == "take-and-replay"
    with place.outbox() as outbox:
        letter = _letter(outbox, entry_id)
        try:
            edited = _edited(request, letter)
        except CannotEdit as error:
            return _form(request, letter, _text(request), str(error))
        if not why:
            return _review(
                request, place, outbox, edited, "Say why: it is kept with the letter, for whoever looks next."
            )
        if not take(outbox, edited, request.who, why):
            raise BadRequest(CHANGED_MEANWHILE, 409)
        outbox.remember_action(request.who, "edit", why, str(entry_id), 1, 0)
        if not is_replayed:
            return redirect(link(f"/entries/{entry_id}", told="edited"))
        going, left = acting.parted(
            planned(place, outbox, [the_entry(outbox, entry_id)]), force=bool(request.sent("force"))
        )
        with acting.audited(outbox, request.who, "replay", why, str(entry_id), len(left)) as tally:
            for result in acting.replay(outbox, [entry.entry_id for entry in going], request.who, why):
                tally.count(result)
    return redirect(link(f"/entries/{entry_id}", told="edited-replayed" if tally.done else "edited"))


def _form(request: Request, letter: Entry, text: str, complaint: str = "") -> Response:
    values = {"entry": letter, "text": text, "digest": _digest(letter), "complaint": complaint}
    return page(request, "edit", 422 if complaint else 200, **values)


def _review(request: Request, place: Place, outbox: Outbox, edited: Edited, complaint: str = "") -> Response:
    letter = edited.letter
    changed = msgspec.structs.replace(letter, raw=edited.raw, came_as=letter.came_as or content_of(letter.raw))
    return page(
        request,
        "edit_review",
        422 if complaint else 200,
        entry=letter,
        text=_text(request),
        digest=_digest(letter),
        lines=changed_lines(letter.raw, edited.raw) or [f" {NO_LINES}"],
        foreseen=prospects(place, outbox, [changed]),
        why=request.sent("why"),
        complaint=complaint,
    )


def _edited(request: Request, letter: Entry) -> Edited:
    if request.sent("digest") != _digest(letter):
        raise BadRequest(CHANGED_MEANWHILE, 409)
    return edited_text(letter, Concealed(letter.raw), _text(request))


def _text(request: Request) -> str:
    """What was typed; browsers send line ends as CR LF."""
    return request.form.get("text", [""])[0].replace("\r\n", "\n")


def _letter(outbox: Outbox, entry_id: int) -> Entry:
    letter = the_entry(outbox, entry_id)
    if letter.state != State.DEAD:
        raise BadRequest(f"Entry {entry_id} is {letter.state.label}, not dead: only dead letters can be edited.", 409)
    return letter


def _digest(letter: Entry) -> str:
    return hashlib.sha256(letter.raw).hexdigest()
