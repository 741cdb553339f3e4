"""The end of a run: what was sent and what became of it, beside what should have."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from compose.audit import Outcomes

#: How many of the faults of one kind are listed.
FAULTS_SHOWN = 10


def print_summary(
    console: Console, outcomes: Outcomes, took_s: float, faults: Sequence[tuple[str, Sequence[str]]]
) -> None:
    """Print the table, and what is wrong.

    Parameters:
      took_s: seconds from the first operation sent until the last one was settled.
      faults: for each thing that was compared, its name and what is wrong with it.
    """
    sent = outcomes.expected.total()
    table = Table(title=f"{sent:,} operations sent", title_justify="left")
    table.add_column("outcome")
    table.add_column("expected", justify="right")
    table.add_column("found", justify="right")
    for outcome in sorted(outcomes.expected.keys() | outcomes.found.keys()):
        name = outcome if outcome == "applied" else f"dead letter, {outcome}"
        expected, found = outcomes.expected[outcome], outcomes.found[outcome]
        table.add_row(name, f"{expected:,}", f"{found:,}", style="" if expected == found else "red")
    console.print(table)
    console.print(
        f"{outcomes.duplicates:,} of the applied were duplicates, recognised and without effect.\n"
        f"It took {took_s:.1f} s, {sent / took_s if took_s else 0:,.0f} operations a second, retries of what cannot be "
        "mended included."
    )
    for name, wrong in faults:
        if wrong:
            console.print(f"[red]{name}: {len(wrong):,} wrong")
            for line in wrong[:FAULTS_SHOWN]:
                console.print(f"  {line}", markup=False, highlight=False)
        else:
            console.print(f"{name}: [green]as expected")
