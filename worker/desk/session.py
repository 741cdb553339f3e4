"""What a command works with: the outbox's file, the database where one is needed, who sits at the desk, and times as typed."""

from __future__ import annotations

import getpass
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import peewee
import typer
from environs import Env

import entities.operations
from entities.errors import InvalidOperation
from entities.registry import all_entities, entity_named
from outbox import Outbox, State, UnusableOutbox
from outbox.states import state_named
from worker.apply import DatabaseUnavailable
from worker.desk.reach import bound
from worker.desk.terminal import UNUSABLE, fail
from worker.failures import classify
from worker.settings import FaultySettings, Settings, load_settings

DEFAULT_PATH = "var/outbox.sqlite3"

_AGO = re.compile(r"(?:(\d+)\s*(s|min|h|d))+", re.IGNORECASE)
_AGO_PART = re.compile(r"(\d+)\s*(s|min|h|d)", re.IGNORECASE)
_UNIT_MS = {"s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def outbox_path(given: Path | None) -> Path:
    """The outbox's file: as given, or OUTBOX_PATH from the environment or `.env`, or the default."""
    env = Env()
    env.read_env(Path(".env"), recurse=False)
    return given or Path(env.str("OUTBOX_PATH", "").strip() or DEFAULT_PATH)


@contextmanager
def opened(context: typer.Context) -> Iterator[Outbox]:
    """The outbox, for as long as the command runs. Whatever keeps it from being used ends the program, and says so."""
    path = context.obj
    try:
        with Outbox.attach(path) as outbox:
            yield outbox
    except UnusableOutbox as error:
        fail(f"{error} (see --file and OUTBOX_PATH)", UNUSABLE)
    except (peewee.DatabaseError, sqlite3.DatabaseError) as error:
        is_ours = isinstance(getattr(error, "orig", None) or error.__cause__ or error, sqlite3.Error)
        fail(f"{path}: {error}" if is_ours else f"the database: {classify(error).reason}", UNUSABLE)
    except OSError as error:
        fail(f"{path}: {error}", UNUSABLE)


def settings() -> Settings:
    """The service's settings; ends the program if they are faulty."""
    try:
        loaded = load_settings()
    except FaultySettings as error:
        fail("The settings will not do:\n" + "\n".join(f"  {fault}" for fault in error.faults), UNUSABLE)
    entities.operations.configure(loaded.unknown_attributes)
    return loaded


@contextmanager
def database_bound() -> Iterator[None]:
    """The models bound to the service's database; ends the program if it cannot be reached."""
    try:
        with bound(settings()):
            yield
    except DatabaseUnavailable as error:
        fail(f"the database cannot be asked: {error} (see DB_HOST and its like)", UNUSABLE)


@contextmanager
def database_bound_if_reachable(is_needed: bool) -> Iterator[bool]:
    """Whether the database can be asked: not if it is not needed, cannot be reached, or has none of our tables."""
    if not is_needed:
        yield False
        return
    is_entered = False
    try:
        with bound(settings()):
            is_entered = True
            yield True
    except DatabaseUnavailable:
        if is_entered:
            raise
        yield False


def operator() -> str:
    """Who sits at the desk, as far as the system knows; under sudo the person, not root."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def moment(text: str | None, now_ms: int, option: str) -> int | None:
    """A time as typed, in ms since 1970: so long ago (`90s`, `15min`, `2h30min`, `3d`), or ISO-8601 (local time if it has no
    zone); None stays None.

    :raises typer.BadParameter: it is neither.
    """
    if text is None:
        return None
    if _AGO.fullmatch(text.strip()):
        return now_ms - sum(int(count) * _UNIT_MS[unit.lower()] for count, unit in _AGO_PART.findall(text))
    try:
        return int(datetime.fromisoformat(text.strip()).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise typer.BadParameter(
            f"{text!r} is neither a time ago, such as 2h or 15min, nor a date, such as 2026-02-03T04:05",
            param_hint=option,
        ) from None


def state(label: str) -> State | None:
    """A state as typed; None for `all`. :raises typer.BadParameter: there is none of this name."""
    if label == "all":
        return None
    try:
        return state_named(label)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, all", param_hint="--state") from None


def entity(name: str | None) -> str | None:
    """An entity as typed, in whatever case; others are taken as they are: a dead letter may name anything."""
    if name is None:
        return None
    try:
        return entity_named(name).__name__
    except InvalidOperation:
        known = {one.__name__.lower(): one.__name__ for one in all_entities()}
        return known.get(name.lower(), name)
