from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from outbox import State
from tests.support.streams import a_message
from tests.unit.desk.builders import Desk
from tests.unit.pages.browsing import Browser
from worker.ingest_note import INGEST_NOTE, STALE_AFTER_MS
from worker.pages.ingest_numbers import read_latency

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>{{ 7 * 7 }}'


def a_note(**more: object) -> str:
    told = {"host": "h", "pid": 7, "started_at": 1, "partitions": 3, "settled_per_s": 2.0, "received_per_s": 3.0}
    return json.dumps({**told, "is_kafka_connected": True, "is_redis_connected": True, **more})


@pytest.mark.parametrize("path", ["/", "/groups", "/letters", "/letters?state=all", "/live.json"])
def test_an_empty_outbox_has_pages(browser: Browser, desk: Desk, path: str) -> None:
    assert browser.get(path).status == 200


@pytest.mark.parametrize("path", ["/", "/groups", "/letters", "/live.json", "/entries/1", "/replay?id=1"])
def test_without_an_outbox_the_pages_say_so(browser: Browser, settings: object, path: str) -> None:
    answer = browser.get(path)

    assert answer.status == 503
    assert "There is no outbox" in answer.text
    assert "OUTBOX_PATH" in answer.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/entries/77", 404),
        ("/entries/77/edit", 404),
        ("/static/../app.py", 404),
        ("/letters?state=lost", 400),
        ("/letters?after=x", 400),
        ("/replay", 400),
        ("/replay?id=x", 400),
        ("/entries/1/take", 405),
        ("/done?action=x", 400),
    ],
)
def test_what_is_not_there_is_told(browser: Browser, desk: Desk, path: str, status: int) -> None:
    answer = browser.get(path)

    assert answer.status == status
    assert '<p role="alert">' in answer.text


def test_the_overview_tells_what_ingest_tells(browser: Browser, desk: Desk) -> None:
    desk.pending("UPDATE", "User", {"id": 1})
    desk.outbox.leave_note(INGEST_NOTE, a_note(paused_because=["the database is down"], ends={"0": 5}))

    shown = browser.get("/").text

    assert "the database is down" in shown
    assert re.search(r'server up" data-server="kafka"', shown)
    assert re.search(r'server down" data-server="database"', shown)


def test_a_stale_word_of_ingest_is_not_believed(browser: Browser, desk: Desk) -> None:
    desk.now -= STALE_AFTER_MS + 5_000
    desk.outbox.leave_note(INGEST_NOTE, a_note(is_database_healthy=True))

    shown = browser.get("/").text

    assert "silent for" in shown
    assert 'server up"' not in shown
    assert shown.count('class="server unknown"') == 3


def test_the_live_figures_are_the_overviews(browser: Browser, desk: Desk) -> None:
    desk.pending("UPDATE", "User", {"id": 1})
    desk.dead()
    desk.outbox.leave_note(INGEST_NOTE, a_note(ends={}))

    told = json.loads(browser.get("/live.json").text)

    assert told["texts"]["backlog"] == "1"
    assert told["texts"]["dead"] == "1"
    assert told["numbers"] == {"received_per_s": 3.0, "settled_per_s": 2.0, "backlog": 1, "lag": 0}
    assert told["latency"] is None


def test_what_is_held_stands_with_what_holds_it(browser: Browser, desk: Desk) -> None:
    letter = desk.dead(reason="Business 9 is not there")
    held = desk.pending("UPDATE", "Business", {"id": 9, "name": "x"})
    desk.outbox.hold([(held, letter)])

    overview, page = browser.get("/").text, browser.get(f"/entries/{held}").text

    assert re.search(rf'Held behind.*?/entries/{letter}".*?/entries/{held}"', overview, re.DOTALL)
    assert "held behind a dead letter" in page
    assert f"/entries/{letter}" in page


def test_a_lane_whose_letter_is_settled_is_about_to_go_on(browser: Browser, desk: Desk) -> None:
    letter = desk.dead()
    held = desk.pending("UPDATE", "Business", {"id": 9, "name": "x"})
    desk.outbox.hold([(held, letter)])
    desk.outbox.discard([letter], "eva", "not wanted")

    overview = browser.get("/").text

    assert "settled; about to go on" in overview
    assert f'href="/entries/{held}"' in overview


def test_hostile_words_are_shown_as_words(browser: Browser, desk: Desk) -> None:
    raw = json.dumps({"type": HOSTILE, "entity": HOSTILE, "data": {HOSTILE: HOSTILE}}).encode()
    letter = desk.die(desk.raw(raw, id=HOSTILE, entity=HOSTILE, type=HOSTILE), reason=HOSTILE)

    pages = ["/", "/groups", "/letters", f"/entries/{letter}", f"/replay?id={letter}", f"/entries/{letter}/edit"]
    shown = [browser.get(path) for path in [*pages, "/letters?q=%3Cscript%3E", "/letters?group=%3Cscript%3E"]]

    for answer in shown:
        assert answer.status == 200
        assert "<script>alert" not in answer.text
        assert "<img" not in answer.text
    assert "{{ 7 * 7 }}" in shown[3].text


