"""How the desk shows things: tables and texts for a terminal, plain values for ``--json``.

Whatever came from outside is masked (masking.py) and stripped of control characters: a payload must not steer the
terminal of the person who looks at it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from outbox.letters import IMPORTED
from outbox.masking import mask_json, mask_text
from outbox.records import Counts, DeskResult, Entry, HistoryLine, Position
from outbox.states import State

#: What each state means to an operator.
MEANINGS = {
    State.PENDING: "waits for its turn",
    State.DISPATCHED: "on its way, or being retried",
    State.APPLIED: "in the database",
    State.DEAD: "given up: replay or discard it",
    State.DISCARDED: "put aside by an operator",
    State.HELD: "waits behind a dead letter on its row",
}

_STYLES = {
    State.DEAD: "bold red",
    State.DISPATCHED: "cyan",
    State.PENDING: "yellow",
    State.APPLIED: "green",
    State.HELD: "magenta",
}


def printable(text: str) -> str:
    """The text with control characters as escapes; line ends and tabs stay."""
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)


def moment(at_ms: int | None) -> str:
    """Local time to the second; a dash for none."""
    if at_ms is None or at_ms < 0:
        return "-"
    try:
        return datetime.fromtimestamp(at_ms / 1000).astimezone().isoformat(sep=" ", timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"


def age(since_ms: int, now_ms: int | None = None) -> str:
    """How long ago, in the two largest units: ``3 h 12 min``."""
    seconds = max((now_ms if now_ms is not None else time.time_ns() // 1_000_000) - since_ms, 0) // 1000
    for unit, size, smaller, smaller_size in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // smaller_size} {smaller}"
    return f"{seconds} s"


def state_text(state: State) -> Text:
    return Text(state.label, style=_STYLES.get(state, ""))


def counts_table(counts: Counts) -> Table:
    table = Table("state", "entries", "meaning", box=None, header_style="bold")
    table.columns[1].justify = "right"
    for state in State:
        table.add_row(state_text(state), f"{counts.of(state):,}", MEANINGS[state])
    return table


def partitions_table(positions: Iterable[Position], marks: dict[tuple[str, int, int], int | None]) -> Table:
    table = Table("topic", "partition", "generation", "next offset", "first unsettled", box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for one in positions:
        mark = marks.get((one.topic, one.generation, one.partition))
        numbers = (one.partition, one.generation, one.next_offset, "-" if mark is None else mark)
        table.add_row(one.topic, *map(str, numbers))
    return table


def position_values(position: Position, marks: dict[tuple[str, int, int], int | None]) -> dict[str, Any]:
    """For ``--json``. ``first_unsettled`` is null where everything is settled."""
    values = msgspec.structs.asdict(position)
    values["last_hash"] = position.last_hash.hex() if position.last_hash is not None else None
    values["first_unsettled"] = marks.get((position.topic, position.generation, position.partition))
    return values


def entries_table(entries: Iterable[Entry]) -> Table:
    table = Table("id", "state", "operation", "what", "attempts", "since", "kind", "reason", box=None)
    table.header_style = "bold"
    for name in ("id", "attempts"):
        table.columns[[column.header for column in table.columns].index(name)].justify = "right"
    for entry in entries:
        table.add_row(
            str(entry.entry_id),
            state_text(entry.state),
            Text(printable(entry.operation_id), overflow="fold"),
            Text(printable(what(entry))),
            str(entry.attempts),
            age(entry.changed_at),
            entry.error_kind or "-",
            Text(printable(mask_text(entry.reason or "-")), overflow="fold"),
        )
    return table


def what(entry: Entry) -> str:
    return " ".join(filter(None, (entry.type, entry.entity))) or "undecodable"


def entry_view(entry: Entry, history: Iterable[HistoryLine]) -> Group:
    facts = Table(box=None, show_header=False)
    for name, value in (
        ("id", f"{entry.entry_id}, at place {entry.seq} in the order"),
        ("state", Text.assemble(state_text(entry.state), f": {MEANINGS[entry.state]}")),
        ("operation", f"{entry.operation_id}: {what(entry)}"),
        ("incarnation", f"{entry.incarnation} (0: as it came; one more for each replay)"),
        ("failed attempts", str(entry.attempts)),
        ("next attempt", moment(entry.next_attempt_at)),
        ("worker deaths", str(entry.deaths)),
        ("waits wider", "yes: for all earlier operations on its entities" if entry.waits_wider else "no"),
        ("goes alone", "yes: in a message of its own" if entry.goes_alone else "no"),
        ("Kafka", f"{entry.topic}, partition {entry.partition}, offset {entry.offset}, generation {entry.generation}"),
        ("sent", f"{moment(entry.order_timestamp)} (what orders it; Kafka's: {moment(entry.kafka_timestamp)})"),
        ("arrived", moment(entry.appended_at)),
        ("changed", f"{moment(entry.changed_at)}, {age(entry.changed_at)} ago"),
        ("error", entry.error_kind or "-"),
        ("reason", mask_text(entry.reason or "-")),
    ):
        facts.add_row(Text(name, style="bold"), value if isinstance(value, Text) else Text(printable(value)))
    parts: list[RenderableType] = [facts]
    lines = list(history)
    if lines:
        parts += [Text("\nhistory", style="bold"), history_table(lines)]
    payload = Text(printable(mask_json(entry.raw)))
    return Group(*parts, Text(f"\npayload, {len(entry.raw):,} bytes, secrets masked", style="bold"), payload)


def history_table(lines: Iterable[HistoryLine]) -> Table:
    table = Table(box=None, show_header=False)
    for line in lines:
        happened = f"{line.from_state.label} → {line.to_state.label}"
        if line.from_state == line.to_state:
            happened = "imported" if line.kind == IMPORTED else "attempt failed"
        numbers = f"incarnation {line.incarnation}, attempts {line.attempts}"
        why = " · ".join(filter(None, (line.kind, line.who and f"by {line.who}", line.why and mask_text(line.why))))
        table.add_row(moment(line.at), happened, numbers, Text(printable(why), overflow="fold"))
    return table


def result_line(result: DeskResult, done: str) -> Text:
    if result.state is None:
        return Text(f"{result.entry_id}: there is no such entry", style="yellow")
    if not result.is_done:
        return Text(f"{result.entry_id}: is {result.state.label}, not dead; nothing done", style="yellow")
    place = f", at place {result.seq} as incarnation {result.incarnation}" if result.state == State.PENDING else ""
    return Text(f"{result.entry_id}: {done}{place}")


def entry_values(entry: Entry) -> dict[str, Any]:
    """For ``--json``: every column, the payload as text with its secrets masked, times in ms."""
    values = msgspec.structs.asdict(entry)
    values["state"] = entry.state.label
    values["value_hash"] = entry.value_hash.hex()
    values["reason"] = mask_text(entry.reason) if entry.reason is not None else None
    values["payload"] = mask_json(values.pop("raw"), indent=None)
    return values


def history_values(line: HistoryLine) -> dict[str, Any]:
    values = msgspec.structs.asdict(line)
    values |= {"from_state": line.from_state.label, "to_state": line.to_state.label}
    values["why"] = mask_text(line.why) if line.why is not None else None
    return values
