"""Small streams in which everything is in everything's way, for comparing the service with its operations one by one.

Few rows under ids of their own, addresses that collations hold equal, rows that move to other parents, go with theirs and come
again, bulk operations that name a row twice, values that the database refuses, operation ids that come again. In every other
stream hardly anything fails: only then does a long batch go by its claims (`worker.foresight`) to its end.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from tests.support.streams import a_message, a_user

#: Rows of each entity that operations name.
ROWS = 4

#: Rows of Businesses and their like that come and go in a calm stream, beside those.
COMING = (5, 30)

#: Equal to some collation or other, with a few that are nobody's equal.
EMAILS = (
    "ana@x.co",
    "ANA@X.co",
    "aná@x.co",
    "an\u0001a@x.co",
    "beto@x.co",
    "sse@x.co",
    "ße@x.co",
    "😀@x.co",
    "🍞@x.co",
    "my@x.co",
    "mü@x.co",
    "ａna@x.co",
)

#: The third is one that the application knows and the database refuses.
SALES = ("menos_1_smmlv", "1_3_smmlv", "3_6_smmlv", None)

NAMES = ("Pan", "  Pan ", "Ñandú", "x😀", "7", "'; --\\", "Pan\u0000")


def tangle(chance: random.Random, count: int, prefix: str) -> list[bytes]:
    """So many messages, after those that make most of the rows; the prefix is in all operation ids."""
    is_calm = chance.random() < 0.5
    is_there = 1.0 if is_calm else 0.8
    sent = [(f"{prefix}_first_{number}", one) for number, one in enumerate(_first_rows()) if chance.random() < is_there]
    for number in range(count):
        is_harmless = is_calm and chance.random() < 0.97
        operation_id, operation = f"{prefix}_{number}", _harmless(chance) if is_harmless else _operation(chance)
        if sent and not is_harmless and chance.random() < 0.06:
            operation_id, first = chance.choice(sent)
            operation = first if chance.random() < 0.6 else operation
        sent.append((operation_id, operation))
    return [a_message(operation_id, *operation) for operation_id, operation in sent]


def _first_rows() -> Iterator[tuple[str, str, dict[str, Any]]]:
    rows = range(1, ROWS + 1)
    yield from (("CREATE", "User", a_user(f"first{row}@x.co", id=row)) for row in rows)
    yield from (("CREATE", "Business", {"id": row, "userId": row, "name": f"Panadería {row}"}) for row in rows)
    yield from (("CREATE", "Finance", {"id": row, "businessId": row}) for row in rows)
    yield from (("CREATE", "Rating", {"id": row, "businessId": row, "totalPercentage": 12.5}) for row in rows)


def _operation(chance: random.Random) -> tuple[str, str, dict[str, Any]]:
    row = chance.randint(1, ROWS)
    match chance.choices(
        ["user", "business", "child", "update", "move", "delete", "bulk create", "bulk update"],
        [4, 4, 5, 6, 2, 3, 2, 3],
    )[0]:
        case "user":
            return "CREATE", "User", _user(chance)
        case "business":
            return "CREATE", "Business", _business(chance)
        case "child":
            return "CREATE", *_child(chance)
        case "update":
            entity = chance.choice(["User", "User", "Business", "Finance", "Rating"])
            out_of_form = {"colour": "red"} if chance.random() < 0.05 else {}
            return "UPDATE", entity, {"id": row, **_changes(chance, entity), **out_of_form}
        case "move":
            if chance.random() < 0.5:
                return "UPDATE", "Business", {"id": row, "userId": _row(chance)}
            return "UPDATE", chance.choice(["Finance", "Rating"]), {"id": row, "businessId": _row(chance)}
        case "delete":
            return "DELETE", chance.choice(["User", "Business", "Business", "Finance", "Rating"]), {"id": row}
        case "bulk create":
            kind = chance.choice([_user, _business, _rating])
            entity = {"_user": "User", "_business": "Business", "_rating": "Rating"}[kind.__name__]
            return "BULK_CREATE", entity, {"records": [kind(chance) for _ in range(chance.randint(0, 3))]}
        case _:
            entity = chance.choice(["User", "Business", "Finance"])
            updates = [{"id": _row(chance), **_changes(chance, entity)} for _ in range(chance.randint(0, 4))]
            return "BULK_UPDATE", entity, {"updates": updates}


def _harmless(chance: random.Random) -> tuple[str, str, dict[str, Any]]:
    """An operation that is hardly ever refused."""
    row, coming = _row(chance), chance.randint(*COMING)
    match chance.choices(
        ["names", "values", "address", "new", "comes", "goes", "moves", "bulk"], [5, 4, 2, 5, 3, 2, 1, 2]
    )[0]:
        case "names":
            return "UPDATE", "User", {"id": row, chance.choice(["firstName", "lastName"]): f"n{chance.randint(1, 99)}"}
        case "values":
            return "UPDATE", "Rating", {"id": row, chance.choice(["totalScore", "financeScore"]): chance.randint(1, 99)}
        case "address":
            return "UPDATE", "User", {"id": row, "email": f"n{chance.randint(1, 40)}@x.co"}
        case "new":
            if chance.random() < 0.3:
                return "CREATE", "User", a_user(f"n{chance.randint(1, 40)}@x.co")
            score = {chance.choice(["totalScore", "financeScore"]): chance.randint(1, 10**6)}
            return "CREATE", "Rating", {"businessId": row, **score}
        case "comes":
            if chance.random() < 0.5:
                return "CREATE", "Business", {"id": coming, "userId": row, "name": f"n{chance.randint(1, 99)}"}
            return "CREATE", "Finance", {"id": coming, "businessId": row}
        case "goes":
            return "DELETE", chance.choice(["Business", "Finance", "Rating"]), {"id": coming}
        case "moves":
            return "UPDATE", "Business", {"id": row, "userId": _row(chance)}
        case _:
            rows = chance.sample(range(1, ROWS + 1), chance.randint(1, ROWS))
            updates = [{"id": one, "firstName": f"n{chance.randint(1, 99)}"} for one in rows]
            return "BULK_UPDATE", "User", {"updates": updates}


def _row(chance: random.Random) -> int:
    return chance.randint(1, ROWS)


def _with_id(chance: random.Random, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": _row(chance), **data} if chance.random() < 0.35 else data


def _user(chance: random.Random) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if chance.random() < 0.3:
        more["role"] = chance.choice(["administrador", None])
    email = f"n{chance.randint(1, 10**6)}@x.co" if chance.random() < 0.3 else chance.choice(EMAILS)
    return _with_id(chance, a_user(email, firstName=chance.choice(NAMES), **more))


def _business(chance: random.Random) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if chance.random() < 0.3:
        more["creationYear"] = chance.choice([1999, "2001", 7.0, None])
    return _with_id(chance, {"userId": _row(chance), "name": chance.choice(NAMES), **more})


def _rating(chance: random.Random) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if chance.random() < 0.4:
        more["totalPercentage"] = chance.choice(["12.345", 99.5, None])
    return _with_id(chance, {"businessId": _row(chance), "totalScore": chance.randint(0, 10**6), **more})


def _child(chance: random.Random) -> tuple[str, dict[str, Any]]:
    if chance.random() < 0.5:
        return "Rating", _rating(chance)
    more: dict[str, Any] = {}
    if chance.random() < 0.7:
        more["monthlyNetSales"] = chance.choice(SALES)
    return "Finance", _with_id(chance, {"businessId": _row(chance), **more})


def _changes(chance: random.Random, entity: str) -> dict[str, Any]:
    """Some attributes of an UPDATE; sometimes none."""
    possible: dict[str, dict[str, Any]] = {
        "User": {"firstName": chance.choice(NAMES), "lastName": "Rojas", "email": chance.choice(EMAILS), "role": None},
        "Business": {"name": chance.choice(NAMES), "creationYear": chance.choice([None, 2020]), "userId": _row(chance)},
        "Finance": {
            "monthlyNetSales": chance.choice(SALES),
            "financingSources": chance.choice(["mixto", "otro", None]),
        },
        "Rating": {"totalScore": chance.randint(0, 9), "totalPercentage": chance.choice(["-1.005", 5, None])},
    }
    return {name: value for name, value in possible[entity].items() if chance.random() < 0.35}
