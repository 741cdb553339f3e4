"""Entries as a terminal shows them: as lists, one whole, and why one waits."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from rich.console import Group as Parts
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from outbox import Entry, HistoryLine, State
from outbox.edits import EDITED
from outbox.letters import IMPORTED
from outbox.masking import mask_json
from outbox.records import DeskAction, PayloadEdit
from worker.desk.causes import cause_of
from worker.desk.terminal import WIDE, printable
from worker.desk.waiting import TOLD_BLOCKERS, Blocker, Waiting, Why
from worker.desk.words import MEANINGS, age, due, moment, name, outside, state_text, tries, what

#: What is said of a change that no line shows.
NO_LINES = "only masked values, or the order of keys, differ"


def entries_view(entries: Iterable[Entry], width: int) -> RenderableType:
    """A list: a line an entry with its reason at the end, or below it where the terminal is narrow."""
    headers = ("id", "state", "what", "operation", "tries", "since")
    table = Table(*headers, *(("reason",) if width >= WIDE else ()), box=None, header_style="bold", pad_edge=False)
    for column in (table.columns[0], table.columns[4]):
        column.justify = "right"
    for column in table.columns[:6]:
        column.no_wrap = True
    table.columns[3].overflow = "ellipsis"
    parts: list[RenderableType] = []
    for entry in entries:
        cells: list[RenderableType] = [
            str(entry.entry_id),
            state_text(entry.state),
            Text(what(entry)),
            name(entry.operation_id),
            str(entry.attempts or "-"),
            age(entry.changed_at),
        ]
        if width >= WIDE:
            table.add_row(*cells, Text(overflow="fold").append_text(outside(entry.reason, 300)))
        else:
            line = Text.assemble((f"{entry.entry_id:>6}  ", "bold"), state_text(entry.state), f"  {what(entry)}  ")
            line.append_text(name(entry.operation_id))
            line.append(f"  {age(entry.changed_at)}", style="dim")
            if entry.attempts:
                line.append(f"  {tries(entry)}", style="dim")
            parts.append(line)
            if entry.reason:
                parts.append(Padding(outside(entry.reason, 300), (0, 0, 0, 8)))
    return table if width >= WIDE else Parts(*parts)


def entry_view(entry: Entry, history: Iterable[HistoryLine], edits: Sequence[PayloadEdit]) -> RenderableType:
    """One entry whole."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for label, value in entry_facts(entry, edits):
        facts.add_row(label, value)
    parts: list[RenderableType] = [facts]
    lines = list(history)
    if lines:
        parts += ["", Text("history", style="bold"), _history_table(lines)]
    parts += ["", Text(f"payload, {len(entry.raw):,} bytes, secrets masked", style="bold")]
    return Parts(*parts, Text(printable(mask_json(entry.raw))))


def entry_facts(entry: Entry, edits: Sequence[PayloadEdit]) -> list[tuple[str, Text | str]]:
    """All but history and payload: what it is called, and what it is."""
    rows: list[tuple[str, Text | str]] = [
        ("id", f"{entry.entry_id}, at place {entry.seq} in the order"),
        ("state", Text.assemble(state_text(entry.state), f": {MEANINGS[entry.state]}, for {age(entry.changed_at)}")),
        ("operation", Text.assemble(what(entry), "  ", name(entry.operation_id))),
    ]
    if entry.reason:
        rows.append(("reason", Text.assemble((f"{entry.error_kind or '-'}  ", "bold"), outside(entry.reason))))
    if entry.state == State.DEAD:
        rows.append(("group", cause_of(entry).key))
    if entry.held_by is not None and entry.state == State.HELD:
        rows.append(("held by", f"the dead letter at place {entry.held_by}"))
    if entry.attempts:
        rows.append(("failed", f"{tries(entry)}"))
    if entry.next_attempt_at is not None and not entry.state.is_settled:
        rows.append(("next attempt", due(entry.next_attempt_at)))
    if entry.incarnation:
        rows.append(("incarnation", f"{entry.incarnation}: replayed so many times"))
    if entry.came_as is not None:
        rows.append(("edited", _edited(edits)))
    if entry.deaths:
        rows.append(("worker deaths", f"{entry.deaths} while it was being applied"))
    if entry.waits_wider and not entry.state.is_settled:
        rows.append(("waits wider", "for all earlier operations on its entities"))
    if entry.goes_alone and not entry.state.is_settled:
        rows.append(("goes alone", "in a message of its own"))
    generation = f", generation {entry.generation}" if entry.generation else ""
    rows += [
        ("Kafka", Text(f"{entry.topic}, partition {entry.partition}, offset {entry.offset}{generation}")),
        ("sent", f"{moment(entry.order_timestamp)}, {age(entry.order_timestamp)} ago"),
        ("arrived", moment(entry.appended_at)),
        ("changed", moment(entry.changed_at)),
    ]
    return rows


def _edited(edits: Sequence[PayloadEdit]) -> str:
    if not edits:
        return "by an operator, before this outbox took it over; the original is not here"
    times = "once" if len(edits) == 1 else f"{len(edits)} times"
    return f"{times}, last by {printable(edits[-1].who)}, {age(edits[-1].at)} ago; the original is kept (--original)"


def _history_table(lines: Iterable[HistoryLine]) -> Table:
    table = Table.grid(padding=(0, 2))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row(moment(line.at), *happened(line))
    return table


