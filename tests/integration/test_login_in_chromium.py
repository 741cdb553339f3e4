"""Who is let in and what another site can do with who is: the login and the forged form, tried in Chromium."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from outbox import State
from tests.integration.standing_dashboard import StandingDashboard, standing_dashboard
from tests.support.waiting import eventually

USER, PASSWORD = "ana", "geheim"

#: What another site has its visitor's browser do; the form goes by itself.
FORM = """<!doctype html><title>Kittens</title><form method="post" action="{to}">
<input name="id" value="{letter}"><input name="why" value="x"><input name="token" value="guessed"></form>
<script>document.forms[0].submit()</script>"""

SCRIPT = """<!doctype html><title>Kittens</title><script>
fetch("{to}", {{method: "POST", mode: "no-cors", credentials: "include",
    headers: {{"Content-Type": "application/x-www-form-urlencoded"}}, body: "id={letter}&why=x&token=guessed"}})
    .finally(() => document.title = "sent");
</script>"""

FRAME = """<!doctype html><title>Kittens</title><iframe src="{to}" onload="document.title = 'shown'"></iframe>"""


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[StandingDashboard]:
    """One that asks who it is, over an outbox in which something of everything stands."""
    with standing_dashboard(tmp_path, DASHBOARD_USER=USER, DASHBOARD_PASSWORD=PASSWORD) as dashboard:
        yield dashboard


def log_in(browser: Chrome, dashboard: StandingDashboard, password: str = PASSWORD) -> None:
    """As if the browser's question was answered; it keeps the answer for this address."""
    browser.get(f"{dashboard.address.replace('//', f'//{USER}:{password}@')}/")


@contextmanager
def another_site(page: str, host: str) -> Iterator[str]:
    """A site that has this one page; its address. By the name of `localhost` it is another site than 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{host}:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("path", ["/", "/letters", "/live.json", "/static/style.css", "/dramatiq/"])
def test_nobody_sees_anything_without_the_password(dashboard: StandingDashboard, browser: Chrome, path: str) -> None:
    browser.get(f"{dashboard.address}{path}")
    without = browser.find_element(By.TAG_NAME, "body").text
    log_in(browser, dashboard, "guessed")
    browser.get(f"{dashboard.address}{path}")

    assert (without, browser.find_element(By.TAG_NAME, "body").text) == ("", "")


def test_who_logs_in_sees_the_figures_renew_and_acts_under_their_name(
    dashboard: StandingDashboard, browser: Chrome
) -> None:
    letter = dashboard.letters["value"]
    log_in(browser, dashboard)
    assert browser.find_element(By.TAG_NAME, "footer").text == f"As {USER}: so the audit has it."

    dashboard.desk.dead(id="one more")
    letters = browser.find_element(By.CSS_SELECTOR, "dd [data-text='dead']")
    eventually(lambda: letters.text == str(len(dashboard.dead())), 30, "the figures renew themselves")
    assert not browser.find_element(By.ID, "lost").is_displayed()

    browser.get(f"{dashboard.address}/discard?id={letter}")  # its address holds no password any more
    browser.find_element(By.ID, "why").send_keys("not wanted")
    browser.find_element(By.CSS_SELECTOR, "main button").click()
    eventually(lambda: "told=discarded" in browser.current_url, 30)
    assert dashboard.desk.state(letter) is State.DISCARDED
    action, *_ = dashboard.desk.outbox.actions(1)
    assert (action.who, action.action, action.why) == (USER, "discard", "not wanted")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("attack", [FORM, SCRIPT], ids=["form", "script"])
@pytest.mark.parametrize("action", ["discard", "replay"])
def test_another_sites_form_changes_nothing(
    dashboard: StandingDashboard, browser: Chrome, action: str, attack: str, host: str
) -> None:
    letter = dashboard.letters["value"]
    log_in(browser, dashboard)

    with another_site(attack.format(to=f"{dashboard.address}/{action}", letter=letter), host) as site:
        browser.get(site)
        if attack is FORM:
            eventually(lambda: "This form was sent from another site." in browser.page_source, 30)
        else:
            eventually(lambda: browser.title == "sent", 30)

    assert dashboard.desk.state(letter) is State.DEAD


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_page_is_shown_in_another_sites_frame(dashboard: StandingDashboard, browser: Chrome, host: str) -> None:
    log_in(browser, dashboard)
    inside = f"{dashboard.address}/discard?id={dashboard.letters['value']}"

    with another_site(FRAME.format(to=inside), host) as site:
        browser.get(site)
        eventually(lambda: browser.title == "shown", 30)
        browser.switch_to.frame(0)

        assert browser.find_elements(By.TAG_NAME, "form") == []


def test_a_form_from_before_a_restart_is_refused_and_says_what_to_do(
    dashboard: StandingDashboard, browser: Chrome
) -> None:
    letter = dashboard.letters["value"]
    log_in(browser, dashboard)
    browser.get(f"{dashboard.address}/discard?id={letter}")
    browser.find_element(By.ID, "why").send_keys("not wanted")

    browser.execute_script("document.querySelector('main [name=token]').value = 'of the dashboard before'")
    browser.find_element(By.CSS_SELECTOR, "main button").click()

    eventually(lambda: "Go back and load it anew" in browser.page_source, 30)
    assert dashboard.desk.state(letter) is State.DEAD
