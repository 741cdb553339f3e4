"""The streams that are measured: what they hold, how long they are, and what is no one's to apply.

Every operation of the mixed and of the conflicting stream succeeds when it is applied in order, so whoever ends with other
rows than one after the other has lost the order. Only the poisoned stream has operations that fail, and it says which.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.streams import a_message, a_user

#: The timestamp (ms since 1970) of a stream's first operation; the others follow a millisecond apart.
FIRST_TIMESTAMP = 1_700_000_000_000

#: Operations at scale 1. One by one is slow: it gets the first so many of them.
CREATES, MIXED, CONFLICTS, ONE_BY_ONE = 100_000, 25_000, 25_000, 6_000

#: No stream is shorter than this, whatever the scale.
SHORTEST = 500

#: The rows of the stream of conflicts.
CONFLICT_ROWS = 100

#: One operation of so many is poison.
ONE_POISON_IN = 1_000

#: Users and businesses of the mixed stream with ids of their own; few, so that rows are hot. Those from the second
#: numbers on are deleted and made again.
USERS, BUSINESSES = 40, 60
FIRST_DELETED_USER, FIRST_DELETED_BUSINESS = 36, 46


@dataclass(frozen=True)
class Stream:
    """Messages in order.

    :ivar setup: SQL that is run in the database before the clock.
    :ivar poison: the messages (by number) that nobody can apply.
    :ivar cached_rows: how many rows the cache holds in the end; None: as many as the database.
    """

    name: str
    messages: Sequence[bytes]
    setup: tuple[str, ...] = ()
    poison: frozenset[int] = frozenset()
    cached_rows: int | None = None

    @property
    def to_apply(self) -> int:
        """How many operations are applied in the end."""
        return len(self.messages) - len(self.poison)

    def good_messages(self, count: int) -> list[bytes]:
        """Those of the first `count` messages that can be applied."""
        return [message for number, message in enumerate(self.messages[:count]) if number not in self.poison]


def scaled(count: int, scale: float) -> int:
    """A stream's length at this scale."""
    return max(SHORTEST, round(count * scale))


def creates(count: int) -> Stream:
    """CREATE of User, each with an address of its own: nothing conflicts."""
    return Stream("creates", [_create_user(number, FIRST_TIMESTAMP + number) for number in range(count)])


