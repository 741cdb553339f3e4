"""Each kind of fault strikes once, two at a time where they can, while messages come in: the end is the serial one."""

from __future__ import annotations

import random

import pytest

from tests.faults.arena import Arena
from tests.faults.chaos import KINDS
from tests.faults.rounds import RunResult, play_round
from tests.support.pipeline import Pipeline

#: What strikes together. Those that strike at a named point are tested with each point.
TOGETHER = (
    ("mariadb", "worker frozen"),
    ("outbox deleted", "dramatiq main"),
    ("outbox deleted at a point", "mariadb"),
    ("redis", "active of two"),
    ("flushall", "worker", "ingest"),
    ("kafka",),
    ("ingest frozen", "worker frozen at a point"),
)


@pytest.mark.timeout(600)
def test_each_kind_of_fault_loses_doubles_and_reorders_nothing(pipeline: Pipeline) -> None:
    arena = Arena(pipeline, seed=2)
    chance = random.Random(2)
    result = RunResult(seed=2)

    with arena.running():
        arena.wait_until_settled()
        for names in TOGETHER:
            result.rounds.append(play_round(arena, chance, [KINDS[name] for name in names]))
        verdict = arena.verdict()

    struck = {stroke.kind for one in result.rounds for stroke in one.strokes if not stroke.note}
    assert struck == {name for names in TOGETHER for name in names}
    assert verdict.is_good, verdict