def happened(line: HistoryLine) -> tuple[str, Text]:
    """A line of the history: what happened, and by whom or why."""
    change = f"{line.from_state.label} → {line.to_state.label}"
    if line.from_state == line.to_state:
        change = {IMPORTED: "imported", EDITED: "edited"}.get(line.kind or "", "attempt failed")
    told = Text(f"attempt {line.attempts}: " if line.attempts and change == "attempt failed" else "")
    kind = None if line.kind in (IMPORTED, EDITED) else line.kind
    parts = [part for part in (line.who and f"by {line.who}", kind, line.why) if part]
    return change, told.append_text(outside(" · ".join(parts)))


def why_view(waiting: Waiting) -> RenderableType:
    """Why an entry stands where it stands, the answer first."""
    entry = waiting.entry
    head = Text.assemble((f"{entry.entry_id} ", "bold"), f"{what(entry)} ", name(entry.operation_id), "\n")
    parts: list[RenderableType] = [head.append_text(answer_text(waiting))]
    if waiting.blockers:
        parts += ["", *_blocker_lines(waiting)]
    if waiting.chain:
        parts += ["", Text("and the first of these waits in turn for", style="bold")]
        parts += [Padding(blocker_text(one), (0, 0, 0, 2)) for one in waiting.chain]
        parts.append(Text("so everything hangs on the last one", style="dim"))
    if waiting.paused_because:
        parts += ["", Text("PAUSED: " + "\n        ".join(waiting.paused_because), style="bold red")]
    if waiting.is_cut:
        parts += ["", Text(f"only the first {waiting.earlier:,} earlier operations were looked at", style="yellow")]
    return Parts(*parts)


def answer_text(waiting: Waiting) -> Text:
    """Why it stands where it stands, in a sentence."""
    entry = waiting.entry
    match waiting.why:
        case Why.SETTLED:
            return Text(f"waits for nothing: {entry.state.label} {age(entry.changed_at)} ago")
        case Why.DEAD:
            dead = Text.assemble(("dead", "bold red"), f" for {age(entry.changed_at)}: it waits for you. ")
            return dead.append_text(outside(entry.reason)).append(
                f"\nTry: replay {entry.entry_id} --dry-run, edit {entry.entry_id}, discard {entry.entry_id}",
                style="dim",
            )
        case Why.HELD:
            return Text("held behind a dead letter on its row, until that is replayed or discarded")
        case Why.UNDER_WAY:
            return Text(f"is under way: sent to the actors {age(entry.changed_at)} ago, not yet heard of")
        case Why.RETRIES:
            when = due(entry.next_attempt_at) if entry.next_attempt_at is not None else "soon"
            return Text(f"{tries(entry)} failed; the next is {when}. ").append_text(outside(entry.reason))
        case Why.BLOCKED:
            one = waiting.blocked_by == 1
            return Text(f"waits for {waiting.blocked_by:,} earlier operation{'' if one else 's'}:")
        case Why.PAUSED:
            return Text("its turn has come, but nothing is sent now")
        case Why.BEYOND_WINDOW:
            return Text(f"waits behind {waiting.earlier:,} others: only the oldest are planned together")
    return Text("nothing is before it: it goes as soon as there is a free place")


def _blocker_lines(waiting: Waiting) -> Iterable[RenderableType]:
    for blocker in waiting.blockers:
        yield Padding(blocker_text(blocker), (0, 0, 0, 2))
    if waiting.blocked_by > len(waiting.blockers) >= TOLD_BLOCKERS:
        yield Text(f"  and {waiting.blocked_by - len(waiting.blockers):,} more", style="dim")


def blocker_text(blocker: Blocker) -> Text:
    """What comes first, and for the sake of which keys."""
    operation = printable(" ".join(filter(None, (blocker.type, blocker.entity)))) or "undecodable"
    text = Text.assemble((f"{blocker.entry_id} ", "bold"), f"{operation} ", name(blocker.operation_id), "\n  ")
    keys = ", ".join(blocker.keys[:4]) + (f" and {len(blocker.keys) - 4} more" if len(blocker.keys) > 4 else "")
    text.append(
        f"both want {printable(keys)}" if keys else "it waits for all earlier ones on its entities", style="cyan"
    )
    text.append("; it is ").append_text(state_text(blocker.state))
    if blocker.attempts:
        when = f", the next {due(blocker.next_attempt_at)}" if blocker.next_attempt_at is not None else ""
        text.append(f", {blocker.attempts} failed{when}\n  ").append_text(outside(blocker.reason, 300))
    return text


def changes_view(before: bytes, after: bytes) -> RenderableType:
    """What an edit changes, line by line, secrets masked."""
    styles = {"-": "red", "+": "green"}
    lines = [Text(line, style=styles.get(line[:1], "dim")) for line in changed_lines(before, after)]
    return Parts(*lines) if lines else Text(NO_LINES, style="dim")


def changed_lines(before: bytes, after: bytes) -> list[str]:
    """The lines that differ, each behind a `-` or a `+`, and those around them, behind a blank; secrets masked."""
    old, new = (printable(mask_json(raw)).splitlines() for raw in (before, after))
    lines = list(difflib.unified_diff(old, new, lineterm="", n=1))[2:]
    return [line for line in lines if not line.startswith("@@")]


def actions_table(actions: Iterable[DeskAction]) -> Table:
    table = Table(
        "when", "who", "what", "done", "refused", "chosen", "why", box=None, header_style="bold", pad_edge=False
    )
    table.columns[0].no_wrap = True
    for column in table.columns[3:5]:
        column.justify = "right"
    for column in table.columns[5:]:
        column.overflow = "fold"
    for one in actions:
        table.add_row(
            moment(one.at)[:19],
            name(one.who),
            one.action,
            f"{one.changed:,}",
            f"{one.refused:,}",
            outside(one.chosen, 120),
            outside(one.why, 200),
        )
    return table