def poisoned_creates(count: int) -> Stream:
    """The creates, and among them one operation of a thousand that fails: by turns invalid, or refused by the database.

    The refused ones are by turns a taken address in other letters, and a business whose owner is not there.
    """
    every = min(ONE_POISON_IN, count // 4)
    messages: list[bytes] = []
    poison = []
    for number in range(count):
        messages.append(_create_user(number, FIRST_TIMESTAMP + number))
        if number % every == every // 2:
            poison.append(len(messages))
            messages.append(_poison(len(poison), number))
    return Stream("poisoned", messages, poison=frozenset(poison))


def _poison(turn: int, number: int) -> bytes:
    id, timestamp = f"poison_{number}", FIRST_TIMESTAMP + number
    match turn % 4:
        case 0:
            taken = f"USER{number // 2}@example.co"
            return a_message(id, "CREATE", "User", a_user(taken), timestamp=timestamp)
        case 2:
            data = {"userId": 2_000_000_000, "name": "Panadería"}
            return a_message(id, "CREATE", "Business", data, timestamp=timestamp)
        case _:
            user = a_user(f"poison{number}@example.co", phoneContact="12")
            return a_message(id, "CREATE", "User", user, timestamp=timestamp)


def _create_user(number: int, timestamp: int) -> bytes:
    return a_message(f"op_{number}", "CREATE", "User", a_user(f"user{number}@example.co"), timestamp=timestamp)


def conflicts(count: int) -> Stream:
    """UPDATE alone, of a hundred rows that are there."""
    rows = ", ".join(f"({id}, 'Ana', 'Rojas', 'user{id}@example.co', 'x', '3001234567')" for id in _conflict_ids())
    setup = f"INSERT INTO usuarios (id, nombre, apellido, email, password_hash, contacto_celular) VALUES {rows}"
    chance = random.Random(1)
    messages = [
        a_message(
            f"op_{number}",
            "UPDATE",
            "User",
            {
                "id": number + 1 if number < CONFLICT_ROWS else chance.choice(_conflict_ids()),
                "lastName": f"Rojas {number}",
            },
            timestamp=FIRST_TIMESTAMP + number,
        )
        for number in range(count)
    ]
    return Stream("conflicts", messages, setup=(setup,), cached_rows=CONFLICT_ROWS)


def _conflict_ids() -> range:
    return range(1, CONFLICT_ROWS + 1)


def mixed(count: int) -> Stream:
    """45 % CREATE, 40 % UPDATE, 10 % DELETE, 5 % BULK over all entities; one update of four is of the same row."""
    world = _World(random.Random(2))
    messages = [
        a_message(f"op_{number}", *world.next_operation(number), timestamp=FIRST_TIMESTAMP + number)
        for number in range(count)
    ]
    return Stream("mixed", messages)


class _World:
    """Which of the rows with ids of their own are there, so that each operation finds what it needs."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._users: set[int] = set()
        self._owners: dict[int, int] = {}

    def next_operation(self, number: int) -> tuple[str, str, dict[str, Any]]:
        """Type, entity and data."""
        if number < USERS:
            return self._user_with_id(number + 1, number)
        if number < USERS + BUSINESSES:
            return self._business_with_id(number - USERS + 1, number)
        kind = self._chance.random()
        if kind < 0.45:
            return self._create(number)
        if kind < 0.85:
            return self._update(number)
        if kind < 0.95:
            return self._delete()
        if kind < 0.975:
            records = [self._child("Rating") for _ in range(self._chance.randint(1, 5))]
            return "BULK_CREATE", "Rating", {"records": records}
        rows = self._chance.sample(sorted(self._owners), 3)
        return "BULK_UPDATE", "Business", {"updates": [{"id": row, "creationYear": 1990 + number % 30} for row in rows]}

    def _create(self, number: int) -> tuple[str, str, dict[str, Any]]:
        kind = self._chance.random()
        lost_users = sorted(set(range(FIRST_DELETED_USER, USERS + 1)) - self._users)
        lost_businesses = sorted(set(range(FIRST_DELETED_BUSINESS, BUSINESSES + 1)) - self._owners.keys())
        if kind < 0.05 and lost_users:
            return self._user_with_id(self._chance.choice(lost_users), number)
        if kind < 0.2:
            return "CREATE", "User", a_user(f"new{number}@example.co")
        if kind < 0.35 and lost_businesses:
            return self._business_with_id(self._chance.choice(lost_businesses), number)
        if kind < 0.5:
            owner = self._chance.choice(sorted(self._users))
            return "CREATE", "Business", {"userId": owner, "name": f"Panadería {number}", "creationYear": 2000}
        entity = self._chance.choice(["BusinessModel", "Finance", "WorkTeam", "SocialEnvironmentalImpact", "Rating"])
        return "CREATE", entity, self._child(entity)

    def _user_with_id(self, row: int, number: int) -> tuple[str, str, dict[str, Any]]:
        self._users.add(row)
        return "CREATE", "User", a_user(f"user{row}.{number}@example.co", id=row)

    def _business_with_id(self, row: int, number: int) -> tuple[str, str, dict[str, Any]]:
        owner = self._chance.choice(sorted(self._users))
        self._owners[row] = owner
        return "CREATE", "Business", {"id": row, "userId": owner, "name": f"Panadería {number}"}

    def _child(self, entity: str) -> dict[str, Any]:
        data: dict[str, Any] = {"businessId": self._chance.choice(sorted(self._owners))}
        match entity:
            case "BusinessModel":
                data |= {"valueProposition": "Pan fresco cada mañana", "salesChannels": None}
            case "Finance":
                data |= {"monthlyNetSales": "1_3_smmlv", "financingSources": "credito_bancario"}
            case "WorkTeam":
                data |= {"hasTrainedStaff": True, "employeeCount": self._chance.randint(0, 50)}
            case "SocialEnvironmentalImpact":
                data |= {"hasSocialInnovation": True, "innovationImplementation": "ñandú"}
            case "Rating":
                data |= {"totalScore": self._chance.randint(0, 100), "totalPercentage": 12.5}
        return data

    def _update(self, number: int) -> tuple[str, str, dict[str, Any]]:
        kind = self._chance.random()
        if kind < 0.3:
            return "UPDATE", "User", {"id": self._chance.choice(sorted(self._users)), "lastName": f"Rojas {number}"}
        if kind < 0.35:
            row = self._chance.choice(sorted(self._users))
            return "UPDATE", "User", {"id": row, "email": f"moved{number}@example.co"}
        rows = sorted(self._owners)
        row = rows[0] if kind < 0.6 else self._chance.choice(rows)
        return "UPDATE", "Business", {"id": row, "managerName": f"Encargada {number}", "economicSector": None}

    def _delete(self) -> tuple[str, str, dict[str, Any]]:
        if self._chance.random() < 0.1:
            row = self._chance.randint(FIRST_DELETED_USER, USERS)
            self._users.discard(row)
            self._owners = {business: owner for business, owner in self._owners.items() if owner != row}
            return "DELETE", "User", {"id": row}
        row = self._chance.randint(FIRST_DELETED_BUSINESS, BUSINESSES)
        self._owners.pop(row, None)
        return "DELETE", "Business", {"id": row}
