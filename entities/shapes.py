"""The quick way into a row: records in plain form are checked and arranged by msgspec, in C.

Nearly every record comes as the application's own code writes it: numbers as numbers, texts within their length. A shape says
that form for one entity. What does not have it (a number as text, an unknown name, anything wrong) is not judged here:
`entities.operations` takes it the long way, which also explains. Both give the same values for what the shape takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from entities.conversions import Refused, has_surrogates
from entities.values import Attribute

#: Stands where a record leaves an attribute out that has no default.
_ABSENT: Final = msgspec.UNSET


class Shape:
    """The plain form of an entity's records.

    Parameters:
      fields: The attributes, in the order in which their values are wanted.
      required: The Python names of those that must be there.
      defaults: By Python name, what is taken where an attribute is absent.
    """

    def __init__(
        self, fields: Sequence[Attribute], required: frozenset[str], defaults: Mapping[str, Any] | None = None
    ) -> None:
        self._defaults: Final = defaults or {}
        self._names: Final = tuple(field.name for field in fields)
        self._converted: Final = tuple(field for field in fields if field.plain_type is Any)
        self._struct: Final = msgspec.defstruct(
            "Record",
            [
                (field.name, _type_of(field))
                if field.name in required
                else (field.name, _type_of(field), self._defaults.get(field.name, _ABSENT))
                for field in fields
            ],
            rename={field.name: field.wire_name for field in fields},
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,
        )

    def values(self, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """The record's values by Python name, ready for the database; None: it does not have this shape."""
        try:
            read = msgspec.convert(record, self._struct)
        except (msgspec.ValidationError, UnicodeEncodeError):  # the second: half a surrogate pair in a name
            return None
        values = {
            name: value
            for name, value in zip(self._names, msgspec.structs.astuple(read), strict=True)
            if value is not _ABSENT
        }
        for field in self._converted:
            raw = values.get(field.name)
            if raw is not None and raw is not self._defaults.get(field.name):
                try:
                    values[field.name] = field.convert(raw)
                except Refused:
                    return None
        # What the standard library decoded may hold half a surrogate pair, which msgspec does not see in a Python text.
        for value in values.values():
            if type(value) is str and not value.isascii() and has_surrogates(value):
                return None
        return values


def _type_of(field: Attribute) -> Any:
    plain = field.plain_type
    return plain if field.required else plain | None
