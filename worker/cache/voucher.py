"""The voucher: a word in both Redis databases that says nothing due to the cache has been lost since all of it was compared.

A write unlinks its rows and queues a sync. Should the cache not be reachable for the first, and the broker's Redis then lose
the second, an old value would stay: nobody else remembers. So would one that a restart brings back from an older file. But
whatever empties a database takes the voucher with it, and whatever else loses data is a restart or a failover, which changes
the server's run id. So: both databases hold the same voucher, it names the two servers as they now run, and it is given only
when a comparison of all cached rows with the database, begun after it was written, has come to its end (`worker.cache.recheck`).

It does not see what a server drops by itself while it runs: the broker's Redis must not evict (`maxmemory-policy noeviction`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import redis

from worker.cache.scripts import run_script

#: The voucher's keys. No name of an entity begins like them.
IN_BROKER = "cache:voucher"
IN_CACHE = "sync:voucher"

#: In the broker's database: whose message is to bring a comparison to its end. It holds the word of who has asked for one, and
#: the voucher of one that has begun; so nobody waits for a comparison that has ended, or for one that another has replaced.
ASKED = "cache:voucher-asked"

#: How long (ms) such a message may stay in its queue before another one is sent; and how long it may take to be put there.
ASKED_HOLDS_MS, ASKING_HOLDS_MS = 600_000, 10_000

_SOUGHT, _GIVEN = "sought", "given"


def run_id(client: redis.Redis) -> str:
    """What names the server's process: another one after each restart, and after a failover."""
    return str(client.info("server")["run_id"])


class Vouchers:
    """The voucher in a broker's and a cache's Redis. All methods raise `redis.RedisError` when one cannot be asked.

    Parameters:
      broker, cache: clients of the two; replies are bytes.
      name_of: tells a server's run id.
    """

    def __init__(self, broker: redis.Redis, cache: redis.Redis, name_of: Callable[[redis.Redis], str] = run_id) -> None:
        self._broker = broker
        self._cache = cache
        self._name_of = name_of

    def is_given(self) -> bool:
        """Whether nothing was lost since the last full comparison."""
        return self._stands(self._read(self._broker, IN_BROKER), _GIVEN)

    def is_asked_for(self) -> bool:
        """Whether a comparison is on its way that will give it."""
        return bool(self._broker.exists(ASKED))

    def note_asking(self) -> str:
        """A message that begins a comparison is about to be sent; the word that it is noted by, for ``note_asked``."""
        word = secrets.token_hex(8)
        self._broker.set(ASKED, word, px=ASKING_HOLDS_MS)
        return word

    def note_asked(self, word: str) -> None:
        """A message that begins or goes on with a comparison is in the queue, unless that has come to its end since.

        Parameters:
          word: what ``note_asking`` has given, or the comparison's voucher.
        """
        run_script(self._broker, "hold", [ASKED], [word, ASKED_HOLDS_MS])

    def seek(self) -> str:
        """Write a new voucher into both databases, not yet given; what is lost from now on takes it away."""
        voucher = f"{self._servers()} {secrets.token_hex(8)}"
        self._broker.set(ASKED, voucher, px=ASKED_HOLDS_MS)
        for client, key in self._places():
            client.set(key, f"{_SOUGHT} {voucher}")
        return voucher

    def is_sought(self, voucher: str) -> bool:
        """Whether nothing was lost since `seek` has written it, and no other comparison has begun."""
        return self._stands(f"{_SOUGHT} {voucher}", _SOUGHT)

    def give(self, voucher: str) -> bool:
        """Everything was compared since `seek`: the voucher is given, unless something was lost meanwhile."""
        sought, given = f"{_SOUGHT} {voucher}", f"{_GIVEN} {voucher}"
        is_given = self.is_sought(voucher) and all(
            run_script(client, "exchange", [key], [sought, given]) for client, key in self._places()
        )
        self.give_up(voucher)
        return is_given and self.is_given()

    def give_up(self, voucher: str) -> None:
        """This comparison has ended, with the voucher or without: if none is given, another may be asked for."""
        run_script(self._broker, "hold", [ASKED], [voucher, 0])

    def _stands(self, text: str, state: str) -> bool:
        """Whether both databases hold this text, of this state, and it names the servers that now run."""
        return text.startswith(f"{state} {self._servers()} ") and all(
            self._read(client, key) == text for client, key in self._places()
        )

    def _places(self) -> tuple[tuple[redis.Redis, str], tuple[redis.Redis, str]]:
        return (self._broker, IN_BROKER), (self._cache, IN_CACHE)

    def _servers(self) -> str:
        return f"{self._name_of(self._broker)}/{self._name_of(self._cache)}"

    def _read(self, client: redis.Redis, key: str) -> str:
        value = client.get(key)
        return "" if value is None else bytes(value).decode(errors="replace")
