"""The service on its real servers as one thing: send messages in, look at what came out on every side."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
import redis

from entities.schema import application_ddl
from outbox.records import Counts, Entry, EntryFilter
from outbox.states import State
from outbox.store import Outbox
from tests.support import reference
from tests.support.kafka_server import KafkaServer, Record
from tests.support.mariadb_server import MariaDBServer
from tests.support.redis_server import RedisServer
from tests.support.service import Service
from tests.support.waiting import eventually
from worker.cache.voucher import IN_CACHE

PARTITIONS = 3


class Pipeline:
    """A service with an application's database, its topic, its cache and its outbox."""

    def __init__(self, service: Service, kafka: KafkaServer, mariadb: MariaDBServer, redis_server: RedisServer) -> None:
        self.service = service
        self.kafka = kafka
        self.mariadb = mariadb
        self.redis_server = redis_server
        self.sent = 0
        self.make_tables(self.database)

    @property
    def database(self) -> str:
        return self.service.settings["DB_NAME"]

    @property
    def topic(self) -> str:
        return self.service.settings["TOPIC_DB_OPERATIONS"]

    @property
    def cache(self) -> redis.Redis:
        return self.redis_server.client(int(self.service.settings["REDIS_DB"]))

    # ------------------------------------------------------------------------------------------------------ going in

    def make_tables(self, database: str) -> None:
        """The application's tables, generated ids far above explicit ones."""
        with self.mariadb.connection(database) as connection:
            with connection.cursor() as cursor:
                for statement in application_ddl("mysql"):
                    cursor.execute(statement)
            reference.keep_generated_ids_apart(connection)

    def send(self, messages: Sequence[bytes], partitions: int = PARTITIONS) -> None:
        """Put the messages on the topic without a key, each on some partition (with 1: in the order given)."""
        chance = random.Random(0)
        self.kafka.produce(self.topic, [Record(chance.randrange(partitions), message) for message in messages])
        self.sent += len(messages)

    # --------------------------------------------------------------------------------------------------- coming out

    @contextmanager
    def outbox(self) -> Iterator[Outbox]:
        """The outbox, beside whoever has it open."""
        outbox = Outbox.attach(Path(self.service.settings["OUTBOX_PATH"]))
        try:
            yield outbox
        finally:
            outbox.close()

    def counts(self) -> Counts:
        with self.outbox() as outbox:
            return outbox.counts()

    def wait_until_settled(self, count: int | None = None, timeout: float = 120.0) -> Counts:
        """Wait until so many operations (all that were sent) are settled; what they came to."""
        expected = self.sent if count is None else count

        def settled() -> Counts | None:
            counts = self.counts()
            return counts if counts.total >= expected and counts.unsettled == 0 else None

        def told() -> str:
            return f"{expected} operations are settled, of {self.counts()}\n{self.service.log_tails()}"

        result = eventually(settled, timeout, told, ignoring=(OSError,))
        assert result is not None
        return result

    def dead_letters(self) -> dict[str, Entry]:
        """The dead letters by operation id."""
        with self.outbox() as outbox:
            letters = outbox.entries(EntryFilter(state=State.DEAD), limit=10_000)
        return {letter.operation_id: letter for letter in letters}

    def entries(self) -> list[Entry]:
        with self.outbox() as outbox:
            return outbox.entries(EntryFilter(), limit=100_000)

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        with self.mariadb.connection(self.database) as connection:
            return reference.all_rows(connection)

    def query(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self.mariadb.rows(query, parameters, database=self.database)

    def serial_rows(self, messages: Iterable[bytes]) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
        """What the messages come to when applied one by one: the rows, and what the database refused."""
        name = f"{self.database}_serial"
        self.mariadb.create_database(name)
        try:
            self.make_tables(name)
            with self.mariadb.connection(name) as connection:
                connection.autocommit(False)
                _like_the_service(connection)
                refused = reference.apply_one_by_one(connection, messages)
                return reference.all_rows(connection), refused
        finally:
            self.mariadb.drop_database(name)

    def cached_rows(self) -> dict[str, dict[str, Any]]:
        """Every row in the cache, by key."""
        cache = self.cache
        keys = [key.decode() for key in cache.scan_iter("*:*", count=1000)]
        rows = [key for key in keys if key.count(":") == 1 and key.split(":")[1].isdigit()]
        values = cache.mget(rows) if rows else []
        return {key: json.loads(value) for key, value in zip(rows, values, strict=True) if value is not None}

    def expected_cache(self) -> dict[str, dict[str, Any]]:
        """What the cache may hold, by key: the rows as the database has them."""
        expected: dict[str, dict[str, Any]] = {}
        with self.mariadb.connection(self.database) as connection:
            _like_the_service(connection)
            for entity in reference.TABLES:
                expected |= reference.expected_cache(connection, entity)
        return expected

    def wait_until_the_cache_is_vouched_for(self) -> None:
        """Wait until all of the new cache was compared: what a sync leaves undone later is not mended by that comparison."""
        eventually(lambda: (self.cache.get(IN_CACHE) or b"").startswith(b"given"), 30, self.service.log_tails)

    def wait_until_the_cache_is_true(self, timeout: float = 60.0) -> dict[str, dict[str, Any]]:
        """Wait until every row stands in the cache as the database has it, and nothing else does."""
        expected = self.expected_cache()

        def wrong() -> str:
            cached = self.cached_rows()
            missing = expected.keys() - cached.keys()
            surplus = cached.keys() - expected.keys()
            stale = [key for key in expected.keys() & cached.keys() if expected[key] != cached[key]]
            examples = [(key, cached[key], expected[key]) for key in stale[:2]]
            return f"missing {sorted(missing)[:5]}, surplus {sorted(surplus)[:5]}, stale {examples}"

        eventually(lambda: self.cached_rows() == expected, timeout, wrong)
        return expected

    def logged(self) -> str:
        """Everything that the programs logged."""
        return (Path(self.service.settings["LOG_DIR"]) / "combined.log").read_text()


def _like_the_service(connection: pymysql.connections.Connection[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE', time_zone = '+00:00'")
