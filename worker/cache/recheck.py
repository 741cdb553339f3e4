"""Makes the whole cache true after a Redis has lost something, a portion a message, and vouches for it then.

Rows are compared with the database, and those that look wrong are synced, by messages of their own; the lists of all
entities are dropped. Each message looks at some thousands of keys and sends the next one, so no worker is held up for long.
If something is lost on the way the voucher is gone, the chain of messages ends by itself and says so, and ingest
(`worker.cache.watch`) begins another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from worker.cache import lists
from worker.cache.check import BATCH
from worker.cache.comparison import compare, entity_names, in_portions, scan_rows
from worker.cache.rows import PURGE, Again, Cache
from worker.cache.voucher import Vouchers
from worker.messages import CacheRecheck, CacheSync

logger = logging.getLogger(__name__)

#: How many SCANs a message does; each looks at a thousand keys.
SCANS_A_MESSAGE = 20


def recheck(
    cache: Cache, vouchers: Vouchers, message: CacheRecheck, message_id: str, send: Callable[[Again], object]
) -> CacheRecheck | None:
    """Do what one message asks for, and give the next one of its chain; None if there is none.

    Parameters:
      message: as it came; the first of a chain has no voucher.
      message_id: The message's id, the same when it is run again.
      send: Has a cache sync queued.

    Raises Redis's and Peewee's errors: run it again later, as it stands.
    """
    voucher = message.voucher or vouchers.seek()
    if not vouchers.is_sought(voucher):
        vouchers.give_up(voucher)
        return None
    if not message.voucher:
        _drop_lists(cache, message_id, send)
    cursor, wrong = message.cursor, 0
    names = entity_names()
    for _ in range(SCANS_A_MESSAGE):
        cursor, keys = scan_rows(cache.client, cursor, names)
        for portion in in_portions(keys, BATCH):
            suspicions = compare(cache.client, portion, cache.with_secrets).suspicions
            if suspicions:
                wrong += len(suspicions)
                send(Again(CacheSync(tuple(suspicions), ()), 0))
        if cursor == 0:
            break
    if wrong:
        logger.warning("%d cached rows are not as the database has them: they are filled again", wrong)
    if cursor:
        vouchers.note_asked(voucher)
        return CacheRecheck(cursor, voucher)
    # What was found wrong is queued by now: if it is lost, the voucher is too.
    vouchers.give(voucher)
    return None


def _drop_lists(cache: Cache, message_id: str, send: Callable[[Again], object]) -> None:
    """Have all lists purged, whoever has undertaken that before: the messages may be lost."""
    lists.forget_promises(cache.client)
    delay_ms = lists.mark_dirty(cache.client, sorted(entity_names()), message_id)
    if delay_ms is not None:
        send(Again(PURGE, delay_ms))
