"""Runs tangled streams through the service in one thread and through plain SQL one by one, and compares what they leave.

    python -m tests.support.tangle_run --streams 5000 --seed 7 --collation latin1_swedish_ci

Batches in flight run in any order; some are run twice, or late, or their settlement is lost, or the database is out for them.
No operation has a second attempt, so both must end with the same rows and refuse the same operations. A difference names its
seed and shows the shortest stream that still differs.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql

from entities import database
from outbox.records import Entry
from outbox.states import State
from tests.support.applying import mariadb_database
from tests.support.fuzzing import InProcessService
from tests.support.mariadb_server import MariaDBServer
from tests.support.reference import FIRST_GENERATED, TABLES, all_rows, apply_one_by_one, keep_generated_ids_apart
from tests.support.shrinking import shortest
from tests.support.tangle import tangle
from worker.messages import Outcome, OutcomeLine, Settlement, decode_settlement, encode_settlement
from worker.settings import load_settings

#: The most messages of a stream.
LONGEST = 40

#: Tables whose rows have siblings, and the columns that tell under whom and which.
SIBLINGS = {
    "emprendimientos": ("usuario_id", "nombre_emprendimiento"),
    "calificaciones": ("emprendimiento_id", "puntaje_total"),
}


class UnrulyService(InProcessService):
    """One in which messages overtake each other, run twice or late, and settlements are lost.

    Parameters:
      chance: draws what happens.
    """

    def __init__(self, folder: Path, settings: Any, chance: random.Random) -> None:
        super().__init__(folder, settings)
        self.chance = chance
        self._late: list[bytes] = []

    def _take_queue(self) -> list[bytes]:
        queued = super()._take_queue()
        self.chance.shuffle(queued)
        taken = self.chance.randint(1, len(queued))
        self._queue = queued[taken:]
        return queued[:taken]

    def _acted_on(self, data: bytes) -> bytes:
        fate = self.chance.random()
        if fate < 0.05:
            (argument,) = self._encoder.decode(data)["args"]
            members = getattr(argument, "operations", None) or argument.verdicts
            lines = tuple(OutcomeLine(one.origin, one.incarnation, Outcome.UNAVAILABLE) for one in members)
            return encode_settlement(Settlement(argument.batch_id, argument.epoch, lines))
        if fate < 0.1:
            self._late.append(data)
        if self._late and self.chance.random() < 0.2:
            super()._acted_on(self._late.pop())  # and what it pushes is lost
        pushed = super()._acted_on(data)
        return super()._acted_on(data) if 0.1 < fate < 0.15 else pushed

    def _settle(self, pushed: Sequence[bytes]) -> None:
        told = [data for data in pushed if self.chance.random() > 0.05]
        super()._settle(told)
        self._scheduler.send_again([decode_settlement(data).batch_id for data in pushed if data not in told])


class Comparison:
    """The service on the bound database, and plain SQL on another of the same server."""

    def __init__(self, folder: Path, server: MariaDBServer, name: str, reference: str) -> None:
        self._folder = folder
        self._server = server
        self._reference = reference
        self._name = name
        self._services = 0
        self.tally: Counter[str] = Counter()
        with self._connections() as (ours, theirs):
            for connection in (ours, theirs):
                keep_generated_ids_apart(connection)

    def difference(self, seed: int, messages: Sequence[bytes]) -> str:
        """What is different after these messages; empty if nothing is. The seed draws what happens on the way."""
        chance = random.Random(seed)
        with self._connections() as (ours, theirs):
            for connection in (ours, theirs):
                _empty(connection)
            refused = set(apply_one_by_one(theirs, messages))
            entries = self._run(chance, messages)
            expected, ended = (_told(all_rows(connection), _siblings(connection)) for connection in (theirs, ours))
        dead = [entry.state is State.DEAD for entry in entries]
        self.tally.update(entry.error_kind or entry.state.name.lower() for entry in entries)
        if dead != (should_be_dead := _should_be_dead(messages, refused)):
            return f"dead {dead}\nnot  {should_be_dead}\n{[entry.reason for entry in entries]}"
        return "" if ended == expected else f"rows {ended}\nnot  {expected}"

    def _run(self, chance: random.Random, messages: Sequence[bytes]) -> list[Entry]:
        self._services += 1
        folder = self._folder / str(self._services)
        folder.mkdir()
        settings = load_settings(
            {
                "MAX_RETRY_ATTEMPTS": "0",
                "BATCH_MAX_OPERATIONS": str(chance.choice([1, 3, 8, 40])),
                "MAX_IN_FLIGHT_BATCHES": str(chance.randint(1, 4)),
            }
        )
        service = UnrulyService(folder, settings, chance)
        try:
            return service.run(messages)
        finally:
            service.close()
            for file in folder.iterdir():
                file.unlink()

    @contextmanager
    def _connections(self) -> Iterator[tuple[pymysql.Connection[Any], pymysql.Connection[Any]]]:
        with self._server.connection(self._name) as ours, self._server.connection(self._reference) as theirs:
            for connection in (ours, theirs):
                connection.autocommit(False)
                with connection.cursor() as cursor:
                    cursor.execute("SET SESSION sql_mode = %s, time_zone = '+00:00'", (database.SQL_MODE,))
            yield ours, theirs


def stream(seed: int) -> list[bytes]:
    """The messages of a seed: some that make rows, and more that get in each other's way."""
    chance = random.Random(seed)
    return tangle(chance, chance.randint(2, LONGEST), f"op_{seed}")


