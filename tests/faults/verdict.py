"""What a run came to: everything that was sent against everything that is there, and the counts that must all be zero.

The reference is serial: the operations applied one by one by `tests.support.reference`, in the order in which they were
sent. The database's ledger says what became of each operation, and outlives the outbox.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from kafka.errors import KafkaError

from outbox.records import NO_TIMESTAMP, Entry, EntryFilter
from outbox.states import State
from tests.faults.stream import Sent, Stream
from tests.support.pipeline import Pipeline
from tests.support.waiting import eventually

#: How long (s) the cache may take to become true, and the dead letters to be told, once all operations are settled.
CACHE_TIMEOUT_S, TOLD_TIMEOUT_S = 30.0, 60.0

#: How many examples of each fault are told.
EXAMPLES = 5

Rows = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Verdict:
    """What is wrong, each as a list of examples' descriptions; empty lists are what the promises say.

    :ivar lost: operations without a line in the ledger, and rows that the serial run has and the database has not.
    :ivar doubled: lines of operations that were not sent, and rows that the database has more often than the serial run.
    :ivar out_of_order: rows with another value than in the serial run; entries of the outbox behind a later one.
    :ivar dead_letters: operations that are dead letters here and not in the serial run, or the other way round.
    :ivar untold: dead letters of the ledger that their topic does not hold.
    :ivar stale_keys: cached values that are not the database's.
    :ivar ends: programs that ended by themselves.
    """

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    dead_letters: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    stale_keys: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not any(self.counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """How many of each."""
        return {one.name: len(getattr(self, one.name)) for one in fields(self)}

    def __str__(self) -> str:
        told = [f"{name}: {len(found)}" for name, found in self._found()]
        for name, found in self._found():
            told += [f"  {name}: {example}" for example in found[:EXAMPLES]]
        return "\n".join(told)

    def _found(self) -> list[tuple[str, list[str]]]:
        return [(one.name, getattr(self, one.name)) for one in fields(self)]


def ledger_outcomes(pipeline: Pipeline) -> dict[str, str]:
    """What the ledger says of each operation: "applied" or "dead", by the id of its line."""
    lines = pipeline.query("SELECT operation_id, outcome FROM settled_operations")
    return {_text(line_id): _text(outcome) for line_id, outcome in lines}


def judge(pipeline: Pipeline, stream: Stream, ends: Iterable[object] = ()) -> Verdict:
    """Compare; call it when everything is settled. Waits for the cache and for what is told of dead letters.

    :param ends: how programs ended that nobody has ended.
    """
    verdict = Verdict(ends=[str(end) for end in ends])
    outcomes = ledger_outcomes(pipeline)
    verdict.lost.extend(f"{line_id} has no line" for line_id in sorted(stream.line_ids - outcomes.keys()))
    verdict.doubled.extend(f"{line_id} was never sent" for line_id in sorted(outcomes.keys() - stream.line_ids))

    serial_rows, refused = pipeline.serial_rows(stream.serial)
    compare_rows(verdict, serial_rows, pipeline.rows())

    dead = {line_id for line_id, outcome in outcomes.items() if outcome == "dead"}
    expected_dead = set(refused) | stream.always_dead
    with pipeline.outbox() as outbox:
        entries = outbox.entries(EntryFilter(), limit=100_000)
    letters = {entry.operation_id: entry for entry in entries if entry.state is State.DEAD}
    verdict.dead_letters.extend(
        f"{line_id} is a dead letter ({_reason(letters.get(line_id))}), and passes in the serial run"
        for line_id in sorted(dead - expected_dead)
    )
    verdict.dead_letters.extend(
        f"{line_id} is none, and is refused in the serial run" for line_id in expected_dead - dead
    )
    unsettled = [entry for entry in entries if not entry.state.is_settled]
    verdict.lost.extend(f"{entry!r} is unsettled in the outbox" for entry in unsettled)
    known_dead = {(entry.partition, entry.offset) for entry in entries if entry.state is State.DEAD}
    verdict.dead_letters.extend(
        f"{one.line_id} is not a dead letter of the outbox"
        for one in stream.sent
        if one.line_id in dead and not one.is_copy and (one.partition, one.offset) not in known_dead
    )
    verdict.out_of_order.extend(inversions(stream, entries))
    verdict.untold.extend(_untold(pipeline, [one for one in stream.sent if one.line_id in dead and not one.is_copy]))
    verdict.stale_keys.extend(_stale_keys(pipeline))
    return verdict


def compare_rows(verdict: Verdict, serial: Rows, actual: Rows) -> None:
    """Note how the database's rows differ from the serial run's."""
    for entity, expected in serial.items():
        wanted, found = _counted(expected), _counted(actual[entity])
        missing, surplus = wanted - found, found - wanted
        by_id = {_id_of(row): row for row in missing}
        for row, count in surplus.items():
            other = by_id.get(_id_of(row)) if _id_of(row) != "generated" else None
            if other is not None:
                verdict.out_of_order.append(f"{entity}: {dict(row)} instead of {dict(other)}")
                del missing[other]
            else:
                verdict.doubled.append(f"{entity}: {count} more of {dict(row)}")
        verdict.lost.extend(f"{entity}: {count} less of {dict(row)}" for row, count in missing.items())


def inversions(stream: Stream, entries: Sequence[Entry]) -> list[str]:
    """The entries that stand in the outbox behind one that was sent later. Letters taken over from the ledger do not
    count."""
    place = {(one.partition, one.offset): number for number, one in enumerate(stream.sent)}
    found = []
    last = -1
    for entry in entries:
        if entry.kafka_timestamp == NO_TIMESTAMP:
            continue
        number = place[(entry.partition, entry.offset)]
        if number < last:
            found.append(f"{entry!r} (sent as number {number}) stands behind number {last}")
        last = max(last, number)
    return found


def _untold(pipeline: Pipeline, dead: Iterable[Sent]) -> list[str]:
    """The dead letters that their topic never comes to hold. That it holds one more than once is no fault.

    They are known by their places: an id that came again with other content is told as the id of both.
    """
    untold = {(str(one.partition), str(one.offset)): one for one in dead}

    def is_nothing_left() -> bool:
        for record in pipeline.kafka.records(pipeline.service.settings["TOPIC_DEAD_LETTERS"]):
            headers = dict(record.headers)
            untold.pop((headers["partition"].decode(), headers["offset"].decode()), None)
        return not untold

    try:
        eventually(is_nothing_left, TOLD_TIMEOUT_S, "all dead letters are told", ignoring=(KafkaError,))
    except AssertionError:
        return [f"{one.line_id} was never told" for one in untold.values()]
    return []


def _stale_keys(pipeline: Pipeline) -> list[str]:
    """Cached values that stay other than the database's. A key that is not cached is no fault: the cache was flushed."""
    expected = pipeline.expected_cache()
    stale: list[str] = []

    def is_true() -> bool:
        stale[:] = [
            f"{key}: {value} instead of {expected.get(key)}"
            for key, value in pipeline.cached_rows().items()
            if expected.get(key) != value
        ]
        return not stale

    try:
        eventually(is_true, CACHE_TIMEOUT_S, "the cache is true")
    except AssertionError:
        return stale
    return []


_Row = tuple[tuple[str, Any], ...]


def _counted(rows: Iterable[dict[str, Any]]) -> Counter[_Row]:
    return Counter(tuple(row.items()) for row in rows)


def _id_of(row: _Row) -> Any:
    return dict(row)["id"]


def _reason(letter: Entry | None) -> str:
    return "unknown to the outbox" if letter is None else f"{letter.error_kind}: {letter.reason}"


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
