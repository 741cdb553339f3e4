"""No secret is shown, whatever the payload looks like, and everything else is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.masking import MASK, mask_json, mask_text

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "key",
    ["password", "passwordHash", "password_hash", "PASSWORD", "userPassword", "secret", "clientSecret", "apiToken"],
)
@pytest.mark.parametrize("value", [SECRET, [SECRET], {"a": {"b": SECRET}}, [[{"x": SECRET}]], 12345678])
def test_the_value_of_a_secret_key_is_masked(key: str, value: object) -> None:
    raw = json.dumps({"data": {"records": [{"firstName": "Ana", key: value}]}}).encode()

    shown = mask_json(raw)

    assert json.loads(shown) == {"data": {"records": [{"firstName": "Ana", key: MASK}]}}


def test_all_else_is_shown_as_it_is() -> None:
    payload = {"type": "CREATE", "data": {"name": "Panadería 🍞", "year": 2022, "share": 0.5, "no": None, "yes": True}}

    assert json.loads(mask_json(json.dumps(payload).encode())) == payload
    assert "Panadería 🍞" in mask_json(json.dumps(payload).encode())


def test_an_absent_secret_is_shown_as_absent() -> None:
    assert json.loads(mask_json(b'{"password": null}')) == {"password": None}


@pytest.mark.parametrize(
    "raw",
    [
        f'{{"passwordHash": "{SECRET}"'.encode(),  # cut off
        f'{{"passwordHash": "{SECRET}'.encode(),  # cut off in the value
        f'{{"passwordHash": "{SECRET}\\" and more {SECRET}", }}'.encode(),  # a comma too many, an escaped quote
        f"{{'password_hash': '{SECRET}'}}".encode(),  # a Python dict
        f'{{"passwordHash": "\xff{SECRET}"}}'.encode("latin-1"),  # no UTF-8, else JSON
        f'{{"passwordHash": "\xff{SECRET}"'.encode("latin-1"),  # no UTF-8 and no JSON
        f'{{"passwordHash": "{SECRET}"}}'.encode("utf-16"),
        f'{{"passwordHash": ["{SECRET}", {{"x": "{SECRET}"'.encode(),
        f'{{"passwordHash": {{"x": "{SECRET}"'.encode(),
        f'{{"token" : {SECRET}, "a": 1'.encode(),
        f"password={SECRET}&x=1".encode(),
        json.dumps({"note": json.dumps({"password": SECRET})}).encode(),  # JSON in JSON
        json.dumps({"note": json.dumps({"password": SECRET})}).encode()[:-1],  # and cut off
        json.dumps({"note": f"password: {SECRET}"}).encode(),
        json.dumps({f"password={SECRET}": 1}).encode(),
        f'{{"\\u0070asswordHash": "{SECRET}", "a":'.encode(),  # the name in another spelling, and cut off
        f'{{"passwordHash"{{: "{SECRET}"}}'.encode(),  # one byte too many
        f'{{"passwordHash":`"{SECRET}"}}'.encode(),
        f'{{"passwordHash":" "{SECRET}"}}'.encode(),
        f'{{"passwordHash{SECRET}"}}'.encode(),  # the signs between name and value are lost
        f'{{"passwordHash": "{SECRET}", "a": 1}}'.encode("utf-16")[:-4],
        json.dumps({f'{{"passwordHash"; "{SECRET}"': ""}).encode(),  # a form's decoder made a name of it
        b"[" * 100_000 + f'{{"password": "{SECRET}"}}'.encode(),  # too deep
        b'{"n": ' + b"9" * 5_000 + f', "password": "{SECRET}"}}'.encode(),  # a number too long for Python
    ],
)
def test_no_secret_is_shown_of_a_payload_that_is_no_proper_json(raw: bytes) -> None:
    shown = mask_json(raw)

    assert SECRET not in shown
    assert MASK in shown


def test_half_a_surrogate_pair_is_shown_as_its_escape() -> None:
    assert json.loads(mask_json(b'{"a": "\\ud800x"}').replace("\\", "\\\\")) == {"a": "\\ud800x"}


def test_a_reason_is_masked_too() -> None:
    reason = f"Incorrect string value: password_hash='{SECRET}' for row 1"

    assert mask_text(reason) == "Incorrect string value: password_hash='***' for row 1"


@given(st.binary())
def test_it_never_raises(raw: bytes) -> None:
    mask_json(raw).encode("utf-8")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("passwordHash"), inner),
    )
)
def test_what_it_shows_of_json_is_json(payload: object) -> None:
    json.loads(mask_json(json.dumps(payload).encode()))
