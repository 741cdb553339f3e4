"""``python -m outbox``: the commands, put together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.desk import commands_act as act
from worker.desk import commands_edit as editing
from worker.desk import commands_file as files
from worker.desk import commands_look as look
from worker.desk import session

PROGRAM = "python -m outbox"

app = typer.Typer(
    name="outbox",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

LOOKING, ACTING, KEEPING = "Looking", "Acting on dead letters", "The file"

COMMANDS: tuple[tuple[str, Callable[..., Any], str, str | None], ...] = (
    ("status", look.status, LOOKING, look.EPILOG_STATUS),
    ("watch", look.watch, LOOKING, None),
    ("list", look.list_entries, LOOKING, look.EPILOG_LIST),
    ("show", look.show_entry, LOOKING, None),
    ("why", look.why, LOOKING, look.EPILOG_WHY),
    ("groups", look.list_groups, LOOKING, None),
    ("audit", look.audit, LOOKING, None),
    ("replay", act.replay, ACTING, act.EPILOG_REPLAY),
    ("edit", editing.edit, ACTING, editing.EPILOG_EDIT),
    ("discard", act.discard, ACTING, act.EPILOG_DISCARD),
    ("export", files.export, ACTING, files.EPILOG_EXPORT),
    ("import", files.import_letters, ACTING, files.EPILOG_IMPORT),
    ("prune", files.prune, KEEPING, files.EPILOG_PRUNE),
    ("verify", files.verify, KEEPING, files.EPILOG_VERIFY),
)


def _reflowed(text: str | None) -> str:
    """A docstring with each paragraph on one line: the help is wrapped to the terminal's width."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (text or "").split("\n\n"))


for _name, _command, _panel, _epilog in COMMANDS:
    app.command(_name, help=_reflowed(_command.__doc__), rich_help_panel=_panel, epilog=_epilog)(_command)


@app.callback(
    help=_reflowed(
        """The operator's desk: what waits and why, what died and why, and bringing it back.

        Every command works beside a running ingest, and on the file of a stopped one. Exit codes: 0 done, 1 nothing found
        or not all done, 2 wrong usage or no usable file or database.
        """
    ),
    epilog="A dead letter came in? groups, then show ID, then replay ID --dry-run, then edit ID or replay ID.",
)
def choose_file(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Option(help=f"The outbox's file. Default: OUTBOX_PATH, else {session.DEFAULT_PATH}.")
    ] = None,
) -> None:
    """Note the file for the command."""
    context.obj = session.outbox_path(file)


def main() -> None:
    """Run the desk."""
    app(prog_name=PROGRAM)
