"""No page and no command at the desk leaves the database locked: a table can be altered right after each, and during those
that wait for a person."""

from __future__ import annotations

import html
import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest

from tests.support.child import Child
from tests.support.pipeline import Pipeline
from tests.support.streams import a_message, a_user
from tests.support.waiting import eventually

#: How long (s) an ALTER waits for who still uses the table; MariaDB's own limit is a day.
LOCK_WAIT_S = 2

#: What pages and desk look at, and what belongs to us.
TABLES = ("usuarios", "emprendimientos", "finanzas", "settled_operations")

#: An editor that says it was opened, and waits until it may end; it changes nothing.
EDITOR = """#!/bin/sh
touch "$(dirname "$0")/opened"
while [ ! -e "$(dirname "$0")/may-end" ]; do sleep 0.1; done
"""


class Pages:
    """Somebody who asks the dashboard by HTTP, with a cookie and the forms' own fields."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        self._shown = ""

    def open(self, path: str, form: dict[str, Any] | None = None) -> str:
        """The page. A form is sent with the hidden fields of the page before."""
        body = None
        if form is not None:
            hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', self._shown)
            body = urllib.parse.urlencode([*hidden, *form.items()]).encode()
        with self._opener.open(f"{self.address}{path}", body, timeout=30) as answer:
            self._shown = answer.read().decode()
        return self._shown

    def typed(self) -> str:
        """What stands in the page's text area."""
        found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", self._shown, re.DOTALL)
        assert found is not None, self._shown
        return html.unescape(found[1])


@pytest.fixture
def with_letters(pipeline: Pipeline) -> Pipeline:
    """A running service with User 1, Business 1, and letters: some of one cause, one whose row has changed since."""
    pipeline.service.settings["MAX_RETRY_ATTEMPTS"] = "0"
    pipeline.service.start()
    sales = [{"id": number, "businessId": 1, "monthlyNetSales": "mas_6_smmlv"} for number in range(1, 6)]
    pipeline.send(
        [
            a_message("late", "UPDATE", "Business", {"id": 1, "name": "too early"}),
            a_message("user", "CREATE", "User", a_user("ana@example.co", id=1)),
            a_message("business", "CREATE", "Business", {"id": 1, "userId": 1, "name": "Panadería"}),
            *(a_message(f"sales-{data['id']}", "CREATE", "Finance", data) for data in sales),
        ],
        partitions=1,
    )
    counts = pipeline.wait_until_settled()
    assert (counts.applied, counts.dead) == (2, 6)
    return pipeline


def alter(pipeline: Pipeline, after: str) -> None:
    """Add a column to each table and drop it again; fails if somebody holds one."""
    with pipeline.mariadb.connection(pipeline.database) as connection, connection.cursor() as cursor:
        cursor.execute(f"SET SESSION lock_wait_timeout = {LOCK_WAIT_S}")
        for table in TABLES:
            for change in ("ADD COLUMN made_for_a_test INT", "DROP COLUMN made_for_a_test"):
                try:
                    cursor.execute(f"ALTER TABLE {table} {change}")
                except Exception as error:
                    raise AssertionError(f"after {after}: {table} is in use ({error})") from error


