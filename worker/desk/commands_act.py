"""The commands that move dead letters: replay, discard. Each leaves a line of audit: who, when, why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from outbox import DeskResult, Entry, Outbox, State
from worker.apply import DatabaseUnavailable
from worker.desk import acting, options, session, values
from worker.desk.acting import Pace, Planned
from worker.desk.later import Since, may_be_pruned
from worker.desk.options import (
    AsJson,
    DryRun,
    EntityOption,
    EveryOption,
    GroupOption,
    Ids,
    KindOption,
    OperationOption,
    Rate,
    SinceOption,
    TypeOption,
    UntilOption,
    Yes,
)
from worker.desk.rehearsing import rehearse_letters
from worker.desk.selection import Chosen, choose
from worker.desk.show_acts import later_lines, rehearsed_line
from worker.desk.terminal import (
    UNUSABLE,
    complain,
    confirm,
    fail,
    interruptible,
    show,
    show_json,
    with_progress,
)
from worker.desk.words import name, what
from worker.messages import Outcome
from worker.rehearsal import Rehearsed

#: Up to so many letters each is told in a line; of more only those that were not changed.
TOLD_ONE_BY_ONE = 20

EPILOG_REPLAY = (
    "Examples:\n\n$ python -m outbox replay 4711 --dry-run\n\n"
    '$ python -m outbox replay --group Finance:refused:monthlyNetSales:truncated --why "the ENUM was mended"\n\n'
    "$ python -m outbox replay --all --since 2h --rate 50 --yes"
)
EPILOG_DISCARD = (
    'Examples:\n\n$ python -m outbox discard 4711 --why "the user asked us to"\n\n'
    '$ python -m outbox discard --entity Rating --until 7d --why "too old to matter" --dry-run'
)

WhyOption = Annotated[str, typer.Option("--why", metavar="TEXT", help="For the history and the audit.")]


def replay(
    context: typer.Context,
    identifiers: Ids = None,
    group: GroupOption = None,
    entity: EntityOption = None,
    type_: TypeOption = None,
    operation_id: OperationOption = None,
    error_kind: KindOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    every: EveryOption = False,
    why: WhyOption = "replayed by the operator",
    dry_run: DryRun = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also those that go back in time: later operations changed their rows.")
    ] = False,
    rate: Rate = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters round again, as their next incarnation, at the tail of the order; a running ingest takes them from there.

    A letter on whose row a later operation was applied since is left alone and told, unless --force is given: it would put
    old values over newer ones. --dry-run applies each to the database as it is now, by the service's own code, and rolls back.
    """
    wanted = options.wanted(State.DEAD, entity, type_, operation_id, error_kind, since, until)
    selection = options.letters_meant(identifiers, wanted, group, every)
    with session.opened(context) as outbox:
        chosen = choose(outbox, selection)
        _end_if_none(chosen)
        dead = [entry for entry in chosen.entries if entry.state == State.DEAD]
        if dry_run:
            _rehearse(outbox, chosen, dead, as_json)
            return
        planned = _planned(outbox, dead)
        behind = [one for one in planned if one.needs_force]
        going, left_alone = acting.parted(planned, force=force)
        if behind and not as_json:
            _tell_behind(behind, force)
        if going:
            _confirm_change("Replay", len(going), yes, by_ids=bool(identifiers))
        pace = Pace(rate)
        changed = acting.replay(outbox, [entry.entry_id for entry in going], session.operator(), why, pace)
        _carry_out(outbox, changed, len(going), chosen, left_alone, "replayed", "replay", str(selection), why, as_json)


