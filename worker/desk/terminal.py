"""How the desk speaks: to a terminal in colour, to a pipe plainly, to a program in JSON; and how it asks and ends.

Exit codes: 0 done; 1 nothing found, or not all done; 2 wrong usage, or no usable file or database; 130 interrupted.
Whatever came from outside is stripped of control characters: a payload must not steer the terminal of who looks at it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import msgspec
import typer
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

T = TypeVar("T")

#: The columns for an output that is no terminal: a file, a pipe.
PLAIN_WIDTH = 160

#: From so many columns on, a list has room for reasons beside everything else.
WIDE = 120

NOT_DONE, UNUSABLE, INTERRUPTED = 1, 2, 130


def _console(*, stderr: bool) -> Console:
    """Colours only on a terminal and not with NO_COLOR, which rich sees to."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def out() -> Console:
    """Where answers go."""
    return _console(stderr=False)


def err() -> Console:
    """Where questions, progress and complaints go, so that answers can be piped."""
    return _console(stderr=True)


def show(*parts: RenderableType) -> None:
    console = out()
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str) and not console.is_terminal)


def show_json(value: Any, *, is_line: bool = False) -> None:
    """The value as JSON: indented, or as one of many on a line of its own."""
    encoded = msgspec.json.encode(value)
    typer.echo((encoded if is_line else msgspec.json.format(encoded, indent=2)).decode())


def complain(text: str, indent: int = 0) -> None:
    """Say what is in the way. Wrapped at words on a terminal; else a line stays a line."""
    console = err()
    if console.is_terminal:
        console.print(Padding(Text(printable(text)), (0, 0, 0, indent)))
    else:
        console.print(Text(" " * indent + printable(text)), soft_wrap=True)


def fail(text: str, code: int = NOT_DONE) -> NoReturn:
    """Say why, and end."""
    console = err()
    console.print(Text(printable(text), style="bold red"), soft_wrap=not console.is_terminal)
    raise typer.Exit(code)


def printable(text: str) -> str:
    """The text with control characters as escapes; line ends and tabs stay."""
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)


def is_interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, *, is_given: bool, must: bool) -> None:
    """Ask before something is done; end if the answer is no.

    Parameters:
      is_given: `--yes` was said.
      must: The answer is needed also where nobody can be asked: then `--yes` is required.
    """
    if is_given:
        return
    if not is_interactive():
        if must:
            fail(f"{question} Nobody can be asked here: say --yes", UNUSABLE)
        return
    if not typer.confirm(question, err=True):
        fail("nothing was done")


@contextmanager
def interruptible(what_stays: str) -> Iterator[None]:
    """Ctrl-C ends what is inside in order, and says what stays."""
    try:
        yield
    except KeyboardInterrupt:
        fail(f"interrupted: {what_stays}", INTERRUPTED)


def with_progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The items as they come, with a bar on a terminal: keep what is to be said until it is gone."""
    console = err()
    if not console.is_terminal or total < 2:
        yield from items
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        for item in items:
            yield item
            progress.advance(task)