def test_no_page_leaves_a_table_locked(with_letters: Pipeline) -> None:
    pipeline = with_letters
    pipeline.service.start_dashboard()
    pages = Pages(pipeline.service.dashboard_address)
    ids = {name: letter.entry_id for name, letter in pipeline.dead_letters().items()}
    late, first, second, third = (ids[name] for name in ("late", "sales-1", "sales-2", "sales-3"))
    group = urllib.parse.quote("Finance:refused:monthlyNetSales:truncated")
    looks = ["/", "/live.json", "/groups", "/letters", "/letters?state=all", f"/entries/{first}", "/dramatiq/"]
    asks = [f"/replay?id={late}", f"/replay?group={group}", f"/discard?group={group}", f"/entries/{first}/edit"]

    for path in (*looks, *asks):
        pages.open(path)
        alter(pipeline, path)

    payload = json.loads(pages.typed())
    payload["data"]["monthlyNetSales"] = "1_3_smmlv"
    assert "would be applied" in pages.open(f"/entries/{first}/edit", {"text": json.dumps(payload)})
    alter(pipeline, "a look at an edit")
    assert "Edited and replayed" in pages.open(
        f"/entries/{first}/take", {"text": json.dumps(payload), "why": "x", "do": "take-and-replay"}
    )
    pipeline.wait_until_settled()
    alter(pipeline, "an edit that is replayed")

    pages.open(f"/replay?id={second}")
    assert "Replayed" in pages.open("/replay", {"why": "x"})
    pipeline.wait_until_settled()
    alter(pipeline, "a replay")

    assert "go back in time" in pages.open(f"/replay?id={late}")
    assert "Replayed" in pages.open("/replay", {"why": "x", "force": "1"})
    pipeline.wait_until_settled()
    alter(pipeline, "a replay by force")

    pages.open(f"/discard?id={third}")
    assert "Discarded" in pages.open("/discard", {"why": "x"})
    alter(pipeline, "a discard")
    assert sorted(pipeline.dead_letters()) == ["sales-2", "sales-4", "sales-5"]


def test_a_rehearsal_that_waited_for_a_locked_row_leaves_nothing_locked(with_letters: Pipeline) -> None:
    pipeline = with_letters
    pipeline.service.start_dashboard()
    pages = Pages(pipeline.service.dashboard_address)
    late = pipeline.dead_letters()["late"].entry_id

    with pipeline.mariadb.connection(pipeline.database) as connection, connection.cursor() as cursor:
        connection.begin()
        cursor.execute("UPDATE emprendimientos SET nombre_emprendimiento = 'by the application' WHERE id = 1")
        shown = pages.open(f"/replay?id={late}")
        connection.rollback()

    assert "The database cannot be asked" in shown
    alter(pipeline, "a rehearsal that gave up")
    assert "would be applied" in pages.open(f"/replay?id={late}")


def test_no_command_leaves_a_table_locked(with_letters: Pipeline) -> None:
    pipeline = with_letters
    group = "Finance:refused:monthlyNetSales:truncated"
    file = str(pipeline.service.folder / "letters.jsonl")
    commands = [
        ("status",),
        ("watch", "--times", "2", "--interval", "0.5"),
        ("groups",),
        ("list",),
        ("show", "late"),
        ("why", "late"),
        ("replay", "--group", group, "--dry-run"),
        ("replay", "late"),
        ("edit", "sales-1", "--set", "monthlyNetSales=1_3_smmlv", "--dry-run"),
        ("edit", "sales-1", "--set", "monthlyNetSales=1_3_smmlv", "--replay"),
        ("discard", "sales-2", "--why", "x"),
        ("export", file),
        ("import", file, "--yes"),
        ("verify", "--thoroughly"),
        ("prune", "--older-than", "0s", "--yes"),
        ("replay", "late", "--force"),
        ("audit",),
    ]

    for command in commands:
        operator = pipeline.service.operator(*command)
        operator.spawn()
        assert operator.wait_for_exit(60.0) in (0, 1), operator.log_tail()
        pipeline.wait_until_settled(0)
        alter(pipeline, " ".join(command))

    assert "sales-1" not in pipeline.dead_letters()


def test_no_table_is_locked_while_an_operator_thinks(with_letters: Pipeline, tmp_path: Path) -> None:
    with an_open_editor(with_letters, tmp_path / "editor") as editing:
        alter(with_letters, "the editor was opened")

    assert editing.wait_for_exit(60.0) == 1, editing.log_tail()
    assert "nothing was changed" in editing.log()


@contextmanager
def an_open_editor(pipeline: Pipeline, folder: Path) -> Iterator[Child]:
    """The desk with a letter in the operator's editor, for as long as the block runs."""
    folder.mkdir()
    program = folder / "edit"
    program.write_text(EDITOR)
    program.chmod(0o755)
    desk = pipeline.service.operator("edit", "late")
    desk.environment = {**(desk.environment or {}), "EDITOR": str(program)}
    desk.spawn()
    eventually((folder / "opened").exists, 60, lambda: f"the editor opens\n{desk.log_tail()}")
    yield desk
    (folder / "may-end").touch()
