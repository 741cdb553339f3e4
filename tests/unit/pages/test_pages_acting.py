from __future__ import annotations

import json

import pytest

from outbox import State
from outbox.records import DeskAction
from tests.unit.desk.builders import Desk
from tests.unit.pages.browsing import Browser


def audit(desk: Desk) -> list[DeskAction]:
    return desk.outbox.actions()


@pytest.mark.usefixtures("tables")
def test_a_confirmation_tells_what_would_happen_and_does_nothing(browser: Browser, desk: Desk) -> None:
    good = desk.dead()
    bad = desk.dead("UPDATE", "Business", {"id": 10, "name": "Nueva"})

    shown = browser.get(f"/replay?id={good}&id={bad}").text

    assert "1 would be applied, 1 would fail" in shown
    assert "would be applied to Business:9" in shown
    assert (desk.state(good), desk.state(bad)) == (State.DEAD, State.DEAD)
    assert audit(desk) == []


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(("action", "state"), [("replay", State.PENDING), ("discard", State.DISCARDED)])
def test_a_letter_is_replayed_or_discarded_and_the_audit_has_who_and_why(
    browser: Browser, desk: Desk, action: str, state: State
) -> None:
    letter = desk.dead()

    shown = browser.send(browser.get(f"/{action}?id={letter}"), f"/{action}", why="the row is there now")

    assert 'role="status"' in shown.text
    assert desk.state(letter) is state
    (line,) = audit(desk)
    assert (line.who, line.action, line.why, line.changed, line.refused) == (
        "ana",
        action,
        "the row is there now",
        1,
        0,
    )
    assert desk.outbox.history(letter)[-1].who == "ana"


@pytest.mark.parametrize("action", ["replay", "discard"])
def test_nothing_is_done_without_a_reason(browser: Browser, desk: Desk, action: str) -> None:
    letter = desk.dead()

    answer = browser.send(browser.get(f"/{action}?id={letter}"), f"/{action}", why="  ")

    assert answer.status == 422
    assert "Say why" in answer.text
    assert desk.state(letter) is State.DEAD


@pytest.mark.usefixtures("tables")
def test_a_replay_that_goes_back_in_time_wants_force(browser: Browser, desk: Desk) -> None:
    letter = desk.dead()
    desk.applied("UPDATE", "Business", {"id": 9, "name": "Neuer"}, id="later")

    page = browser.get(f"/replay?id={letter}")
    refused = browser.send(page, "/replay", why="x")
    still = desk.state(letter)
    browser.send(page, "/replay", why="x", force="1")

    assert "later" in page.text
    assert "It would go back in time" in page.text
    assert (refused.status, still) == (422, State.DEAD)
    assert desk.state(letter) is State.PENDING


@pytest.mark.usefixtures("tables")
def test_of_a_selection_only_what_goes_back_in_time_is_left_alone(browser: Browser, desk: Desk) -> None:
    behind = desk.dead()
    desk.applied("UPDATE", "Business", {"id": 9, "name": "Neuer"})
    free = desk.dead("UPDATE", "Business", {"id": 10, "name": "Nueva"})

    shown = browser.send(browser.get(f"/replay?id={behind}&id={free}"), "/replay", why="x")

    assert "1 replayed" in shown.text
    assert "1 left alone" in shown.text
    assert "not dead any more" not in shown.text
    assert (desk.state(behind), desk.state(free)) == (State.DEAD, State.PENDING)
    assert [(line.changed, line.refused) for line in audit(desk)] == [(1, 1)]


@pytest.mark.usefixtures("tables")
def test_a_whole_group_is_replayed_as_it_was_confirmed(browser: Browser, desk: Desk) -> None:
    group = [desk.dead("UPDATE", "Business", {"id": 100 + number, "name": "x"}) for number in range(5)]
    other = desk.dead("DELETE", "Rating", {"id": 1}, kind="refused", reason="Rating.id: is unknown")

    page = browser.get("/replay?group=Business:order:-:missing")
    late = desk.dead("UPDATE", "Business", {"id": 200, "name": "x"})
    shown = browser.send(page, "/replay", why="mended")

    assert "5 replayed" in shown.text
    assert {desk.state(one) for one in group} == {State.PENDING}
    assert (desk.state(other), desk.state(late)) == (State.DEAD, State.DEAD)
    assert "group Business:order:-:missing" in audit(desk)[0].chosen


def test_without_the_database_a_replay_can_still_be_confirmed(browser: Browser, desk: Desk) -> None:
    letter = desk.dead()

    page = browser.get(f"/replay?id={letter}")
    browser.send(page, "/replay", why="it will be there")

    assert "The database cannot be asked" in page.text
    assert desk.state(letter) is State.PENDING


