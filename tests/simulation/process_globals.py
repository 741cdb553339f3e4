"""What the production code has one of a process, and a history lends it: the bound database, the clock, chance, fault points."""

# What modules have imported is theirs, says mypy; here it is exchanged.
# mypy: disable-error-code="attr-defined"

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from dramatiq.middleware import retries

from entities import base, ledger
from worker import apply, fault_points, reading, settlements
from worker.cache import lists

if TYPE_CHECKING:
    from tests.simulation.world import World


@contextmanager
def lent_to(world: World) -> Iterator[None]:
    """For the block, the production code asks this world."""
    before = base.database.obj, reading.PORTION
    record, turn = ledger.record, ledger.turn

    def note(lines: Any) -> None:
        record(lines)
        world.database.session.lines.extend(lines)

    def note_turn(line: Any) -> bool:
        is_done = turn(line)
        if is_done:
            world.database.session.lines.append(line)
        return is_done

    base.database.initialize(world.database)
    reading.PORTION = world.plan.sizes.portion
    fault_points.handle(world.reached)
    ledger.record, ledger.turn = note, note_turn
    retries.traceback = SimpleNamespace(format_exc=lambda limit: "")  # type: ignore[assignment]  # nobody reads them here
    ledger.time = SimpleNamespace(time_ns=lambda: world.now_ms() * 1_000_000)  # type: ignore[assignment]
    apply.random = world.chance  # type: ignore[assignment]
    apply.time = SimpleNamespace(sleep=world.sleep)  # type: ignore[assignment]
    lists.time = SimpleNamespace(monotonic=world.clock)  # type: ignore[assignment]
    settlements.time = SimpleNamespace(monotonic=lambda: 0.0)  # type: ignore[assignment]  # nobody counts workers here
    try:
        yield
    finally:
        fault_points.handle(None)
        ledger.record, ledger.turn = record, turn
        ledger.time = apply.time = lists.time = settlements.time = time
        apply.random = random
        retries.traceback = traceback
        reading.PORTION = before[1]
        base.database.initialize(before[0])