def discard(
    context: typer.Context,
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="The reason, for the history and the audit. Required.")
    ],
    identifiers: Ids = None,
    group: GroupOption = None,
    entity: EntityOption = None,
    type_: TypeOption = None,
    operation_id: OperationOption = None,
    error_kind: KindOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    every: EveryOption = False,
    dry_run: DryRun = False,
    rate: Rate = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put dead letters aside for good: nobody will run them. They stay listed, with who and why."""
    if not why.strip():
        raise typer.BadParameter("say why", param_hint="--why")
    wanted = options.wanted(State.DEAD, entity, type_, operation_id, error_kind, since, until)
    selection = options.letters_meant(identifiers, wanted, group, every)
    with session.opened(context) as outbox:
        chosen = choose(outbox, selection)
        _end_if_none(chosen)
        dead = [entry for entry in chosen.entries if entry.state == State.DEAD]
        if dry_run:
            _tell_what_would_be_discarded(chosen, dead, as_json)
            return
        if dead:
            _confirm_change("Discard", len(dead), yes, by_ids=bool(identifiers))
        changed = acting.discard(outbox, [entry.entry_id for entry in dead], session.operator(), why, Pace(rate))
        _carry_out(outbox, changed, len(dead), chosen, [], "discarded", "discard", str(selection), why, as_json)


# ------------------------------------------------------------------------------------------------------ replay, discard


def _end_if_none(chosen: Chosen) -> None:
    if not chosen.entries:
        for identifier in chosen.unknown:
            complain(f"{identifier}: there is no such entry")
        fail("no letter was meant" if chosen.unknown else "no dead letter is like this")


def _planned(outbox: Outbox, dead: Sequence[Entry]) -> list[Planned]:
    asks_ledger = any(may_be_pruned(outbox, letter) for letter in dead)
    with session.database_bound_if_reachable(asks_ledger) as has_database:
        found = acting.plan(outbox, dead, has_database=has_database)
        return list(with_progress(found, len(dead), "looking at later operations"))


def _confirm_change(verb: str, count: int, yes: bool, by_ids: bool) -> None:
    if count == 1 and by_ids:
        return
    confirm(f"{verb} {count:,} letter{'' if count == 1 else 's'}?", is_given=yes, must=not by_ids)


def _carry_out(
    outbox: Outbox,
    changed: Iterator[DeskResult],
    count: int,
    chosen: Chosen,
    left_alone: Sequence[Entry],
    done: str,
    action: str,
    meant: str,
    why: str,
    as_json: bool,
) -> None:
    """Do it letter by letter, tell what became of each, keep the audit, and end with 1 if anything was left."""
    not_dead = [entry for entry in chosen.entries if entry.state != State.DEAD]
    refused = len(not_dead) + len(chosen.unknown) + len(left_alone)
    told: list[Text] = []
    with acting.audited(outbox, session.operator(), action, why, meant, refused) as tally:
        try:
            with interruptible(f"what was {done} stays so, the others are as they were"):
                for result in with_progress(changed, 0 if as_json else count, action):
                    tally.count(result)
                    if as_json:
                        show_json(values.result_values(result), is_line=True)
                    elif count <= TOLD_ONE_BY_ONE or not result.is_done:
                        told.append(_result_line(result, done))
        finally:
            show(*told)
    for entry in not_dead:
        complain(f"{entry.entry_id}: is {entry.state.label}, not dead; nothing done")
    for identifier in chosen.unknown:
        complain(f"{identifier}: there is no such entry")
    if not as_json:
        aside = f", {len(left_alone):,} left alone (see above; --force)" if left_alone else ""
        show(f"{tally.done:,} {done}{aside}")
    if tally.refused or not tally.done:
        raise typer.Exit(1)


def _result_line(result: DeskResult, done: str) -> Text:
    if result.state is None:
        return Text(f"{result.entry_id}: there is no such entry", style="yellow")
    if not result.is_done:
        return Text(f"{result.entry_id}: is {result.state.label}, not dead; nothing done", style="yellow")
    place = f", at place {result.seq} as incarnation {result.incarnation}" if result.state == State.PENDING else ""
    return Text(f"{result.entry_id}: {done}{place}")


def _tell_behind(behind: Sequence[Planned], force: bool) -> None:
    consequence = (
        "goes back in time, as forced" if force else "would go back in time, and is left alone without --force"
    )
    for one in behind[:TOLD_ONE_BY_ONE]:
        letter = one.letter
        complain(f"{letter.entry_id}: {what(letter)} {name(letter.operation_id).plain} {consequence}:")
        for line in later_lines(one.since):
            complain(line, indent=4)
    if len(behind) > TOLD_ONE_BY_ONE:
        complain(f"and {len(behind) - TOLD_ONE_BY_ONE:,} more like these")


def _tell_what_would_be_discarded(chosen: Chosen, dead: Sequence[Entry], as_json: bool) -> None:
    for entry in dead:
        if as_json:
            told = {"entry_id": entry.entry_id, "operation_id": entry.operation_id, "would_be": "discarded"}
            show_json(told, is_line=True)
        elif len(dead) <= TOLD_ONE_BY_ONE:
            show(Text.assemble(f"{entry.entry_id}: {what(entry)} ", name(entry.operation_id), " would be discarded"))
    if not as_json:
        show(f"{len(dead):,} would be discarded; nothing was done")
    if not dead:
        raise typer.Exit(1)


def _rehearse(outbox: Outbox, chosen: Chosen, dead: Sequence[Entry], as_json: bool) -> None:
    """Tell what would become of each letter; end with 1 unless all would be applied."""
    counted = dict.fromkeys(("applied", "failing", "behind"), 0)
    told: list[RenderableType] = []
    with session.database_bound():
        try:
            known = {one.letter.entry_id: one.since for one in acting.plan(outbox, dead, has_database=True)}
            for letter, rehearsed in with_progress(_rehearsed(outbox, dead), 0 if as_json else len(dead), "trying"):
                since = known.get(letter.entry_id, Since())
                is_applied = rehearsed.outcome is Outcome.APPLIED
                counted["applied" if is_applied else "failing"] += 1
                counted["behind"] += not since.is_clear
                if as_json:
                    show_json(values.rehearsed_values(letter, rehearsed, since), is_line=True)
                else:
                    told.append(rehearsed_line(letter, rehearsed))
                    told += [Padding(Text(line, style="yellow"), (0, 0, 0, 4)) for line in later_lines(since)]
        except DatabaseUnavailable as error:
            fail(f"the database did not let it happen: {error}", UNUSABLE)
    show(*told)
    for entry in chosen.entries:
        if entry.state != State.DEAD:
            complain(f"{entry.entry_id}: is {entry.state.label}, not dead")
    if not as_json:
        behind = f"; {counted['behind']:,} would go back in time (--force)" if counted["behind"] else ""
        show(f"{counted['applied']:,} would be applied, {counted['failing']:,} would fail{behind}; nothing was done")
    if counted["failing"] or not counted["applied"]:
        raise typer.Exit(1)


def _rehearsed(outbox: Outbox, dead: Sequence[Entry]) -> Iterable[tuple[Entry, Rehearsed]]:
    for start in range(0, len(dead), acting.PORTION):
        portion = [outbox.entry(entry.entry_id) for entry in dead[start : start + acting.PORTION]]
        yield from rehearse_letters(outbox, [letter for letter in portion if letter is not None])
