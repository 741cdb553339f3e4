"""The service's database for as long as the desk asks it something. It stands in nobody's way for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import peewee

from entities import database
from worker.apply import DatabaseUnavailable
from worker.connections import database_config
from worker.failures import classify
from worker.settings import Settings

#: How long (s) the desk waits for rows that others hold locked.
LOCK_WAIT_S = 2


@contextmanager
def bound(settings: Settings) -> Iterator[None]:
    """The models bound to the database of the settings.

    Raises `DatabaseUnavailable` if it cannot be reached, or has none of our tables.
    """
    config = replace(database_config(settings), lock_wait_timeout_s=LOCK_WAIT_S)
    if config.engine == "sqlite" and not Path(config.name).is_file():
        raise DatabaseUnavailable(f"there is no file {config.name}")
    database.open_database(config)
    try:
        database.execute("SELECT operation_id FROM settled_operations LIMIT 1").fetchall()
    except peewee.PeeweeException as error:
        database.close()
        raise DatabaseUnavailable(classify(error).reason) from error
    try:
        yield
    finally:
        database.close()
