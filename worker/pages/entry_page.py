"""One entry: where it stands and why, what it waits for, its history, its payload with the secrets masked."""

from __future__ import annotations

from outbox import Entry, Outbox, State
from outbox.masking import mask_json
from worker.desk.overview import word_to_go_by
from worker.desk.show_entries import answer_text, blocker_text, entry_facts, happened
from worker.desk.terminal import printable
from worker.desk.waiting import why
from worker.desk.words import moment
from worker.pages.http import BadRequest, Request, Response
from worker.pages.place import Place
from worker.pages.view import page

#: How many earlier operations are looked at for what an entry waits for.
MOST_EARLIER = 20_000

#: What the page says after an action.
TOLD = {
    "replayed": "Replayed: it goes round again as its next incarnation.",
    "discarded": "Discarded: nobody will run it.",
    "edited": "Edited: the original is kept. It stays dead until it is replayed.",
    "edited-replayed": "Edited and replayed: it goes round again as its next incarnation.",
}


def show_entry(request: Request, place: Place, entry_id: int) -> Response:
    """The page of one entry."""
    with place.outbox() as outbox:
        entry = the_entry(outbox, entry_id)
        edits = outbox.edits(entry_id)
        waiting = why(outbox, entry, word_to_go_by(outbox), MOST_EARLIER)
        history = [(moment(line.at), *happened(line)) for line in outbox.history(entry_id)]
    return page(
        request,
        "entry",
        entry=entry,
        facts=[(label, value if isinstance(value, str) else value.plain) for label, value in entry_facts(entry, edits)],
        history=history,
        answer=answer_text(waiting).plain.partition("\nTry:")[0] if entry.state != State.DEAD else None,
        blockers=[(one.entry_id, blocker_text(one).plain) for one in (*waiting.blockers, *waiting.chain)],
        paused_because=waiting.paused_because,
        payload=printable(mask_json(entry.raw)),
        original=printable(mask_json(edits[0].raw_before)) if edits else None,
        told=TOLD.get(request.asked("told")),
    )


def the_entry(outbox: Outbox, entry_id: int) -> Entry:
    """The entry; raises `BadRequest` (404) if there is none."""
    entry = outbox.entry(entry_id)
    if entry is None:
        raise BadRequest(f"There is no entry {entry_id}: it was pruned, or never was.", 404)
    return entry
