"""Makes what fails short: greedy deletion of ever smaller stretches, for lists of messages and for the bytes of one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

#: Names, texts, signs, and runs of anything else: deleted as a whole before single bytes are.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^"\[\]{},:]+|"', re.DOTALL)

#: Up to this width every stretch is tried, wherever it begins: a member of an object is four tokens, and a comma.
WIDTH_TRIED_EVERYWHERE = 5


def shortest(items: Sequence[T], fails: Callable[[list[T]], bool], tries: int = 400) -> list[T]:
    """A short part of the items, in their order, that still fails; all of them if `tries` are used up before.

    >>> shortest(range(100), lambda some: 7 in some and 60 in some)
    [7, 60]
    """
    rest = list(items)
    width = max(len(rest) // 2, 1)
    while width:
        start = 0
        while start < len(rest):
            if tries == 0:
                return rest
            tries -= 1
            shorter = rest[:start] + rest[start + width :]
            if shorter != rest and fails(shorter):
                rest = shorter
            else:
                start += 1 if width <= WIDTH_TRIED_EVERYWHERE else width
        width = width // 2 if width > WIDTH_TRIED_EVERYWHERE else width - 1
    return rest


def shortest_message(message: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """A short message, made of this one, that still fails."""
    tokens = shortest(_TOKEN.findall(message), lambda some: fails(b"".join(some)))
    return bytes(shortest(b"".join(tokens), lambda some: fails(bytes(some))))
