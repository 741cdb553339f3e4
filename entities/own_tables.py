"""The service's own tables in the application's database: the ledger, the epochs, and the row that the health probe writes.

They stand beside the application's tables because a line must commit together with the write it tells of. They are made at
start if they are missing; where the account may not, `MissingTables` shows the statements for somebody who may.
"""

from __future__ import annotations

from typing import Any

import peewee

from entities import base, database


class OperationId(peewee.BlobField):
    """An operation id, kept as its UTF-8 bytes: compared byte for byte, whatever the server's collation."""

    def db_value(self, value: str | None) -> bytes | None:
        return None if value is None else value.encode()

    def python_value(self, value: bytes | None) -> str | None:
        return None if value is None else bytes(value).decode()


class SettledOperations(peewee.Model):
    """The ledger: one line for each operation whose fate is decided, `entities.ledger` says how it is used."""

    operation_id = OperationId(primary_key=True)
    #: Tells whether another operation with this id asks for the same.
    content = peewee.BlobField()
    #: applied | dead | discarded (a dead letter that an operator has put aside)
    outcome = peewee.CharField()
    #: Of the run that reached the outcome: 0 the first, one more with each replay of the dead letter.
    incarnation = peewee.IntegerField()
    entity = peewee.CharField()
    type = peewee.CharField()
    #: JSON list of the cache keys of all rows it touched, cascaded ones too; of a CREATE the first names the generated id.
    touched = peewee.TextField(null=True)
    topic = peewee.CharField()
    generation = peewee.IntegerField()
    partition = peewee.IntegerField()
    offset = peewee.BigIntegerField()
    #: Milliseconds since 1970.
    settled_at = peewee.BigIntegerField()
    # Of dead letters:
    attempts = peewee.IntegerField()
    error_kind = peewee.CharField()
    reason = peewee.TextField(null=True)
    #: Kafka's value as it came; null if it does not fit into the database's packet.
    payload = peewee.BlobField(null=True)

    class Meta:
        database = base.database
        table_name = "settled_operations"


class IngestEpochs(peewee.Model):
    """One row a consumer group: raised by each ingest that takes over, read by each transaction of an actor."""

    consumer_group = peewee.CharField(primary_key=True)
    epoch = peewee.BigIntegerField()
    outbox_id = peewee.CharField()
    #: Milliseconds since 1970.
    raised_at = peewee.BigIntegerField()

    class Meta:
        database = base.database
        table_name = "ingest_epochs"


class IngestNodes(peewee.Model):
    """One row an outbox, written by the health probe: a read-only or a full database still answers reads."""

    outbox_id = peewee.CharField(primary_key=True)
    #: Milliseconds since 1970.
    seen_at = peewee.BigIntegerField()

    class Meta:
        database = base.database
        table_name = "ingest_nodes"


class PartitionGenerations(peewee.Model):
    """One row a partition: how often its topic was made anew, and how to recognise its newest log; `entities.generations`."""

    topic = peewee.CharField()
    partition = peewee.IntegerField()
    generation = peewee.IntegerField()
    offset = peewee.BigIntegerField()
    kafka_timestamp = peewee.BigIntegerField()
    value_hash = peewee.BlobField()

    class Meta:
        database = base.database
        table_name = "partition_generations"
        primary_key = peewee.CompositeKey("topic", "partition")


