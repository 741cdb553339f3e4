"""The contract's table of values, attribute by attribute."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entities.base import Entity
from entities.conversions import INT_MAX, INT_MIN, TEXT_BYTES, TIMESTAMP_MAX
from entities.errors import InvalidOperation
from entities.registry import all_entities, entity_named
from entities.values import (
    Attribute,
    Boolean,
    Choice,
    FixedPoint,
    ForeignKey,
    Id,
    Integer,
    Text,
    Timestamp,
    Varchar,
    camel_case,
)


def attributes_of(*kinds: type[Attribute]) -> list[Any]:
    """Each attribute of these kinds in the seven models, as a parameter that shows its path."""
    return [
        pytest.param(field, id=field.path)
        for entity in all_entities()
        for field in entity.attributes().fields
        if isinstance(field, kinds)
    ]


def attribute(path: str) -> Attribute:
    entity, name = path.split(".")
    return entity_named(entity).attributes().by_wire_name[name]


def refusal(field: Attribute, value: Any) -> str:
    with pytest.raises(InvalidOperation) as caught:
        field.parse(value)
    assert caught.value.field == field.path
    assert caught.value.reason.startswith(f"{field.path}: must be ")
    caught.value.reason.encode()  # it can be stored
    return caught.value.reason


not_numbers = st.one_of(
    st.booleans(),
    st.lists(st.integers()),
    st.dictionaries(st.text(), st.integers()),
    st.sampled_from(
        ["", " ", "7 ", " 7", "7\n", "7 OR 1=1", "٧", "７", "7.0", "7,0", "0x7", "1e1", "1_0", "--7", "+7"]
    ),
    st.floats().filter(lambda number: not number.is_integer()),
)


@pytest.mark.parametrize("field", attributes_of(Id, ForeignKey))
@given(number=st.integers(1, INT_MAX))
def test_an_id_is_taken_as_number_whole_float_and_text(field: Attribute, number: int) -> None:
    assert field.parse(number) == field.parse(float(number)) == field.parse(str(number)) == number


@pytest.mark.parametrize("field", attributes_of(Id, ForeignKey))
@given(value=st.one_of(not_numbers, st.integers(max_value=0), st.integers(INT_MAX + 1), st.just("0"), st.just("-1")))
def test_an_id_is_refused_as_anything_else(field: Attribute, value: Any) -> None:
    assert "a whole number from 1 to 2147483647" in refusal(field, value)


@pytest.mark.parametrize("field", attributes_of(Integer))
@given(number=st.integers(INT_MIN, INT_MAX))
def test_an_int_is_taken_as_number_whole_float_and_text(field: Attribute, number: int) -> None:
    assert field.parse(number) == field.parse(float(number)) == field.parse(str(number)) == number


@pytest.mark.parametrize("field", attributes_of(Integer))
@given(value=st.one_of(not_numbers, st.integers(max_value=INT_MIN - 1), st.integers(INT_MAX + 1)))
def test_an_int_is_refused_as_anything_else(field: Attribute, value: Any) -> None:
    assert "a whole number from -2147483648 to 2147483647" in refusal(field, value)


@pytest.mark.parametrize("value", ["9" * 5_000, 10**4_000, 1e308, 2**64])
def test_an_absurd_number_is_refused_in_a_short_reason(value: Any) -> None:
    assert len(refusal(attribute("Business.creationYear"), value)) < 250


@pytest.mark.parametrize("field", attributes_of(Boolean))
@pytest.mark.parametrize(
    ("value", "stored"), [(True, True), (False, False), (1, True), (0, False), ("true", True), ("false", False)]
)
def test_a_bool_is_taken_in_six_forms(field: Attribute, value: Any, stored: bool) -> None:
    assert field.parse(value) is stored


@pytest.mark.parametrize("field", attributes_of(Boolean))
@pytest.mark.parametrize("value", [2, -1, "1", "0", "yes", "TRUE", "", [True], {}, 0.5])
def test_a_bool_is_refused_as_anything_else(field: Attribute, value: Any) -> None:
    assert 'true, false, 0, 1, "true" or "false"' in refusal(field, value)


@pytest.mark.parametrize("field", attributes_of(FixedPoint))
@given(number=st.decimals("-999.99", "999.99", places=4))
def test_a_decimal_is_taken_as_number_or_text_and_rounded_as_the_database_rounds(
    field: Attribute, number: Decimal
) -> None:
    rounded = number.quantize(Decimal("0.01"), ROUND_HALF_UP)

    assert field.parse(str(number)) == rounded
    assert field.parse(float(number)) == rounded
    assert str(field.parse(int(number))) == f"{int(number)}.00"


@pytest.mark.parametrize("field", attributes_of(FixedPoint))
@pytest.mark.parametrize(
    "value",
    [1000, -1000, 999.995, "1000", math.nan, math.inf, -math.inf, "NaN", "Infinity", "1e2", "12,5", "", "x", True, []],
)
def test_a_decimal_is_refused_as_anything_else(field: Attribute, value: Any) -> None:
    assert "a number from -999.99 to 999.99" in refusal(field, value)


@pytest.mark.parametrize(
    ("value", "stored"), [("12.345", "12.35"), ("-12.345", "-12.35"), (0.125, "0.13"), ("0.0049", "0.00"), (7, "7.00")]
)
def test_half_a_hundredth_is_rounded_away_from_zero(value: Any, stored: str) -> None:
    assert str(attribute("Rating.totalPercentage").parse(value)) == stored


def test_a_decimal_has_no_negative_zero() -> None:
    assert str(attribute("Rating.totalPercentage").parse(-0.0)) == "0.00"


storable_text = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize("field", attributes_of(Text))
@given(text=storable_text)
def test_text_is_taken_as_it_is(field: Attribute, text: str) -> None:
    assert field.parse(text) == text


@pytest.mark.parametrize("field", attributes_of(Text))
@pytest.mark.parametrize("text", ["x" * TEXT_BYTES, "ñ" * (TEXT_BYTES // 2), "🍞" * (TEXT_BYTES // 4)])
def test_text_is_measured_in_bytes(field: Attribute, text: str) -> None:
    assert field.parse(text) == text
    assert f"at most {TEXT_BYTES} bytes, not {len((text + text[0]).encode())} bytes" in refusal(field, text + text[0])


@pytest.mark.parametrize("path", ["Business.managerName", "Business.economicSector", "User.firstName"])
@pytest.mark.parametrize("character", ["x", "ñ", "🍞"])
def test_varchar_is_measured_in_characters(path: str, character: str) -> None:
    field = attribute(path)
    assert isinstance(field, Varchar)
    longest = character * field.max_length

    assert field.parse(longest) == longest
    assert f"at most {field.max_length} characters, not {field.max_length + 1} characters" in refusal(
        field, longest + character
    )


@pytest.mark.parametrize(("number", "digits"), [(7, "7"), (7.0, "7"), (-1.5, "-1.5"), (1e20, "1" + 20 * "0")])
def test_a_number_becomes_its_digits_in_text(number: float, digits: str) -> None:
    assert attribute("Business.name").parse(number) == digits


@pytest.mark.parametrize("field", attributes_of(Varchar, Text, Choice))
@pytest.mark.parametrize("value", [True, ["x"], {"x": 1}, "half a pair: \ud83c", "\udf5e"])
def test_text_of_any_kind_is_refused_as_anything_else(field: Attribute, value: Any) -> None:
    refusal(field, value)


@pytest.mark.parametrize("path", ["User.firstName", "User.lastName", "Business.name"])
@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u00a0\u2003"])
def test_what_must_not_be_empty_is_refused_as_blanks(path: str, blank: str) -> None:
    assert "text that is not blank" in refusal(attribute(path), blank)


@pytest.mark.parametrize("path", ["User.email", "Business.managerEmail"])
@pytest.mark.parametrize(
    "address", ["ana@example.co", "a.b+c@x-y.example.com", "ñandú@españa.es", "1@1.co", "a'b@x.co"]
)
def test_an_email_address_is_taken(path: str, address: str) -> None:
    assert attribute(path).parse(address) == address


@pytest.mark.parametrize("path", ["User.email", "Business.managerEmail"])
@pytest.mark.parametrize(
    "text", ["", "ana", "ana@", "@x.co", "ana@x", "a b@x.co", "a@b@x.co", "a@x..co", "a@-x.co", "ana@x.co\n", "a@x.c"]
)
def test_what_is_no_email_address_is_refused(path: str, text: str) -> None:
    assert "an e-mail address" in refusal(attribute(path), text)


def test_an_email_of_a_megabyte_is_refused_at_once() -> None:
    assert "1000005 characters" in refusal(attribute("User.email"), "a" * 1_000_000 + "@x.co")


@pytest.mark.parametrize("value", ["3001234567", 3001234567, 3001234567.0])
def test_a_mobile_number_is_taken_as_text_and_as_number(value: Any) -> None:
    assert attribute("User.phoneContact").parse(value) == "3001234567"


@pytest.mark.parametrize("value", ["2001234567", "300123456", "30012345678", "300 1234567", "３００１２３４５６７", ""])
def test_what_is_no_mobile_number_is_refused(value: Any) -> None:
    assert "3 and nine more digits" in refusal(attribute("User.phoneContact"), value)


def test_managers_may_have_any_phone() -> None:
    assert attribute("Business.managerContact").parse("(601) 555 1234") == "(601) 555 1234"


@pytest.mark.parametrize("field", attributes_of(Choice))
def test_a_choice_is_one_of_its_lists_letter_for_letter(field: Choice) -> None:
    for choice in field.accepted:
        assert field.parse(choice) == choice
        assert choice in refusal(field, choice.upper())
    for other in ("", " ", 0, 1, "otra cosa", None.__class__.__name__):
        refusal(field, other)


@pytest.mark.parametrize(
    ("path", "of_the_application", "of_the_database"),
    [
        ("Finance.monthlyNetSales", "mas_6_smmlv", "3_mas_smmlv"),
        ("Finance.monthlyProfitability", "alta_mas_3_smmlv", "2_mas_smmlv"),
        ("Finance.financingSources", "propios", "recursos_propios"),
        ("Finance.monthlyFixedCosts", "alto_mas_3_smmlv", "2_mas_smmlv"),
    ],
)
def test_finance_takes_the_applications_list_and_the_databases(
    path: str, of_the_application: str, of_the_database: str
) -> None:
    field = attribute(path)

    assert field.parse(of_the_application) == of_the_application
    assert field.parse(of_the_database) == of_the_database


moments = st.datetimes(datetime(1970, 1, 2), datetime(2038, 1, 18))


@pytest.mark.parametrize("field", attributes_of(Timestamp))
@given(moment=moments, minutes=st.integers(-14 * 60, 14 * 60))
def test_a_date_is_taken_with_z_with_an_offset_and_as_milliseconds(
    field: Attribute, moment: datetime, minutes: int
) -> None:
    to_the_second = moment.replace(microsecond=0)
    with_zone = moment.replace(tzinfo=UTC)
    elsewhere = with_zone.astimezone(timezone(timedelta(minutes=minutes)))
    milliseconds = (with_zone - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)

    assert field.parse(moment.isoformat(timespec="milliseconds") + "Z") == to_the_second
    assert field.parse(elsewhere.isoformat()) == to_the_second
    assert field.parse(milliseconds) == field.parse(float(milliseconds)) == to_the_second


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("2023-11-13", datetime(2023, 11, 13)),
        ("2023-11-13T10:00Z", datetime(2023, 11, 13, 10)),
        ("2023-11-13T23:30:00-05:00", datetime(2023, 11, 14, 4, 30)),
        ("2023-11-13T10:00:00.999999Z", datetime(2023, 11, 13, 10)),
        ("1699876543210", datetime(2023, 11, 13, 11, 55, 43)),
        ("1970-01-01T00:00:01Z", datetime(1970, 1, 1, 0, 0, 1)),
        ("2038-01-19T03:14:07.999Z", datetime(2038, 1, 19, 3, 14, 7)),
    ],
)
def test_a_date_is_stored_in_utc_to_the_second(value: Any, stored: datetime) -> None:
    assert attribute("User.registrationDate").parse(value) == stored


@pytest.mark.parametrize("field", attributes_of(Timestamp))
@pytest.mark.parametrize(
    "value",
    [
        "",
        "yesterday",
        "2023-13-01",
        "2023-02-30",
        "2023-11-13T10:00:00",
        "13/11/2023",
        "2023-11-13Z",
        "20231113",
        "2023",
        "2023-11-13T25:00Z",
        "٢٠٢٣-١١-١٣",
        "2023-11-13\n",
        True,
        [],
        {},
        1.5,
        1e300,
        math.nan,
        -1,
        10**30,
    ],
)
def test_a_date_is_refused_as_anything_else(field: Attribute, value: Any) -> None:
    assert "a date" in refusal(field, value)


@pytest.mark.parametrize(
    "value", ["1970-01-01", 999, "2038-01-19T03:14:08Z", (TIMESTAMP_MAX + 1) * 1000, "0001-01-02", "9999-12-31"]
)
def test_a_date_beyond_what_the_column_holds_is_refused_with_its_range(value: Any) -> None:
    reason = refusal(attribute("User.registrationDate"), value)

    assert "from 1970-01-01T00:00:01Z to 2038-01-19T03:14:07Z" in reason


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        ("$2b$10$secret" * 20, "text of at most 255 characters"),
        ("$2b$10$secret\ud800", "text without half surrogate pairs"),
        (["$2b$10$secret"], "text"),
    ],
)
def test_a_secret_never_shows_its_value(value: Any, allowed: str) -> None:
    assert refusal(attribute("User.passwordHash"), value) == f"User.passwordHash: must be {allowed}"


@pytest.mark.parametrize("value", ['{"passwordHash":"hush"}', '{"\\u0070asswordHash":"hush"}', "password=hush"])
def test_a_refused_value_that_may_hold_a_secret_is_not_shown(value: str) -> None:
    assert refusal(attribute("User.role"), value).endswith(f"not text of {len(value)} characters")


@given(value=st.text(st.characters(), min_size=100, max_size=200))
def test_a_refused_value_is_shown_short_and_printable(value: str) -> None:
    reason = refusal(attribute("User.role"), value)

    assert len(reason) < 1_000
    assert reason.isprintable()


# Every attribute of every model, against whatever JSON can bring: it is parsed or refused, and nothing else happens.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(value=json_values.filter(lambda value: value is not None))
def test_each_attribute_parses_or_refuses_whatever_json_can_bring(value: Any) -> None:
    for entity in all_entities():
        for field in entity.attributes().fields:
            try:
                stored = field.parse(value)
            except InvalidOperation as refused:
                refused.reason.encode()
            else:
                assert isinstance(stored, int | str | Decimal | datetime)


@pytest.mark.parametrize(
    ("snake", "camel"), [("email", "email"), ("password_hash", "passwordHash"), ("has_a_b", "hasAB")]
)
def test_wire_names_are_camel_case(snake: str, camel: str) -> None:
    assert camel_case(snake) == camel


@pytest.mark.parametrize("entity", [pytest.param(entity, id=entity.__name__) for entity in all_entities()])
def test_a_default_is_a_value_that_the_attribute_takes(entity: type[Entity]) -> None:
    table = entity.attributes()

    for field in table.fields:
        if field.name in table.defaults:
            assert field.parse(field.to_wire(table.defaults[field.name])) == table.defaults[field.name]
