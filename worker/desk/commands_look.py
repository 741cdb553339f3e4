"""The commands that only look: status, watch, list, show, why, groups, audit."""

from __future__ import annotations

import time
from itertools import islice
from typing import Annotated

import msgspec
import typer
from rich.console import Group as Parts
from rich.live import Live
from rich.text import Text

from outbox import State
from worker.desk import options, session, values
from worker.desk.causes import groups
from worker.desk.options import (
    AsJson,
    EntityOption,
    GroupOption,
    KindOption,
    OneId,
    OperationOption,
    SinceOption,
    TypeOption,
    UntilOption,
)
from worker.desk.overview import overview, word_to_go_by
from worker.desk.selection import Selection, matching, named
from worker.desk.show_entries import actions_table, entries_view, entry_view, why_view
from worker.desk.show_status import groups_view, status_view
from worker.desk.terminal import UNUSABLE, complain, fail, out, show, show_json
from worker.desk.waiting import MOST_EARLIER
from worker.desk.waiting import why as explain
from worker.desk.words import moment, now_ms

#: The shortest pause (s) between two pictures of `watch`.
SHORTEST_INTERVAL_S = 0.5

EPILOG_STATUS = "Examples:\n\n$ python -m outbox status\n\n$ python -m outbox status --json | jq .counts.dead"
EPILOG_LIST = (
    "Examples:\n\n$ python -m outbox list --since 2h\n\n$ python -m outbox list --state pending --entity Business\n\n"
    "$ python -m outbox list --group Finance:refused:monthlyNetSales:truncated --json"
)
EPILOG_WHY = "Examples:\n\n$ python -m outbox why 4711\n\n$ python -m outbox why op_1699876543210_k3j9x2b1a"


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Counts, what waits longest, how fast it goes, what is paused and why, how long it will take."""
    with session.opened(context) as outbox:
        view = overview(outbox)
        if as_json:
            show_json(values.overview_values(view))
        else:
            show(status_view(view, str(context.obj), out().width))


def watch(
    context: typer.Context,
    interval: Annotated[float, typer.Option(min=SHORTEST_INTERVAL_S, help="Seconds between two pictures.")] = 2.0,
    times: Annotated[int | None, typer.Option(min=1, hidden=True)] = None,
) -> None:
    """The status as it changes, until Ctrl-C."""
    console = out()
    if not console.is_terminal and times is None:
        fail("watch wants a terminal; use status", UNUSABLE)
    with (
        session.opened(context) as outbox,
        Live(console=console, screen=console.is_terminal, auto_refresh=False) as live,
    ):
        try:
            shown = 0
            while times is None or shown < times:
                if shown:
                    time.sleep(interval)
                now = Text(f"{moment(now_ms())}   Ctrl-C ends\n", style="dim")
                picture = Parts(now, status_view(overview(outbox), str(context.obj), console.width))
                live.update(picture, refresh=True)
                shown += 1
        except KeyboardInterrupt:
            return


def list_entries(
    context: typer.Context,
    state: Annotated[str, typer.Option(help="pending, dispatched, held, applied, dead, discarded or all.")] = "dead",
    entity: EntityOption = None,
    type_: TypeOption = None,
    operation_id: OperationOption = None,
    error_kind: KindOption = None,
    group: GroupOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    after: Annotated[int, typer.Option(help="Go on behind this place in the order.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Entries in the order they run; the dead letters by default."""
    wanted = options.wanted(session.state(state), entity, type_, operation_id, error_kind, since, until)
    with session.opened(context) as outbox:
        entries = list(islice(matching(outbox, Selection(wanted=wanted, group=group), after), limit))
        for entry in entries if as_json else ():
            whole = outbox.entry(entry.entry_id) or entry
            show_json(values.entry_values(whole), is_line=True)
    if entries and not as_json:
        show(entries_view(entries, out().width))
    if not entries:
        fail("nothing to list")
    if len(entries) == limit:
        complain(f"there may be more: --after {entries[-1].seq}")


def show_entry(
    context: typer.Context,
    identifier: OneId,
    original: Annotated[bool, typer.Option("--original", help="The payload as it came, before it was edited.")] = False,
    as_json: AsJson = False,
) -> None:
    """One entry whole: where it stands and why, its history, its payload with the secrets masked."""
    with session.opened(context) as outbox:
        entries = [whole for one in named(outbox, identifier) if (whole := outbox.entry(one.entry_id)) is not None]
        for entry in entries:
            history, edits = outbox.history(entry.entry_id), outbox.edits(entry.entry_id)
            if original and edits:
                entry = msgspec.structs.replace(entry, raw=edits[0].raw_before)
            if as_json:
                lines = [values.history_values(line) for line in history]
                changes = [values.edit_values(edit) for edit in edits]
                show_json(values.entry_values(entry) | {"history": lines, "edits": changes})
            else:
                show(entry_view(entry, history, edits))
    if not entries:
        fail(f"{identifier}: there is no such entry")


def why(
    context: typer.Context,
    identifier: OneId,
    most: Annotated[
        int, typer.Option("--most", min=1, help="Look at no more than so many earlier operations.")
    ] = MOST_EARLIER,
    as_json: AsJson = False,
) -> None:
    """What an operation waits for: which operations, which keys, which attempt, and when next."""
    with session.opened(context) as outbox:
        note = word_to_go_by(outbox)
        entries = [whole for one in named(outbox, identifier) if (whole := outbox.entry(one.entry_id)) is not None]
        for entry in entries:
            waiting = explain(outbox, entry, note, most)
            if as_json:
                show_json(values.waiting_values(waiting))
            else:
                show(why_view(waiting))
    if not entries:
        fail(f"{identifier}: there is no such entry")


def list_groups(
    context: typer.Context,
    entity: EntityOption = None,
    type_: TypeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: AsJson = False,
) -> None:
    """Dead letters by cause: entity, kind of error, attribute, what is wrong; with an example of each."""
    wanted = options.wanted(State.DEAD, entity, type_, None, None, since, until)
    with session.opened(context) as outbox:
        found = groups(outbox, wanted)
    for group in found if as_json else ():
        show_json(values.group_values(group), is_line=True)
    if found and not as_json:
        show(groups_view(found, now_ms(), out().width))
    if not found:
        fail("no dead letters")


def audit(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 30,
    as_json: AsJson = False,
) -> None:
    """What was done at this desk: who, when, what, to which letters, why; the newest first."""
    with session.opened(context) as outbox:
        actions = outbox.actions(limit)
    for action in actions if as_json else ():
        show_json(values.action_values(action), is_line=True)
    if actions and not as_json:
        show(actions_table(actions))
    if not actions:
        fail("nothing was done at this desk yet")