# ROW_FORMAT is said because older servers' default has no room for a key of 1,020 bytes (255 characters of 4 bytes).
_MYSQL = {
    "settled_operations": """\
CREATE TABLE IF NOT EXISTS settled_operations (
  operation_id VARBINARY(1020) NOT NULL PRIMARY KEY,
  content BINARY(16) NOT NULL,
  outcome ENUM('applied','dead','discarded') NOT NULL,
  incarnation INT NOT NULL,
  entity VARCHAR(64) NOT NULL DEFAULT '',
  type VARCHAR(64) NOT NULL DEFAULT '',
  touched MEDIUMTEXT NULL,
  topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  generation INT NOT NULL,
  `partition` INT NOT NULL,
  `offset` BIGINT NOT NULL,
  settled_at BIGINT NOT NULL,
  attempts INT NOT NULL DEFAULT 0,
  error_kind VARCHAR(32) NOT NULL DEFAULT '',
  reason TEXT NULL,
  payload LONGBLOB NULL,
  KEY by_origin (topic, outcome, `partition`, generation, `offset`),
  KEY by_time (settled_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin""",
    "ingest_epochs": """\
CREATE TABLE IF NOT EXISTS ingest_epochs (
  consumer_group VARCHAR(255) NOT NULL PRIMARY KEY,
  epoch BIGINT NOT NULL,
  outbox_id VARCHAR(64) NOT NULL,
  raised_at BIGINT NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin""",
    "ingest_nodes": """\
CREATE TABLE IF NOT EXISTS ingest_nodes (
  outbox_id VARCHAR(64) NOT NULL PRIMARY KEY,
  seen_at BIGINT NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin""",
    "partition_generations": """\
CREATE TABLE IF NOT EXISTS partition_generations (
  topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  `partition` INT NOT NULL,
  generation INT NOT NULL,
  `offset` BIGINT NOT NULL,
  kafka_timestamp BIGINT NOT NULL,
  value_hash BINARY(8) NOT NULL,
  PRIMARY KEY (topic, `partition`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin""",
}

_SQLITE = {
    "settled_operations": """\
CREATE TABLE IF NOT EXISTS settled_operations (
  operation_id BLOB NOT NULL PRIMARY KEY,
  content BLOB NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome IN ('applied','dead','discarded')),
  incarnation INTEGER NOT NULL,
  entity TEXT NOT NULL DEFAULT '',
  type TEXT NOT NULL DEFAULT '',
  touched TEXT,
  topic TEXT NOT NULL,
  generation INTEGER NOT NULL,
  "partition" INTEGER NOT NULL,
  "offset" INTEGER NOT NULL,
  settled_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  error_kind TEXT NOT NULL DEFAULT '',
  reason TEXT,
  payload BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_origin ON settled_operations (topic, outcome, "partition", generation, "offset");
CREATE INDEX IF NOT EXISTS by_time ON settled_operations (settled_at)""",
    "ingest_epochs": """\
CREATE TABLE IF NOT EXISTS ingest_epochs (
  consumer_group TEXT NOT NULL PRIMARY KEY,
  epoch INTEGER NOT NULL,
  outbox_id TEXT NOT NULL,
  raised_at INTEGER NOT NULL
)""",
    "ingest_nodes": """\
CREATE TABLE IF NOT EXISTS ingest_nodes (
  outbox_id TEXT NOT NULL PRIMARY KEY,
  seen_at INTEGER NOT NULL
)""",
    "partition_generations": """\
CREATE TABLE IF NOT EXISTS partition_generations (
  topic TEXT NOT NULL,
  "partition" INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  "offset" INTEGER NOT NULL,
  kafka_timestamp INTEGER NOT NULL,
  value_hash BLOB NOT NULL,
  PRIMARY KEY (topic, "partition")
) WITHOUT ROWID""",
}


class MissingTables(Exception):
    """Tables are missing and this account may not make them. The text holds the statements to run."""

    def __init__(self, tables: list[str], why: str, statements: str) -> None:
        super().__init__(
            f"{', '.join(tables)} missing, and not to be made by this account ({why}). Run:\n{statements};"
        )
        self.tables = tables
        self.statements = statements


def create_own_tables() -> None:
    """Make those of the service's tables that are missing.

    Raises `MissingTables` if the database is there and refuses, Peewee's error if it cannot be reached. Two processes may do
    it at once.
    """
    definitions = _SQLITE if database.is_sqlite() else _MYSQL
    there = _tables_there()
    missing = [name for name in definitions if name not in there]
    try:
        for name in missing:
            for statement in definitions[name].split(";\n"):
                database.execute(statement)
    except peewee.DatabaseError as error:
        missing = [name for name in definitions if name not in _tables_there()]  # raises if the server is gone
        statements = ";\n".join(definitions[name] for name in missing)
        raise MissingTables(missing, str(error), statements) from error


def _tables_there() -> set[str]:
    names: list[Any] = database.current().get_tables()
    return {str(name).lower() for name in names}
