"""The application's cache in Redis, and how it is kept true to the database.

`rows` fills and forgets the rows' values, `lists` drops the lists, each with Lua `scripts` where several steps must be one.
`check` (`python -m worker.cache check`) compares what is cached with the database (`comparison`). After Redis has lost data
`recheck` does so by itself: `voucher` tells when, `watch` asks for it.
"""

from __future__ import annotations

from worker.cache.rows import PURGE, Again, Cache

__all__ = ["PURGE", "Again", "Cache"]
