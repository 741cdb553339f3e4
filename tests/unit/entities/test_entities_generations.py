"""What the database remembers of the partitions' logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from entities.database import transaction
from entities.generations import LogGeneration, generations, remember
from tests.support.applying import sqlite_database


@pytest.fixture(autouse=True)
def _database(tmp_path: Path) -> Iterator[None]:
    with sqlite_database(tmp_path / "application.sqlite3"):
        yield


def a_log(generation: int, offset: int) -> LogGeneration:
    return LogGeneration(generation, offset, 1_699_876_543_210, b"12345678")


def remembered(topic: str, **logs: LogGeneration) -> dict[int, LogGeneration]:
    with transaction():
        remember(topic, {int(name[1:]): log for name, log in logs.items()})
    return generations(topic)


def test_the_newest_record_of_each_partition_is_remembered_by_topic() -> None:
    remembered("a", p0=a_log(0, 5), p1=a_log(0, 7))

    assert remembered("b", p0=a_log(3, 1)) == {0: a_log(3, 1)}
    assert remembered("a", p1=a_log(0, 9)) == {0: a_log(0, 5), 1: a_log(0, 9)}


def test_a_new_generation_replaces_an_old_one_and_no_late_word_takes_it_back() -> None:
    remembered("a", p0=a_log(0, 500))

    assert remembered("a", p0=a_log(1, 2)) == {0: a_log(1, 2)}
    assert remembered("a", p0=a_log(0, 501)) == {0: a_log(1, 2)}


def test_a_topic_nobody_read_is_unknown() -> None:
    assert remembered("a") == {}
