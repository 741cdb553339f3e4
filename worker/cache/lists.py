"""Drops the lists that the application caches: stale after any write to their entity, and known only by their prefix.

Finding them means walking through all keys of the cache (SCAN: KEYS would stop the server), so a walk serves every entity
that is dirty by then, however many batches made it so; there is one walk at a time, and they keep their distance. A
second walk some two seconds later drops what the application has filled from a read that was older than the write.
Entities wait for their walk in Redis: a purge that dies is run again under the same name, and finds what it had taken.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import redis

from worker.cache.scripts import run_script
from worker.every import Every

#: How long after the purge the lists are purged once more, in ms.
SECOND_PURGE_AFTER_MS = 2_000

#: The pause between the end of a purge and the next one: at least this, in ms, and so many times what the last one took.
#: A purge of a big cache keeps the server busy (half a second for a million keys): it gets an eleventh of the time at most.
SHORTEST_PAUSE_MS = 200
PAUSE_FACTOR = 10

#: How soon a purge comes again that has found another one walking, in ms, and how long a walker counts as such that has not
#: said so again: it has died then.
BUSY_AGAIN_MS = 500
WALKER_HOLDS_MS = 10_000

#: How often (s) a walker says that it is still at it.
WALKER_TELLS_S = 1.0

#: How long the word of somebody who is to send a message is taken for it, in ms. Then another one sends it too.
WORD_HOLDS_MS = 60_000

#: How long Redis keeps what a purge has taken over, in ms: as long as its message may wait to be run again.
TAKEN_HOLDS_MS = 24 * 3600 * 1000

#: How many keys a SCAN looks at.
SCAN_COUNT = 1_000

#: Where the entities wait. No name of an entity begins like this.
DIRTY = "sync:dirty"
QUEUED_BY = "sync:queued"
SECOND = "sync:second"
SECOND_QUEUED_BY = "sync:second-queued"
LAST = "sync:last"
TAKEN = "sync:taken:"
WALKER = "sync:walker"

#: What SCAN is to tell of: list, user, all. Which entity it belongs to is looked at here.
_PATTERN = "*:[alu]*"


def mark_dirty(client: redis.Redis, entities: Iterable[str], caller: str) -> int | None:
    """Have the lists of these entities purged.

    Parameters:
      caller: The name of who sends the message, the same when it is run again.

    Gives in how many ms the caller must have `purge` called; None if somebody else has undertaken it.
    """
    numbers = [WORD_HOLDS_MS, SHORTEST_PAUSE_MS, PAUSE_FACTOR]
    delay_ms = _run(client, "mark", [DIRTY, QUEUED_BY, LAST], [caller, *numbers, *entities])
    return delay_ms if delay_ms >= 0 else None


def forget_promises(client: redis.Redis) -> None:
    """Whoever has undertaken a purge may have lost the message for it: the next one to be asked sends it."""
    client.delete(QUEUED_BY, SECOND_QUEUED_BY)


class Next(NamedTuple):
    """That the caller must have `purge` called again: in how many ms, and by whom it is promised then, if for a second purge."""

    delay_ms: int
    promised_by: str


def purge(client: redis.Redis, caller: str, promised_by: str = "") -> Next | None:
    """Drop the lists of all entities that are due.

    Parameters:
      caller: The name of this purge, the same when it is run again.
      promised_by: As the purge before told it with `Next`; empty if none has.

    None: no other purge is needed, or somebody has undertaken it.
    """
    own_keys = [DIRTY, QUEUED_BY, SECOND, SECOND_QUEUED_BY, TAKEN + caller, WALKER, LAST]
    numbers = [TAKEN_HOLDS_MS, WALKER_HOLDS_MS, WORD_HOLDS_MS, BUSY_AGAIN_MS, PAUSE_FACTOR]
    taken = _run(client, "begin", own_keys, [caller, *numbers])
    if isinstance(taken, int):
        return Next(taken, promised_by)  # this was not the moment
    started = time.monotonic()
    if taken:
        _drop_lists(client, {entity.decode() for entity in taken})
    took_ms = round((time.monotonic() - started) * 1000)
    own_keys = [SECOND, SECOND_QUEUED_BY, TAKEN + caller, LAST, WALKER]
    delay_ms = _run(client, "end", own_keys, [caller, SECOND_PURGE_AFTER_MS, took_ms, WORD_HOLDS_MS, promised_by])
    return Next(delay_ms, caller) if delay_ms >= 0 else None


def _drop_lists(client: redis.Redis, entities: set[str]) -> None:
    beginnings = tuple(f"{entity}:{kind}:".encode() for entity in entities for kind in ("list", "user"))
    wholes = {f"{entity}:all".encode() for entity in entities}
    telling = Every(WALKER_TELLS_S, time.monotonic)
    cursor = 0
    while True:
        cursor, keys = client.scan(cursor, match=_PATTERN, count=SCAN_COUNT)
        stale = [key for key in keys if key in wholes or key.startswith(beginnings)]
        if stale:
            client.unlink(*stale)
        if cursor == 0:
            return
        if telling.is_due:
            client.pexpire(WALKER, WALKER_HOLDS_MS)


def _run(client: redis.Redis, step: str, keys: list[str], arguments: list[Any]) -> Any:
    return run_script(client, f"lists_{step}", keys, arguments)
