"""What a run shows while it goes: on a terminal a screen that is drawn anew, elsewhere a plain line every few seconds."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from outbox.records import Counts, Entry

#: How often (s) the screen is drawn, and a plain line printed.
REDRAW_S = 0.25
PLAIN_LINE_S = 2.0

#: The stretch of time (s) that the rate is of.
RATE_OVER_S = 2.0

#: How many dead letters and notes are shown: the latest.
LETTERS_SHOWN = 12
NOTES_SHOWN = 4


@dataclass(frozen=True)
class Moment:
    """The pipeline as it is now. `rate` is settled operations a second, `notes` are what happened behind the scenes."""

    sent: int
    counts: Counts
    rate: float
    elapsed_s: float
    letters: Sequence[Entry] = ()
    notes: Sequence[str] = ()


@dataclass
class Rate:
    """How many operations are settled in a second, lately."""

    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, settled: int) -> float:
        """The rate, given how many are settled by now."""
        now = time.monotonic()
        self._seen.append((now, settled))
        while len(self._seen) > 2 and now - self._seen[1][0] >= RATE_OVER_S:
            self._seen.popleft()
        began, settled_then = self._seen[0]
        return max(0, settled - settled_then) / (now - began) if now > began else 0.0


class View(Protocol):
    """Shows moments, as often as it likes."""

    def show(self, moment: Moment) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def view_for(console: Console) -> View:
    """The view that suits where the output goes."""
    return Screen(console) if console.is_terminal else Lines(console)


class Screen:
    """A terminal's: counts, rate, the latest dead letters."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False)
        self._drawn_at = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, moment: Moment) -> None:
        if time.monotonic() - self._drawn_at >= REDRAW_S:
            self._drawn_at = time.monotonic()
            self._live.update(_drawn(moment), refresh=True)


class Lines:
    """A file's or a pipe's."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed_at = time.monotonic()
        self._noted = self._told = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, moment: Moment) -> None:
        for note in moment.notes[self._noted :]:
            self._say(note)
        for letter in moment.letters[self._told :]:
            self._say(f"dead letter {letter.entry_id}: {_what(letter)}, {letter.error_kind}: {letter.reason}")
        self._noted, self._told = len(moment.notes), len(moment.letters)
        if time.monotonic() - self._printed_at >= PLAIN_LINE_S:
            self._printed_at = time.monotonic()
            counts = moment.counts
            self._say(
                f"{moment.elapsed_s:5.0f} s  sent {moment.sent:,}  pending {counts.pending:,}  "
                f"dispatched {counts.dispatched:,}  applied {counts.applied:,}  dead {counts.dead:,}  "
                f"{moment.rate:,.0f}/s"
            )

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _letters_table(letters: Sequence[Entry]) -> Table:
    """Dead letters with their reasons."""
    table = Table(title="the latest dead letters", title_justify="left", box=None, expand=True)
    for heading, style in (("id", "dim"), ("operation", ""), ("kind", "red"), ("tries", "")):
        table.add_column(heading, style=style, no_wrap=True)
    table.add_column("reason", overflow="ellipsis", no_wrap=True, ratio=1)
    for letter in letters:
        cells = (
            str(letter.entry_id),
            _what(letter),
            letter.error_kind or "",
            str(letter.attempts),
            letter.reason or "",
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _what(letter: Entry) -> str:
    return f"{letter.type} {letter.entity}" if letter.type and letter.entity else "undecodable"


def _drawn(moment: Moment) -> RenderableType:
    counts = Table(box=None, padding=(0, 3, 0, 0))
    cells = {
        "sent": f"{moment.sent:,}",
        "pending": f"{moment.counts.pending:,}",
        "dispatched": f"{moment.counts.dispatched:,}",
        "applied": f"[green]{moment.counts.applied:,}",
        "dead": f"[red]{moment.counts.dead:,}",
        "settled a second": f"{moment.rate:,.0f}",
        "time": f"{moment.elapsed_s:.0f} s",
    }
    for heading in cells:
        counts.add_column(heading, justify="right")
    counts.add_row(*cells.values())
    parts: list[RenderableType] = ["", counts]
    if moment.letters:
        parts += ["", _letters_table(moment.letters[-LETTERS_SHOWN:])]
    parts += [Text(note, style="yellow") for note in moment.notes[-NOTES_SHOWN:]]
    return Group(*parts)
