"""Replay and discard: first a page that says what would happen to each letter, and only a form from there does it.

What was confirmed is what is done: the form carries the ids of the letters that were shown. A replay that would go back in
time is left alone unless "force" is ticked, as at the desk.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import msgspec

from outbox import Entry, EntryFilter, Outbox, State
from worker.apply import DatabaseUnavailable
from worker.desk import acting
from worker.desk.later import may_be_pruned, since
from worker.desk.rehearsing import rehearse_letters
from worker.desk.selection import ID_DIGITS, Selection, choose, matching
from worker.desk.show_acts import later_lines, verdict
from worker.messages import Outcome
from worker.pages.http import BadRequest, Request, Response, redirect
from worker.pages.links import link
from worker.pages.place import Place
from worker.pages.view import page

#: How many letters one confirmation covers: each is tried on the database, and its id is in the form.
MOST = 500

#: What can be done, and how the page calls it when it is done.
ACTIONS = {"replay": "replayed", "discard": "discarded"}


class Prospect(msgspec.Struct, frozen=True):
    """A letter and what would come of its replay; ``outcome`` is None where nobody could try it."""

    letter: Entry
    outcome: Outcome | None
    verdict: str
    later: tuple[str, ...]

    @property
    def needs_force(self) -> bool:
        return bool(self.later)


class Prospects(msgspec.Struct, frozen=True):
    """What would come of all, and why the database could not be asked, if so."""

    each: list[Prospect]
    trouble: str = ""

    @property
    def behind(self) -> int:
        return sum(one.needs_force for one in self.each)

    @property
    def failing(self) -> int:
        return sum(one.outcome not in (Outcome.APPLIED, None) for one in self.each)


def confirm(request: Request, place: Place, action: str, complaint: str = "") -> Response:
    """The page that asks."""
    asked = request.form if request.method == "POST" else request.query
    group = asked.get("group", [""])[0].strip()
    with place.outbox() as outbox:
        ids = _ids(asked.get("id", []))
        chosen = choose(outbox, Selection(ids)).entries if ids else _of_group(outbox, group)
        letters = [whole for entry in chosen if (whole := _dead(outbox, entry.entry_id)) is not None]
        total = len(letters) if len(letters) < MOST else _size(outbox, group, len(letters))
        foreseen = prospects(place, outbox, letters) if action == "replay" else _without_trial(letters)
    values = {"action": action, "foreseen": foreseen, "group": group, "total": total, "complaint": complaint}
    status = 422 if complaint else 200
    return page(request, "confirm", status, **values, why=request.sent("why"), not_dead=len(chosen) - len(letters))


def act(request: Request, place: Place, action: str) -> Response:
    """Do what was confirmed, keep the audit, and go to where the result is seen."""
    ids, why, group = _ids(request.form.get("id", [])), request.sent("why"), request.sent("group")
    if not ids:
        raise BadRequest("No letter was chosen.")
    if not why:
        return confirm(request, place, action, "Say why: it is kept with the letter, for whoever looks next.")
    with place.outbox() as outbox:
        chosen = choose(outbox, Selection(ids))
        dead = [entry for entry in chosen.entries if entry.state == State.DEAD]
        going, left = list(dead), list[Entry]()
        if action == "replay":
            going, left = acting.parted(planned(place, outbox, dead), force=bool(request.sent("force")))
        if left and not going:
            return confirm(
                request, place, action, "Nothing was done: tick the box to replay what would go back in time."
            )
        change = acting.replay if action == "replay" else acting.discard
        meant = f"group {group}: {' '.join(ids)}" if group else str(Selection(ids))
        refused = len(chosen.entries) - len(going) + len(chosen.unknown)
        with acting.audited(outbox, request.who, action, why, meant, refused) as tally:
            for result in change(outbox, [entry.entry_id for entry in going], request.who, why):
                tally.count(result)
    if len(ids) == 1 and tally.done:
        return redirect(link(f"/entries/{ids[0]}", told=ACTIONS[action]))
    return redirect(link("/done", action=action, done=tally.done, refused=tally.refused - len(left), left=len(left)))


def show_done(request: Request, place: Place) -> Response:
    """What came of it."""
    action, numbers = request.asked("action"), [request.asked(name) for name in ("done", "refused", "left")]
    if action not in ACTIONS or not all(number.isdecimal() and len(number) < 10 for number in numbers):
        raise BadRequest("This page is reached by an action.")
    done, refused, left = map(int, numbers)
    return page(request, "done", done=done, refused=refused, left=left, verb=ACTIONS[action])


def prospects(place: Place, outbox: Outbox, letters: Sequence[Entry]) -> Prospects:
    """What a replay would come to on the database as it is now, and what has happened to the letters' rows since.

    Parameters:
      letters: Whole, with their payloads; they may hold another payload than the outbox has.
    """
    try:
        with place.database():
            known = since(outbox, letters, has_database=True)
            return Prospects(
                [
                    Prospect(letter, tried.outcome, verdict(tried).plain, tuple(later_lines(known[letter.entry_id])))
                    for letter, tried in rehearse_letters(outbox, letters)
                ]
            )
    except DatabaseUnavailable as error:
        known = since(outbox, letters, has_database=False)
        untried = "not tried: the database cannot be asked"
        each = [Prospect(one, None, untried, tuple(later_lines(known[one.entry_id]))) for one in letters]
        return Prospects(each, str(error))


def planned(place: Place, outbox: Outbox, dead: Sequence[Entry]) -> list[acting.Planned]:
    """What stands against the replay of each; the ledger is asked where the outbox does not hold enough."""
    if any(may_be_pruned(outbox, letter) for letter in dead):
        try:
            with place.database():
                return list(acting.plan(outbox, dead, has_database=True))
        except DatabaseUnavailable:
            pass
    return list(acting.plan(outbox, dead, has_database=False))


def _without_trial(letters: Sequence[Entry]) -> Prospects:
    return Prospects([Prospect(letter, None, "would be put aside", ()) for letter in letters])


def _ids(given: Sequence[str]) -> tuple[str, ...]:
    if len(given) > MOST:
        raise BadRequest(f"No more than {MOST} letters at a time.")
    if not all(one.isdecimal() and len(one) <= ID_DIGITS for one in given):
        raise BadRequest("An id is a number.")
    return tuple(dict.fromkeys(given))


def _of_group(outbox: Outbox, group: str) -> list[Entry]:
    if not group:
        raise BadRequest("Choose letters first: tick them in the list, or take a whole group.")
    return list(islice(matching(outbox, Selection(wanted=EntryFilter(State.DEAD), group=group)), MOST))


def _size(outbox: Outbox, group: str, shown: int) -> int:
    return sum(1 for _ in matching(outbox, Selection(wanted=EntryFilter(State.DEAD), group=group))) if group else shown


def _dead(outbox: Outbox, entry_id: int) -> Entry | None:
    entry = outbox.entry(entry_id)
    return entry if entry is not None and entry.state == State.DEAD else None
