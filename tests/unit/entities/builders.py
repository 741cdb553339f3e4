"""Operations for the tests of this folder: right in every point, so that a test states only what it is about."""

from __future__ import annotations

import json
from typing import Any

from entities.envelope import Envelope, decode
from entities.operations import RowAction, actions_of
from entities.writesets import Writeset, writeset

#: For each entity, the attributes that CREATE must bring.
REQUIRED: dict[str, dict[str, Any]] = {
    "User": {
        "firstName": "Ana",
        "lastName": "Ruiz",
        "email": "ana@example.co",
        "passwordHash": "$2b$10$secret",
        "phoneContact": "3001234567",
    },
    "Business": {"userId": 3, "name": "Panadería La Esquina"},
    "BusinessModel": {"businessId": 5},
    "Finance": {"businessId": 5},
    "WorkTeam": {"businessId": 5},
    "SocialEnvironmentalImpact": {"businessId": 5},
    "Rating": {"businessId": 5},
}


def a_record(entity: str, **attributes: Any) -> dict[str, Any]:
    """What CREATE needs of this entity, and these attributes beside it or instead."""
    return {**REQUIRED[entity], **attributes}


def a_message(**parts: Any) -> bytes:
    """The bytes of a message in form; `parts` replace its parts, and one that is `...` is left out."""
    message = {
        "type": "CREATE",
        "entity": "Business",
        "data": a_record("Business"),
        "metadata": {"operationId": "op_1", "timestamp": 1_699_876_543_210},
        **parts,
    }
    return json.dumps({name: part for name, part in message.items() if part is not ...}).encode()


def an_envelope(kind: str, entity: str, data: dict[str, Any]) -> Envelope:
    return decode(a_message(type=kind, entity=entity, data=data))


def actions(kind: str, entity: str, data: dict[str, Any]) -> tuple[RowAction, ...]:
    return actions_of(an_envelope(kind, entity, data))


def keys(kind: str, entity: str, data: dict[str, Any], operation_id: str = "") -> Writeset:
    """The writeset of an operation; its id is its content's unless one is given, so that ids do not collide."""
    return writeset(operation_id or f"{kind} {entity} {data}", actions(kind, entity, data))
