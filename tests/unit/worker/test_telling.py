"""The outbox's announcements are handed over a portion at a time and forgotten when they were told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from outbox import Announcement, Audience, Outbox
from tests.unit.outbox.builders import a_record, appended, dead
from worker import telling as telling_module
from worker.telling import Telling


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "outbox.sqlite3") as opened:
        yield opened


def die(outbox: Outbox, *offsets: int) -> None:
    outbox.settle([dead(seq) for seq in appended(outbox, *map(a_record, offsets))], announce=True)


def test_portions_follow_each_other_and_what_was_told_is_forgotten(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling_module, "PORTION", 2)
    handed_over: list[Sequence[Announcement]] = []
    telling = Telling(outbox, Audience.DEAD_LETTER_TOPIC, handed_over.append)
    die(outbox, 0, 1, 2)

    telling.go_on()
    telling.go_on()
    assert [[one.offset for one in portion] for portion in handed_over] == [[0, 1]]
    telling.told([one.announcement_id for one in handed_over[0]])
    telling.go_on()

    assert [one.offset for one in handed_over[1]] == [2]
    assert [one.offset for one in outbox.announcements(Audience.DEAD_LETTER_TOPIC, 9, 10**6)] == [2]


def test_what_dies_while_a_portion_is_under_way_is_handed_over_after_it(outbox: Outbox) -> None:
    handed_over: list[Sequence[Announcement]] = []
    telling = Telling(outbox, Audience.DEAD_LETTER_TOPIC, handed_over.append)
    die(outbox, 0)
    telling.go_on()

    die(outbox, 1)
    telling.note()
    telling.told([one.announcement_id for one in handed_over[0]])
    telling.go_on()

    assert [one.offset for one in handed_over[1]] == [1]


def test_the_outbox_is_not_asked_when_nothing_can_be_new(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    telling = Telling(outbox, Audience.DEAD_LETTER_TOPIC, lambda _: None)
    telling.go_on()
    asked: list[object] = []
    monkeypatch.setattr(outbox, "announcements", lambda *_: asked.append(_) or [])

    telling.go_on()
    assert asked == []
    telling.note()
    telling.go_on()

    assert len(asked) == 1


def test_a_new_process_tells_again_what_the_last_one_had_under_way(outbox: Outbox) -> None:
    handed_over: list[Sequence[Announcement]] = []
    die(outbox, 0)
    Telling(outbox, Audience.DEAD_LETTER_TOPIC, handed_over.append).go_on()

    Telling(outbox, Audience.DEAD_LETTER_TOPIC, handed_over.append).go_on()

    assert handed_over[0] == handed_over[1] != []
