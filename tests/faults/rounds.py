"""A run: rounds of messages and faults that strike together, then the verdict; and what is measured of each fault.

A fault's time to recover is from its stroke until everything is settled, what is sent after it included; so the restart of
what it took away, or the time for which it froze something, is a part of it. Faults that strike together share that time
under the name `together`, counted from the first.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.faults.arena import Arena
from tests.faults.chaos import Kind, NotReached, Struck, draw
from tests.faults.verdict import Verdict

#: How many messages a round sends.
MESSAGES = (20, 120)

#: How many messages follow the strokes: a fault may strike when all others are settled already.
MESSAGES_BEHIND = 10

#: How long (s) before the messages those faults begin that wait for what messages cause.
HEAD_START_S = 0.02


@dataclass
class Stroke:
    """One fault of one round.

    :ivar note: why it did not strike, if it did not.
    """

    kind: str
    struck: Struck = field(default_factory=Struck)
    note: str = ""


@dataclass
class Round:
    """What struck, and how long (s) it took until everything was settled, from the first stroke on."""

    strokes: list[Stroke]
    recovered_s: float = 0.0

    @property
    def kind(self) -> str:
        """Under what the time counts."""
        return self.strokes[0].kind if len(self.strokes) == 1 else "together"


@dataclass
class RunResult:
    """What one run came to. `failure` tells of a state that was not left, or of a fault of the harness."""

    seed: int
    rounds: list[Round] = field(default_factory=list)
    operations: int = 0
    took_s: float = 0.0
    verdict: Verdict | None = None
    failure: str = ""

    @property
    def is_good(self) -> bool:
        return not self.failure and self.verdict is not None and self.verdict.is_good

    @property
    def kills(self) -> int:
        return sum(stroke.struck.kills for one in self.rounds for stroke in one.strokes)


def play(
    arena: Arena,
    chance: random.Random,
    kinds: list[str],
    rounds: int,
    result: RunResult,
    tell: Callable[[RunResult], None] = lambda _: None,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Play so many rounds and judge; what happens is noted in `result` as it happens, and told after each round.

    :param is_over: asked before each round; True ends the run early, in order.
    """
    with arena.running():
        arena.wait_until_settled()
        for _ in range(rounds):
            if is_over():
                break
            result.rounds.append(play_round(arena, chance, draw(chance, kinds)))
            result.operations = len(arena.stream.line_ids)
            tell(result)
        result.verdict = arena.verdict()


def play_round(arena: Arena, chance: random.Random, kinds: list[Kind]) -> Round:
    """Send messages, have these kinds strike at the same time, and wait until everything is settled."""
    strokes = [Stroke(kind.name) for kind in kinds]
    errors: list[BaseException] = []
    threads = [
        threading.Thread(target=_strike, args=(arena, kind, stroke, chance.randrange(2**32), errors), daemon=True)
        for kind, stroke in zip(kinds, strokes, strict=True)
    ]
    _start(thread for kind, thread in zip(kinds, threads, strict=True) if kind.is_first)
    time.sleep(HEAD_START_S)
    arena.send(chance.randint(*MESSAGES))
    _start(thread for kind, thread in zip(kinds, threads, strict=True) if not kind.is_first)
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    arena.send_behind(MESSAGES_BEHIND)
    arena.wait_until_settled()
    return Round(strokes, time.monotonic() - min(stroke.struck.at for stroke in strokes))


def _start(threads: Iterable[threading.Thread]) -> None:
    for thread in threads:
        thread.start()


def _strike(arena: Arena, kind: Kind, stroke: Stroke, seed: int, errors: list[BaseException]) -> None:
    try:
        stroke.struck = kind.strike(arena, random.Random(seed))
    except NotReached as error:
        stroke.note = f"{error} was not reached"
    except Exception as error:  # the outermost frame of this thread: the round raises it
        errors.append(error)
