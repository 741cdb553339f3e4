"""What a replay would do to each letter, in words: for the terminal, and for a page's confirmation."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from outbox import Entry, State
from worker.desk.later import Since
from worker.desk.words import moment, name, outside, what
from worker.messages import Outcome
from worker.rehearsal import Rehearsed

#: How many later operations on a letter's rows are named.
NAMED_LATER = 3


def later_lines(since: Since) -> Iterator[str]:
    """What has happened to a letter's rows since, in words."""
    for one in since.later[-NAMED_LATER:]:
        happened = f"applied {moment(one.at)}" if one.state == State.APPLIED else "still to run before it"
        overwritten = f"; both set {', '.join(one.overwrites)}" if one.overwrites else ""
        yield f"{one.row}: {one.type or 'an operation'} {name(one.operation_id).plain}, {happened}{overwritten}"
    if len(since.later) > NAMED_LATER:
        yield f"and {len(since.later) - NAMED_LATER:,} more before these"
    if since.is_unsure:
        yield "operations after it were pruned here and the database cannot be asked: its rows may have changed since"


def rehearsed_line(letter: Entry, rehearsed: Rehearsed) -> Text:
    """A letter, and what would become of it."""
    line = Text.assemble((f"{letter.entry_id} ", "bold"), f"{what(letter)} ", name(letter.operation_id), ": ")
    return line.append_text(verdict(rehearsed))


def verdict(rehearsed: Rehearsed) -> Text:
    """What would become of it."""
    line = Text()
    if rehearsed.is_duplicate:
        return line.append("nothing to do: settled already, as ").append(rehearsed.outcome.value, style="cyan")
    if rehearsed.outcome is Outcome.APPLIED:
        rows = ", ".join(rehearsed.touched[:4]) + (" …" if len(rehearsed.touched) > 4 else "")
        return line.append("would be applied", style="green").append(f" to {rows}" if rows else "")
    verdict = "would be dead again" if rehearsed.outcome is Outcome.DEAD else "would fail now, and be retried"
    return line.append(verdict, style="bold red").append(": ").append_text(outside(rehearsed.reason))
