"""From a decoded JSON value to what the database stores: the contract's table of values, as pure functions.

Browsers' forms stand behind the application, so numbers come as text and the other way round. What converts without
loss is taken; everything else raises `Refused`, which says what is allowed. Nothing here knows of attributes or
models.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, NamedTuple

INT_MIN: Final = -(2**31)
INT_MAX: Final = 2**31 - 1

#: What MySQL's TIMESTAMP holds, in seconds since 1970: 1970-01-01 00:00:01 to 2038-01-19 03:14:07 UTC.
TIMESTAMP_MIN: Final = 1
TIMESTAMP_MAX: Final = 2**31 - 1

#: What MySQL's TEXT holds, in bytes of UTF-8.
TEXT_BYTES: Final = 65_535

# [0-9] and not \d, which takes Arabic digits; fullmatch below and not $, which takes a newline.
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,20}")
_DECIMAL_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_MILLISECONDS = re.compile(r"[0-9]{11,14}")
_ISO_8601 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?))?"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_YEAR_9999_MS: Final = 253_402_300_799_999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Format(NamedTuple):
    """A form that a text must have as a whole, and its name for people."""

    pattern: re.Pattern[str]
    name: str


EMAIL: Final = Format(
    re.compile(r"""[^\s@<>()\[\],;:\\"]{1,64}@(?:[^\W_](?:[^\W_]|-)*\.)+[^\W\d_](?:[^\W_]|-)+"""), "an e-mail address"
)
MOBILE_PHONE: Final = Format(re.compile(r"3[0-9]{9}"), "a mobile number (3 and nine more digits)")


class Refused(ValueError):
    """The value is not taken.

    Parameters:
      allowed: What is, as it goes on after "must be": "a date", "at most 20 characters".
      found: What stood there instead, where the value itself would not show it: "31 characters".
    """

    def __init__(self, allowed: str, found: str | None = None) -> None:
        super().__init__(allowed)
        self.allowed = allowed
        self.found = found


def to_int(value: Any, lowest: int = INT_MIN, highest: int = INT_MAX) -> int:
    """A whole number: 7, 7.0 or "7"."""
    number: int | None = None
    if isinstance(value, bool):
        pass
    elif isinstance(value, int):
        number = value
    elif isinstance(value, float):
        if value.is_integer():
            number = int(value)
    elif isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        number = int(value)
    if number is None or not lowest <= number <= highest:
        raise Refused(f"a whole number from {lowest} to {highest}")
    return number


def to_bool(value: Any) -> bool:
    """true, false, 0, 1, "true" or "false"."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in (0, 1):
        return value == 1
    if isinstance(value, str) and value in ("true", "false"):
        return value == "true"
    raise Refused('true, false, 0, 1, "true" or "false"')


def to_decimal(value: Any, max_digits: int, decimal_places: int) -> Decimal:
    """A number, or its text, within the column's range; rounded half away from zero, as the database would."""
    number: Decimal | None = None
    if isinstance(value, bool):
        pass
    elif isinstance(value, int):
        number = Decimal(value)
    elif isinstance(value, float):
        number = Decimal(repr(value)) if math.isfinite(value) else None
    elif isinstance(value, str) and _DECIMAL_NUMBER.fullmatch(value):
        number = Decimal(value)
    step = Decimal(1).scaleb(-decimal_places)
    bound = Decimal(10**max_digits - 1).scaleb(-decimal_places)
    if number is None or not -bound <= number <= bound:
        raise Refused(f"a number from -{bound} to {bound}")
    return number.quantize(step, ROUND_HALF_UP) or Decimal(0).quantize(step)  # the second: -0.00 is 0.00


def to_text(value: Any) -> str:
    """Text that UTF-8 can carry; a number becomes its digits."""
    if isinstance(value, str):
        if has_surrogates(value):
            raise Refused("text without half surrogate pairs")
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return digits(value)
    raise Refused("text")


def to_varchar(value: Any, max_length: int, *, may_be_blank: bool = True, form: Format | None = None) -> str:
    """Text of at most `max_length` characters, perhaps not blank, perhaps of a form."""
    text = to_text(value)
    if len(text) > max_length:
        raise Refused(f"text of at most {max_length} characters", f"{len(text)} characters")
    if not may_be_blank and not text.strip():
        raise Refused("text that is not blank")
    if form is not None and not form.pattern.fullmatch(text):
        raise Refused(form.name)
    return text


def to_long_text(value: Any, max_bytes: int = TEXT_BYTES) -> str:
    """Text of at most `max_bytes` bytes of UTF-8."""
    text = to_text(value)
    if len(text) > max_bytes // 4 and (size := len(text.encode())) > max_bytes:
        raise Refused(f"text of at most {max_bytes} bytes", f"{size} bytes")
    return text


def to_choice(value: Any, choices: Collection[str]) -> str:
    """One of a list of texts, letter for letter."""
    if isinstance(value, str) and value in choices:
        return value
    raise Refused(f"one of {', '.join(choices)}")


def to_timestamp(value: Any) -> datetime:
    """A moment as naive UTC, to the second.

    Taken: ISO-8601 with `Z`, an offset, or a bare date (midnight UTC); milliseconds since 1970, as number or text.
    Fractions of a second are dropped as the application drops them; the column would round, into the future.
    """
    moment: datetime | None = None
    try:
        if isinstance(value, str) and _ISO_8601.fullmatch(value):
            moment = datetime.fromisoformat(value)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        elif not isinstance(value, str) or _MILLISECONDS.fullmatch(value):
            milliseconds = to_int(value, 0, _YEAR_9999_MS)
            moment = _EPOCH + timedelta(milliseconds=milliseconds)
    except (ValueError, OverflowError):
        moment = None  # a list, a half, a 30th of February, a 25th hour
    if moment is None:
        raise Refused("a date: ISO-8601 with Z or an offset, a bare date, or milliseconds since 1970")
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    if not TIMESTAMP_MIN <= seconds <= TIMESTAMP_MAX:
        raise Refused("a date from 1970-01-01T00:00:01Z to 2038-01-19T03:14:07Z")
    return moment.replace(microsecond=0, tzinfo=None)


def digits(number: int | float) -> str:
    """A number as the text that JavaScript would make of it: 7.0 is "7".

    >>> digits(3001234567), digits(7.0), digits(1.5)
    ('3001234567', '7', '1.5')
    """
    if isinstance(number, float) and number.is_integer() and abs(number) < 1e21:
        return str(int(number))
    return str(number)


def has_surrogates(text: str) -> bool:
    """Whether half a surrogate pair is in it, which JSON can escape and UTF-8 cannot carry."""
    return not text.isascii() and _SURROGATE.search(text) is not None
