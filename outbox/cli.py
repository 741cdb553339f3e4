"""``python -m outbox``: the operator's desk. What waits, what died and why, and bringing it back or putting it aside.

Safe beside a running ingest, and just as good on the file of a stopped one; it never makes a file. Payloads are shown
with their secrets masked. Exit codes: 0 done, 1 nothing found or not all done, 2 wrong usage or no usable file.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import peewee
import typer
from environs import Env
from rich.console import Console

from outbox import desk_views as views
from outbox.errors import UnusableOutbox
from outbox.records import DeskResult, EntryFilter
from outbox.states import State, state_named
from outbox.store import Outbox

DEFAULT_PATH = "var/outbox.sqlite3"

#: Letters that one call of the store takes; the desk reports in between.
LETTERS_AT_ONCE = 200

app = typer.Typer(
    name="outbox", help="The operator's desk of the outbox.", no_args_is_help=True, pretty_exceptions_enable=False
)
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID…", help="Ids as listed, or operation ids.")]
OneId = Annotated[str, typer.Argument(metavar="ID", help="The id as listed, or an operation id.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of tables.")]
EntityOption = Annotated[str | None, typer.Option(help="Only this entity: User, Business, …")]
TypeOption = Annotated[str | None, typer.Option("--type", help="Only this type: CREATE, BULK_UPDATE, …")]
KindOption = Annotated[str | None, typer.Option(help="Only this kind of error, as listed.")]
AllDead = Annotated[bool, typer.Option("--all-dead", help="All dead letters, or all of this entity, type and kind.")]


@app.callback()
def choose_file(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Option(help=f"The outbox's file. Default: OUTBOX_PATH, else {DEFAULT_PATH}.")
    ] = None,
) -> None:
    """The operator's desk: what waits, what died and why, replay and discard. Safe while ingest runs."""
    env = Env()
    env.read_env(Path(".env"), recurse=False)
    context.obj = file or Path(env.str("OUTBOX_PATH", "") or DEFAULT_PATH)


