"""What the service is compared with, each a program of its own: `python -m tests.bench.contestants one-by-one …`.

`one-by-one` is the consumer that people write first: poll, json, Peewee's create, update or delete, the cache, one commit of
the offsets a poll. `batch-loop` is the most that one process reaches with these libraries on a stream of CREATEs: rows and a
ledger line each by `insert_many` in one transaction a poll, then the offsets; it knows no order, no failures and no cache.
Both get the models that cost Peewee least, whose fields convert nothing. They write down when they had subscribed and when
the last offset was committed; the time between is theirs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peewee
import redis
from kafka import KafkaConsumer

from tests.support.kafka_server import API_VERSION
from tests.support.mariadb_server import PASSWORD, USER
from tests.support.reference import TABLES

#: Records that a poll brings at most.
POLL_RECORDS = 500

#: How long a cached row stays, in seconds: the application's own.
TTL_S = 3_600

database = peewee.MySQLDatabase(None)


class Line(peewee.Model):
    """A ledger as the batch loop needs it."""

    operation_id = peewee.CharField(255, primary_key=True)
    outcome = peewee.CharField(16)
    entity = peewee.CharField(64)
    type = peewee.CharField(32)
    topic = peewee.CharField(249)
    partition = peewee.IntegerField()
    offset = peewee.BigIntegerField()
    settled_at = peewee.BigIntegerField()

    class Meta:
        database = database
        table_name = "lines_of_the_batch_loop"


def _model(entity: str) -> type[peewee.Model]:
    table, columns = TABLES[entity]
    fields = {name: peewee.BareField(column_name=column, null=True) for name, column in columns.items()}
    meta = type("Meta", (), {"database": database, "table_name": table})
    return type(entity, (peewee.Model,), {**fields, "Meta": meta})


MODELS = {entity: _model(entity) for entity in TABLES}


class Records:
    """The topic, read from its beginning to its `count`-th record. Times are seconds since 1970."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._left: int = options.count
        self._consumer = KafkaConsumer(
            bootstrap_servers=options.kafka,
            group_id=options.group,
            api_version=API_VERSION,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        self._consumer.subscribe([options.topic])
        self.subscribed_at = time.time()

    def polls(self) -> Iterator[list[Any]]:
        """What each poll brings; its offsets are committed when the next is asked for."""
        while self._left:
            polled = self._consumer.poll(timeout_ms=1_000, max_records=min(POLL_RECORDS, self._left))
            records = [record for of_partition in polled.values() for record in of_partition]
            if records:
                yield records
                self._consumer.commit()
                self._left -= len(records)


def one_by_one(records: Records, cache: redis.Redis[bytes]) -> None:
    """Each operation by itself, in a transaction of its own, then its key in the cache."""
    for polled in records.polls():
        for record in polled:
            operation = json.loads(record.value)
            _apply(cache, operation["type"], operation["entity"], operation["data"])


def _apply(cache: redis.Redis[bytes], type: str, entity: str, data: dict[str, Any]) -> None:
    model = MODELS[entity]
    match type:
        case "CREATE":
            row = model.create(**data)
            _cache_row(cache, entity, row)
        case "UPDATE":
            changes = {name: value for name, value in data.items() if name != "id"}
            model.update(changes).where(model.id == data["id"]).execute()  # type: ignore[attr-defined]
            _cache_row(cache, entity, model.get_by_id(data["id"]))
        case "DELETE":
            model.delete().where(model.id == data["id"]).execute()  # type: ignore[attr-defined]
            cache.delete(f"{entity}:{data['id']}")
        case "BULK_CREATE" | "BULK_UPDATE":
            with database.atomic():
                for one in data.get("records") or data.get("updates") or []:
                    _apply(cache, type.removeprefix("BULK_"), entity, one)


def _cache_row(cache: redis.Redis[bytes], entity: str, row: peewee.Model) -> None:
    value = {name: value for name, value in row.__data__.items() if name != "passwordHash"}
    cache.setex(f"{entity}:{value['id']}", TTL_S, json.dumps(value, default=str))


def batch_loop(records: Records, cache: redis.Redis[bytes]) -> None:
    """A poll is a transaction: its rows, its lines."""
    for polled in records.polls():
        operations = [json.loads(record.value) for record in polled]
        now_ms = int(time.time() * 1000)
        lines = [
            {
                "operation_id": operation["metadata"]["operationId"],
                "outcome": "applied",
                "entity": operation["entity"],
                "type": operation["type"],
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "settled_at": now_ms,
            }
            for operation, record in zip(operations, polled, strict=True)
        ]
        with database.atomic():
            MODELS["User"].insert_many([operation["data"] for operation in operations]).execute()
            Line.insert_many(lines).execute()


CONTESTANTS = {"one-by-one": one_by_one, "batch-loop": batch_loop}


def main() -> None:
    """The command line; ends when all is done, with the times in the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contestant", choices=CONTESTANTS)
    parser.add_argument("--kafka", required=True, help="host:port")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--group", required=True, help="a consumer group that is new")
    parser.add_argument("--count", type=int, required=True, help="how many records to read")
    parser.add_argument("--database", required=True)
    parser.add_argument("--database-port", type=int, required=True)
    parser.add_argument("--redis-port", type=int, required=True)
    parser.add_argument("--report", type=Path, required=True, help="the file to write the times to")
    options = parser.parse_args()

    database.init(
        options.database,
        host="127.0.0.1",
        port=options.database_port,
        user=USER,
        password=PASSWORD,
        charset="utf8mb4",
    )
    database.create_tables([Line])
    cache = redis.Redis(host="127.0.0.1", port=options.redis_port)
    cache.ping()
    records = Records(options)
    CONTESTANTS[options.contestant](records, cache)
    report = {"subscribed_at": records.subscribed_at, "ended_at": time.time()}
    options.report.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
