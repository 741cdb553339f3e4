"""A grammar of the application's messages, and what can go wrong with one: an endless stream, the same for the same seed.

A message begins in form, on rows that are there. Then most are changed: in their tree (a value, a name, a level too many or
too few) and some in their bytes (cut, flipped, in another encoding). Each secret attribute holds `SECRET`, which therefore
must be seen nowhere but in the database.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from entities.base import Entity
from entities.conversions import EMAIL
from entities.registry import all_entities
from entities.values import Attribute, Boolean, Choice, FixedPoint, ForeignKey, Id, Integer, Timestamp, Varchar
from tests.support.odd_values import DATES, KEYS, an_odd_value

#: Part of every secret value; it stands nowhere else.
SECRET: Final = "Qx7mNeverShown"

#: The name of the secret attribute. A byte that is flipped spares it, or nobody could know a secret by its name.
SECRET_NAME: Final = b"passwordHash"

#: The same in another of JSON's spellings.
ESCAPED_NAME: Final = b"\\u0070asswordHash"

#: Explicit ids: rows that the first messages of a stream make. Of parents only the last few are deleted, or soon every
#: message would fail for want of a parent.
USERS, BUSINESSES = 40, 60
DELETED_PARENTS = 5

TYPES: Final = ("CREATE", "UPDATE", "DELETE", "BULK_CREATE", "BULK_UPDATE")


class Form(Enum):
    """What is known of a mutated message."""

    #: Nothing was changed: whatever keeps it from being applied, it is not its form.
    IN_FORM = "in form"
    #: It cannot be applied.
    BROKEN = "broken"
    #: It may be either.
    UNSURE = "unsure"


@dataclass(frozen=True)
class Mutant:
    """A message's bytes, and what is known of them."""

    raw: bytes
    form: Form


class Written(str):
    """JSON text that stands in a tree as it is."""