def _should_be_dead(messages: Sequence[bytes], refused: set[str]) -> list[bool]:
    """Of each message: what was refused, with its copies, and what comes under an id that another one has."""
    first: dict[str, Any] = {}
    expected = []
    for raw in messages:
        message = json.loads(raw)
        operation_id = message.pop("metadata")["operationId"]
        expected.append(operation_id in refused or first.setdefault(operation_id, message) != message)
    return expected


def _empty(connection: pymysql.Connection[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM usuarios")
        cursor.execute("DELETE FROM settled_operations")
    connection.commit()


def _siblings(connection: pymysql.Connection[Any]) -> list[tuple[Any, ...]]:
    """Rows of generated ids in the order of these, by parent."""
    found: list[tuple[Any, ...]] = []
    with connection.cursor() as cursor:
        for table, columns in SIBLINGS.items():
            names = ", ".join(columns)
            cursor.execute(f"SELECT {names} FROM {table} WHERE id >= {FIRST_GENERATED} ORDER BY {columns[0]}, id")
            found += cursor.fetchall()
    return found


def _told(rows: dict[str, list[dict[str, Any]]], siblings: list[tuple[Any, ...]]) -> str:
    return repr(({entity: some for entity, some in rows.items() if some}, siblings))


@contextmanager
def comparison(server: MariaDBServer, name: str, folder: Path, collation: str) -> Iterator[Comparison]:
    """A comparison on a database that is there and one that is made for it, whose texts have this collation."""
    reference = f"{name}_one_by_one"
    server.execute(f"CREATE OR REPLACE DATABASE `{reference}`")
    try:
        with mariadb_database(server, reference):
            pass
        with mariadb_database(server, name):
            for one in (name, reference):
                _collate(server, one, collation)
            yield Comparison(folder, server, name, reference)
    finally:
        server.drop_database(reference)


def _collate(server: MariaDBServer, name: str, collation: str) -> None:
    character_set = collation.partition("_")[0]
    with server.connection(name) as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION foreign_key_checks = 0")
        for table, _ in TABLES.values():
            cursor.execute(f"ALTER TABLE `{table}` CONVERT TO CHARACTER SET {character_set} COLLATE {collation}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1, help="the first stream's; each next one is one more")
    parser.add_argument("--collation", default="utf8mb4_unicode_ci")
    arguments = parser.parse_args()
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        server = MariaDBServer(Path(folder) / "mariadb")
        server.options = ["--innodb-flush-log-at-trx-commit=0"]
        server.start()
        try:
            server.create_database("tangle")
            with comparison(server, "tangle", Path(folder), arguments.collation) as compared:
                return _compare(compared, range(arguments.seed, arguments.seed + arguments.streams))
        finally:
            server.stop()


def _compare(compared: Comparison, seeds: range) -> int:
    began = time.monotonic()
    for done, seed in enumerate(seeds, 1):
        messages = stream(seed)
        if compared.difference(seed, messages):
            short = _shortest(compared, seed, messages)
            print(f"seed {seed}:", *(message.decode() for message in short), compared.difference(seed, short), sep="\n")
            return 1
        if done % 100 == 0:
            print(f"{done} streams in {time.monotonic() - began:.0f} s: {dict(compared.tally)}", flush=True)
    return 0


def _shortest(compared: Comparison, seed: int, messages: list[bytes]) -> list[bytes]:
    return shortest(messages, lambda some: bool(compared.difference(seed, some)))


if __name__ == "__main__":
    sys.exit(main())
