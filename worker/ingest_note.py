"""What ingest alone knows, left in the outbox for the operator's desk: is the gate open, and if not why; how far Kafka's log
reaches; how fast it goes.

It is a note (outbox.notes), written in ingest's turns at most every two seconds, and every ten while nothing changes: one that
is older than ``STALE_AFTER_MS`` tells that ingest does not run, or hangs.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from outbox.notes import NoteLeft
from outbox.store import Outbox

#: The note's name in the outbox.
INGEST_NOTE = "ingest"

#: The shortest time (s) between two notes, and the longest.
LEAST_INTERVAL_S, LONGEST_INTERVAL_S = 2.0, 10.0

#: How old (ms) a note may be and still be believed.
STALE_AFTER_MS = 20_000

#: Rates are taken over so many seconds.
RATE_WINDOW_S = 60.0


class IngestNote(msgspec.Struct, frozen=True):
    """What ingest tells.

    Parameters:
      host, pid, started_at: Who tells it; ms since 1970.
      partitions: How many are assigned to it; 0 while another ingest is the active one.
      paused_because: Why nothing is sent to the actors, in words; empty while the gate is open.
      ends: Where Kafka's log ends, by partition: the next offset that will be written.
      received_per_s, settled_per_s: Over the last minute.
      window: How many unfinished operations are planned together at most.
    """

    host: str
    pid: int
    started_at: int
    partitions: int = 0
    is_kafka_connected: bool = False
    is_redis_connected: bool = False
    is_database_healthy: bool = False
    is_stopped: bool = False
    paused_because: tuple[str, ...] = ()
    ends: dict[str, int] = {}
    in_flight: int = 0
    received_per_s: float = 0.0
    settled_per_s: float = 0.0
    window: int = 0


def read_note(note: NoteLeft | None) -> IngestNote | None:
    """What ingest told last; None if it never did, or in words that this program does not know."""
    try:
        return msgspec.json.decode(note.text, type=IngestNote) if note is not None else None
    except msgspec.DecodeError:
        return None


def why_paused(
    *,
    is_kafka_connected: bool,
    partitions: int,
    is_database_known: bool,
    is_database_healthy: bool,
    has_epoch: bool,
    is_redis_connected: bool,
    is_outbox_full: bool,
) -> tuple[str, ...]:
    """What keeps operations from being sent, or from being read, in words for the person on call."""
    reasons = []
    if not is_kafka_connected:
        reasons.append("Kafka is not reachable: nothing new is read; what is here goes on")
    elif not partitions:
        reasons.append("no partition is assigned to this ingest: another one is active, or the group is rebalancing")
    if not is_database_known:
        reasons.append("the database has not been probed yet")
    elif not is_database_healthy:
        reasons.append("the database is down or refuses writes: operations wait, no attempt is burnt")
    elif partitions and not has_epoch:
        reasons.append("the database has not yet confirmed this ingest as the active one")
    if not is_redis_connected:
        reasons.append("Redis (the broker) is not reachable: nothing can be sent to the actors")
    if is_outbox_full:
        reasons.append("the outbox is full (OUTBOX_MAX_PENDING): reading from Kafka waits")
    return tuple(reasons)


class NoteKeeper:
    """Leaves the note when it is due.

    Parameters:
      clock: monotonic seconds.
    """

    def __init__(self, outbox: Outbox, clock: Callable[[], float] = time.monotonic) -> None:
        self._outbox = outbox
        self._clock = clock
        self._counted: deque[tuple[float, int, int]] = deque([(clock(), 0, 0)])
        self._left_at = float("-inf")
        self._left: IngestNote | None = None
        self._who = IngestNote(socket.gethostname(), os.getpid(), outbox.now_ms())

    @property
    def is_due(self) -> bool:
        """Whether a note may be left again."""
        return self._clock() - self._left_at >= LEAST_INTERVAL_S

    def leave(
        self,
        *,
        received: int,
        settled: int,
        partitions: int,
        is_kafka_connected: bool,
        is_redis_connected: bool,
        is_database_healthy: bool,
        paused_because: tuple[str, ...],
        ends: Mapping[int, int],
        in_flight: int,
        window: int,
        is_stopped: bool = False,
    ) -> None:
        """Leave the note, unless it says what the last one said and that is young enough.

        Parameters:
          received, settled: How many operations since the start; the others are as in `IngestNote`.
        """
        received_per_s, settled_per_s = self._rates(received, settled)
        note = msgspec.structs.replace(
            self._who,
            partitions=partitions,
            is_kafka_connected=is_kafka_connected,
            is_redis_connected=is_redis_connected,
            is_database_healthy=is_database_healthy,
            is_stopped=is_stopped,
            paused_because=paused_because,
            ends={str(partition): end for partition, end in ends.items()},
            in_flight=in_flight,
            received_per_s=received_per_s,
            settled_per_s=settled_per_s,
            window=window,
        )
        if note == self._left and self._clock() - self._left_at < LONGEST_INTERVAL_S:
            return
        self._outbox.leave_note(INGEST_NOTE, msgspec.json.encode(note).decode())
        self._left, self._left_at = note, self._clock()

    def _rates(self, received: int, settled: int) -> tuple[float, float]:
        now = self._clock()
        self._counted.append((now, received, settled))
        while now - self._counted[0][0] > RATE_WINDOW_S and len(self._counted) > 2:
            self._counted.popleft()
        since, received_then, settled_then = self._counted[0]
        elapsed = max(now - since, 1.0)
        return round((received - received_then) / elapsed, 2), round((settled - settled_then) / elapsed, 2)
