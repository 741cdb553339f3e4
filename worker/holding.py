"""Holding what follows a dead letter, as far as the outbox is concerned: which letters hold, what they hold, when they let go.

The rule is in ``worker.lanes``. Like the scheduler, this writes nothing by itself: ``just_held`` waits for the main loop's next
transaction. After a start everything is looked at anew, so nothing here has to outlive the process.
"""

from __future__ import annotations

from entities.writesets import Writeset
from outbox.records import NO_TIMESTAMP, Entry
from outbox.states import State
from outbox.store import Outbox
from worker.lanes import Lanes
from worker.tasks import task_of

#: Dead letters read from the outbox at a time.
PAGE = 500


class Holding:
    """The lanes of the outbox's dead letters; with ``is_on`` False it never holds anything.

    ``just_held`` are pairs of seqs, a held entry's and its letter's, not yet marked in the outbox: whoever marks clears it.
    """

    def __init__(self, outbox: Outbox, is_on: bool) -> None:
        self.is_on = is_on
        self._outbox = outbox
        self.forget()

    def forget(self) -> None:
        """Drop all lanes: the partitions are gone, or come anew."""
        self._lanes = Lanes()
        self.just_held: list[tuple[int, int]] = []

    def look_at_letters(self) -> None:
        """Open the lanes of all dead letters in the outbox. To be called before anything is planned."""
        after_seq = 0
        while self.is_on and (letters := self._outbox.dead_letters(after_seq, PAGE)):
            for letter in letters:
                _, keys = task_of(letter, names_rows=True)
                self._lanes.open(letter.seq, keys, 0 if _is_imported(letter) else None)
            after_seq = letters[-1].seq

    def died(self, seq: int, writeset: Writeset) -> None:
        """This operation is a dead letter now."""
        if self.is_on:
            self._lanes.open(seq, writeset)

    def holds(self, seq: int, writeset: Writeset) -> bool:
        """Whether a dead letter holds this pending operation; it is to leave the window then, and to be marked."""
        letter = self._lanes.hold(seq, writeset) if self._lanes else None
        if letter is None:
            return False
        self.just_held.append((seq, letter))
        return True

    def decided(self) -> list[int]:
        """The letters (by seq) that are dead no more: an operator has replayed or discarded them."""
        letters = self._lanes.letters
        still_dead = self._outbox.in_state(letters, State.DEAD) if letters else frozenset()
        return [letter for letter in letters if letter not in still_dead]

    def let_go(self, letters: list[int]) -> int:
        """Close the lanes of these letters, once the outbox has their followers pending again.

        Gives the seq from which on the outbox is to be read again, to meet all that goes on.
        """
        first_seq = self._lanes.first_seq(letters)
        self._lanes.close(letters)
        self.just_held = [held for held in self.just_held if held[1] not in letters]
        return first_seq


def _is_imported(letter: Entry) -> bool:
    return letter.kafka_timestamp == NO_TIMESTAMP
