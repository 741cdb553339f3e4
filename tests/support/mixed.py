"""A mixed stream of operations in form, as an application sends them: all entities, all types, hot rows, some refused."""

from __future__ import annotations

import random
from typing import Any

from tests.support.streams import a_message, a_user

#: Explicit ids of users and businesses; few, so that rows are hot.
USERS, BUSINESSES = 40, 60

#: Rows from here on are deleted now and then, and made again.
FIRST_DELETED_USER, FIRST_DELETED_BUSINESS = 36, 46


def mixed_stream(count: int, seed: int, first_timestamp: int = 1_700_000_000_000) -> list[bytes]:
    """So many messages, one millisecond apart, reproducible by the seed."""
    chance = random.Random(seed)
    messages = []
    for number in range(count):
        type, entity, data = _operation(chance, number)
        messages.append(a_message(f"op_{seed}_{number}", type, entity, data, timestamp=first_timestamp + number))
    return messages


def _operation(chance: random.Random, number: int) -> tuple[str, str, dict[str, Any]]:
    if number < USERS:
        return "CREATE", "User", a_user(f"user{number + 1}@example.co", id=number + 1)
    if number < USERS + BUSINESSES:
        row = number - USERS + 1
        return "CREATE", "Business", {"id": row, "userId": row % USERS + 1, "name": f"Panadería {row}"}
    kind = chance.random()
    if kind < 0.45:
        return _create(chance, number)
    if kind < 0.85:
        return _update(chance, number)
    if kind < 0.95:
        return _delete(chance)
    if chance.random() < 0.5:
        records = [_child(chance, "Rating") for _ in range(chance.randint(0, 5))]
        return "BULK_CREATE", "Rating", {"records": records}
    rows = chance.sample(range(1, BUSINESSES + 1), chance.randint(1, 3))
    return "BULK_UPDATE", "Business", {"updates": [{"id": row, "creationYear": 1990 + number % 30} for row in rows]}


def _create(chance: random.Random, number: int) -> tuple[str, str, dict[str, Any]]:
    kind = chance.random()
    if kind < 0.15:
        # some e-mail addresses are taken, in other letters: the database refuses them
        email = f"USER{chance.randint(1, USERS)}@example.co" if chance.random() < 0.1 else f"new{number}@example.co"
        return "CREATE", "User", a_user(email)
    if kind < 0.2:
        return "CREATE", "User", a_user(f"again{number}@example.co", id=chance.randint(FIRST_DELETED_USER, USERS))
    if kind < 0.45:
        data = {"userId": chance.randint(1, USERS), "name": f"Panadería {number}", "creationYear": 2000 + number % 20}
        if chance.random() < 0.3:
            data["id"] = chance.randint(FIRST_DELETED_BUSINESS, BUSINESSES)
        return "CREATE", "Business", data
    entity = chance.choice(["BusinessModel", "Finance", "WorkTeam", "SocialEnvironmentalImpact", "Rating"])
    return "CREATE", entity, _child(chance, entity)


def _child(chance: random.Random, entity: str) -> dict[str, Any]:
    data: dict[str, Any] = {"businessId": chance.randint(1, BUSINESSES)}
    match entity:
        case "BusinessModel":
            data |= {"valueProposition": "Pan fresco; 'x' -- \"y\"", "salesChannels": None}
        case "Finance":
            # the database refuses one that the application knows
            sales = (
                "3_6_smmlv" if chance.random() < 0.1 else chance.choice(["menos_1_smmlv", "1_3_smmlv", "3_mas_smmlv"])
            )
            data |= {"monthlyNetSales": sales, "financingSources": "credito_bancario"}
        case "WorkTeam":
            data |= {"hasTrainedStaff": chance.random() < 0.5, "employeeCount": chance.randint(0, 50)}
        case "SocialEnvironmentalImpact":
            data |= {"hasSocialInnovation": True, "innovationImplementation": "ñandú"}
        case "Rating":
            data |= {"totalScore": chance.randint(0, 100), "totalPercentage": round(chance.random() * 100, 2)}
    return data


def _update(chance: random.Random, number: int) -> tuple[str, str, dict[str, Any]]:
    kind = chance.random()
    if kind < 0.3:
        return "UPDATE", "User", {"id": chance.randint(1, USERS), "lastName": f"Rojas {number}"}
    if kind < 0.4:
        row = chance.randint(1, USERS)
        # in one case of ten to an address that another row may have
        email = f"user{chance.randint(1, USERS)}" if chance.random() < 0.1 else f"moved{number}"
        return "UPDATE", "User", {"id": row, "email": f"{email}@example.co"}
    # one row in three is hot
    row = 1 if chance.random() < 0.3 else chance.randint(1, BUSINESSES)
    return "UPDATE", "Business", {"id": row, "managerName": f"Encargada {number}", "economicSector": None}


def _delete(chance: random.Random) -> tuple[str, str, dict[str, Any]]:
    if chance.random() < 0.1:
        return "DELETE", "User", {"id": chance.randint(FIRST_DELETED_USER, USERS)}
    return "DELETE", "Business", {"id": chance.randint(FIRST_DELETED_BUSINESS, BUSINESSES)}