def test_secrets_are_on_no_page(browser: Browser, desk: Desk) -> None:
    data = {"id": 9, "passwordHash": "s3cr3t-hash", "note": 'password: "s3cr3t-text"'}
    letter = desk.dead("UPDATE", "User", data, reason="User: passwordHash='s3cr3t-reason' is bad")

    paths = ["/", "/groups", "/letters?q=bad", f"/entries/{letter}", f"/entries/{letter}/edit", f"/replay?id={letter}"]
    shown = [browser.get(path).text for path in paths]

    assert "s3cr3t" not in "".join(shown)
    assert "***unchanged-1***" in shown[4]


def test_a_secret_in_an_operation_id_is_on_no_page(browser: Browser, desk: Desk) -> None:
    letter = desk.dead("UPDATE", "User", {"id": 9}, id='{"passwordHash": "s3cr3t"}')

    paths = ["/", "/groups", "/letters", f"/entries/{letter}", f"/replay?id={letter}"]
    shown = [browser.get(path).text for path in paths]

    assert "s3cr3t" not in "".join(shown)
    assert "Nothing is like this" in browser.get("/letters?q=s3cr3t").text


def test_a_secret_cannot_be_searched_for(browser: Browser, desk: Desk) -> None:
    desk.dead(reason="User: passwordHash='s3cr3t' is bad")

    assert "Nothing is like this" in browser.get("/letters?q=s3cr3t").text


@pytest.mark.parametrize("words", ["op_0", "USINESS", "update", "not there", "1"])
def test_a_letter_is_found_by_words_in_it_or_its_id(browser: Browser, desk: Desk, words: str) -> None:
    letter = desk.dead()
    desk.dead("DELETE", "Rating", {"id": 0}, id="other", reason="Rating.id: must be positive")

    shown = browser.get(f"/letters?q={words}").text

    assert f'href="/entries/{letter}"' in shown
    assert "Rating" not in shown


def test_a_state_and_an_entity_narrow_the_list(browser: Browser, desk: Desk) -> None:
    desk.pending("UPDATE", "User", {"id": 1}, id="waits")
    desk.pending("UPDATE", "Rating", {"id": 1}, id="other")
    desk.dead(id="died")

    shown = browser.get("/letters?state=pending&entity=user").text

    assert "waits" in shown
    assert "other" not in shown
    assert "died" not in shown


def test_pages_of_a_list_follow_each_other(browser: Browser, desk: Desk) -> None:
    letters = [desk.dead(id=f"op-{number}") for number in range(120)]

    seen: list[str] = []
    address: str | None = "/letters?q=op-"
    while address:
        page = browser.get(address.replace("&amp;", "&")).text
        seen += re.findall(r'name="id" value="(\d+)"', page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        address = following[1] if following else None

    assert seen == [str(letter) for letter in letters]


def test_one_letter_is_shown_whole(browser: Browser, desk: Desk) -> None:
    letter = desk.dead()

    shown = browser.get(f"/entries/{letter}").text

    assert "Business 9 is not there" in shown
    assert "&#34;Nueva&#34;" in shown
    assert "pending → dead" in shown
    assert f"/replay?id={letter}" in shown


def test_what_waits_says_for_what(browser: Browser, desk: Desk) -> None:
    first = desk.pending("UPDATE", "User", {"id": 1, "firstName": "a"})
    second = desk.pending("UPDATE", "User", {"id": 1, "firstName": "b"})

    shown = browser.get(f"/entries/{second}").text

    assert "waits for 1 earlier operation" in shown
    assert f'href="/entries/{first}"' in shown
    assert desk.state(second) is State.PENDING


def test_undecodable_bytes_have_a_page(browser: Browser, desk: Desk) -> None:
    letter = desk.die(desk.raw(a_message("x", "UPDATE", "User", {})[:20] + b"\xff\x00"))

    assert browser.get(f"/entries/{letter}").status == 200
    assert browser.get(f"/entries/{letter}/edit").status == 200


def test_every_asset_is_our_own(browser: Browser, desk: Desk) -> None:
    desk.dead()
    shown = browser.get("/").text

    addresses = re.findall(r'(?:src|href|action)="([^"]*)"', shown)
    assert [one for one in addresses if not one.startswith(("/", "#", "data:,"))] == []
    assert "style=" not in shown
    for name in ("style.css", "live.js", "choose.js"):
        assert browser.get(f"/static/{name}").status == 200


def test_the_latency_is_read_from_what_prometheus_reads() -> None:
    name = "outbox_persisted_to_applied_seconds"
    lines = [f"# TYPE {name} histogram"]
    lines += [f'{name}_bucket{{le="{le}"}} {count}' for le, count in (("0.1", 3), ("1.0", 5), ("+Inf", 6))]

    told = read_latency("\n".join([*lines, f"{name}_sum 9", f"{name}_count 6"]) + "\n")

    assert told is not None
    assert (told.bounds, told.counts, told.total) == ([0.1, 1.0], [3, 5], 6)


def test_the_path_of_a_page_cannot_leave_its_folder(browser: Browser, desk: Desk, tmp_path: Path) -> None:
    assert browser.get(f"/static/../../../../{tmp_path}/outbox.sqlite3").status == 404
