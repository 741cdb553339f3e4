"""The overview as a terminal shows it, and the groups of dead letters."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group as Parts
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from outbox import State
from worker.desk.causes import Group
from worker.desk.overview import Overview, PartitionView
from worker.desk.terminal import WIDE
from worker.desk.words import MEANINGS, age, lasting, name, outside, state_text, what

OK, BAD, DIM = "green", "bold red", "dim"


def status_view(view: Overview, file: str, width: int) -> RenderableType:
    """Everything of ``status``, for a terminal of so many columns."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("outbox", Text(f"{file}  ({view.outbox_id})"))
    facts.add_row("ingest", ingest_line(view))
    if view.is_fresh and view.note is not None:
        facts.add_row("servers", servers_line(view))
    facts.add_row("gate", gate_line(view))
    facts.add_row("waiting", waiting_line(view))
    facts.add_row("speed", speed_line(view))
    parts: list[RenderableType] = [facts, "", counts_table(view)]
    if view.groups:
        parts += ["", Text("dead letters by cause", style="bold"), groups_view(view.groups, view.at, width)]
    elif view.groups is None:
        parts += ["", Text("dead letters by cause: too many to look at each here; see groups", style=DIM)]
    if view.partitions:
        parts += ["", partitions_table(view.partitions)]
    return Parts(*parts)


def ingest_line(view: Overview) -> Text:
    """Whether an ingest runs on this file."""
    note, told_at = view.note, view.told_at
    if note is None or told_at is None:
        return Text("never ran on this file, or is older than this program", style="yellow")
    who = f"on {note.host}, pid {note.pid}"
    if view.is_fresh:
        return Text.assemble(
            ("runs", OK), f" {who}, for {age(note.started_at, view.at)}; told {age(told_at, view.at)} ago"
        )
    if note.is_stopped:
        return Text.assemble(("stopped", "yellow"), f" {age(told_at, view.at)} ago ({who})")
    silent = f"silent for {age(told_at, view.at)}"
    return Text.assemble((silent, BAD), f": it was killed, or hangs ({who}); what it told last is stale and not shown")


def servers_line(view: Overview) -> Text:
    """The servers, as a fresh word of ingest has them."""
    assert view.note is not None
    shown = Text()
    for label, is_well in (
        ("Kafka", view.note.is_kafka_connected),
        ("Redis", view.note.is_redis_connected),
        ("database", view.note.is_database_healthy),
    ):
        shown.append(f"{label} ")
        shown.append("up" if is_well else "DOWN", style=OK if is_well else BAD)
        shown.append("   ")
    return shown


def gate_line(view: Overview) -> Text:
    """Whether operations are sent, and if not why."""
    if view.paused_because is None:
        return Text("nothing is sent: no ingest runs on this file", style="yellow" if view.counts.unsettled else DIM)
    if not view.paused_because:
        return Text.assemble(("open", OK), ": operations are sent as their turn comes")
    return Text.assemble(("PAUSED", BAD), ": " + "\n".join(view.paused_because))


def waiting_line(view: Overview) -> Text:
    """What waits, here and in Kafka."""
    unsettled = view.counts.unsettled
    lag = "" if view.lag is None else f", {view.lag:,} more in Kafka"
    if view.oldest_timestamp is None:
        return Text(f"nothing waits here{lag}")
    oldest = f"the oldest at place {view.oldest_seq}, sent {age(view.oldest_timestamp, view.at)} ago"
    return Text(f"{unsettled:,} here{lag}; {oldest}")


def speed_line(view: Overview) -> Text:
    """How fast it goes, and how long it will take."""
    if not view.is_fresh or view.note is None:
        return Text("not known", style=DIM)
    shown = f"{view.note.received_per_s:,.1f}/s in, {view.note.settled_per_s:,.1f}/s settled, over the last minute"
    if view.drains_in_s:
        shown += f"; all settled in about {lasting(view.drains_in_s)}"
    elif view.drains_in_s is None:
        shown += "; nothing is being settled"
    return Text(shown)


def counts_table(view: Overview) -> Table:
    table = Table("state", "entries", "meaning", box=None, header_style="bold", pad_edge=False)
    table.columns[1].justify = "right"
    for state in State:
        count = view.counts.of(state)
        table.add_row(state_text(state), f"{count:,}", MEANINGS[state], style=DIM if not count else "")
    return table


def partitions_table(partitions: Iterable[PartitionView]) -> Table:
    table = Table("topic", "partition", "next offset", "first unsettled", "lag", box=None, header_style="bold")
    table.pad_edge = False
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify = "right"
    for one in partitions:
        position = one.position
        generation = f" (made anew {position.generation}×)" if position.generation else ""
        numbers = (one.position.partition, position.next_offset, one.first_unsettled, one.lag)
        table.add_row(
            Text(f"{position.topic}{generation}"), *("-" if number is None else f"{number:,}" for number in numbers)
        )
    return table


def groups_view(groups: Iterable[Group], now: int, width: int) -> RenderableType:
    """Dead letters by cause, for a terminal of so many columns."""
    return _groups_table(groups, now) if width >= WIDE else _groups_list(groups, now)


def _groups_table(groups: Iterable[Group], now: int) -> Table:
    table = Table("letters", "group", "last", "first", "the newest says", box=None, header_style="bold")
    table.pad_edge = False
    table.columns[0].justify = "right"
    for column in table.columns[2:4]:
        column.no_wrap = True
    table.columns[1].no_wrap = True  # to be copied and typed
    table.columns[4].overflow = "fold"
    for group in groups:
        table.add_row(
            f"{group.count:,}",
            Text(group.cause.key, style="bold"),
            age(group.last_at, now),
            age(group.first_at, now),
            Text.assemble((f"{group.example.entry_id} ", DIM), outside(group.example.reason, 200)),
        )
    return table


def _groups_list(groups: Iterable[Group], now: int) -> Parts:
    """For a narrow terminal: three lines a group."""
    lines: list[RenderableType] = []
    for group in groups:
        example = group.example
        times = f"last {age(group.last_at, now)} ago, first {age(group.first_at, now)} ago"
        newest = Text.assemble((f"{example.entry_id} ", "bold"), f"{what(example)} ", name(example.operation_id), "\n")
        lines.append(Text.assemble((f"{group.count:>7,}  ", BAD), (group.cause.key, "bold")))
        lines.append(Padding(Text(times, style=DIM), (0, 0, 0, 9)))
        lines.append(Padding(newest.append_text(outside(group.example.reason, 300)), (0, 0, 0, 9)))
    return Parts(*lines)
