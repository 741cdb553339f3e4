from __future__ import annotations

from dataclasses import replace

import pytest

from outbox import State
from tests.unit.desk.builders import Desk
from tests.unit.pages.browsing import Browser, login
from worker.settings import Settings


def test_a_form_without_the_token_is_refused(browser: Browser, desk: Desk) -> None:
    letter = desk.dead()
    browser.get("/")

    answer = browser.post("/discard", {"id": letter, "why": "x", "token": "made-up"})

    assert answer.status == 403
    assert desk.state(letter) is State.DEAD


def test_another_browsers_token_is_refused(settings: Settings, browser: Browser, desk: Desk) -> None:
    letter = desk.dead()
    token = browser.get(f"/discard?id={letter}").fields("/discard")["token"]
    browser.cookie = "desk=another"

    assert browser.post("/discard", {"id": letter, "why": "x", "token": token}).status == 403
    assert desk.state(letter) is State.DEAD


def test_a_form_from_another_site_is_refused(browser: Browser, desk: Desk) -> None:
    letter = desk.dead()
    fields = browser.get(f"/discard?id={letter}").fields("/discard")

    answer = browser.post("/discard", {**fields, "why": "x"}, HTTP_ORIGIN="http://evil.example")

    assert answer.status == 403
    assert desk.state(letter) is State.DEAD


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8080", 200), ("localhost:8080", 200), ("[::1]:8080", 200), ("evil.example:8080", 403), ("", 403)],
)
def test_without_a_password_only_this_hosts_names_are_answered_to(
    browser: Browser, desk: Desk, host: str, status: int
) -> None:
    assert browser.get("/", HTTP_HOST=host).status == status


def test_another_sites_page_cannot_make_the_database_work(browser: Browser, desk: Desk) -> None:
    letter = desk.dead()

    answer = browser.get(f"/replay?id={letter}", HTTP_SEC_FETCH_SITE="cross-site", HTTP_SEC_FETCH_MODE="no-cors")

    assert answer.status == 403


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Basic",
        "Basic !!!",
        "Bearer x",
        login("ana", "falsch"),
        login("eva", "geheim"),
        login("ana", ""),
        login("", ""),
    ],
)
def test_with_a_password_nothing_is_shown_without_it(settings: Settings, desk: Desk, given: str) -> None:
    browser = Browser(replace(settings, dashboard_user="ana", dashboard_password="geheim"))

    answers = [
        browser.get(path, HTTP_AUTHORIZATION=given) for path in ("/", "/live.json", "/dramatiq/", "/static/style.css")
    ]

    assert {answer.status for answer in answers} == {401}
    assert all(answer.headers["WWW-Authenticate"].startswith("Basic ") for answer in answers)
    assert "outbox" not in "".join(answer.text for answer in answers)


def test_with_the_password_the_pages_are_there_under_any_name(settings: Settings, desk: Desk) -> None:
    browser = Browser(replace(settings, dashboard_user="ana", dashboard_password="gehéim"))

    answer = browser.get("/", HTTP_AUTHORIZATION=login("ana", "gehéim"), HTTP_HOST="dashboard.example")

    assert answer.status == 200
    assert "<strong>ana</strong>" in answer.text


def test_every_page_forbids_frames_and_foreign_scripts(browser: Browser, desk: Desk) -> None:
    for path in ("/", "/groups", "/letters", "/nothing", "/static/live.js"):
        headers = browser.get(path).headers

        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        policy = headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'"} < set(policy)
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"


def test_the_cookie_is_for_this_site_alone_and_not_for_scripts(browser: Browser, desk: Desk) -> None:
    cookie = browser.get("/").headers["Set-Cookie"]

    assert cookie.split("; ")[1:] == ["Path=/", "HttpOnly", "SameSite=Strict"]
    assert "Set-Cookie" not in browser.get("/").headers


def test_a_form_that_is_too_large_is_not_read(browser: Browser, desk: Desk) -> None:
    assert browser.post("/discard", {}, CONTENT_LENGTH="8000001").status == 413
    assert browser.post("/discard", {}, CONTENT_LENGTH="x").status == 400
