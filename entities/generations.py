"""What the database remembers of the partitions' logs: which generation each is, and how to recognise it.

A topic that is deleted and made anew has other records at the same offsets. Whoever has the outbox, or the group's commit,
sees it there; but a topic's deletion takes its commits with it, and a host may be lost with its disk. So this is kept beside
the ledger, whose lines it protects: those of messages without an operation id are known by partition, offset and generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import peewee

from entities import database
from entities.kept import KeptQuery, Slot
from entities.own_tables import PartitionGenerations


class LogGeneration(msgspec.Struct, frozen=True):
    """A partition's log: how often the topic had been made anew, and a record of it (eight bytes tell its value)."""

    generation: int
    offset: int
    kafka_timestamp: int
    value_hash: bytes


def generations(topic: str, *, to_change: bool = False) -> dict[int, LogGeneration]:
    """What is remembered of the topic, by partition; locked until the transaction ends if it is to be changed."""
    rows: Any = _known.run(to_change, topic=topic).fetchall()
    return {
        partition: LogGeneration(generation, offset, timestamp, bytes(value_hash))
        for partition, generation, offset, timestamp, value_hash in rows
    }


def remember(topic: str, logs: Mapping[int, LogGeneration]) -> None:
    """Replace what is remembered of these partitions; a higher generation stays. In a transaction of the caller's.

    To be done before any operation of such a log is dispatched. A late call, of an ingest that is not the active one any more,
    must not take the partition back to an older log.
    """
    known = generations(topic, to_change=True)
    for partition, log in logs.items():
        if partition not in known or known[partition].generation <= log.generation:
            _remembered.run(topic=topic, partition=partition, **msgspec.structs.asdict(log))


@KeptQuery
def _known(to_change: bool) -> Any:
    table = PartitionGenerations
    columns = (table.partition, table.generation, table.offset, table.kafka_timestamp, table.value_hash)
    query = table.select(*columns).where(table.topic == Slot("topic"))
    return peewee.NodeList((query, peewee.SQL(database.row_lock() if to_change else "")), glue="")


@KeptQuery
def _remembered() -> Any:
    table = PartitionGenerations
    row = {name: Slot(name) for name in ("topic", "partition", *LogGeneration.__struct_fields__)}
    return table.insert(row).on_conflict_replace()
