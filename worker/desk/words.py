"""Times, states and payloads in words, for every view of the desk."""

from __future__ import annotations

import time
from datetime import datetime

from rich.text import Text

from outbox import Entry, State
from outbox.masking import mask_string, mask_text
from worker.desk.terminal import printable

#: What each state means to an operator.
MEANINGS = {
    State.PENDING: "waits for its turn",
    State.DISPATCHED: "on its way, or being retried",
    State.APPLIED: "in the database",
    State.DEAD: "given up: replay, edit or discard it",
    State.DISCARDED: "put aside by an operator",
    State.HELD: "waits behind a dead letter on its row",
}

STYLES = {
    State.PENDING: "yellow",
    State.DISPATCHED: "cyan",
    State.APPLIED: "green",
    State.DEAD: "bold red",
    State.HELD: "magenta",
}

#: The most characters of a name from outside that a line shows.
NAME_CHARACTERS = 80

_UNITS = (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1))


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def moment(at_ms: int | None) -> str:
    """Local time to the second; a dash for none."""
    if at_ms is None or at_ms < 0:
        return "-"
    try:
        return datetime.fromtimestamp(at_ms / 1000).astimezone().isoformat(sep=" ", timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"


def lasting(seconds: float) -> str:
    """How long, in the two largest units: ``3 h 12 min``."""
    whole = max(int(seconds), 0)
    for unit, size, smaller, smaller_size in _UNITS:
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def age(since_ms: int, now: int | None = None) -> str:
    """How long ago: ``3 h 12 min``."""
    return lasting(((now if now is not None else now_ms()) - since_ms) / 1000)


def due(at_ms: int, now: int | None = None) -> str:
    """When something is to happen: ``in 12 s (04:05:10)``, or ``now``."""
    ahead = (at_ms - (now if now is not None else now_ms())) / 1000
    return (
        f"in {lasting(ahead + 0.999)}, at {moment(at_ms)}" if ahead > 0 else f"now (it was due {lasting(-ahead)} ago)"
    )


def state_text(state: State) -> Text:
    return Text(state.label, style=STYLES.get(state, ""))


def outside(text: str | None, characters: int | None = None) -> Text:
    """A text from outside: masked, printable, no markup, cut."""
    shown = printable(mask_text(text or "-"))
    if characters is not None and len(shown) > characters:
        shown = f"{shown[: characters - 1]}…"
    return Text(shown)


def name(text: str | None) -> Text:
    """An operation id or its like: masked, printable, cut."""
    shown = printable(mask_string(text or "-"))
    return Text(shown if len(shown) <= NAME_CHARACTERS else f"{shown[: NAME_CHARACTERS - 1]}…")


def what(entry: Entry) -> str:
    """``UPDATE User``; ``undecodable`` for what has neither."""
    return printable(" ".join(filter(None, (entry.type, entry.entity))))[:NAME_CHARACTERS] or "undecodable"


def tries(entry: Entry) -> str:
    return f"{entry.attempts} {'try' if entry.attempts == 1 else 'tries'}" if entry.attempts else "-"
