"""Keeps the application's cache true to the database: rows by leases, lists by purges, notes of pending operations.

After a commit the touched keys are unlinked, and so are their leases (`Cache.invalidate`). Filling comes later, by a
message of its own (`Cache.sync`): a random lease on each key, the rows as they now are, and each value set only if its
lease is still there. So a reader that a write has overtaken finds its lease gone and reads anew: late, doubled, racing
with a flush or with other syncs, it cannot leave an old value. The rows stay share-locked until their values are set: a
write of the application, which knows no leases, comes wholly before the read or wholly after the value. A reader that
fails on the way takes back what it has set or may have set, since it may have lost its locks.

While Redis cannot be reached all functions raise `redis.RedisError`, and may be called again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import peewee
import redis

from entities import database
from entities.cache_value import cache_values, cached_names
from entities.errors import InvalidOperation
from entities.registry import entity_named
from entities.statements import values_for_share
from worker.cache import lists
from worker.cache.scripts import run_script
from worker.failures import FailureKind, classify
from worker.fault_points import Point, reach
from worker.messages import CacheSync
from worker.settings import Settings

#: How long a value stays, in seconds: the application's own.
VALUE_TTL_S = 3_600

#: How long a lease stays, in seconds: longer than rows may be waited for.
LEASE_TTL_S = 120

#: The most keys of one script, one SELECT, one UNLINK. A script unpacks them onto Lua's stack: 8,000 is the most it takes.
KEYS_PER_PORTION = 500

#: How often a row that is written while it is read is read anew at once; then later.
ROUNDS = 10

#: After so many rounds: in how many ms.
NEXT_ROUNDS_AFTER_MS = 1_000

#: How long connecting may take, and how long an answer, in seconds.
CONNECT_TIMEOUT_S = 2
ANSWER_TIMEOUT_S = 10

T = TypeVar("T")


@dataclass(frozen=True)
class Again:
    """A message that the actor must send, after so many milliseconds."""

    sync: CacheSync
    delay_ms: int


#: The message that purges the lists of all entities that are dirty when it runs.
PURGE = CacheSync((), ())


class Cache:
    """The application's cache.

    Parameters:
      client: Redis, with replies as bytes.
      with_secrets: Whether secret attributes (passwordHash) may be in a value.
    """

    def __init__(self, client: redis.Redis, *, with_secrets: bool = False) -> None:
        self.client = client
        self.with_secrets = with_secrets

    @classmethod
    def connect(cls, settings: Settings) -> Cache:
        """The cache of the settings. It connects at the first command."""
        client = redis.Redis(
            host=settings.redis_host,
            port=settings.redis_port,
            db=settings.redis_db,
            username=settings.redis_username or None,
            password=settings.redis_password or None,
            ssl=settings.redis_ssl,
            ssl_ca_certs=settings.redis_ssl_ca or None,
            ssl_certfile=settings.redis_ssl_cert or None,
            ssl_keyfile=settings.redis_ssl_key or None,
            ssl_check_hostname=settings.redis_ssl,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=ANSWER_TIMEOUT_S,
            socket_keepalive=True,
        )
        return cls(client, with_secrets=settings.cache_secrets)

    def invalidate(self, sync: CacheSync) -> None:
        """Forget the rows that a commit has changed, and whoever is filling them. Call it between commit and settling."""
        doomed = [name for key in sync.keys for name in (key, _lease(key))]
        with self.client.pipeline(transaction=False) as pipeline:
            for portion in _portions(doomed):
                pipeline.unlink(*portion)
            pipeline.execute()

    def sync(self, sync: CacheSync, message_id: str) -> tuple[Again, ...]:
        """Fill rows as they now are and see to it that stale lists go: all that the actor of a `CacheSync` does.

        Parameters:
          sync: Its keys, entities and notes; without any it is a purge.
          message_id: The message's id, the same when it is run again.

        Gives the messages to send then. Raises Redis's and Peewee's errors: run it again later, as it stands.
        """
        if not sync.keys and not sync.entities and not sync.notes:
            following = lists.purge(self.client, message_id, sync.promised_by)
            return () if following is None else (Again(CacheSync((), (), following.promised_by), following.delay_ms),)
        self.remove_pending(sync.notes)
        to_send = []
        if sync.entities:
            delay_ms = lists.mark_dirty(self.client, sync.entities, message_id)
            if delay_ms is not None:
                to_send.append(Again(PURGE, delay_ms))
        try:
            lost = self.fill(sync.keys)
        except peewee.PeeweeException:
            if not to_send:
                raise
            lost = sync.keys  # the lists need no database: their purge is not to wait for it
        if lost:
            to_send.append(Again(CacheSync(lost, ()), NEXT_ROUNDS_AFTER_MS))
        return tuple(to_send)

    def fill(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Set the rows' values as the database now holds them, and remove those of rows that are gone.

        A row that is written again and again while it is read is given up after some rounds: those keys are the result.
        """
        to_do = list(dict.fromkeys(keys))
        for _ in range(ROUNDS):
            to_do = [key for portion in _portions(to_do) for key in self._fill_portion(portion)]
            if not to_do:
                break
        return tuple(to_do)

    def _fill_portion(self, keys: Sequence[str]) -> list[str]:
        """One round; the keys whose lease was lost. If others' locks were in the way, all of them."""
        lease = secrets.token_hex(8)
        run_script(self.client, "lease", [_lease(key) for key in keys], [lease, LEASE_TTL_S])
        reach(Point.LEASED)
        try:
            with database.transaction():
                values = _read(keys, self.with_secrets)
                reach(Point.READ)
                # Still inside: what the application writes must wait until the value is set.
                return self._set_leased(values, lease)
        except redis.RedisError:
            self._take_back(keys)  # the script may have arrived and run yet, when the rows are no longer locked
            raise
        except peewee.PeeweeException as error:
            self._take_back(keys)  # the locks may have been lost before the values were set
            if classify(error).kind is FailureKind.CONTENTION:
                return list(keys)
            database.close()
            raise

    def _take_back(self, keys: Sequence[str]) -> None:
        """Forget what this reader has set or may yet set: it does not know any more whether that is true."""
        with suppress(redis.RedisError):
            self.invalidate(CacheSync(tuple(keys), ()))

    def _set_leased(self, values: dict[str, bytes], lease: str) -> list[str]:
        """Set the values of which the lease is this one; the keys that have none any more."""
        keys = list(values)
        names = [name for key in keys for name in (key, _lease(key))]
        lost = run_script(self.client, "set", names, [lease, VALUE_TTL_S, *values.values()])
        reach(Point.FILLED)
        return [keys[number - 1] for number in lost]

    def remove_pending(self, settled_keys: Iterable[tuple[str, str]]) -> None:
        """Remove the application's notes `{key}:pending` of settled operations, each only if it names that operation.

        Parameters:
          settled_keys: The row's cache key and the operation's id.
        """
        for portion in _portions(list(settled_keys)):
            names = [f"{key}:pending" for key, _ in portion]
            run_script(self.client, "pending", names, [operation_id for _, operation_id in portion])


def _read(keys: Sequence[str], with_secrets: bool) -> dict[str, bytes]:
    """The value of each key, one SELECT an entity; empty if there is no such row. Locks the rows against writers."""
    values = dict.fromkeys(keys, b"")
    ids: dict[str, list[int]] = {}
    for key in keys:
        entity_name, _, row_id = key.rpartition(":")
        ids.setdefault(entity_name, []).append(int(row_id))
    for entity_name, row_ids in ids.items():
        try:
            entity = entity_named(entity_name)
        except InvalidOperation:
            continue  # from a version that knew it: nobody keeps the key true any more, so it goes
        rows = values_for_share(entity, cached_names(entity, with_secrets), row_ids)
        values.update(cache_values(entity, rows, with_secrets))
    return values


def _lease(key: str) -> str:
    return f"lease:{key}"


def _portions(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + KEYS_PER_PORTION] for start in range(0, len(items), KEYS_PER_PORTION))
