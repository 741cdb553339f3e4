"""Handing the outbox's announcements to whoever tells them: a portion at a time, forgotten once it was told.

So each is told at least once, in order, and nothing is read twice meanwhile. What is under way when the process ends is still
in the outbox, and is told again by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from outbox.announcements import Announcement, Audience
from outbox.store import Outbox

#: Announcements of a portion, and the bytes of their payloads.
PORTION = 200
PORTION_BYTES = 4_000_000


class Telling:
    """One audience.

    Parameters:
      hand_over: takes a portion and returns at once; ``told`` is called when it has reached the audience.
    """

    def __init__(self, outbox: Outbox, audience: Audience, hand_over: Callable[[Sequence[Announcement]], None]) -> None:
        self._outbox = outbox
        self._audience = audience
        self._hand_over = hand_over
        self._may_hold_more = True
        self._is_under_way = False

    def note(self) -> None:
        """The outbox may hold new announcements."""
        self._may_hold_more = True

    def go_on(self) -> None:
        """Hand over the next portion, unless one is under way."""
        if self._is_under_way or not self._may_hold_more:
            return
        portion = self._outbox.announcements(self._audience, PORTION, PORTION_BYTES)
        self._may_hold_more = self._is_under_way = bool(portion)
        if portion:
            self._hand_over(portion)

    def told(self, announcement_ids: Sequence[int]) -> None:
        """Forget them; the next portion may come."""
        self._outbox.forget_announcements(announcement_ids)
        self._is_under_way = False
