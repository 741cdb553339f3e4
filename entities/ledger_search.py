"""What the ledger says of the time after a dead letter: which operations were applied since. For people, not for the hot path.

The ledger has no index for it, so the whole of its newer part is read, in pages: some 200,000 lines a second.
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
    """The operations on these entities, by their names on the wire, that were applied after this time (ms since 1970)."""
    table: Any = SettledOperations
    after = ""
    while True:
        page = list(
            table.select(table.operation_id, table.type, table.touched, table.settled_at)
            .where(
                table.outcome == "applied",
                table.entity.in_(entities),
                table.settled_at > since_ms,
                table.touched.is_null(False),
                table.operation_id > after,
            )
            .order_by(table.operation_id)
            .limit(PAGE)
            .tuples()
        )
        for operation_id, kind, touched, at in page:
            yield AppliedSince(operation_id, kind, _touched.decode(touched), at)
        if len(page) < PAGE:
            return
        after = page[-1][0]
