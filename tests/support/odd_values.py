"""Values that have broken programs before, as JSON text: what a fuzzer puts where something else is expected.

They are text and no Python values, because much of what goes wrong (1e400, half a surrogate pair, 5,000 digits) is lost when
Python writes JSON.
"""

from __future__ import annotations

import json
import random
from typing import Final

#: A letter of every width in UTF-8, marks, directions, what is invisible, what databases and terminals stumble over.
TEXTS: Final = (
    *(
        "",
        " ",
        "\t\n",
        "0",
        "7",
        "7.0",
        "-7",
        "07",
        "+7",
        "7 ",
        "７",
        "٣",
        "0x10",
        "1_000",
        "1e3",
        "NaN",
        "null",
        "true",
    ),
    *(
        "TRUE",
        "false",
        "undefined",
        "[object Object]",
        "7 OR 1=1",
        "'; DROP TABLE usuarios; --",
        "1) OR (1=1",
        "%s %d %(a)s",
    ),
    *(
        "{0}{a}",
        "${jndi:ldap://x/a}",
        "<script>alert(1)</script>",
        "a\\",
        'a"b',
        "a'b",
        "a`b",
        "--",
        "/*",
        "?",
        "%",
        "_",
    ),
    *(
        "\x00",
        "a\x00b",
        "\x1b[31mred\x1b[0m",
        "\x7f",
        "\r\nERROR a line of its own",
        "\u2028",
        "\ufeff",
        "\u200b",
        "\u202e",
    ),
    *("ñandú", "e\u0301", "straße", "İ", "ﬁ", "Ω", "漢字", "😀", "👩‍👩‍👧", "🇨🇴", "\U0010ffff", "\uffff", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L"),
    *(
        "ana@x.co",
        "ANA@X.CO",
        "ana@x.co ",
        "ana@@x.co",
        "@x.co",
        "ana@x",
        "ana@x.c",
        "a b@x.co",
        "ana@ñ.co",
        "ana@x.co\n",
    ),
    *("3001234567", "300123456", "30012345678", "2001234567", "３００１２３４５６７", "300 123 4567", "+573001234567"),
    *(
        "emprendedor",
        "Emprendedor",
        "administrador ",
        "0_6_meses",
        "3_6_smmlv",
        "3_mas_smmlv",
        "mas_6_smmlv",
        "otro",
        "mixto",
    ),
)

DATES: Final = (
    *("2024-02-29", "2023-02-29", "2024-13-01", "2024-00-10", "0000-00-00", "0001-01-01", "9999-12-31", "10000-01-01"),
    *("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.123456789Z", "2024-01-01T24:00:00Z", "2024-01-01T25:00:00Z"),
    *("2024-01-01T23:59:60Z", "2024-01-01T00:00:00+99:99", "2024-01-01T00:00:00-05:00", "2024-01-01T00:00:00+0530"),
    *(
        "2024-01-01T00:00",
        "2024-01-01 00:00:00",
        "2024-01-01T00:00:00z",
        "20240101",
        "2024-W01-1",
        "2024-001",
        "01/02/2024",
    ),
    *("1970-01-01", "1970-01-01T00:00:01Z", "2038-01-19T03:14:07Z", "2038-01-19T03:14:08Z", "1969-12-31T23:59:59Z"),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2024-03-10T02:30:00", "Mon, 01 Jan 2024 00:00:00 GMT"),
    *("now", "CURRENT_TIMESTAMP", "1699876543210", "-1", "99999999999999", "00000000000", "253402300799999"),
)

NUMBERS: Final = (
    *(
        "0",
        "-0",
        "-0.0",
        "1",
        "-1",
        "7.0",
        "7.5",
        "0.1",
        "1e2",
        "1E+2",
        "1e-400",
        "1e400",
        "-1e400",
        "1.7976931348623157e308",
    ),
    *(
        "2147483647",
        "2147483648",
        "-2147483648",
        "-2147483649",
        "4294967295",
        "9007199254740993",
        "9223372036854775807",
    ),
    *("9223372036854775808", "18446744073709551616", "1" + "0" * 30, "9" * 4_300, "-" + "9" * 5_000, "0." + "3" * 400),
    *("999.99", "999.994", "999.995", "-999.99", "1000", "12.345", "1e21", "123456789012345680000"),
    *("1699876543210", "1699876543210.5", "253402300799999", "253402300800000", "-62135596800000", "1e15"),
    *("NaN", "Infinity", "-Infinity"),
)

#: What is no JSON at all where a value is expected.
BROKEN: Final = (
    "",
    "undefined",
    "'7'",
    "007",
    "+1",
    ".5",
    "1.",
    "0x1F",
    "True",
    "None",
    "{",
    "]",
    '"\\x41"',
    '"\n"',
    '"\\u12"',
    "//",
)

CONTAINERS: Final = (
    "[]",
    "{}",
    "[1]",
    "[null]",
    "[[]]",
    '{"a":1}',
    '{"id":1}',
    '{"$ne":null}',
    '{"__proto__":{"id":1}}',
    "[[[[1]]]]",
)

HALF_SURROGATES: Final = (r'"\ud800"', r'"\udc00a"', r'"a\ud83d"', r'"\ude00\ud83d"', r'"\ud83d\ud83d\ude00"')

#: Names of attributes that nobody has, or that mean something to a language.
KEYS: Final = (
    *(
        "__proto__",
        "constructor",
        "prototype",
        "toString",
        "__class__",
        "__dict__",
        "self",
        "hasOwnProperty",
        "",
        " ",
        "id ",
    ),
    *(
        "ID",
        "Id",
        "_id",
        "$where",
        "a.b",
        "data[0]",
        "%s",
        "{0}",
        "'",
        '"',
        "`",
        "\\",
        "\x00",
        "\n",
        "😀",
        "ñ",
        "e\u0301",
    ),
    *(
        "emial",
        "firstname",
        "first_name",
        "nombre",
        "user",
        "business",
        "usuarioId",
        "undefined",
        "null",
        "x" * 300,
        "😀" * 100,
    ),
    *("records", "updates", "metadata", "type", "entity", "where", "id = 1; --", "\ud800"),
)


def an_odd_value(chance: random.Random) -> str:
    """The JSON text of one of them, the costly ones seldom."""
    kind = chance.random()
    if kind < 0.28:
        return json.dumps(chance.choice(TEXTS), ensure_ascii=chance.random() < 0.5)
    if kind < 0.42:
        return json.dumps(chance.choice(DATES))
    if kind < 0.70:
        number = chance.choice(NUMBERS)
        return f'"{number}"' if chance.random() < 0.3 else number
    if kind < 0.78:
        return chance.choice(("null", "true", "false"))
    if kind < 0.86:
        return chance.choice(CONTAINERS)
    if kind < 0.89:
        return chance.choice(HALF_SURROGATES)
    if kind < 0.92:
        return chance.choice(BROKEN)
    if kind < 0.985:
        # at the limits of the columns, in letters of one to four bytes
        length = chance.choice((19, 20, 21, 99, 100, 101, 199, 200, 201, 254, 255, 256, 1_000))
        return json.dumps(chance.choice("añ漢😀 ") * length, ensure_ascii=chance.random() < 0.5)
    if kind < 0.99:
        return json.dumps(
            chance.choice("añ😀") * chance.choice((16_383, 16_384, 21_846, 32_768, 65_535, 65_536)), ensure_ascii=False
        )
    depth = chance.choice((60, 64, 65, 200, 1_100, 20_000))
    start, end = chance.choice((("[", "]"), ('{"a":', "}")))
    return start * depth + "1" + end * (depth if chance.random() < 0.9 else depth - 1)
