"""``python -m worker.cache check``: compares what the application's cache holds of the rows with the database.

It may run beside everything else. Exit codes: 0 all is true (or made true), 1 something is not, 2 wrong usage or settings,
3 a server cannot be reached or refuses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import peewee
import redis
import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from entities import database
from worker.cache import check as checking
from worker.cache.check import Report
from worker.cache.comparison import Fault, entity_names
from worker.cache.rows import Cache
from worker.connections import database_config
from worker.failures import classify
from worker.redis_link import told
from worker.settings import Settings, settings_or_exit

#: How many wrong keys are named without --json.
EXAMPLES = 20

#: How the faults are told in the table.
MEANINGS = {
    Fault.STALE: "stale: not as the database has the row",
    Fault.GONE: "gone: the database has no such row",
    Fault.UNREADABLE: "unreadable: no JSON of a row",
    Fault.SECRET: "holds a secret, and CACHE_SECRETS is off",
}

app = typer.Typer(name="worker.cache", no_args_is_help=True, pretty_exceptions_enable=False)
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


@app.callback()
def about() -> None:
    """The application's cache: is it true to the database?"""


@app.command()
def check(
    repair: Annotated[bool, typer.Option("--repair", help="Make what is wrong true, as a cache sync does.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, with all wrong keys, instead of a table.")] = False,
    entity: Annotated[list[str] | None, typer.Option(help="Only this entity: User, Business, … Repeatable.")] = None,
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Rows compared at a time.")] = checking.BATCH,
) -> None:
    """Compare all cached rows with the database. What looks wrong is looked at again for some seconds before it counts."""
    unknown = sorted(set(entity or ()) - entity_names())
    if unknown:
        _fail(f"no such entity: {', '.join(unknown)}; there are {', '.join(sorted(entity_names()))}", 2)
    settings = settings_or_exit()
    database.open_database(database_config(settings))
    cache = Cache.connect(settings)
    with _telling_what_is_unreachable(settings), _progress() as on_progress:
        report = checking.check(cache, entity or (), repair=repair, batch=batch, on_progress=on_progress)
    if as_json:
        console.print_json(json.dumps(_as_values(report)), indent=2)
    else:
        _print_table(report, repair)
    raise typer.Exit(0 if report.is_true else 1)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A line on the terminal that counts; nothing where standard error is no terminal."""
    columns = (
        TextColumn("{task.completed} cached rows compared, {task.fields[wrong]} look wrong"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("", total=None, wrong=0)
        yield lambda checked, wrong: progress.update(task, completed=checked, wrong=wrong)


@contextmanager
def _telling_what_is_unreachable(settings: Settings) -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        _fail(f"the cache (Redis at {settings.redis_host}:{settings.redis_port}) cannot be used: {told(error)}", 3)
    except peewee.PeeweeException as error:
        where = f"{settings.db_name} at {settings.db_host}:{settings.db_port}"
        _fail(f"the database ({where}) cannot be used: {classify(error).reason}", 3)


def _as_values(report: Report) -> dict[str, object]:
    counts = {fault.value: report.count(fault) for fault in Fault}
    wrong = {key: fault.value for key, fault in report.wrong.items()}
    return {"checked": report.checked, **counts, "repaired": report.repaired, "keys": wrong}


def _print_table(report: Report, has_repaired: bool) -> None:
    table = Table(box=None, show_header=False)
    table.add_column(justify="right")
    table.add_row(str(report.checked), "cached rows compared with the database")
    for fault, meaning in MEANINGS.items():
        table.add_row(str(report.count(fault)), meaning)
    if has_repaired:
        table.add_row(str(report.repaired), "of these repaired")
    console.print(table)
    for key, fault in list(report.wrong.items())[:EXAMPLES]:
        console.print(f"  {key}  {fault.value}")
    if len(report.wrong) > EXAMPLES:
        console.print(f"  … and {len(report.wrong) - EXAMPLES} more: --json tells them all")


def _fail(message: str, code: int) -> NoReturn:
    errors.print(message)
    raise typer.Exit(code)


if __name__ == "__main__":
    app(prog_name="python -m worker.cache")
