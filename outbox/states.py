"""The states of an entry: a closed set, each described with who moves it next, and the transitions that are legal.

Every change in the package is one of ``TRANSITIONS`` and names, in its SQL, the state and the incarnation it expects to
find; one that comes late therefore changes nothing.
"""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """Where an entry stands. The numbers are what the file holds: never renumber them."""

    #: Waits for its turn. The scheduler moves it, once no earlier unfinished operation conflicts with it.
    PENDING = 0

    #: Rides in a message, or is being retried by Dramatiq. The actors' settlement moves it; if that is lost, ingest
    #: dispatches it again, and at a restart every one of these goes back to pending.
    DISPATCHED = 1

    #: In the database, with its line in the ledger. Final; the pruner removes it after the retention.
    APPLIED = 2

    #: Given up, with a reason; the verdict stands in the ledger too. The operator moves it, by replay or discard.
    DEAD = 3

    #: A dead letter that the operator has put aside, with a reason. Final, and kept: until the ledger is told, it would
    #: come back from there as a dead letter if this outbox did not know it.
    DISCARDED = 4

    #: Waits behind a dead letter on one of its rows (``DEAD_LETTER_POLICY=hold``). It goes back to pending, in its place,
    #: when the operator replays or discards that letter, and at each start, where ingest looks anew.
    HELD = 5

    @property
    def label(self) -> str:
        """The name as the command line, the counters and the metrics show it: ``pending``."""
        return self.name.lower()

    @property
    def is_settled(self) -> bool:
        """True once nothing is owed any more to whoever sent the operation: all but pending, dispatched and held."""
        return self not in UNSETTLED


#: What the scheduler plans with, and all that is owed: held ones wait for a person.
PLANNABLE = (State.PENDING, State.DISPATCHED)
UNSETTLED = (*PLANNABLE, State.HELD)

#: (from, to). Pending may be settled directly: a settlement can arrive after its entry was handed back or released.
TRANSITIONS = frozenset(
    {
        (State.PENDING, State.DISPATCHED),  # mark_dispatched
        (State.DISPATCHED, State.PENDING),  # hand_back, release_dispatched
        (State.DISPATCHED, State.APPLIED),  # settle
        (State.DISPATCHED, State.DEAD),  # settle
        (State.PENDING, State.APPLIED),  # settle, late but true
        (State.PENDING, State.DEAD),  # settle, late but true
        (State.DISPATCHED, State.DISCARDED),  # settle: it was discarded in another outbox, the ledger says
        (State.PENDING, State.DISCARDED),  # settle, the same, late
        (State.DEAD, State.PENDING),  # replay
        (State.DEAD, State.DISCARDED),  # discard
        (State.PENDING, State.HELD),  # hold
        (State.DISPATCHED, State.HELD),  # hold: it was to be sent again, its message is lost
        (State.HELD, State.PENDING),  # release_held
    }
)


def state_named(label: str) -> State:
    """The state with this label.

    :raises ValueError: there is none; the text lists those there are.
    """
    for state in State:
        if state.label == label.lower():
            return state
    raise ValueError(f"no state {label!r}; there are {', '.join(state.label for state in State)}")