def test_a_letter_that_somebody_replayed_meanwhile_is_left_as_it_is(browser: Browser, desk: Desk) -> None:
    letter = desk.dead()
    page = browser.get(f"/discard?id={letter}")
    desk.outbox.replay([letter], "eva", "first")

    shown = browser.send(page, "/discard", why="x")

    assert "0 discarded" in shown.text
    assert desk.state(letter) is State.PENDING


@pytest.mark.usefixtures("tables")
def test_an_edit_shows_its_changes_and_keeps_the_secrets(browser: Browser, desk: Desk) -> None:
    letter = desk.dead("UPDATE", "User", {"id": 1, "email": "wrong", "passwordHash": "s3cr3t"}, id="op_e")
    form = browser.get(f"/entries/{letter}/edit")
    text = form.fields(f"/entries/{letter}/edit")["text"][0].replace("wrong", "ana@example.co")

    review = browser.send(form, f"/entries/{letter}/edit", text=text)
    shown = browser.send(review, f"/entries/{letter}/take", why="a typo", do="take-and-replay")

    assert "ana@example.co" in review.text
    assert "would be applied to User:1" in review.text
    assert "s3cr3t" not in review.text + shown.text
    assert desk.payload(letter)["data"] == {"id": 1, "email": "ana@example.co", "passwordHash": "s3cr3t"}
    assert desk.state(letter) is State.PENDING
    assert [(line.action, line.who) for line in audit(desk)] == [("replay", "ana"), ("edit", "ana")]


def test_an_edit_that_makes_no_operation_is_not_taken(browser: Browser, desk: Desk) -> None:
    letter = desk.dead()
    form = browser.get(f"/entries/{letter}/edit")

    answer = browser.send(form, f"/entries/{letter}/edit", text="{}")

    assert answer.status == 422
    assert "Not taken" in answer.text
    assert answer.fields(f"/entries/{letter}/edit")["text"] == ["{}"]


def test_an_edit_of_what_was_changed_meanwhile_is_refused(browser: Browser, desk: Desk) -> None:
    letter = desk.dead()
    form = browser.get(f"/entries/{letter}/edit")
    desk.done("edit", letter, "--set", "name=Otra", "--yes")

    text = json.dumps({"type": "DELETE", "entity": "Business", "data": {"id": 1}})
    answer = browser.send(form, f"/entries/{letter}/edit", text=text)

    assert answer.status == 409
    assert desk.payload(letter)["data"]["name"] == "Otra"


def test_an_edit_that_is_only_taken_leaves_the_letter_dead(browser: Browser, desk: Desk) -> None:
    letter = desk.dead()
    form = browser.get(f"/entries/{letter}/edit")
    text = form.fields(f"/entries/{letter}/edit")["text"][0].replace("Nueva", "Otra")

    review = browser.send(form, f"/entries/{letter}/edit", text=text)
    shown = browser.send(review, f"/entries/{letter}/take", why="a typo", do="take")

    assert "stays dead until it is replayed" in shown.text
    assert (desk.state(letter), desk.payload(letter)["data"]["name"]) == (State.DEAD, "Otra")
    assert [(line.action, line.who, line.why) for line in audit(desk)] == [("edit", "ana", "a typo")]


def test_the_lines_of_a_browser_are_no_change(browser: Browser, desk: Desk) -> None:
    letter = desk.die(desk.raw(b"no JSON\nin two lines"))
    form = browser.get(f"/entries/{letter}/edit")
    text = form.fields(f"/entries/{letter}/edit")["text"][0]
    assert text.startswith("no JSON\nin two lines")

    answer = browser.send(form, f"/entries/{letter}/edit", text=text.replace("\n", "\r\n"))

    assert answer.fields(f"/entries/{letter}/edit")["text"] == [text]


@pytest.mark.parametrize("method", ["get", "post"])
def test_only_a_dead_letter_can_be_edited(browser: Browser, desk: Desk, method: str) -> None:
    letter = desk.dead()
    form = browser.get(f"/entries/{letter}/edit")
    fields = form.fields(f"/entries/{letter}/edit")
    desk.outbox.replay([letter], "eva", "first")

    address = f"/entries/{letter}/edit"
    answer = browser.get(address) if method == "get" else browser.post(address, fields)

    assert answer.status == 409
    assert "is pending, not dead" in answer.text


def test_no_more_letters_are_taken_than_a_page_shows(browser: Browser, desk: Desk) -> None:
    desk.dead()

    answer = browser.get("/discard?" + "&".join(f"id={number}" for number in range(1, 502)))

    assert answer.status == 400
    assert "No more than 500" in answer.text
    assert browser.get("/discard?" + "&".join(f"id={number}" for number in range(1, 501))).status == 200


@pytest.mark.usefixtures("tables")
def test_pages_ask_the_database_one_after_the_other(browser: Browser, desk: Desk) -> None:
    letter = desk.dead()

    shown = [browser.get(f"/replay?id={letter}").text for _ in range(2)]

    assert [one.count("would be applied to Business:9") for one in shown] == [1, 1]
