"""The commands for the file itself: export and import of letters, prune, verify."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.text import Text

from outbox import ImportedLetter, Outbox
from worker.desk import options, session
from worker.desk.letters_file import BadLine, letter_of, line_of, lines_in
from worker.desk.options import (
    AsJson,
    DryRun,
    EntityOption,
    GroupOption,
    Ids,
    KindOption,
    OperationOption,
    SinceOption,
    TypeOption,
    UntilOption,
    Yes,
)
from worker.desk.selection import Selection, choose
from worker.desk.terminal import UNUSABLE, complain, confirm, fail, interruptible, show, show_json, with_progress
from worker.desk.words import MEANINGS, lasting, now_ms

#: Letters taken in by one transaction, and applied entries removed by one call.
IMPORTED_AT_ONCE, PRUNED_AT_ONCE = 200, 1_000

#: How many bad lines of a file are named.
NAMED_LINES = 10

EPILOG_EXPORT = (
    "Examples:\n\n$ python -m outbox export letters.jsonl\n\n"
    "$ python -m outbox export - --group Rating:order:businessId:missing | less\n\n"
    "$ python -m outbox export for-the-developers.jsonl --masked"
)
EPILOG_IMPORT = (
    "Examples:\n\n$ python -m outbox import letters.jsonl --dry-run\n\n$ python -m outbox import letters.jsonl"
)
EPILOG_PRUNE = "Examples:\n\n$ python -m outbox prune --older-than 2h --dry-run"
EPILOG_VERIFY = "Examples:\n\n$ python -m outbox verify\n\n$ python -m outbox verify --thoroughly"


def export(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to write; - for the standard output.")],
    identifiers: Ids = None,
    state: Annotated[str, typer.Option(help="; ".join(one.label for one in MEANINGS) + "; or all.")] = "dead",
    group: GroupOption = None,
    entity: EntityOption = None,
    type_: TypeOption = None,
    operation_id: OperationOption = None,
    error_kind: KindOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    masked: Annotated[bool, typer.Option("--masked", help="Mask the secrets; such a file cannot be imported.")] = False,
) -> None:
    """Write letters to a file of JSON lines, all dead ones by default: the message, where it came from, why it died.

    Secrets are not masked unless --masked is given, or the letters could not be brought back: the file is made for you alone.
    `import` takes it in again; `python -m worker.produce` sends its messages anew.
    """
    wanted = options.wanted(session.state(state), entity, type_, operation_id, error_kind, since, until)
    selection = Selection(tuple(identifiers or ()), wanted, group)
    with session.opened(context) as outbox:
        chosen = choose(outbox, selection)
        for identifier in chosen.unknown:
            complain(f"{identifier}: there is no such entry")
        if not chosen.entries:
            fail("nothing to export")
        with _written(file) as output:
            for brief in with_progress(chosen.entries, len(chosen.entries), "exporting"):
                entry = outbox.entry(brief.entry_id)
                if entry is not None:
                    output.write(line_of(entry, masked=masked) + b"\n")
        if file != "-":
            complain(
                f"{len(chosen.entries):,} written to {file}" + ("" if masked else ", with their secrets: keep it safe")
            )
        outbox.remember_action(
            session.operator(), "export", f"to {file}", str(selection), len(chosen.entries), len(chosen.unknown)
        )
    if chosen.unknown:
        raise typer.Exit(1)


def import_letters(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file that export wrote; - for the standard input.")],
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Take letters of an export in, as dead letters. All lines are checked first; what is here already is left alone."""
    letters = _letters_in(file)
    if not letters:
        fail(f"{file}: holds no letter")
    with session.opened(context) as outbox:
        if dry_run:
            show(f"{len(letters):,} letters are in form; nothing was done")
            return
        confirm(f"Import {len(letters):,} letters as dead letters?", is_given=yes, must=False)
        imported = 0
        why = f"imported from {file}"
        with interruptible("what was imported stays; the same command goes on"):
            for start in range(0, len(letters), IMPORTED_AT_ONCE):
                imported += outbox.import_dead(letters[start : start + IMPORTED_AT_ONCE], why, session.operator())
        known = len(letters) - imported
        outbox.remember_action(session.operator(), "import", why, file, imported, known)
        show(f"{imported:,} imported" + (f", {known:,} were here already" if known else ""))


