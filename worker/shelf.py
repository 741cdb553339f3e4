"""What the planner has parked, kept ready: to be offered again without reading and decoding it again.

Where many operations want one row, those behind its share of the window are offered to the planner several times before they
are taken in. The shelf holds them, as long as there is room; the outbox is read again only for what found none.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from worker.planner import Planned

Item = TypeVar("Item")


class Shelf(Generic[Item]):
    """Operations in outbox order.

    ``covered_to``: of all that was read up to this seq, what is not finished is in the window, here, or held by a dead letter.

    Parameters:
      max_bytes: the sum of their sizes.
    """

    def __init__(self, max_bytes: int, covered_to: int = 0) -> None:
        self.max_bytes = max_bytes
        self.covered_to = covered_to
        self._bytes = 0
        self._operations: dict[int, Planned[Item]] = {}  # only ever added to at the end, so in order
        self._offers: deque[int] = deque()

    def note_read(self, before: int, planned: Planned[Item] | None, seq: int) -> None:
        """The outbox was read from ``before`` on to ``seq``, and what stood there was parked, unless it is None.

        Once one finds no room, those behind it are not covered: they are met again when it is read again.
        """
        if before > self.covered_to:
            return
        if planned is not None:
            if self._bytes + planned.size > self.max_bytes:
                return
            self._operations[seq] = planned
            self._bytes += planned.size
        self.covered_to = max(self.covered_to, seq)

    def offer_again(self) -> None:
        """All that is here is to be offered again, in order."""
        self._offers = deque(self._operations)

    def next_offer(self) -> Planned[Item] | None:
        """The next that is to be offered; it stays here until it is taken away."""
        return self._operations[self._offers.popleft()] if self._offers else None

    def take_away(self, planned: Planned[Item]) -> None:
        """It is in the window now, or held: no longer parked."""
        del self._operations[planned.seq]
        self._bytes -= planned.size
