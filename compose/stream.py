"""A stream of operations as the application sends them, and what must come of each.

All entities and all five types; parents with explicit ids, so that their children can name them; updates that fall on a few
hot rows; cascades; some operations twice; and bad ones of many kinds among them. The same seed makes the same operations.
While it goes, the stream applies each to its model of the database (`world`), so at any time it can be asked what must be
there once everything is settled.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from random import Random
from typing import Any

from compose import samples
from compose.world import PARTS, Row, World

#: What must come of an operation, as the outbox says it: applied, or the error kind of a dead letter.
APPLIED, INVALID, REFUSED, REUSED, ORDER = "applied", "invalid", "refused", "reused", "order"

#: The explicit ids of one stream lie in a block of this size above those that are there. They count down from its end: the
#: database generates ids above the largest one it has seen, so the two never meet. The id in the middle is never used.
IDS_OF_A_STREAM = 1_000_000

#: The operations that fail for want of something are retried, and what conflicts with them waits for as long. They come
#: together, at these places of each so many operations, so that a run waits once.
TROUBLE_BEGINS, TROUBLE_EVERY = 40, 2_000

#: How many rows are hot, and how many operations back a duplicate may lie.
HOT_ROWS = 3
DUPLICATE_REACH = 200


@dataclass(frozen=True)
class Operation:
    """A message with what must come of it.

    Parameters:
      title: what it is, for a person: "CREATE Business", "an e-mail address that is none".
      pending_keys: the cache keys that the application writes when it sends this one.
    """

    operation_id: str
    value: bytes
    title: str
    expected: str = APPLIED
    is_duplicate: bool = False
    pending_keys: tuple[str, ...] = ()


class Stream(Iterator[Operation]):
    """An endless stream.

    Parameters:
      seed: two streams of one seed send the same; one database should not get both.
      largest_ids: the largest id of each entity that is there before.
      now_ms: the application's clock.
    """

    def __init__(
        self, seed: int, largest_ids: Mapping[str, int], now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self.world = World()
        self._random = Random(seed)
        self._domain = f"correo{seed}.example.co"
        self._now_ms = now_ms
        self._made = 0
        self._recent: deque[Operation] = deque(maxlen=DUPLICATE_REACH)
        self._next_ids = {entity: largest_ids.get(entity, 0) + IDS_OF_A_STREAM for entity in self.world.rows}
        self._unused_ids = {entity: last - IDS_OF_A_STREAM // 2 for entity, last in self._next_ids.items()}
        self._emails = 0
        self._troubles = (self._missing_parent, self._missing_row, self._taken_email)
        self._bad_ones = cycle(
            (
                self._invalid_email,
                self._not_json,
                self._unknown_attribute,
                self._id_zero,
                self._refused_enum,
                self._reused_id,
                self._unknown_type,
                self._bulk_with_a_bad_record,
            )
        )

    def is_mine(self, entity: str, row: Row) -> bool:
        """Whether a row that came into the database since is of this stream (others may write there too)."""
        if entity == "User":
            return str(row["email"]).endswith(f"@{self._domain}")
        parent, attribute = ("User", "userId") if entity == "Business" else ("Business", "businessId")
        parent_id: int = row[attribute]
        return abs(parent_id - self._unused_ids[parent]) <= IDS_OF_A_STREAM // 2

    def __next__(self) -> Operation:
        place = self._made % TROUBLE_EVERY - TROUBLE_BEGINS
        self._made += 1
        is_trouble = 0 <= place < len(self._troubles)
        operation = self._troubles[place]() if is_trouble else self._next_in_order()
        self._recent.append(operation)
        return operation

    # ------------------------------------------------------------------------------------------------- what is sent

    def _next_in_order(self) -> Operation:
        users, businesses = self.world.known_ids["User"], self.world.known_ids["Business"]
        if len(users) < 5:
            return self._create("User", self._a_user(), has_id=True)
        if len(businesses) < 5:
            return self._create("Business", samples.business(self._random, self._random.choice(users)), has_id=True)
        draw = self._random.random()
        if draw < 0.02:
            return self._duplicate()
        if draw < 0.04:
            return next(self._bad_ones)()
        if draw < 0.14:
            return self._create("User", self._a_user(), has_id=self._random.random() < 0.6)
        if draw < 0.27:
            row = samples.business(self._random, self._random.choice(users))
            return self._create("Business", row, has_id=self._random.random() < 0.8)
        if draw < 0.52:
            entity = self._random.choice(PARTS)
            row = samples.part(self._random, entity, self._random.choice(businesses))
            return self._create(entity, row, has_id=self._random.random() < 0.4)
        if draw < 0.85:
            return self._update()
        if draw < 0.92:
            return self._bulk_create()
        if draw < 0.97:
            return self._bulk_update()
        return self._delete()

    def _create(self, entity: str, row: Row, has_id: bool) -> Operation:
        if has_id:
            row = {"id": self._next_id(entity), **row}
        self.world.create(entity, row)
        return self._operation("CREATE", entity, samples.as_sent(self._random, row), row)

    def _update(self) -> Operation:
        entity = self._random.choice(("Business", "Business", "User", *PARTS))
        ids = self.world.known_ids[entity]
        if not ids:
            return self._bulk_create()
        is_hot = entity == "Business" and self._random.random() < 0.5
        row_id = self._random.choice(ids[:HOT_ROWS] if is_hot else ids)
        row = {"id": row_id, **samples.change(self._random, entity)}
        self.world.update(entity, row)
        return self._operation("UPDATE", entity, samples.as_sent(self._random, row), row)

    def _delete(self) -> Operation:
        entity = self._random.choice(("User", "Business", *PARTS))
        ids = self.world.known_ids[entity][HOT_ROWS:]
        if not ids:
            return self._update()
        row_id = self._random.choice(ids)
        self.world.delete(entity, row_id)
        return self._operation("DELETE", entity, samples.as_sent(self._random, {"id": row_id}), {})

    def _bulk_create(self) -> Operation:
        entity = self._random.choice(PARTS)
        businesses = self.world.known_ids["Business"]
        rows = [
            samples.part(self._random, entity, self._random.choice(businesses))
            for _ in range(self._random.randint(0, 8))
        ]
        for row in rows:
            self.world.create(entity, row)
        records = [samples.as_sent(self._random, row) for row in rows]
        return self._operation("BULK_CREATE", entity, {"records": records}, {})

    def _bulk_update(self) -> Operation:
        entity = self._random.choice(("User", "Business", *PARTS))
        ids = self.world.known_ids[entity]
        chosen = self._random.sample(ids, k=min(len(ids), self._random.randint(1, 6)))
        rows = [{"id": row_id, **samples.change(self._random, entity)} for row_id in chosen]
        for row in rows:
            self.world.update(entity, row)
        updates = [samples.as_sent(self._random, row) for row in rows]
        return self._operation("BULK_UPDATE", entity, {"updates": updates}, {})

    def _duplicate(self) -> Operation:
        twice = self._random.choice([one for one in self._recent if one.expected == APPLIED and not one.is_duplicate])
        return Operation(twice.operation_id, twice.value, f"{twice.title}, again", is_duplicate=True)

    # -------------------------------------------------------------------------------------- what must not be applied

    def _invalid_email(self) -> Operation:
        row = self._a_user() | {"email": "ana.rojas(arroba)correo"}
        return self._bad("CREATE", "User", row, "an e-mail address that is none", INVALID)

    def _not_json(self) -> Operation:
        return Operation("", b'{"type":"CREATE","entity":"User","data":{"firstName":"Ana', "no JSON", INVALID)

    def _unknown_attribute(self) -> Operation:
        data = {"id": self._any_id("User"), "nickname": "la profe"}
        return self._bad("UPDATE", "User", data, "an unknown attribute", INVALID)

    def _id_zero(self) -> Operation:
        return self._bad("UPDATE", "Business", {"id": 0, "name": "Nadie"}, "id 0", INVALID)

    def _refused_enum(self) -> Operation:
        data = {"businessId": self._any_id("Business"), "monthlyNetSales": "mas_6_smmlv"}
        return self._bad("CREATE", "Finance", data, "a value that the column's ENUM lacks", REFUSED)

    def _reused_id(self) -> Operation:
        used = next(one.operation_id for one in self._recent if one.expected == APPLIED)
        data = {"id": self._any_id("Business"), "name": "Otra cosa"}
        return self._bad("UPDATE", "Business", data, "an operation id used before", REUSED, used)

    def _unknown_type(self) -> Operation:
        return self._bad("UPSERT", "User", {"id": self._any_id("User")}, "an unknown type", INVALID)

    def _bulk_with_a_bad_record(self) -> Operation:
        good = samples.part(self._random, "Rating", self._any_id("Business"))
        data = {"records": [good, good | {"totalScore": "muy alto"}]}
        return self._bad("BULK_CREATE", "Rating", data, "one bad record in a bulk", INVALID)

    def _missing_parent(self) -> Operation:
        row = samples.business(self._random, self._unused_ids["User"])
        return self._bad("CREATE", "Business", row, "a parent that is not there", ORDER)

    def _missing_row(self) -> Operation:
        data = {"id": self._unused_ids["WorkTeam"], "employeeCount": 3}
        return self._bad("UPDATE", "WorkTeam", data, "a row that is not there", ORDER)

    def _taken_email(self) -> Operation:
        first_of_all = next(iter(self.world.rows["User"].values()))  # hot rows are not deleted, e-mails not changed
        row = self._a_user() | {"email": first_of_all["email"].upper()}
        return self._bad("CREATE", "User", row, "an e-mail address that is taken", ORDER)

    # ------------------------------------------------------------------------------------------------------- its form

    def _bad(
        self, type: str, entity: str, data: Row, title: str, expected: str, operation_id: str | None = None
    ) -> Operation:
        return self._message(type, entity, data, title, expected, (), operation_id)

    def _operation(self, type: str, entity: str, data: Row, row: Row) -> Operation:
        keys = (f"{entity}:{row['id']}:pending",) if "id" in row else ()
        return self._message(type, entity, data, f"{type} {entity}", APPLIED, keys)

    def _message(
        self,
        type: str,
        entity: str,
        data: Row,
        title: str,
        expected: str,
        pending_keys: tuple[str, ...],
        operation_id: str | None = None,
    ) -> Operation:
        now_ms = self._now_ms()
        letters = "".join(self._random.choices("0123456789abcdefghijklmnopqrstuvwxyz", k=9))
        operation_id = operation_id or f"op_{now_ms}_{letters}"
        metadata: dict[str, Any] = {
            "operationId": operation_id,
            "timestamp": now_ms,
            "userId": 1 + self._made % 97,
            "source": "adelante-sumerce",
            "action": f"{type}_{entity}".lower(),
        }
        message = {"type": type, "entity": entity, "data": data, "metadata": metadata}
        return Operation(
            operation_id, json.dumps(message, ensure_ascii=False).encode(), title, expected, pending_keys=pending_keys
        )

    def _a_user(self) -> Row:
        self._emails += 1
        return samples.user(self._random, f"persona{self._emails}@{self._domain}")

    def _next_id(self, entity: str) -> int:
        self._next_ids[entity] -= 1
        return self._next_ids[entity] + 1

    def _any_id(self, entity: str) -> int:
        return self._random.choice(self.world.known_ids[entity])
