"""The options that several commands share, said once."""

from __future__ import annotations

from typing import Annotated

import typer

from outbox import EntryFilter, State
from worker.desk import session
from worker.desk.selection import Selection
from worker.desk.words import now_ms

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]…", help="Ids as listed, or operation ids.")]
OneId = Annotated[str, typer.Argument(metavar="ID", help="The id as listed, or an operation id.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text; one object a line for lists.")]
EntityOption = Annotated[
    str | None, typer.Option("--entity", metavar="NAME", help="Only this entity: User, Business, …")
]
TypeOption = Annotated[
    str | None, typer.Option("--type", metavar="TYPE", help="Only this type: CREATE, BULK_UPDATE, …")
]
KindOption = Annotated[
    str | None, typer.Option("--error-kind", metavar="KIND", help="Only this kind of error: invalid, order, refused, …")
]
GroupOption = Annotated[
    str | None, typer.Option("--group", metavar="GROUP", help="Only dead letters of this cause, as `groups` names it.")
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Changed (died) since: 2h, 15min, 3d ago, or 2026-02-03T04:05."),
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Changed (died) before: a time as for --since.")
]
OperationOption = Annotated[str | None, typer.Option("--operation-id", metavar="ID", help="Only this operation.")]
EveryOption = Annotated[bool, typer.Option("--all", help="All dead letters.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and do nothing.")]
Rate = Annotated[
    float | None, typer.Option("--rate", min=0.01, metavar="N", help="No more than so many letters a second.")
]

#: How help groups the options that choose letters.
CHOOSING = "Which letters"


def wanted(
    state: State | None,
    entity: str | None,
    type_: str | None,
    operation_id: str | None,
    error_kind: str | None,
    since: str | None,
    until: str | None,
) -> EntryFilter:
    """The filter that these options make.

    :raises typer.BadParameter: a time that is none.
    """
    now = now_ms()
    return EntryFilter(
        state,
        session.entity(entity),
        type_.upper() if type_ is not None else None,
        operation_id,
        error_kind,
        session.moment(since, now, "--since"),
        session.moment(until, now, "--until"),
    )


def letters_meant(identifiers: list[str] | None, filter_: EntryFilter, group: str | None, every: bool) -> Selection:
    """The dead letters that ids, or else a group, a filter or --all name.

    :raises typer.BadParameter: none of these, or ids and others.
    """
    narrows = filter_ != EntryFilter(filter_.state) or group is not None
    hint = "ID… / --group / --entity … / --all"
    if identifiers and (narrows or every):
        raise typer.BadParameter("give ids, or choose by --group, a filter or --all, not both", param_hint=hint)
    if not (identifiers or narrows or every):
        raise typer.BadParameter("say which letters: ids, a group, a filter or --all", param_hint=hint)
    return Selection(tuple(identifiers or ()), filter_, group)
