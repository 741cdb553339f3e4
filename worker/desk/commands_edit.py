"""The command that changes a dead letter's payload, in an editor or by options, and shows what it changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from outbox import Entry, Outbox, State
from worker.desk import session
from worker.desk.commands_act import WhyOption, replay
from worker.desk.editing import CannotEdit, Edited, edited_attributes, edited_text, take, take_back
from worker.desk.editor import NoEditor, edit_text
from worker.desk.options import (
    DryRun,
    OneId,
    Yes,
)
from worker.desk.placeholders import Concealed
from worker.desk.selection import named
from worker.desk.show_entries import changes_view
from worker.desk.terminal import (
    UNUSABLE,
    complain,
    confirm,
    fail,
    is_interactive,
    show,
)
from worker.desk.words import name, outside, what

EPILOG_EDIT = (
    "Examples:\n\n$ python -m outbox edit 4711\n\n$ python -m outbox edit 4711 --set email=ana@example.co --replay\n\n"
    "$ python -m outbox edit 4711 --set 'records[3].score=7' --unset colour\n\n$ python -m outbox edit 4711 --original"
)


def edit(
    context: typer.Context,
    identifier: OneId,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Set an attribute, without an editor.")
    ] = None,
    unset: Annotated[list[str] | None, typer.Option("--unset", metavar="PATH", help="Remove an attribute.")] = None,
    original: Annotated[bool, typer.Option("--original", help="Take the payload back that came from Kafka.")] = False,
    and_replay: Annotated[bool, typer.Option("--replay", help="Replay the letter at once.")] = False,
    why: WhyOption = "edited by the operator",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Change the payload of a dead letter, in $EDITOR or by --set. The original is kept.

    The new payload is taken only if it is in form. Secrets are shown as ***unchanged-1***, which stands for what is there.
    It stays the same operation: replayed, it is its next incarnation.
    """
    with session.opened(context) as outbox:
        letter = _the_letter(outbox, identifier)
        if original:
            _restore(outbox, letter, why, dry_run, yes)
        else:
            try:
                edited = _edited(letter, set_ or [], unset or [])
            except (CannotEdit, NoEditor) as error:
                fail(f"{letter.entry_id}: {error}")
            show(changes_view(letter.raw, edited.raw))
            if dry_run:
                return
            confirm("Take this payload?", is_given=yes, must=False)
            if not take(outbox, edited, session.operator(), why):
                fail(f"{letter.entry_id}: it was replayed, discarded or edited meanwhile; nothing was taken")
        if not dry_run:
            outbox.remember_action(session.operator(), "edit", why, identifier, 1, 0)
            show(f"{letter.entry_id}: edited; the original is kept")
    if and_replay and not dry_run:
        replay(context, [str(letter.entry_id)], why=why, yes=True)


def _the_letter(outbox: Outbox, identifier: str) -> Entry:
    entries = named(outbox, identifier)
    if not entries:
        fail(f"{identifier}: there is no such entry")
    if len(entries) > 1:
        ids = ", ".join(str(entry.entry_id) for entry in entries)
        fail(f"{identifier}: several entries are of this operation: say which of {ids}", UNUSABLE)
    letter = outbox.entry(entries[0].entry_id)
    if letter is None or letter.state != State.DEAD:
        label = letter.state.label if letter is not None else "gone"
        fail(f"{identifier}: is {label}, not dead: only dead letters can be edited")
    return letter


def _edited(letter: Entry, set_: Sequence[str], unset: Sequence[str]) -> Edited:
    """What the options or the editor make of the letter; raises `CannotEdit` or `NoEditor`."""
    concealed = Concealed(letter.raw)
    if set_ or unset:
        return edited_attributes(letter, concealed, set_, unset)
    text, complaint = concealed.text, ""
    while True:
        changed = edit_text(text, _remarks(letter, complaint))
        if changed is None:
            raise CannotEdit(complaint or "nothing was changed")
        try:
            return edited_text(letter, concealed, changed)
        except CannotEdit as error:
            if not is_interactive():
                raise
            complain(str(error))
            if not typer.confirm("Edit again?", default=True, err=True):
                raise
            text, complaint = changed, str(error)


def _remarks(letter: Entry, complaint: str) -> str:
    told = f"Dead letter {letter.entry_id}, {what(letter)}, {name(letter.operation_id).plain}\n"
    told += f"died of: {outside(letter.reason, 500).plain}\n"
    if complaint:
        told += f"NOT TAKEN: {complaint}\n"
    return told + "***unchanged-N*** stands for a secret as it is. Save to take it; leave it unchanged to take nothing."


def _restore(outbox: Outbox, letter: Entry, why: str, dry_run: bool, yes: bool) -> None:
    edits = outbox.edits(letter.entry_id)
    if not edits:
        fail(f"{letter.entry_id}: it was not edited here: there is no original to take back")
    show(changes_view(letter.raw, edits[0].raw_before))
    if dry_run:
        return
    confirm("Take the original back?", is_given=yes, must=False)
    if not take_back(outbox, letter, session.operator(), why):
        fail(f"{letter.entry_id}: it has its original already, or was changed meanwhile; nothing was taken")
