"""The kinds of attribute that a model is made of: Peewee's fields, which also know their side of the wire.

Everything about an attribute is said once, where the model declares it, and everything else follows from there:
validation (`parse`), the application's tables (`sql_type`), what the cache holds (`to_wire`), the writeset keys.
`InvalidOperation` of `parse` names entity and attribute and what is allowed, and shows the value unless the attribute
is a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
import peewee

from entities import conversions
from entities.conversions import Format, Refused
from entities.errors import InvalidOperation, shown


def camel_case(snake_case: str) -> str:
    """The name on the wire of a Python attribute.

    >>> camel_case("password_hash"), camel_case("user_id")
    ('passwordHash', 'userId')
    """
    first, *others = snake_case.split("_")
    return first + "".join(word.capitalize() for word in others)


class Attribute(peewee.Field):
    """What every kind of attribute has beside Peewee's own parameters.

    Parameters:
      required: It must be there at CREATE, and nothing may clear it; the column is NOT NULL.
      secret: Its value appears in no reason, no log, and in the cache only if `CACHE_SECRETS` says so.
      default: What CREATE stores where it is absent (a value, no callable), and the column's own default.
    """

    #: What msgspec takes for it in plain form, in which `convert` would change nothing; `Any`: that is for `convert` to say.
    plain_type: Any = Any
    wire_name: str
    safe_name: str  # Peewee's: of a foreign key the name that ends in _id

    def __init__(self, *args: Any, required: bool = False, secret: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, null=not required, **kwargs)
        self.required = required
        self.secret = secret

    def bind(self, model: type[peewee.Model], name: str, set_attribute: bool = True) -> None:
        super().bind(model, name, set_attribute)
        self.wire_name = camel_case(self.safe_name)

    @property
    def path(self) -> str:
        """The name in a reason: "User.email"."""
        return f"{self.model.__name__}.{self.wire_name}"

    def parse(self, value: Any) -> Any:
        """A decoded JSON value (not null) as the database takes it; raises InvalidOperation."""
        try:
            return self.convert(value)
        except Refused as refusal:
            complaint = f"must be {refusal.allowed}"
            if not self.secret:
                complaint += f", not {refusal.found or shown(value)}"
            raise InvalidOperation(self.path, complaint) from None

    def convert(self, value: Any) -> Any:
        """`parse` without the name; raises `conversions.Refused`."""
        raise NotImplementedError

    def to_wire(self, value: Any) -> Any:
        """What the database holds (not NULL) as the cache's JSON has it."""
        return value

    def sql_type(self, dialect: str) -> str:
        """The column's type in the application's tables, for "mysql" or "sqlite"."""
        raise NotImplementedError


class Id(Attribute, peewee.AutoField):
    """The row's id, INT AUTO_INCREMENT."""

    plain_type = Annotated[int, msgspec.Meta(ge=1, le=conversions.INT_MAX)]

    def convert(self, value: Any) -> int:
        return conversions.to_int(value, lowest=1)

    def sql_type(self, dialect: str) -> str:
        return "INT AUTO_INCREMENT PRIMARY KEY" if dialect == "mysql" else "INTEGER PRIMARY KEY AUTOINCREMENT"


class ForeignKey(Attribute, peewee.ForeignKeyField):
    """The id of another entity's row. On the wire `user` is `userId`, and its column's name is taken as well.

    Deleting the parent deletes the child, in the database: the application knows nothing else, and writesets and
    cache rely on it.
    """

    plain_type = Annotated[int, msgspec.Meta(ge=1, le=conversions.INT_MAX)]

    def __init__(self, *args: Any, on_delete: str = "CASCADE", **kwargs: Any) -> None:
        if on_delete != "CASCADE":
            raise ValueError(f"on_delete={on_delete!r}: every foreign key of the application is ON DELETE CASCADE")
        super().__init__(*args, on_delete=on_delete, **kwargs)

    def bind(self, model: type[peewee.Model], name: str, set_attribute: bool = True) -> None:
        self.object_id_name = self.object_id_name or f"{name}_id"  # Peewee would take the column's name
        super().bind(model, name, set_attribute)

    def convert(self, value: Any) -> int:
        return conversions.to_int(value, lowest=1)

    def sql_type(self, dialect: str) -> str:
        return "INT" if dialect == "mysql" else "INTEGER"