@app.command()
def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Counts by state, what has waited longest, and where each partition stands."""
    with _opened(context) as outbox:
        counts, oldest = outbox.counts(), outbox.oldest_unsettled()
        positions, marks = outbox.positions(), outbox.marks()
        if as_json:
            _print_json(
                {
                    "outbox_id": outbox.outbox_id,
                    "counts": {state.label: counts.of(state) for state in State},
                    "oldest_unsettled": oldest and {"seq": oldest[0], "order_timestamp": oldest[1]},
                    "partitions": [views.position_values(one, marks) for one in positions],
                }
            )
            return
        console.print(f"outbox {outbox.outbox_id} in {context.obj}\n")
        console.print(views.counts_table(counts))
        waits = f"place {oldest[0]}, sent {views.age(oldest[1])} ago" if oldest else "nothing waits"
        console.print(f"\noldest waiting: {waits}\n")
        console.print(views.partitions_table(positions, marks))


@app.command("list")
def list_entries(
    context: typer.Context,
    state: Annotated[str, typer.Option(help="pending, dispatched, applied, dead, discarded or all.")] = "dead",
    entity: EntityOption = None,
    type_: TypeOption = None,
    operation_id: Annotated[str | None, typer.Option(help="Only this operation.")] = None,
    error_kind: KindOption = None,
    after: Annotated[int, typer.Option(help="Go on behind this place in the order.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
) -> None:
    """Entries in the order they run, the dead letters by default."""
    wanted = EntryFilter(_state(state), entity, type_, operation_id, error_kind)
    with _opened(context) as outbox:
        entries = outbox.entries(wanted, after, limit)
        if as_json:
            for entry in entries:
                _print_json(views.entry_values(entry), indent=None)
        elif entries:
            console.print(views.entries_table(entries))
    if not entries:
        _fail("nothing to list", code=1)
    if len(entries) == limit:
        errors.print(f"there may be more: --after {entries[-1].seq}")


@app.command()
def show(context: typer.Context, identifier: OneId, as_json: AsJson = False) -> None:
    """One entry whole: where it stands, why, its history, and its payload with the secrets masked."""
    with _opened(context) as outbox:
        entries = [entry for entry_id in _ids(outbox, identifier) if (entry := outbox.entry(entry_id)) is not None]
        for entry in entries:
            history = outbox.history(entry.entry_id)
            if as_json:
                lines = [views.history_values(line) for line in history]
                _print_json(views.entry_values(entry) | {"history": lines})
            else:
                console.print(views.entry_view(entry, history))
    if not entries:
        _fail(f"{identifier}: there is no such entry", code=1)


@app.command()
def replay(
    context: typer.Context,
    identifiers: Ids = None,
    all_dead: AllDead = False,
    entity: EntityOption = None,
    type_: TypeOption = None,
    error_kind: KindOption = None,
    why: Annotated[str, typer.Option(help="For the history.")] = "replayed by the operator",
) -> None:
    """Send dead letters round again: each goes to the tail of the order, and a running ingest takes it from there."""
    wanted = EntryFilter(State.DEAD, entity, type_, error_kind=error_kind)
    with _opened(context) as outbox:
        chosen = _chosen(outbox, identifiers or [], wanted if all_dead else None)
        _change(chosen, lambda ids: outbox.replay(ids, _operator(), why), "replayed")


@app.command()
def discard(
    context: typer.Context,
    why: Annotated[str, typer.Option(help="The reason, for the history. Required.")],
    identifiers: Ids = None,
    all_dead: AllDead = False,
    entity: EntityOption = None,
    type_: TypeOption = None,
    error_kind: KindOption = None,
) -> None:
    """Put dead letters aside for good: nobody will run them."""
    if not why.strip():
        raise typer.BadParameter("say why", param_hint="--why")
    wanted = EntryFilter(State.DEAD, entity, type_, error_kind=error_kind)
    with _opened(context) as outbox:
        chosen = _chosen(outbox, identifiers or [], wanted if all_dead else None)
        _change(chosen, lambda ids: outbox.discard(ids, _operator(), why), "discarded")


@contextmanager
def _opened(context: typer.Context) -> Iterator[Outbox]:
    """The outbox, for as long as the command runs. Whatever keeps it from being used ends the program, and says so."""
    try:
        with Outbox.attach(context.obj) as outbox:
            yield outbox
    except UnusableOutbox as error:
        _fail(f"{error} (see --file and OUTBOX_PATH)", code=2)
    except (peewee.OperationalError, OSError) as error:
        _fail(f"{context.obj}: {error}", code=2)


def _ids(outbox: Outbox, identifier: str) -> list[int]:
    """The entries meant: the one of this id, else those of this operation, its dead ones first of all."""
    if identifier.isdecimal() and len(identifier) < 19 and outbox.entry(int(identifier)) is not None:
        return [int(identifier)]
    dead = EntryFilter(State.DEAD, operation_id=identifier)
    return list(outbox.entry_ids(dead)) or list(outbox.entry_ids(EntryFilter(operation_id=identifier)))


def _chosen(outbox: Outbox, identifiers: Sequence[str], wanted: EntryFilter | None) -> list[int | str]:
    """The ids to change, in the order they run; an identifier that means nothing stays as it is, to be reported.

    :raises typer.BadParameter: neither ids nor a filter, or both.
    """
    if bool(identifiers) == (wanted is not None):
        raise typer.BadParameter("give ids or --all-dead, not both", param_hint="ID… / --all-dead")
    if wanted is not None:
        return list(outbox.entry_ids(wanted))
    found: dict[int | str, None] = {}
    for identifier in identifiers:
        ids = _ids(outbox, identifier)
        found |= dict.fromkeys(ids) if ids else {identifier: None}
    return list(found)


def _change(chosen: Iterable[int | str], change: Callable[[Sequence[int]], list[DeskResult]], done: str) -> None:
    ids = [one for one in chosen if isinstance(one, int)]
    unknown = [one for one in chosen if isinstance(one, str)]
    changed = 0
    for start in range(0, len(ids), LETTERS_AT_ONCE):
        for result in change(ids[start : start + LETTERS_AT_ONCE]):
            changed += result.is_done
            console.print(views.result_line(result, done))
    for identifier in unknown:
        errors.print(f"{views.printable(identifier)}: there is no such entry", markup=False)
    console.print(f"{changed} {done}")
    if not changed or changed < len(ids) + len(unknown):
        raise typer.Exit(1)


def _state(label: str) -> State | None:
    if label == "all":
        return None
    try:
        return state_named(label)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, all", param_hint="--state") from None


def _operator() -> str:
    """Who sits at the desk, as far as the system knows; under sudo the person, not root."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _print_json(values: object, indent: int | None = 2) -> None:
    typer.echo(json.dumps(values, ensure_ascii=False, indent=indent))


def _fail(text: str, code: int) -> NoReturn:
    errors.print(views.printable(text), markup=False)
    raise typer.Exit(code)
