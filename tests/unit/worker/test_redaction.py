from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.redaction import MASK, Redactor

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "text",
    [
        '{"passwordHash": "s3cr3t", "email": "a@b.co"}',
        '{"passwordHash":"\\"s3cr3t\\\\", "email": "a@b.co"}',
        "{'password_hash': 's3cr3t', 'email': 'a@b.co'}",
        'User(password_hash="s3cr3t", email="a@b.co")',
        json.dumps({"raw": '{"passwordHash": "s3cr3t"}', "email": "a@b.co"}),
        json.dumps({"raw": json.dumps({"raw": '{"passwordHash": "s3cr3t"}'}), "email": "a@b.co"}),
        r'{"\u0070assword\u0048ash": "s3cr3t", "email": "a@b.co"}',
        json.dumps({"raw": r'{"\u0070asswordHash": "s3cr3t"}', "email": "a@b.co"}),
        repr(b'\xc4\x20{"passwordHash": "s3cr3t", "email": "a@b.co"}'),
        repr(b"\x82\xacpasswordHash\xa6s3cr3t\xa5email\xa6a@b.co"),
        repr(b"\x82\xacpasswordHash\xd9<s3cr3t\xa5email\xa6a@b.co"),
        "{'password': b's3cr3t', 'email': 'a@b.co'}",
        "a@b.co DB_PASSWORD=s3cr3t",
        "a@b.co ?token=s3cr3t&x=1",
        'email a@b.co "secret": 12345s3cr3t',
        'a@b.co "passwordHash": {"algorithm": "x", "value": ["s3cr3t"]}',
        'a@b.co {"passwordHash": "s3cr3t and cut of',
        "a@b.co (1366, \"Incorrect string value: 's3cr3t' for column `db`.`usuarios`.`password_hash` at row 1\")",
        "a@b.co redis://:s3cr3t@localhost:6379/1 is away",
        "a@b.co mysql://root:s3cr3t@localhost/x",
    ],
)
def test_a_secret_is_masked_by_its_name_and_the_rest_stays(text: str) -> None:
    redacted = Redactor()(text)

    assert SECRET not in redacted
    assert MASK in redacted
    assert "a@b.co" in redacted


@pytest.mark.parametrize(
    "text",
    [
        "User.passwordHash: text of up to 255 characters is expected",
        "Data too long for column 'password_hash' at row 1",
        "Access denied for user 'root'@'localhost' (using password: YES)",
        '{"passwordHash": null}',
        "http://127.0.0.1:8080/dramatiq/ and a@b",
        "redis://localhost:6379/1",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor()(text) == text


def test_known_secrets_are_masked_wherever_they_stand() -> None:
    redact = Redactor(["p@ss word", 'qu"oted'])

    assert redact("p@ss word p%40ss%20word " + json.dumps('qu"oted')) == f'{MASK} {MASK} "{MASK}"'


def test_a_secret_too_short_to_tell_from_text_is_left() -> None:
    assert Redactor(["a"])("a cat") == "a cat"


@given(secret=st.text(min_size=4).filter(lambda text: len(set(text)) > 2), depth=st.integers(0, 3))
def test_no_value_under_a_secret_name_survives_json(secret: str, depth: int) -> None:
    marked = f"{secret}BEGIN{secret}"
    text = json.dumps({"passwordHash": marked, "x": 1})
    for _ in range(depth):
        text = json.dumps({"raw": text})

    assert "BEGIN" not in Redactor()(text)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        "password" * 100_000,
        "a://" * 200_000,
        "value: '" * 100_000,
        "\\" * 1_000_000,
        '"token":"' * 100_000,
    ],
    ids=["long word", "names", "URLs", "values", "backslashes", "openings"],
)
@pytest.mark.timeout(60)  # a search whose work grows with the square of the length does not come to its end
def test_a_long_line_does_not_stop_the_program(text: str) -> None:
    assert Redactor()(text + ' "token": 1').endswith(f'"token": {MASK}')
