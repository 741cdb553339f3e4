"""Which rows an operation of the histories concerns: told by its data alone, not as the service tells it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.simulation.plan import Operation


@dataclass(frozen=True)
class Rows:
    """The rows that an operation is to write, and those that it names as parents."""

    written: frozenset[str] = frozenset()
    parents: frozenset[str] = frozenset()

    @property
    def all(self) -> frozenset[str]:
        return self.written | self.parents

    def precede(self, later: Rows, *, but_for_parents: bool) -> bool:
        """Whether these must be written before the later ones are. ``but_for_parents``: whoever is to write a parent may pass."""
        if not self.written.isdisjoint(later.all):
            return True
        return not but_for_parents and not later.written.isdisjoint(self.parents)


def rows_of(operation: Operation) -> Rows:
    """The rows that an operation of the histories names by their ids."""
    data = operation.data or {}
    written = {f"{operation.entity}:{data['id']}"} if "id" in data else set()
    records = data.get("records", [data])
    named = (("User", "userId"), ("Business", "businessId"))
    parents = {f"{entity}:{record[key]}" for record in records for entity, key in named if key in record}
    return Rows(frozenset(written), frozenset(parents))