class Integer(Attribute, peewee.IntegerField):
    """INT: -2³¹ … 2³¹-1."""

    plain_type = Annotated[int, msgspec.Meta(ge=conversions.INT_MIN, le=conversions.INT_MAX)]

    def convert(self, value: Any) -> int:
        return conversions.to_int(value)

    def sql_type(self, dialect: str) -> str:
        return "INT" if dialect == "mysql" else "INTEGER"


class Boolean(Attribute, peewee.BooleanField):
    """TINYINT(1)."""

    plain_type = bool

    def convert(self, value: Any) -> bool:
        return conversions.to_bool(value)

    def to_wire(self, value: Any) -> bool:
        return bool(value)

    def sql_type(self, dialect: str) -> str:
        return "TINYINT(1)"


class FixedPoint(Attribute, peewee.DecimalField):
    """DECIMAL(max_digits, decimal_places)."""

    def convert(self, value: Any) -> Decimal:
        return conversions.to_decimal(value, self.max_digits, self.decimal_places)

    def to_wire(self, value: Any) -> str:
        return f"{Decimal(str(value)):.{self.decimal_places}f}"

    def sql_type(self, dialect: str) -> str:
        return f"DECIMAL({self.max_digits},{self.decimal_places})"


class Varchar(Attribute, peewee.CharField):
    """VARCHAR.

    Parameters:
      max_length: In characters.
      may_be_blank: Whether blanks alone, or nothing, are taken.
      form: A form that the text must have.
    """

    def __init__(
        self, max_length: int, *args: Any, may_be_blank: bool = True, form: Format | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, max_length=max_length, **kwargs)
        self.may_be_blank = may_be_blank
        self.form = form
        pattern = rf"\A(?:{form.pattern.pattern})\Z" if form is not None else None if may_be_blank else r"\S"
        self.plain_type = Annotated[str, msgspec.Meta(max_length=max_length, pattern=pattern)]

    def convert(self, value: Any) -> str:
        # What nearly every value is, told without the calls of the rule itself.
        is_plain = type(value) is str and value.isascii() and 0 < len(value) <= self.max_length
        if is_plain and self.form is None and (self.may_be_blank or not value.isspace()):
            return str(value)
        return conversions.to_varchar(value, self.max_length, may_be_blank=self.may_be_blank, form=self.form)

    def sql_type(self, dialect: str) -> str:
        return f"VARCHAR({self.max_length})"


class Text(Attribute, peewee.TextField):
    """TEXT: up to 65,535 bytes."""

    plain_type = Annotated[str, msgspec.Meta(max_length=conversions.TEXT_BYTES // 4)]

    def convert(self, value: Any) -> str:
        return conversions.to_long_text(value)

    def sql_type(self, dialect: str) -> str:
        return "TEXT"


class Choice(Attribute, peewee.CharField):
    """ENUM.

    Parameters:
      choices: What the database's ENUM holds.
      application_choices: What the application sends, where its list is another one. Either is taken: the database
        decides, and its refusal (error 1265) is a dead letter that can be replayed once the column is mended.
    """

    def __init__(
        self, choices: Sequence[str], *args: Any, application_choices: Sequence[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(*args, choices=[(choice, choice) for choice in choices], **kwargs)
        self.database_choices = tuple(choices)
        self.accepted = tuple(dict.fromkeys([*application_choices, *choices]))
        self.plain_type = Literal[self.accepted]

    def convert(self, value: Any) -> str:
        return conversions.to_choice(value, self.accepted)

    def sql_type(self, dialect: str) -> str:
        choices = ",".join(f"'{choice}'" for choice in self.database_choices)
        return f"ENUM({choices})" if dialect == "mysql" else f'TEXT CHECK ("{self.column_name}" IN ({choices}))'


class Timestamp(Attribute, peewee.DateTimeField):
    """TIMESTAMP, in UTC, to the second.

    Parameters:
      default_now: The database fills it in where it is absent: its clock is one, the workers' are many.
    """

    def __init__(self, *args: Any, default_now: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.default_now = default_now

    def convert(self, value: Any) -> datetime:
        return conversions.to_timestamp(value)

    def to_wire(self, value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat(timespec="milliseconds") + "Z"
        return None  # 0000-00-00, which the driver cannot turn into a date

    def sql_type(self, dialect: str) -> str:
        return "TIMESTAMP NULL" if dialect == "mysql" else "TIMESTAMP"