def prune(
    context: typer.Context,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Applied longer ago: 2h, 3d. Default: OUTBOX_RETENTION_HOURS.")
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Remove applied entries that are old, as ingest does by itself once a minute. Nothing that waits or died is removed."""
    if older_than is None:
        before = now_ms() - session.settings().outbox_retention_hours * 3_600_000
    else:
        before = session.moment(older_than, now_ms(), "--older-than") or 0
    with session.opened(context) as outbox:
        age = lasting((now_ms() - before) / 1000)
        if dry_run:
            show(f"{outbox.prunable(before):,} entries were applied more than {age} ago; nothing was done")
            return
        confirm(f"Remove what was applied more than {age} ago?", is_given=yes, must=True)
        removed = 0
        with interruptible("what is removed is removed"):
            while count := outbox.prune(before, PRUNED_AT_ONCE):
                removed += count
        outbox.remember_action(session.operator(), "prune", f"applied more than {age} ago", "applied", removed, 0)
        show(f"{removed:,} removed")


def verify(
    context: typer.Context,
    thoroughly: Annotated[bool, typer.Option("--thoroughly", help="Also each index: minutes for gigabytes.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Set counters right that differ from the rows.")] = False,
    as_json: AsJson = False,
) -> None:
    """Is the file sound, and do its counters say what its rows say? Ends with 1 if not."""
    with session.opened(context) as outbox:
        verdicts = outbox.verify(thoroughly=thoroughly)
        for verdict in verdicts:
            if as_json:
                show_json(
                    {"checked": verdict.checked, "is_sound": verdict.is_sound, "faults": verdict.faults}, is_line=True
                )
                continue
            mark = ("ok    ", "green") if verdict.is_sound else ("WRONG ", "bold red")
            show(Text.assemble(mark, verdict.checked))
            for fault in verdict.faults:
                show(Text(f"      {fault}"))
        is_sound = all(verdict.is_sound for verdict in verdicts)
        if repair and not is_sound:
            _repair(outbox)
            is_sound = all(verdict.is_sound for verdict in outbox.verify(thoroughly=thoroughly))
    if not is_sound:
        fail("the outbox is not sound: keep a copy of it before anything else")


def _repair(outbox: Outbox) -> None:
    faults = outbox.set_counters_right()
    outbox.remember_action(session.operator(), "verify --repair", "; ".join(faults), "counters", len(faults), 0)
    complain(f"{len(faults)} counters set right")


def _letters_in(file: str) -> list[ImportedLetter]:
    letters, faults = [], []
    with _read(file) as content:
        for number, line in lines_in(content):
            try:
                letters.append(letter_of(line))
            except BadLine as error:
                faults.append(f"{file}, line {number}: {error}")
    if faults:
        more = [f"and {len(faults) - NAMED_LINES} more"] if len(faults) > NAMED_LINES else []
        fail("\n".join([*faults[:NAMED_LINES], *more, "nothing was imported"]))
    return letters


@contextmanager
def _written(file: str) -> Iterator[BinaryIO]:
    """The file to write, made for its owner alone; one that is there is not overwritten."""
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        fail(f"{file} is there already: it is not overwritten", UNUSABLE)
    except OSError as error:
        fail(f"{file}: {error.strerror}", UNUSABLE)
    with os.fdopen(descriptor, "wb") as output:
        yield output


@contextmanager
def _read(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        try:
            content = stack.enter_context(Path(file).open("rb"))
        except OSError as error:
            fail(f"{file}: {error.strerror}", UNUSABLE)
        yield content
