"""PyMySQL where every operation pays for it: parameters written into a statement, dates read from an answer.

Both give what PyMySQL itself gives. A statement of 500 ledger lines has 6,000 parameters, and PyMySQL asks a chain of functions
what each is; here the three types that nearly all are (int, str, bytes) are told at once, and all else is left to PyMySQL.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pymysql.cursors
from pymysql.constants import FIELD_TYPE, SERVER_STATUS
from pymysql.converters import conversions, convert_datetime, escape_string


class Cursor(pymysql.cursors.Cursor):
    """A cursor that binds parameters in bulk."""

    def execute(self, query: str, args: Any = None) -> int:
        """As PyMySQL has it."""
        connection: Any = self.connection
        if not isinstance(args, (list, tuple)) or connection is None:
            return super().execute(query, args)
        if connection.server_status & SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES:
            return super().execute(query, args)
        return super().execute(query % literals(args, connection.escape))


def literals(values: list[Any] | tuple[Any, ...], escape: Callable[[Any], str]) -> tuple[str, ...]:
    """Each value as it stands in a statement, where a backslash escapes.

    Parameters:
      escape: PyMySQL's own, for values of any other type. (A subclass, as bool is of int, is another type here.)
    """
    return tuple(
        [
            f"'{escape_string(value)}'"
            if (kind := type(value)) is str
            else str(value)
            if kind is int
            else f"X'{value.hex()}'"
            if kind is bytes
            else escape(value)
            for value in values
        ]
    )


def to_datetime(text: str) -> Any:
    """What a TIMESTAMP or DATETIME says; as text where it is no date, 0000-00-00, which PyMySQL leaves so."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return convert_datetime(text)


#: PyMySQL's table of how values are read and written, with dates read by the standard library's parser in C.
CONVERSIONS: dict[Any, Any] = {
    **conversions,
    FIELD_TYPE.TIMESTAMP: to_datetime,
    FIELD_TYPE.DATETIME: to_datetime,
}
