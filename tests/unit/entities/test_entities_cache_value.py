"""What the application's cache holds of a row."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from entities.business import Business
from entities.cache_value import cache_key, cache_value
from entities.rating import Rating
from entities.registry import entity_named
from entities.social_environmental_impact import SocialEnvironmentalImpact
from entities.user import User
from entities.work_team import WorkTeam


def cached(row: Any, with_secrets: bool = False) -> Any:
    return json.loads(cache_value(row, with_secrets))


def test_the_key_of_a_row_is_its_entity_and_id() -> None:
    assert cache_key("User", 3) == "User:3"


def test_names_are_camel_case_and_absent_values_null() -> None:
    row = Business(id=7, user=3, name="Panadería La Esquina", creation_year=2022)

    assert cached(row) == {
        "id": 7,
        "userId": 3,
        "name": "Panadería La Esquina",
        "creationYear": 2022,
        "economicSector": None,
        "managerName": None,
        "managerContact": None,
        "managerEmail": None,
        "operationMonths": None,
        "registrationDate": None,
    }


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2023, 11, 13, 11, 55, 43), "2023-11-13T11:55:43.000Z"),
        (datetime(2023, 1, 2, 3, 4, 5, 67_000), "2023-01-02T03:04:05.067Z"),
        ("0000-00-00 00:00:00", None),
    ],
)
def test_dates_are_iso_8601_in_utc_with_milliseconds(moment: Any, text: str | None) -> None:
    assert cached(User(registration_date=moment))["registrationDate"] == text


@pytest.mark.parametrize("stored", [Decimal("12.5"), Decimal("12.50"), 12.5, "12.5"])
def test_decimals_are_text_with_their_places(stored: Any) -> None:
    assert cached(Rating(total_percentage=stored))["totalPercentage"] == "12.50"


def test_booleans_are_true_and_false() -> None:
    row = cached(WorkTeam(has_trained_staff=1, has_defined_roles=0))

    assert row["hasTrainedStaff"] is True
    assert row["hasDefinedRoles"] is False
    assert cached(SocialEnvironmentalImpact())["hasSocialInnovation"] is None


def test_the_password_hash_is_left_out_unless_it_is_asked_for() -> None:
    row = User(id=3, email="a@x.co", password_hash="$2b$10$secret")

    assert "passwordHash" not in cached(row)
    assert b"secret" not in cache_value(row, with_secrets=False)
    assert cached(row, with_secrets=True)["passwordHash"] == "$2b$10$secret"


@pytest.mark.parametrize("name", ["User", "Business", "BusinessModel", "Finance", "WorkTeam", "Rating"])
def test_each_attribute_of_each_model_has_its_place(name: str) -> None:
    entity = entity_named(name)

    assert list(cached(entity(), with_secrets=True)) == [field.wire_name for field in entity.attributes().fields]
