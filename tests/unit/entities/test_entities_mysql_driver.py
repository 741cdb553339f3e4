"""What is written and read faster than by PyMySQL is the same."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql.converters import convert_datetime

from entities.mysql_driver import literals, to_datetime

_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(),
    st.text("\0\n\r\032\"'\\%_ñ😀a", max_size=8),
    st.binary(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.datetimes(),
)


def a_connection() -> Any:
    """PyMySQL's, of a session in which a backslash escapes; it is never opened."""
    connection: Any = pymysql.connections.Connection(defer_connect=True)  # type: ignore[no-untyped-call]
    connection.server_status = 0
    return connection


@given(st.lists(_values, max_size=8))
def test_parameters_are_written_as_pymysql_writes_them(values: list[Any]) -> None:
    connection = a_connection()

    written = literals(values, connection.escape)

    assert written == tuple(map(connection.escape, values))


def test_other_types_are_left_to_pymysql() -> None:
    connection = a_connection()

    assert literals([True, Decimal("1.50"), None], connection.escape) == ("1", "1.50", "NULL")


@given(st.datetimes(min_value=datetime(1000, 1, 1)))
def test_dates_are_read_as_pymysql_reads_them(moment: datetime) -> None:
    for text in (moment.isoformat(" "), moment.isoformat(" ", "seconds")):
        assert to_datetime(text) == convert_datetime(text)


@pytest.mark.parametrize("text", ["0000-00-00 00:00:00", "2026-00-10 00:00:00", ""])
def test_what_is_no_date_stays_text(text: str) -> None:
    assert to_datetime(text) == convert_datetime(text)
