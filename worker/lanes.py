"""Rows that are held for the sake of a dead letter (``DEAD_LETTER_POLICY=hold``), without any I/O.

A dead letter holds the rows that it was to write. An operation that comes after it in the order and writes, or names as a
parent, one of these rows is held as well, and with it the rows that it was to write: they form the letter's lane. The lane
is let go as a whole, when the letter is replayed or discarded. Only rows are held: what conflicts with a held operation in
another way (a unique value, a whole entity that a DELETE takes) goes on, or one letter would stop everybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from entities.writesets import Writeset, is_row


@dataclass(slots=True)
class _Lane:
    """The rows that one letter holds. Operations with a seq below ``after_seq`` came before it and pass."""

    after_seq: int
    rows: set[str] = field(default_factory=set)


class Lanes:
    """Which rows are held, and by which dead letter, named by its seq.

    Memory goes with the number of letters and of distinct rows held, not with that of the operations that wait.
    """

    def __init__(self) -> None:
        self._lanes: dict[int, _Lane] = {}
        self._holders: dict[str, set[int]] = {}  # row → the letters that hold it

    def __bool__(self) -> bool:
        """Whether any row is held."""
        return bool(self._holders)

    @property
    def letters(self) -> list[int]:
        """The seqs of all letters, of those too that hold nothing."""
        return list(self._lanes)

    def open(self, letter: int, writeset: Writeset, after_seq: int | None = None) -> None:
        """The letter has died: hold the rows that it was to write. One that writes no row (a CREATE without an id) holds nothing,
        but its lane is kept: replayed, it keeps its place like the others, and has to be read again there.

        Parameters:
          after_seq: what comes before this seq passes; None: the letter's own. A letter that was taken over from the ledger
            comes before whatever this outbox has, though its seq is a late one.
        """
        rows = set(filter(is_row, writeset.exclusive))
        if letter not in self._lanes:
            self._lanes[letter] = _Lane(letter if after_seq is None else after_seq)
            self._add(letter, rows)

    def hold(self, seq: int, writeset: Writeset) -> int | None:
        """The letter that holds an operation; None if it may go on. A held one's rows are held from now on."""
        holders: Iterable[int] = (
            letter
            for row in (*writeset.exclusive, *writeset.shared)
            if row in self._holders
            for letter in self._holders[row]
            if self._lanes[letter].after_seq < seq
        )
        first = min(holders, default=None)
        if first is not None:
            self._add(first, set(filter(is_row, writeset.exclusive)))
        return first

    def first_seq(self, letters: Iterable[int]) -> int:
        """The first seq at which these letters, or what they hold, may stand: one from the ledger holds what has a lower one."""
        lanes = ((letter, self._lanes.get(letter)) for letter in letters)
        return min(letter if lane is None else min(letter, lane.after_seq + 1) for letter, lane in lanes)

    def close(self, letters: Iterable[int]) -> None:
        """The letters are replayed or discarded: what they held goes on."""
        for letter in letters:
            lane = self._lanes.pop(letter, None)
            for row in lane.rows if lane is not None else ():
                self._holders[row].discard(letter)
                if not self._holders[row]:
                    del self._holders[row]

    def _add(self, letter: int, rows: set[str]) -> None:
        self._lanes[letter].rows |= rows
        for row in rows:
            self._holders.setdefault(row, set()).add(letter)
