"""What a server's collations hold equal has a common key, so that no collision between two operations is missed.

Whatever character set and collation the application's tables have: an old server's default is latin1_swedish_ci.
"""

from __future__ import annotations

import string
from collections import defaultdict

import pytest

from entities import database
from entities.writesets import loose
from tests.support.applying import apply, create_user, outcomes, rows
from worker.messages import Outcome

#: To these even letters of ASCII are one with others: i with j, u with v, i with y.
STRANGE = ("_roman_", "_lithuanian_")

#: Each character of Europe's west, and each pair of letters (ch, ae, aa are one letter to some), inside a text.
PAIRS = [one + other for one in string.ascii_lowercase for other in string.ascii_lowercase]
TEXTS = [f"x{inside}x" for inside in (*map(chr, range(1, 0x100)), *PAIRS)]


pytestmark = pytest.mark.usefixtures("bound")


@pytest.mark.parametrize("character_set", ["utf8mb4", "utf8mb3", "latin1"])
def test_texts_that_any_collation_holds_equal_are_one_key(character_set: str) -> None:
    names = rows(
        "SELECT full_collation_name FROM information_schema.collation_character_set_applicability"
        " WHERE character_set_name = %s",
        character_set,
    )
    usual = [name for (name,) in names if not any(part in name for part in STRANGE)]

    missed = {name: equal for name in usual if (equal := _equal_texts_of_different_keys(character_set, name))}

    assert len(usual) > 5
    assert missed == {}


def _equal_texts_of_different_keys(character_set: str, collation: str) -> list[set[str]]:
    select = f"SELECT %s, weight_string(CONVERT(%s USING {character_set}) COLLATE {collation})"
    query = " UNION ALL ".join([select] * len(TEXTS))
    of_weight: dict[bytes, set[str]] = defaultdict(set)
    for text, weight in rows(query, *(one for one in TEXTS for _ in range(2))):
        of_weight[weight].add(text)
    return [equal for equal in of_weight.values() if len(set(map(loose, equal)) - {None}) > 1]


def test_an_address_that_equals_a_later_one_to_the_tables_collation_is_stored_before_it() -> None:
    """Were there no common key, the later one would be stored with the one before both, which has the same attributes."""
    database.execute("ALTER TABLE usuarios MODIFY email VARCHAR(255) CHARACTER SET latin1 COLLATE latin1_swedish_ci")
    first = create_user(2, email="müller@x.co", registrationDate="2024-01-01")

    result = apply(create_user(1), first, create_user(3, email="myller@x.co"))

    assert outcomes(result) == [Outcome.APPLIED, Outcome.APPLIED, Outcome.WAITS]
    assert rows("SELECT email FROM usuarios ORDER BY id") == [("user1@example.co",), ("müller@x.co",)]
