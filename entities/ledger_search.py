"""What the ledger says of the time after a dead letter: which operations were applied since. For people, not for the hot path.

Its newer part is read, by an index, in pages: some 200,000 lines a second. A ledger made before there was such an index is
read as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from entities.own_tables import SettledOperations

#: Lines read in one statement.
PAGE = 5_000

#: Operation ids asked for in one statement.
IDS_A_STATEMENT = 1_000


class AppliedSince(msgspec.Struct, frozen=True):
    """An operation that was applied; `touched` are the rows, `User:3`, and `settled_at` is ms since 1970."""

    operation_id: str
    type: str
    touched: tuple[str, ...]
    settled_at: int


_touched = msgspec.json.Decoder(tuple[str, ...])


def settled_at(operation_ids: Sequence[str]) -> dict[str, int]:
    """When those of these dead letters died that the ledger knows; ms since 1970."""
    table: Any = SettledOperations
    times: dict[str, int] = {}
    for start in range(0, len(operation_ids), IDS_A_STATEMENT):
        some = list(operation_ids[start : start + IDS_A_STATEMENT])
        query = table.select(table.operation_id, table.settled_at).where(
            table.operation_id.in_(some), table.outcome == "dead"
        )
        times.update(query.tuples())
    return times


def applied_since(since_ms: int, entities: Sequence[str]) -> Iterator[AppliedSince]:
    """The operations on these entities, by their names on the wire, that were applied after this time (ms since 1970).

    In the order in which they were settled.
    """
    at, after = since_ms + 1, ""
    while page := _page(entities, at, after):
        for operation_id, kind, touched, settled in page:
            yield AppliedSince(operation_id, kind, _touched.decode(touched), settled)
        if len(page) < PAGE:
            return
        after, *_, at = page[-1]


def _page(entities: Sequence[str], at: int, after: str) -> list[tuple[str, str, str, int]]:
    """The next lines: from this time on, of that very time only those behind this operation id."""
    table: Any = SettledOperations
    query = (
        table.select(table.operation_id, table.type, table.touched, table.settled_at)
        .where(
            table.settled_at >= at,
            (table.settled_at > at) | (table.operation_id > after),
            table.outcome == "applied",
            table.entity.in_(entities),
            table.touched.is_null(False),
        )
        .order_by(table.settled_at, table.operation_id)
        .limit(PAGE)
    )
    return list(query.tuples())
