"""At each named point a process is killed once: the end is the serial one all the same.

A pipeline serves many points, a point of ingest and one of the actors at a time. Each is seen to be reached, and the
service to have settled everything, before the next two are armed.
"""

from __future__ import annotations

from itertools import zip_longest

import pytest

from tests.faults.arena import Arena
from tests.faults.chaos import AT_AN_ASSIGNMENT, OF_THE_ACTORS, ON_DEMAND
from tests.support.pipeline import Pipeline
from worker.fault_points import Point

#: The points of ingest whose situation must be made, by its end and a new start.
AT_A_START_OR_STOP = AT_AN_ASSIGNMENT | {Point.STOPPING}

#: How long (s) a point may take to be reached.
REACHED_WITHIN_S = 60.0


#: One point of ingest and one of the actors each time, as long as there are any.
TOGETHER = [
    [point for point in points if point is not None]
    for points in zip_longest(
        [point for point in Point if point not in OF_THE_ACTORS | ON_DEMAND], sorted(OF_THE_ACTORS)
    )
]

#: The points are shared out to so many tests, so that they can run beside each other.
SHARES = 3


@pytest.mark.parametrize("share", range(SHARES))
def test_a_kill_at_each_named_point_loses_doubles_and_reorders_nothing(pipeline: Pipeline, share: int) -> None:
    arena = Arena(pipeline, seed=1 + share, max_retries=2)  # with retries, or there is no point at which one is told
    killed: dict[Point, int] = {}

    with arena.running():
        arena.wait_until_settled()
        for armed in TOGETHER[share::SHARES]:
            for point in armed:
                arena.arm(point)
            provoke(arena, AT_A_START_OR_STOP.intersection(armed))
            arena.send(20)
            killed |= {point: arena.wait_until_taken(point, REACHED_WITHIN_S) for point in armed}
            arena.wait_until_settled()
        verdict = arena.verdict()

    assert killed.keys() == {point for points in TOGETHER[share::SHARES] for point in points}
    assert verdict.is_good, verdict


def provoke(arena: Arena, points: frozenset[Point]) -> None:
    """Make the situation in which these points are reached."""
    if points & AT_AN_ASSIGNMENT:
        arena.supervisor.kill(arena.service.ingest)
    elif points:
        arena.supervisor.terminate(arena.service.ingest)
