"""An outbox file with as many entries waiting as one likes, made in seconds: by SQL, through the real schema.

Kafka must look as if it had brought them: the log that they name reaches at least as far, and ends with the record that the
outbox read last. So a topic is padded with tiny records up to the longest backlog, and ingest goes on where the padding ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from confluent_kafka import Producer

from outbox.intake import INSERTED
from outbox.models import COUNTERS, ENTRIES
from outbox.records import Position
from outbox.states import State
from outbox.store import Outbox
from tests.bench.streams import FIRST_TIMESTAMP
from tests.support.streams import a_message, a_user
from worker.assignment import value_hash

#: What the records of the padding hold. Nobody reads them.
PADDING = b"{}"

#: Entries written in one transaction.
A_TRANSACTION = 250_000

#: Stands in the payload where the entry's number is to stand.
_NUMBER = "NUMBER"


def pad(topic: str, partitions: int, records: int, producer: Producer) -> None:
    """Append so many records to each partition, all at the timestamp that `fill` names."""
    for _ in range(records):
        for partition in range(partitions):
            while True:
                try:
                    producer.produce(topic, PADDING, partition=partition, timestamp=FIRST_TIMESTAMP)
                    break
                except BufferError:  # Kafka is slower than we are
                    producer.poll(0.1)
    assert producer.flush(120) == 0


def fill(
    path: Path, topic: str, partitions: int, entries: int, padding: int, tell: Callable[[int], None] = lambda _: None
) -> None:
    """Make the file: so many CREATEs of User wait, each with an address of its own, spread evenly over the partitions.

    :param padding: how many records each partition begins with, see `pad`; enough for the entries' offsets.
    :param tell: is told how many were written, now and then.
    """
    assert entries <= padding * partitions
    fingerprint = (padding - 1, FIRST_TIMESTAMP, value_hash(PADDING))
    with Outbox.open(path) as outbox:
        positions = [Position(topic, partition, 0, padding, *fingerprint) for partition in range(partitions)]
        outbox.append([], positions)
        for partition in range(partitions):
            outbox._log_id((topic, 0, partition))  # no record is appended that would make it
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # nothing of it has to survive a crash: a journal would be written for nothing
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -200000"):
            connection.execute(f"PRAGMA {pragma}")
        for first in range(0, entries, A_TRANSACTION):
            last = min(first + A_TRANSACTION, entries) - 1
            connection.execute(_FILL_TEXT, {"first": first, "last": last, "partitions": partitions, **_payload()})
            tell(last + 1)
        connection.execute(f"UPDATE {COUNTERS} SET entries = ? WHERE state = ?", (entries, State.PENDING))
        connection.execute("PRAGMA journal_mode = WAL")


_FILL_TEXT = f"""
    WITH RECURSIVE numbers (n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last)
    INSERT INTO {ENTRIES} ({", ".join(f'"{column}"' for column in INSERTED)})
    SELECT (SELECT min(id) FROM partition_logs) + n % :partitions, n / :partitions, :at, :at, zeroblob(8), 'op_' || n,
        'User', 'CREATE', :at, :at, CAST(replace(:payload, '{_NUMBER}', n) AS BLOB)
    FROM numbers"""


def _payload() -> dict[str, object]:
    user = a_user(f"user{_NUMBER}@example.co")
    payload = a_message(f"op_{_NUMBER}", "CREATE", "User", user, timestamp=FIRST_TIMESTAMP)
    return {"payload": payload.decode(), "at": FIRST_TIMESTAMP}