class Again(str):
    """A name that may stand in an object beside its equal."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def first_messages() -> list[bytes]:
    """The messages, in form, that make the rows which the others are about."""
    chance = random.Random(0)
    messages = []
    for entity in all_entities():
        for number in range(1, _last_row(entity) + 1):
            parents = {
                field.wire_name: (number - 1) % _last_row(field.rel_model) + 1
                for field in entity.attributes().foreign_keys
            }
            named = {field.wire_name: _value(chance, field, number, 0) for field in entity.attributes().required}
            data = {**named, **parents, "id": number}
            messages.append(_message("CREATE", entity.__name__, data, f"first_{entity.__name__}_{number}"))
    return [written(message).encode() for message in messages]


def mutants(seed: int, count: int) -> Iterator[Mutant]:
    """So many messages; the n-th of a seed is always the same."""
    for number in range(count):
        yield mutant(seed, number)


def mutant(seed: int, number: int) -> Mutant:
    """The message of this number in the stream of this seed."""
    chance = random.Random(f"{seed}:{number}")
    tree = _operation(chance, seed, number)
    if chance.random() < 0.3:
        return Mutant(written(tree).encode(), Form.IN_FORM)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        tree = chance.choices(*_TREE_MUTATIONS)[0](chance, tree)
    text = written(tree, chance)
    raw = text.encode("utf-8", "surrogatepass")
    if chance.random() < 0.2:
        return chance.choice(_BYTE_MUTATIONS)(chance, raw)
    return Mutant(raw, Form.UNSURE)


def written(value: Any, chance: random.Random | None = None) -> str:
    """The tree as JSON text, in one of several ways of writing it if `chance` is given."""
    ascii_only = chance is not None and chance.random() < 0.5
    comma, colon = (", ", ": ") if chance is not None and chance.random() < 0.3 else (",", ":")

    def text(node: Any) -> str:
        if isinstance(node, Written):
            return str(node)
        if isinstance(node, dict):
            return (
                "{"
                + comma.join(f"{_quoted(key, ascii_only)}{colon}{text(member)}" for key, member in node.items())
                + "}"
            )
        if isinstance(node, list):
            return "[" + comma.join(map(text, node)) + "]"
        return _quoted(node, ascii_only) if isinstance(node, str) else json.dumps(node)

    return text(value)


def entity_called(name: str) -> type[Entity]:
    return next(entity for entity in all_entities() if entity.__name__ == name)


def _quoted(text: str, ascii_only: bool) -> str:
    # a surrogate is escaped: half of one is JSON, but no UTF-8
    return json.dumps(str(text), ensure_ascii=ascii_only or any("\ud800" <= char <= "\udfff" for char in text))


# --------------------------------------------------------------------------------------------------- messages in form


def _operation(chance: random.Random, seed: int, number: int) -> dict[str, Any]:
    entity = chance.choice(all_entities())
    type = chance.choices(TYPES, (45, 35, 4, 10, 6))[0]
    unique = seed % 1_000_000 * 10_000_000 + number
    match type:
        case "CREATE":
            data = _new(chance, entity, unique)
            if chance.random() < 0.05:
                data["id"] = _row_id(chance, entity)
        case "UPDATE":
            data = _changes(chance, entity, unique)
        case "DELETE":
            data = {"id": chance.randint(_last_row(entity) - DELETED_PARENTS, _last_row(entity) + 1)}
        case "BULK_CREATE":
            data = {"records": [_new(chance, entity, unique, place) for place in range(_how_many(chance))]}
        case _:
            data = {"updates": [_changes(chance, entity, unique, place) for place in range(_how_many(chance))]}
    return _message(type, entity.__name__, data, f"op_{seed}_{number}", 1_700_000_000_000 + number)


def _how_many(chance: random.Random) -> int:
    return chance.randint(100, 400) if chance.random() < 0.002 else chance.choice((0, 1, 2, 3, 5, 8))


def _message(type: str, entity: str, data: dict[str, Any], operation_id: str, timestamp: int = 1) -> dict[str, Any]:
    metadata = {"operationId": operation_id, "timestamp": timestamp, "userId": 1, "source": "adelante-sumerce"}
    return {"type": type, "entity": entity, "data": data, "metadata": metadata}


def _new(chance: random.Random, entity: type[Entity], unique: int, place: int = 0) -> dict[str, Any]:
    fields = [field for field in entity.attributes().fields if not isinstance(field, Id)]
    given = [field for field in fields if field.required or chance.random() < 0.5]
    return {field.wire_name: _value(chance, field, unique, place) for field in given}


def _changes(chance: random.Random, entity: type[Entity], unique: int, place: int = 0) -> dict[str, Any]:
    fields = [field for field in entity.attributes().fields if not isinstance(field, Id)]
    data: dict[str, Any] = {"id": _row_id(chance, entity)}
    for field in chance.sample(fields, chance.randint(0, 3)):
        is_cleared = not field.required and chance.random() < 0.2
        data[field.wire_name] = None if is_cleared else _value(chance, field, unique, place)
    return data


def _row_id(chance: random.Random, entity: type[Entity]) -> Any:
    # one in thirty is not there, or not for long
    row = chance.randint(
        1, _last_row(entity) - DELETED_PARENTS - 1 if chance.random() < 0.97 else _last_row(entity) + 3
    )
    return chance.choice((row, row, row, float(row), str(row)))


def _last_row(entity: type[Entity]) -> int:
    return USERS if entity.__name__ == "User" else BUSINESSES


def _value(chance: random.Random, field: Attribute, unique: int, place: int) -> Any:
    """A value that the contract takes for this attribute."""
    if field.secret:
        return f"$2b$10${SECRET}{chance.randint(0, 99)}"
    match field:
        case ForeignKey():
            return _row_id(chance, field.rel_model)
        case Integer():
            return chance.choice((0, 7, "12", 3.0, -5, 2**31 - 1, -(2**31)))
        case Boolean():
            return chance.choice((True, False, 0, 1, "true", "false"))
        case FixedPoint():
            return chance.choice((0, 12.5, "99.99", 100, "-0.005", 45.678))
        case Choice():
            return chance.choice(field.accepted if chance.random() < 0.2 else field.database_choices)
        case Timestamp():
            return chance.choice(
                ("2024-02-29", "2024-01-01T12:00:00.500Z", 1_699_876_543_210, "2024-01-01T12:00:00-05:00")
            )
        case Varchar() if field.form is EMAIL:
            return f"u{unique}.{place}@example.co" if field.unique else "ana@example.co"
        case Varchar() if field.form is not None:
            return chance.choice(("3001234567", 3_109_876_543))
        case _:
            return chance.choice(("Ana", "Panadería La Esquina", "x", 42, "O'Brien; --", "漢字", "a\nb"))


# ------------------------------------------------------------------------------------------------ changes to the tree


def _places(node: Any, found: list[tuple[Any, Any]] | None = None) -> list[tuple[Any, Any]]:
    """Every (container, key) of a tree, but for those that hold secrets: a secret keeps its name."""
    found = [] if found is None else found
    if isinstance(node, dict | list):
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))[:20]
        for key in keys:
            found.append((node, key))
            _places(node[key], found)
    return found


def _place(chance: random.Random, tree: Any) -> tuple[Any, Any] | None:
    places = _places(tree)
    return chance.choice(places) if places else None


def _odd_value(chance: random.Random, tree: Any) -> Any:
    place = _place(chance, tree)
    if place is not None:
        container, key = place
        container[key] = Written(an_odd_value(chance))
    return tree


def _odd_secret(chance: random.Random, tree: Any) -> Any:
    """A secret of the wrong kind, too long, in letters that the column may not hold, or twice."""
    holders = [container for container, key in _places(tree) if key == SECRET_NAME.decode()]
    if not holders:
        return _data_replaced(chance, tree, {SECRET_NAME.decode(): SECRET})
    holder, name = chance.choice(holders), SECRET_NAME.decode()
    half_a_pair = Written(f'"{SECRET}\\ud800"')
    odd = (
        half_a_pair,
        f"{SECRET}😀",
        f"{SECRET}\x00'\"\\",
        SECRET * 40,
        [SECRET],
        {"hash": SECRET, name: SECRET},
        [[{name: SECRET}]],
    )
    holder[name] = chance.choice(odd)
    if chance.random() < 0.3:
        holder[Again(name)] = f"{SECRET} again"
    return tree


def _secret_elsewhere(chance: random.Random, tree: Any) -> Any:
    """The data as a text in a place that holds a name, as a producer sends it that mixes its arguments up."""
    if not isinstance(tree, dict):
        return tree
    text = written({SECRET_NAME.decode(): SECRET, "id": 1})
    if chance.random() < 0.3:
        text = text.replace(SECRET_NAME.decode(), ESCAPED_NAME.decode())
    place = chance.choice(("type", "entity", "operationId", "records"))
    if place == "operationId" and isinstance(tree.get("metadata"), dict):
        tree["metadata"][place] = text + str(chance.getrandbits(60))
    elif place == "records":
        return _data_replaced(chance, tree, {"records": [text, {text: text}]})
    else:
        tree[place] = text
    return tree


def _null(chance: random.Random, tree: Any) -> Any:
    return _put(chance, tree, lambda value: None)


def _wrapped(chance: random.Random, tree: Any) -> Any:
    return _put(chance, tree, lambda value: [value] if chance.random() < 0.5 else {"value": value})


def _as_text(chance: random.Random, tree: Any) -> Any:
    """A value encoded twice, as a client does that forgets that it is JSON already."""
    return _put(chance, tree, written)


def _as_key(chance: random.Random, tree: Any) -> Any:
    """An object as the name of its only attribute, as a form decoder makes of JSON."""
    return _put(chance, tree, lambda value: {written(value): ""})


def _put(chance: random.Random, tree: Any, change: Callable[[Any], Any]) -> Any:
    place = _place(chance, tree)
    if place is not None:
        container, key = place
        if key != SECRET_NAME.decode() or change is not written:
            container[key] = change(container[key])
    return tree


def _gone(chance: random.Random, tree: Any) -> Any:
    place = _place(chance, tree)
    if place is not None:
        container, key = place
        del container[key]
    return tree


def _one_more(chance: random.Random, tree: Any) -> Any:
    """A name that is unknown there, or known with another value."""
    objects = [tree] if isinstance(tree, dict) else []
    objects += [container[key] for container, key in _places(tree) if isinstance(container[key], dict)]
    if objects:
        target = chance.choice(objects)
        names = [
            field.wire_name for entity in all_entities() for field in entity.attributes().fields if not field.secret
        ]
        columns = ["usuario_id", "emprendimiento_id"]
        name = chance.choice((chance.choice(KEYS), chance.choice(names), chance.choice(columns)))
        target[name if name not in target else Again(name)] = Written(an_odd_value(chance))
    return tree


def _twice(chance: random.Random, tree: Any) -> Any:
    """A name that stands twice: its last value counts."""
    place = _place(chance, tree)
    if place is not None and isinstance(place[0], dict):
        container, key = place
        container[Again(key)] = container[key] if chance.random() < 0.5 else Written(an_odd_value(chance))
    return tree


def _other_names(chance: random.Random, tree: Any) -> Any:
    if isinstance(tree, dict):
        name = chance.choice(("type", "entity"))
        others = (*TYPES, *(entity.__name__ for entity in all_entities()), "create", "user", "Users", "DROP", *KEYS)
        tree[name] = chance.choice(others)
    return tree


def _odd_metadata(chance: random.Random, tree: Any) -> Any:
    if isinstance(tree, dict):
        ids = (
            "",
            "x",
            "x" * 255,
            "x" * 256,
            "😀" * 255,
            "😀" * 256,
            "first_User_1",
            "a\x00b",
            "op\n",
            "é",
            "e\u0301",
            "É ",
        )
        metadata = tree.get("metadata")
        if isinstance(metadata, dict) and chance.random() < 0.8:
            odd = Written(an_odd_value(chance)) if chance.random() < 0.6 else chance.choice(ids)
            metadata[chance.choice(("operationId", "timestamp"))] = odd
        else:
            tree["metadata"] = Written(an_odd_value(chance))
    return tree


def _odd_date(chance: random.Random, tree: Any) -> Any:
    dates = [(container, key) for container, key in _places(tree) if str(key).endswith("Date")]
    if dates:
        container, key = chance.choice(dates)
        container[key] = chance.choice(DATES)
    return tree


def _odd_bulk(chance: random.Random, tree: Any) -> Any:
    """Records where none belong, none where they do, or records that are no objects."""
    if not isinstance(tree, dict) or not isinstance(tree.get("data"), dict):
        return tree
    data = tree["data"]
    for name in ("records", "updates"):
        if isinstance(data.get(name), list):
            data[name].insert(chance.randint(0, len(data[name])), Written(an_odd_value(chance)))
            return tree
    name = chance.choice(("records", "updates"))
    tree["type"] = chance.choice(("BULK_CREATE", "BULK_UPDATE", tree.get("type")))
    return _data_replaced(chance, tree, {name: [data, data] if chance.random() < 0.5 else data})


def _huge_bulk(chance: random.Random, tree: Any) -> Any:
    """Thousands of records, the last of them perhaps wrong."""
    if chance.random() > 0.01 or not isinstance(tree, dict):
        return _odd_bulk(chance, tree)
    records: list[Any] = [{"businessId": chance.randint(1, BUSINESSES)} for _ in range(3_000)]
    if chance.random() < 0.5:
        records.append(Written(an_odd_value(chance)))
    return {**tree, "type": "BULK_CREATE", "entity": "Rating", "data": {"records": records}}


def _data_replaced(chance: random.Random, tree: Any, data: Any) -> Any:
    return {**tree, "data": data} if isinstance(tree, dict) else data


def _document(chance: random.Random, tree: Any) -> Any:
    """Something else than an object, or an object around it."""
    return chance.choice(([tree], {"value": tree}, written(tree), Written(an_odd_value(chance)), {"data": tree}))


_TREE_MUTATIONS: Final = tuple(
    zip(
        *(
            (_odd_value, 30),
            (_one_more, 10),
            (_odd_secret, 8),
            (_secret_elsewhere, 3),
            (_null, 8),
            (_gone, 8),
            (_odd_metadata, 8),
            (_twice, 6),
            (_odd_date, 6),
            (_odd_bulk, 5),
            (_as_text, 4),
            (_wrapped, 4),
            (_other_names, 3),
            (_huge_bulk, 2),
            (_as_key, 2),
            (_document, 2),
        ),
        strict=True,
    )
)


# ------------------------------------------------------------------------------------------------ changes to the bytes


def _cut(chance: random.Random, raw: bytes) -> Mutant:
    """The end is missing: an object that is not closed is no JSON, wherever it ends."""
    end = chance.randint(0, max(len(raw) - 1, 0))
    return Mutant(raw[:end], Form.BROKEN if raw.startswith(b"{") and raw.endswith(b"}") else Form.UNSURE)


def _flipped(chance: random.Random, raw: bytes) -> Mutant:
    if not raw:
        return Mutant(raw, Form.UNSURE)
    changed = bytearray(raw)
    for _ in range(chance.choice((1, 1, 2, 5))):
        place = chance.randrange(len(raw))
        if not _is_in_the_name(raw, place):
            changed[place] ^= 1 << chance.randrange(8)
    return Mutant(bytes(changed), Form.UNSURE)


def _is_in_the_name(raw: bytes, place: int) -> bool:
    names = (SECRET_NAME, ESCAPED_NAME)
    return any(name in raw[max(place - len(name) + 1, 0) : place + len(name)] for name in names)


def _hole(chance: random.Random, raw: bytes) -> Mutant:
    start = chance.randint(0, len(raw))
    end = start + chance.choice((1, 2, 5, 20))
    if any(_is_in_the_name(raw, place) for place in range(start, min(end, len(raw)))):
        return Mutant(raw, Form.UNSURE)
    return Mutant(raw[:start] + raw[end:], Form.UNSURE)


def _stuffed(chance: random.Random, raw: bytes) -> Mutant:
    start = chance.randint(0, len(raw))
    if start < len(raw) and _is_in_the_name(raw, start):
        return Mutant(raw, Form.UNSURE)
    odd = (
        b"\x00",
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b",",
        b'"',
        b"\\",
        b"{",
        b"}",
        b"\r\n",
        b"\xef\xbb\xbf",
    )
    return Mutant(raw[:start] + chance.choice(odd) + raw[start:], Form.UNSURE)


def _reencoded(chance: random.Random, raw: bytes) -> Mutant:
    text = raw.decode("utf-8", "replace")
    encoding = chance.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "utf-8-sig", "utf-7", "cp037"))
    form = Form.UNSURE if encoding in ("latin-1", "utf-7") or not text.isascii() else Form.BROKEN
    encoded = text.encode(encoding, "replace")
    return _cut(chance, encoded) if chance.random() < 0.2 else Mutant(encoded, form)


def _escaped_name(chance: random.Random, raw: bytes) -> Mutant:
    r"""The secret's name in another of JSON's spellings: `\u0070asswordHash`. The end may be missing beside."""
    changed = raw.replace(b'"' + SECRET_NAME, b'"' + ESCAPED_NAME)
    return _cut(chance, changed) if chance.random() < 0.3 else Mutant(changed, Form.UNSURE)


def _around(chance: random.Random, raw: bytes) -> Mutant:
    start, end, form = chance.choice(
        (
            (b"\xef\xbb\xbf", b"", Form.BROKEN),
            (b" \t\r\n", b" \n", Form.UNSURE),
            (b"", b"\x00", Form.BROKEN),
            (b"", b",", Form.BROKEN),
            (b"", b"}", Form.BROKEN),
            (b"[", b"]", Form.BROKEN),
            (b"callback(", b")", Form.BROKEN),
            (b"/**/", b"", Form.BROKEN),
            (b"", b"\n" + raw, Form.BROKEN),
            (b"\x00\x00\x00\x00\x01", b"", Form.BROKEN),  # the schema registry's head
        )
    )
    return Mutant(start + raw + end, form)


_BYTE_MUTATIONS: Final = (_cut, _flipped, _flipped, _hole, _stuffed, _reencoded, _escaped_name, _around)
