"""Sends mutated messages through `InProcessService` and judges what becomes of each; as a program, as many as are wanted.

    python -m tests.support.fuzz_run --messages 500000 --seed 7

A fault names the seed and the number of its message, which make it again, and shows the shortest message that still fails.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from entities import database, operations
from entities.registry import all_entities
from outbox.masking import mask_json
from outbox.records import Entry
from outbox.states import State
from tests.support.applying import mariadb_database
from tests.support.fuzzing import InProcessService
from tests.support.mariadb_server import MariaDBServer
from tests.support.mutations import ESCAPED_NAME, SECRET, SECRET_NAME, Form, Mutant, first_messages, mutants
from tests.support.shrinking import shortest, shortest_message
from worker.desk.words import name, what
from worker.logs import configure_logging
from worker.settings import load_settings

#: Messages that come in together.
PORTION = 2_000

#: How a line of the log begins.
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+ ")

_ENTITIES = "|".join(entity.__name__ for entity in all_entities())

#: A reason begins with what is wrong: a part of the envelope, or an attribute or a row of an entity. The last two: a place in
#: a part of the message that nobody reads, and an id that was used before.
NAMES_ITS_FIELD = re.compile(
    rf"""(?: (?:(?:records|updates)\[\d+\]\ )? (?:{_ENTITIES})
    (?: [.\[].*?:\ .+ | :\ .+ | \ \d+\ is\ not\ there | \.\w+\ .*\ is\ already\ there\ .+ )
    | (?:message|type|entity|data|metadata)(?:[.\[].*?)?:\ .+
    | .+:\ is\ not\ JSON:\ .+
    | operation\ id\ .+\ was\ already\ used\ by\ another\ operation )""",
    re.VERBOSE | re.DOTALL,
)

#: Rows above are removed between portions.
HIGHEST_ID_LEFT = 1_000_000_000

#: Kinds of error that say "nobody foresaw this".
UNFORESEEN = ("internal", "unexpected", "deadly")

CRASHES = "it crashes the service"


class FuzzFault(AssertionError):
    """A message that did what no message may do."""


@dataclass
class Tally:
    """What became of the messages."""

    applied: int = 0
    dead: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.applied + self.dead.total()

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.dead.most_common())
        return f"{self.total:,} messages: {self.applied:,} applied, {self.dead.total():,} dead ({kinds})"


def fuzz(folder: Path, seed: int, count: int, progress: bool = False) -> Tally:
    """Run so many messages of a seed against the bound database; raises FuzzFault, with the message shrunk.

    An even seed refuses unknown attributes, an odd one ignores them, and its operations have a retry each.
    """
    tally = Tally()
    with _service(folder, seed) as service:
        first = service.run(first_messages())
        assert {entry.state for entry in first} == {State.APPLIED}, [entry.reason for entry in first if entry.reason]
        stream = mutants(seed, count)
        began = time.monotonic()
        for start in itertools.count(0, PORTION):
            portion = list(islice(stream, PORTION))
            if not portion:
                break
            try:
                entries = service.run([one.raw for one in portion])
            except Exception as error:
                raise _crashed(folder, seed, start, portion, error) from error
            _make_room_for_ids()
            for number, (one, entry) in enumerate(zip(portion, entries, strict=True), start):
                fault = judged(one, entry)
                if fault is not None:
                    raise _told(folder, seed, number, one, fault)
                if entry.state is State.APPLIED:
                    tally.applied += 1
                else:
                    tally.dead[entry.error_kind or ""] += 1
            if progress:
                rate = tally.total / (time.monotonic() - began)
                print(
                    f"\rseed {seed}: {tally.total:,} of {count:,}, {rate:,.0f}/s ", end="", file=sys.stderr, flush=True
                )
    _read_the_log(folder, seed)
    return tally


def judged(one: Mutant, entry: Entry) -> str | None:
    """What is wrong with what became of a message; None if nothing is."""
    if entry.raw != one.raw:
        return "its bytes were changed"
    if SECRET in "".join(_shown(entry)):
        return f"a secret would be shown with it: {_shown(entry)}"
    if entry.state is State.APPLIED:
        return "it is broken and was applied" if one.form is Form.BROKEN else None
    reason, kind = entry.reason or "", entry.error_kind or ""
    if entry.state is not State.DEAD:
        return f"it is neither applied nor dead: {entry.state.label}"
    if not reason or not kind:
        return "it is dead without a reason"
    if SECRET in reason:
        return f"its reason tells a secret: {reason}"
    if SECRET in mask_json(one.raw):
        return "the desk would show a secret of it"
    if kind in UNFORESEEN:
        return f"it failed in a way nobody foresaw ({kind}): {reason}"
    if one.form is Form.IN_FORM and kind == "invalid":
        return f"it is in form and was refused: {reason}"
    if not reason.isprintable():
        return f"its reason cannot be printed: {reason!r}"
    if not NAMES_ITS_FIELD.fullmatch(reason):
        return f"its reason does not begin with what is wrong: {reason}"
    return None


def _shown(entry: Entry) -> tuple[str, ...]:
    """What people see of an entry beside its reason and its payload."""
    return what(entry), name(entry.operation_id).plain, entry.entity or "", entry.type or ""


# -------------------------------------------------------------------------------------------------- what it runs against


@contextmanager
def _service(folder: Path, seed: int) -> Iterator[InProcessService]:
    """A service whose log is written as in production, at debug; the process's own logging comes back afterwards."""
    policy = "ignore" if seed % 2 else "refuse"
    environ = {"LOG_DIR": str(folder / "logs"), "LOG_LEVEL": "debug", "MAX_RETRY_ATTEMPTS": str(seed % 2)}
    settings = load_settings({**environ, "UNKNOWN_ATTRIBUTES": policy}, folder / "no.env")
    folder.mkdir(parents=True, exist_ok=True)
    root = logging.getLogger()
    before = root.handlers[:], root.level, sys.excepthook
    root.handlers.clear()
    service = InProcessService(folder, settings)
    try:
        configure_logging(settings)
        root.handlers[-1].setLevel(logging.CRITICAL + 1)  # the console: the files are enough
        operations.configure(settings.unknown_attributes)
        yield service
    finally:
        operations.configure("refuse")
        service.close()
        for handler in root.handlers[:]:
            handler.close()
        root.handlers[:], level, sys.excepthook = before
        root.setLevel(level)
        logging.captureWarnings(False)


def _read_the_log(folder: Path, seed: int) -> None:
    """Every line of the log is an event's, and none tells a secret."""
    with (folder / "logs" / "combined.log").open(encoding="utf-8", errors="backslashreplace", newline="\n") as lines:
        for line in lines:
            if SECRET in line:
                raise FuzzFault(f"seed {seed}: a line of the log tells a secret: {line[:2_000]}")
            if not LOG_LINE.match(line) or not line.rstrip("\n").isprintable():
                raise FuzzFault(f"seed {seed}: a line of the log is not an event's alone: {line[:2_000]!r}")


def _make_room_for_ids() -> None:
    """Undo what a row with the highest id does to its table: every CREATE without an id behind it is a dead letter."""
    for entity in all_entities():
        table = database.quoted(entity._meta.table_name)
        if database.execute(f"DELETE FROM {table} WHERE id > %s", (HIGHEST_ID_LEFT,)).rowcount:
            database.execute(f"ALTER TABLE {table} AUTO_INCREMENT = 1")  # which InnoDB takes as: behind the highest


# ----------------------------------------------------------------------------------------------------- telling of a fault


def _crashed(folder: Path, seed: int, start: int, portion: Sequence[Mutant], error: Exception) -> FuzzFault:
    def crashes(some: list[Mutant]) -> bool:
        return isinstance(_tried(folder, seed, some), Exception)

    few = shortest(portion, crashes, tries=150) if crashes(list(portion)) else list(portion)
    if len(few) == 1:
        return _told(folder, seed, start + portion.index(few[0]), few[0], f"{CRASHES}: {error!r}")
    numbers = [start + portion.index(one) for one in few]
    return FuzzFault(f"seed {seed}, messages {numbers[:50]} together crash the service: {error!r}")


def _told(folder: Path, seed: int, number: int, one: Mutant, fault: str) -> FuzzFault:
    def fails(raw: bytes) -> bool:
        if SECRET.encode() in raw and SECRET_NAME not in raw and ESCAPED_NAME not in raw:
            return False  # a secret without its name may be shown: that is another fault than this one
        found = _tried(folder, seed, [Mutant(raw, Form.UNSURE)])
        return found is not None and _kind_of(found) == _kind_of(fault)

    short = shortest_message(one.raw, fails) if fails(one.raw) else one.raw
    return FuzzFault(f"seed {seed}, message {number}: {fault}\nshrunk to {len(short)} bytes: {short[:4_000]!r}")


def _kind_of(fault: Exception | str) -> str:
    return CRASHES if isinstance(fault, Exception) else fault.partition(":")[0]


_retrials = itertools.count(1)


def _tried(folder: Path, seed: int, some: Sequence[Mutant]) -> Exception | str | None:
    """What happens to these messages by themselves, on the rows that are there now."""
    database.close()
    database.execute("DELETE FROM settled_operations")
    with _service(folder / f"retrial-{next(_retrials)}", seed) as service:
        try:
            entries = service.run([one.raw for one in some])
        except Exception as error:
            return error
    return next((fault for one, entry in zip(some, entries, strict=True) if (fault := judged(one, entry))), None)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.fuzz_run", description="Fuzzes the way of an operation."
    )
    parser.add_argument("--messages", type=int, default=100_000, help="how many [100000]")
    parser.add_argument(
        "--seed", type=int, default=1, help="where to begin; each 100,000 messages take the next one [1]"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sumerce-fuzz-") as folder:
        server = MariaDBServer(Path(folder) / "mariadb")
        server.start()
        try:
            server.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 0")  # nothing is killed here
            for seed, done in enumerate(range(0, given.messages, 100_000), given.seed):
                server.create_database(f"fuzz_{seed}")
                with mariadb_database(server, f"fuzz_{seed}"):
                    tally = fuzz(Path(folder) / str(seed), seed, min(100_000, given.messages - done), progress=True)
                print(f"\rseed {seed}: {tally}")
                server.drop_database(f"fuzz_{seed}")
        finally:
            server.kill()


if __name__ == "__main__":
    main()
