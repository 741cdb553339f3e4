"""Every type on every entity, through the three programs: Kafka in, rows and cache out, value by value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.mixed import mixed_stream
from tests.support.pipeline import Pipeline
from tests.support.reference import TABLES
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually

DATE = "2024-02-29T12:34:56Z"

#: For each entity a row with every attribute, and a change of some of them.
FULL_ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "User": (
        a_user("ana@example.co", role="administrador", registrationDate=DATE),
        {"firstName": "Eva", "phoneContact": 3109876543},
    ),
    "Business": (
        {
            "userId": "1",
            "name": "Panadería La Esquina",
            "creationYear": "2022",
            "economicSector": "alimentos",
            "managerName": "José Núñez",
            "managerContact": 6015551234,
            "managerEmail": "jose@example.co",
            "operationMonths": "12_24_meses",
            "registrationDate": "2024-01-02",
        },
        {"economicSector": None, "operationMonths": "mas_24_meses"},
    ),
    "BusinessModel": (
        {
            "businessId": 1,
            "valueProposition": 'Pan "fresco"; \'; DROP TABLE usuarios; --',
            "customerSegment": "vecinos",
            "salesChannels": "tienda",
            "incomeSources": "ventas",
            "registrationDate": 1_706_832_000_123,
        },
        {"salesChannels": "en línea 🥐", "incomeSources": None},
    ),
    "Finance": (
        {
            "businessId": 1.0,
            "monthlyNetSales": "1_3_smmlv",
            "monthlyProfitability": "medio_1_smmlv",
            "financingSources": "recursos_propios",
            "monthlyFixedCosts": "2_mas_smmlv",
            "registrationDate": DATE,
        },
        {"monthlyNetSales": "3_mas_smmlv"},
    ),
    "WorkTeam": (
        {
            "emprendimiento_id": 1,
            "businessTrainingLevel": "sin_formacion",
            "hasTrainedStaff": "true",
            "hasDefinedRoles": 0,
            "employeeCount": "7",
            "registrationDate": DATE,
        },
        {"hasDefinedRoles": True, "employeeCount": None},
    ),
    "SocialEnvironmentalImpact": (
        {
            "businessId": 1,
            "jobsGenerated": 3,
            "hasEnvironmentalContribution": True,
            "environmentalStrategies": "reciclaje",
            "hasSocialInnovation": False,
            "innovationImplementation": "talleres",
            "registrationDate": DATE,
        },
        {"jobsGenerated": "4", "hasSocialInnovation": None},
    ),
    "Rating": (
        {
            "businessId": 1,
            "generalDataScore": 10,
            "businessModelScore": 20,
            "financeScore": 30,
            "workTeamScore": 40,
            "socialImpactScore": 50,
            "totalScore": 150,
            "totalPercentage": "12.5",
            "globalClassification": "en_desarrollo",
            "calculationDate": DATE,
        },
        {"totalPercentage": 99.99, "globalClassification": "consolidado"},
    ),
}


def every_type_on_every_entity() -> list[bytes]:
    """For each entity: CREATE with id 1, UPDATE it, BULK_CREATE 2 and 3, BULK_UPDATE them, DELETE 3."""
    messages = []
    for entity, (full, change) in FULL_ROWS.items():
        second, third = ({**full, "id": n} for n in (2, 3))
        if entity == "User":
            second["email"], third["email"] = "beto@example.co", "carla@example.co"
        steps: list[tuple[str, dict[str, Any]]] = [
            ("CREATE", {**full, "id": 1}),
            ("UPDATE", {"id": 1, **change}),
            ("BULK_CREATE", {"records": [second, third]}),
            ("BULK_UPDATE", {"updates": [{"id": 2, **change}, {"id": "3", **change}]}),
            ("DELETE", {"id": 3}),
        ]
        for type, data in steps:
            number = len(messages)
            messages.append(a_message(f"op_{number}", type, entity, data, timestamp=1_700_000_000_000 + number))
    return messages


def test_every_type_on_every_entity_ends_in_rows_and_cache(pipeline: Pipeline) -> None:
    pipeline.send(every_type_on_every_entity())

    pipeline.service.start()
    counts = pipeline.wait_until_settled()

    assert (counts.applied, counts.dead) == (35, 0), pipeline.dead_letters()
    cached = pipeline.wait_until_the_cache_is_true()
    assert sorted(cached) == sorted(f"{entity}:{n}" for entity in TABLES for n in (1, 2))
    assert cached["User:1"] == {
        "id": 1,
        "firstName": "Eva",
        "lastName": "Rojas",
        "email": "ana@example.co",
        "phoneContact": "3109876543",
        "role": "administrador",
        "registrationDate": "2024-02-29T12:34:56.000Z",
    }
    assert cached["Rating:1"]["totalPercentage"] == "99.99"
    assert cached["Rating:2"]["calculationDate"] == "2024-02-29T12:34:56.000Z"
    assert cached["BusinessModel:1"]["salesChannels"] == "en línea 🥐"
    assert cached["BusinessModel:1"]["valueProposition"] == 'Pan "fresco"; \'; DROP TABLE usuarios; --'
    assert cached["WorkTeam:2"]["hasTrainedStaff"] is True
    assert cached["WorkTeam:2"]["hasDefinedRoles"] is True
    assert cached["WorkTeam:2"]["employeeCount"] is None
    assert cached["SocialEnvironmentalImpact:1"]["hasSocialInnovation"] is None
    assert pipeline.query("SELECT password_hash FROM usuarios WHERE id = 1") == [("not-a-real-hash",)]


def test_a_created_row_is_cached_under_the_id_the_database_gave(pipeline: Pipeline) -> None:
    pipeline.service.start()
    pipeline.send([a_message("op_1", "CREATE", "User", a_user("ana@example.co"))])

    pipeline.wait_until_settled()

    (row_id,) = pipeline.query("SELECT id FROM usuarios")[0]
    assert pipeline.wait_until_the_cache_is_true().keys() == {f"User:{row_id}"}


def test_a_stream_over_three_partitions_ends_as_if_applied_one_by_one(pipeline: Pipeline) -> None:
    messages = mixed_stream(5_000, seed=1)
    # An operation that fails at its turn may pass on a retry, after later ones: then the end is not the serial one.
    pipeline.service.settings["MAX_RETRY_ATTEMPTS"] = "0"
    pipeline.send(messages)

    pipeline.service.start()
    counts = pipeline.wait_until_settled(timeout=240)

    rows, refused = pipeline.serial_rows(messages)
    assert pipeline.rows() == rows
    assert sorted(pipeline.dead_letters()) == sorted(refused)
    assert counts.applied + counts.dead == 5_000
    pipeline.wait_until_the_cache_is_true()


def test_no_secret_is_logged_or_cached(pipeline: Pipeline) -> None:
    secret = "a-very-secret-hash"
    pipeline.service.settings["LOG_LEVEL"] = "silly"
    pipeline.send(
        [
            a_message("op_1", "CREATE", "User", {**a_user("ana@example.co"), "passwordHash": secret}),
            a_message("op_2", "CREATE", "User", {**a_user("ana@example.co"), "passwordHash": secret}),
            a_message("op_3", "CREATE", "User", {**a_user("not an address"), "passwordHash": secret}),
            b'{"type": "CREATE", "entity": "User", "data": {"passwordHash": "' + secret.encode() + b'"',
        ]
    )

    pipeline.service.start()
    pipeline.wait_until_settled()
    pipeline.service.stop()

    assert secret not in pipeline.logged()
    assert not any(secret in (letter.reason or "") for letter in pipeline.dead_letters().values())
    cache = pipeline.cache
    assert not any(
        secret.encode() in (cache.get(key) or b"") for key in cache.scan_iter("*:?*") if cache.type(key) == b"string"
    )


def test_the_note_of_a_pending_operation_goes_when_that_one_is_settled(pipeline: Pipeline) -> None:
    """Of an applied one and of dead letters; not where a newer operation has written its own over it."""
    pipeline.service.settings["MAX_RETRY_ATTEMPTS"] = "0"
    changes: list[dict[str, Any]] = [{"id": 1}, {"id": 2}, {"id": 3.0, "email": "none"}, {"id": 4}]
    noted = {"User:1": "op_0", "User:2": "a newer one", "User:3": "op_2", "User:4": "op_3"}
    for key, operation_id in noted.items():
        pipeline.cache.set(f"{key}:pending", json.dumps({"operationId": operation_id}))
    users = [a_user(f"user{number}@example.co", id=number) for number in (1, 2, 3)]
    pipeline.send([a_message("create", "BULK_CREATE", "User", {"records": users}, timestamp=1)], partitions=1)
    pipeline.send([a_message(f"op_{number}", "UPDATE", "User", data) for number, data in enumerate(changes)])

    pipeline.service.start()
    counts = pipeline.wait_until_settled()

    assert (counts.applied, counts.dead) == (3, 2)
    assert [key for key in noted if pipeline.cache.exists(f"{key}:pending")] == ["User:2"]


@pytest.mark.parametrize("explicit", [True, False])
def test_a_cascade_removes_the_cached_rows_below(pipeline: Pipeline, explicit: bool) -> None:
    pipeline.service.settings["RECONCILE_INTERVAL_MS"] = "300"
    pipeline.service.start()
    pipeline.send(
        [
            a_message("op_1", "CREATE", "User", a_user("ana@example.co", id=1), timestamp=1),
            a_message("op_2", "CREATE", "Business", {"id": 2, "userId": 1, "name": "Panadería"}, timestamp=2),
            a_message("op_3", "CREATE", "Rating", {"businessId": 2, **({"id": 3} if explicit else {})}, timestamp=3),
        ]
    )
    pipeline.wait_until_settled()
    assert len(pipeline.wait_until_the_cache_is_true()) == 3
    pipeline.wait_until_the_cache_is_vouched_for()
    pipeline.cache.set("Rating:list:1", "[]")

    pipeline.send([a_message("op_4", "DELETE", "User", {"id": 1}, timestamp=4)])
    pipeline.wait_until_settled()

    assert pipeline.wait_until_the_cache_is_true() == {}
    eventually(lambda: pipeline.cache.get("Rating:list:1") is None, 10, "the list of ratings is dropped")
