"""From bytes to envelopes: what is taken, and that each refusal names its field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entities.envelope import NESTING_LIMIT, Envelope, Peek, content_digest, decode, peek
from entities.errors import InvalidOperation
from entities.operations import actions_of
from tests.unit.entities.builders import a_message


def refusal(raw: bytes) -> InvalidOperation:
    with pytest.raises(InvalidOperation) as caught:
        decode(raw)
    caught.value.reason.encode()
    assert len(caught.value.reason) < 1_000
    return caught.value


def test_a_message_of_the_contract_is_decoded() -> None:
    raw = """{"type": "CREATE", "entity": "Business",
        "data": {"userId": 3, "name": "Panadería La Esquina", "creationYear": 2022},
        "metadata": {"operationId": "op_1699876543210_k3j9x2b1a", "timestamp": 1699876543210,
                     "userId": 123, "source": "adelante-sumerce", "action": "create_business"}}""".encode()

    assert decode(raw) == Envelope(
        type="CREATE",
        entity="Business",
        data={"userId": 3, "name": "Panadería La Esquina", "creationYear": 2022},
        operation_id="op_1699876543210_k3j9x2b1a",
        timestamp=1699876543210,
    )


@pytest.mark.parametrize("metadata", [..., None, "text", 7, True, [], ["operationId"], {}])
def test_metadata_that_is_no_object_counts_as_missing(metadata: Any) -> None:
    envelope = decode(a_message(metadata=metadata))

    assert (envelope.operation_id, envelope.timestamp) == (None, None)


@pytest.mark.parametrize(
    ("given_id", "operation_id"),
    [
        ("op_1", "op_1"),
        (17, "17"),
        (17.0, "17"),
        (1.5, "1.5"),
        (2**70, str(2**70)),
        ("", None),
        (None, None),
        ("x" * 255, "x" * 255),
        ("🍞" * 255, "🍞" * 255),
    ],
)
def test_an_operation_id_is_text_or_a_number_as_text(given_id: Any, operation_id: str | None) -> None:
    raw = a_message(metadata={"operationId": given_id})

    assert decode(raw).operation_id == operation_id
    assert peek(raw).operation_id == operation_id


@pytest.mark.parametrize("given_id", [True, ["op"], {"id": "op"}, "x" * 256, "op\ud800"])
def test_an_operation_id_that_is_unusable_is_refused_by_name(given_id: Any) -> None:
    raw = a_message(metadata={"operationId": given_id})

    assert refusal(raw).field == "metadata.operationId"
    assert peek(raw) == Peek(operation_id=None, entity="Business", type="CREATE")


@pytest.mark.parametrize(
    ("usable", "timestamp"),
    [(1, 1), (1_699_876_543_210, 1_699_876_543_210), (5.0, 5), ("1699876543210", 1_699_876_543_210)],
)
def test_a_timestamp_is_milliseconds_as_number_or_text(usable: Any, timestamp: int) -> None:
    raw = a_message(metadata={"timestamp": usable})

    assert decode(raw).timestamp == peek(raw).timestamp == timestamp


@pytest.mark.parametrize("unusable", [0, -1, 1.5, True, None, "soon", "", "٧", [], {}, 10**16, 2**70, 1e300])
def test_a_timestamp_that_is_unusable_counts_as_missing(unusable: Any) -> None:
    raw = a_message(metadata={"timestamp": unusable})

    assert decode(raw).timestamp is None
    assert peek(raw).timestamp is None


def test_extra_keys_of_the_envelope_are_ignored() -> None:
    assert decode(a_message(version=2, trace={"deep": [1, 2]})) == decode(a_message())


@pytest.mark.parametrize("raw", [b"", b" \n"])
def test_nothing_at_all_is_refused(raw: bytes) -> None:
    assert refusal(raw).reason == "message: is empty"


def test_what_is_not_utf8_is_refused_with_the_place() -> None:
    raw = a_message(extra="?").replace(b"?", b"\xff")

    assert refusal(raw).reason == f"message: is not UTF-8: invalid start byte at byte {raw.index(0xFF)}"


@pytest.mark.parametrize("raw", [b"{", b"hello", b'{"type": "CREATE",}', b"{'type': 1}", b"{} {}", b"\xef\xbb\xbf{}"])
def test_what_is_not_json_is_refused_with_the_place(raw: bytes) -> None:
    assert refusal(raw).reason.startswith("message: is not JSON: ")


@pytest.mark.parametrize("text", ["[]", "7", '"text"', "null", "true"])
def test_a_document_that_is_no_object_is_refused(text: str) -> None:
    assert refusal(text.encode()).reason.startswith("message: must be a JSON object, not ")


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"type": 7}, "type: must be text, not 7"),
        ({"type": None}, "type: must be text, not null"),
        ({"type": ...}, "type: is missing"),
        ({"entity": ["User"]}, "entity: must be text, not a list"),
        ({"entity": ...}, "entity: is missing"),
        ({"data": []}, "data: must be an object, not a list"),
        ({"data": "x"}, "data: must be an object, not 'x'"),
        ({"data": ...}, "data: is missing"),
        (
            {"type": ..., "entity": 1, "data": None},
            "type: is missing; entity: must be text, not 1; data: must be an object, not null",
        ),
    ],
)
def test_a_part_of_the_envelope_that_is_wrong_is_named(parts: dict[str, Any], reason: str) -> None:
    assert refusal(a_message(**parts)).reason == reason


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize(
    ("message", "place"),
    [
        ('{"type": "CREATE", "entity": "Rating", "data": {"totalScore": %s}}', "data.totalScore"),
        ('{"type": "C", "entity": "R", "data": {"records": [{}, {"a b": %s}]}}', "data.records[1]['a b']"),
        ('{"type": "C", "entity": "R", "data": {}, "metadata": {"timestamp": %s}}', "metadata.timestamp"),
        ('{"type": "C", "entity": "R", "data": {}, "ignored": [[%s]]}', "ignored[0][0]"),
        ('{"type": "C", "entity": "R", "data": {"x": %s, "x": 1}}', "message"),
        ("%s", "message"),
    ],
)
def test_nan_and_infinities_are_refused_where_they_stand(number: str, message: str, place: str) -> None:
    refused = refusal((message % number).encode())

    assert refused.field == place
    assert f"is not JSON: {number}" in refused.reason


def test_a_key_that_stands_twice_counts_with_its_last_value() -> None:
    raw = b'{"type": 7, "type": "UPDATE", "entity": "User", "data": [], "data": {"id": 1, "id": 2}}'

    assert decode(raw) == Envelope("UPDATE", "User", {"id": 2})


@pytest.mark.parametrize("half", [r"\ud83c", r"\udf5e", r"\ud83c\ud83c"])
def test_half_a_surrogate_pair_outside_the_data_does_not_matter(half: str) -> None:
    raw = a_message(metadata={"operationId": "op_1", "action": "?"}, extra="?").replace(b"?", half.encode())

    assert decode(raw).operation_id == "op_1"
    assert peek(raw).operation_id == "op_1"


def test_half_a_surrogate_pair_in_an_attribute_is_refused_by_its_name() -> None:
    envelope = decode(a_message(data={"userId": 3, "name": "Pan \ud83c"}))

    with pytest.raises(InvalidOperation, match=r"Business.name: must be text without half surrogate pairs"):
        actions_of(envelope)


def test_half_a_surrogate_pair_as_a_name_is_refused_as_unknown() -> None:
    with pytest.raises(InvalidOperation, match=r"Business\['\\ud83c'\]: is unknown"):
        actions_of(decode(a_message(data={"userId": 3, "name": "Pan", "\ud83c": 1})))


@pytest.mark.parametrize("digits", ["9" * 20, "-" + "9" * 50, "9" * 4_300, "9" * 5_000, "1e400", "-1e400"])
def test_a_number_beyond_all_machines_is_read_without_loss(digits: str) -> None:
    raw = b'{"type": "CREATE", "entity": "Business", "data": {"n": %s}, "x": %s}' % (digits.encode(), digits.encode())

    value = decode(raw).data["n"]

    assert value == digits or (isinstance(value, int) and str(value) == digits)


def test_a_huge_number_in_an_attribute_is_refused_by_its_name() -> None:
    raw = b'{"type": "CREATE", "entity": "Business", "data": {"userId": 3, "name": "x", "creationYear": 1e400}}'

    with pytest.raises(InvalidOperation, match=r"Business.creationYear: must be a whole number .* not '1e400'"):
        actions_of(decode(raw))


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("place", [b'"data": {"x": %s}', b'"data": {}, "metadata": %s', b'"data": {}, "ignored": %s'])
def test_what_is_nested_100000_deep_is_refused(opening: bytes, place: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    nested = opening * 100_000 + b"1" + closing * 100_000

    assert "nested" in refusal(b'{"type": "CREATE", "entity": "User", ' + place % nested + b"}").reason
    assert peek(nested) == Peek()


def test_data_may_be_nested_up_to_the_limit() -> None:
    def nested(levels: int) -> bytes:
        value = b"[" * (levels - 1) + b"]" * (levels - 1)  # the object is the first level
        return b'{"type": "T", "entity": "E", "data": {"x": %s}}' % value

    assert decode(nested(NESTING_LIMIT)).type == "T"
    assert refusal(nested(NESTING_LIMIT + 1)).field == "data"


def test_a_message_of_a_megabyte_is_decoded() -> None:
    assert len(decode(a_message(data={"name": "ñ" * 1_000_000})).data["name"]) == 1_000_000


@given(raw=st.one_of(st.binary(), st.text().map(str.encode), st.text().map(json.dumps).map(str.encode)))
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    refusal(raw)

    peek(raw)


messages = st.fixed_dictionaries(
    {},
    optional={
        name: st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["operationId", "timestamp", "id"]), inner)
            ),
            max_leaves=5,
        )
        for name in ("type", "entity", "data", "metadata", "other")
    },
)


@given(message=messages)
def test_any_json_is_decoded_or_refused_and_peek_agrees(message: dict[str, Any]) -> None:
    raw = json.dumps(message).encode()
    glimpse = peek(raw)

    try:
        envelope = decode(raw)
    except InvalidOperation as refused:
        refused.reason.encode()
    else:
        assert (glimpse.operation_id, glimpse.timestamp) == (envelope.operation_id, envelope.timestamp)
    for text in (glimpse.operation_id, glimpse.entity, glimpse.type):
        assert text is None or text.encode() is not None


def test_peek_shortens_names_that_are_no_names() -> None:
    assert len(peek(a_message(entity="x" * 1_000_000)).entity or "") == 64


@pytest.mark.parametrize("name", ['{"passwordHash":"hush"}', '{"\\u0070asswordHash":"hush"}', "token=hush"])
def test_peek_tells_no_name_that_is_an_object_with_a_secret(name: str) -> None:
    seen = peek(json.dumps({"type": name, "entity": name}).encode())

    assert (seen.type, seen.entity) == (None, None)
    assert peek(b'{"entity":"AccessToken"}').entity == "AccessToken"


def test_peek_finds_the_operation_id_beside_a_part_that_is_wrong() -> None:
    assert peek(a_message(data=7, extra=float("nan"))).operation_id == "op_1"


def test_the_digest_tells_contents_apart_and_nothing_else() -> None:
    one = decode(a_message(data={"userId": 3, "name": "x"}, metadata={"operationId": "a"}))
    reordered = decode(a_message(data={"name": "x", "userId": 3}, metadata={"operationId": "b", "timestamp": 1}))

    assert content_digest(one) == content_digest(reordered)
    assert len(content_digest(one)) == 16
    for other in ({"data": {"userId": 4, "name": "x"}}, {"type": "UPDATE"}, {"entity": "User"}):
        parts = {"data": {"userId": 3, "name": "x"}, **other}
        assert content_digest(decode(a_message(**parts))) != content_digest(one)


@pytest.mark.parametrize("value", ["\ud800", 2**70, [{"x": "\udfff"}]])
def test_what_utf8_or_64_bits_cannot_carry_has_a_digest_too(value: Any) -> None:
    digest = content_digest(decode(a_message(data={"x": value})))

    assert digest != content_digest(decode(a_message(data={"x": "other"})))
