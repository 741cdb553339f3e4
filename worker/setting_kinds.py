"""The kinds of value a setting can have: how each is read by environs, and what it allows, in words.

A fault tells the shape of what was found and never the value, for a password may stand under the wrong name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from environs import Env, ValidationError, validate
from redis.connection import parse_url

from worker.pem import has_certificates, has_key

#: What Kafka takes as the name of a topic, and as a group instance id.
_KAFKA_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")

_BROKER_ADDRESS = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")

#: Below DEBUG: the libraries' own debug lines too.
SILLY = 5

#: Node's names (winston's order) and Python's. We say nothing at `http` and `verbose`, between info and debug.
LOG_LEVELS = {
    "silly": SILLY,
    "debug": logging.DEBUG,
    "verbose": logging.INFO,
    "http": logging.INFO,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


@dataclass(frozen=True)
class Kind:
    """A kind of value. `read(env, name)` parses it or raises `environs.EnvError`; `allowed` says what passes."""

    read: Callable[[Env, str], Any]
    allowed: str


def text() -> Kind:
    """Any text; where the default is not empty, so is the value, for an empty variable counts as not set."""
    return Kind(lambda env, name: env.str(name), "text")


def integer(smallest: int, largest: int) -> Kind:
    """A whole number in these bounds, both included."""
    in_bounds = validate.Range(smallest, largest)
    return Kind(lambda env, name: env.int(name, validate=in_bounds), f"a whole number from {smallest} to {largest}")


def boolean() -> Kind:
    """Yes or no."""
    return Kind(lambda env, name: env.bool(name), "true or false")


def choice(*names: str) -> Kind:
    """One of these names, in small letters, whatever the letters of the value."""

    def read(env: Env, name: str) -> str:
        chosen = env.str(name).strip().lower()
        validate.OneOf(names)(chosen)
        return chosen

    return Kind(read, " or ".join(names))


def log_level() -> Kind:
    """One of `LOG_LEVELS`, as Python's number for it."""
    names = choice(*LOG_LEVELS)
    return Kind(lambda env, name: LOG_LEVELS[names.read(env, name)], f"one of {', '.join(LOG_LEVELS)}, in any case")


def kafka_name() -> Kind:
    """The name of a topic, or a group instance id."""
    return Kind(
        lambda env, name: _matching(_KAFKA_NAME, env.str(name).strip()), "1 to 249 letters, digits, '.', '_' or '-'"
    )


def kafka_name_or_empty() -> Kind:
    """As `kafka_name`, or the empty text."""
    named = kafka_name()
    return Kind(lambda env, name: named.read(env, name) if env.str(name) else "", f"empty, or {named.allowed}")


def broker_addresses() -> Kind:
    """A tuple of `host:port`."""

    def read(env: Env, name: str) -> tuple[str, ...]:
        addresses = tuple(address.strip() for address in env.str(name).split(","))
        for address in addresses:
            _, port = _groups(_BROKER_ADDRESS, address)
            validate.Range(1, 65535)(int(port))
        return addresses

    return Kind(read, "host:port, or several of these with commas between")


def redis_url_or_empty() -> Kind:
    """A URL that redis-py takes, or the empty text."""

    def read(env: Env, name: str) -> str:
        url = env.str(name).strip()
        if url:
            try:
                parse_url(url)
            except ValueError:
                raise ValidationError("no URL of a Redis server") from None
        return url

    return Kind(read, "redis://[[user]:password@]host[:port][/database], or the same with rediss:// or unix://")


def certificates_or_empty() -> Kind:
    """The path of a file with certificates, or the empty text."""
    return _path_or_empty(has_certificates, "the path of a file in PEM that holds certificates")


def key_or_empty() -> Kind:
    """The path of a file with a private key, or the empty text."""
    return _path_or_empty(has_key, "the path of a file in PEM that holds a private key without a passphrase")


def _path_or_empty(will_do: Callable[[str], bool], what: str) -> Kind:
    def read(env: Env, name: str) -> str:
        path = env.str(name).strip()
        if path and not will_do(path):
            raise ValidationError("no such file")
        return path

    return Kind(read, f"empty, or {what}")


def shape(value: str) -> str:
    """What a refused value looks like, without telling it: `text of 3 characters`, `a whole number of 5 digits`."""
    stripped = value.strip()
    if re.fullmatch(r"-?[0-9]+", stripped):
        sign = "a negative whole number" if stripped.startswith("-") else "a whole number"
        digits = len(stripped.lstrip("-"))
        return f"{sign} of {digits} digit{'' if digits == 1 else 's'}"
    if re.fullmatch(r"-?[0-9]*\.[0-9]+", stripped):
        return "a number with a fraction"
    return f"text of {len(value)} character{'' if len(value) == 1 else 's'}"


def _matching(pattern: re.Pattern[str], value: str) -> str:
    _groups(pattern, value)
    return value


def _groups(pattern: re.Pattern[str], value: str) -> tuple[str, ...]:
    match = pattern.fullmatch(value)
    if match is None:
        raise ValidationError("not of this form")
    return match.groups()
