"""The dashboard's pages on the real servers, in Chromium: each action from the click to the row in the database."""

from __future__ import annotations

import json

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from outbox import State
from tests.support.pipeline import Pipeline
from tests.support.streams import a_message, a_user
from tests.support.visitor import Visitor
from tests.support.waiting import eventually


@pytest.fixture
def visitor(pipeline: Pipeline, browser: Chrome) -> Visitor:
    """A running service with User 1 and Business 1, five letters of one cause, and one with an e-mail that is none."""
    pipeline.service.start()
    pipeline.service.start_dashboard()
    pipeline.send(
        [
            a_message("user", "CREATE", "User", a_user("ana@example.co", id=1), timestamp=1),
            a_message("business", "CREATE", "Business", {"id": 1, "userId": 1, "name": "Panadería"}, timestamp=2),
        ]
    )
    pipeline.wait_until_settled()
    sales = [{"id": number, "businessId": 1, "monthlyNetSales": "mas_6_smmlv"} for number in range(1, 6)]
    pipeline.send([a_message(f"sales-{data['id']}", "CREATE", "Finance", data) for data in sales])
    pipeline.send([a_message("email", "UPDATE", "User", {"id": 1, "email": "nobody", "passwordHash": "s3cr3t"})])
    pipeline.wait_until_settled()
    return Visitor(pipeline, browser)


def alter(pipeline: Pipeline, statement: str) -> None:
    """Change a table; whoever keeps it busy makes this fail, and not wait for a day."""
    limited = f"SET STATEMENT lock_wait_timeout = 10 FOR ALTER TABLE {statement}"
    pipeline.mariadb.execute(limited, database=pipeline.database)


def mend_sales(pipeline: Pipeline) -> None:
    alter(pipeline, "finanzas MODIFY ventas_netas_mes ENUM('menos_1_smmlv', 'mas_6_smmlv')")


def test_a_group_is_found_and_replayed_once_its_cause_is_mended(visitor: Visitor) -> None:
    pipeline = visitor.pipeline
    visitor.open("/")
    visitor.picture("overview")
    visitor.open("/groups")
    visitor.picture("groups")
    visitor.click("Replay the group")
    visitor.see("0 would be applied, 5 would fail")
    visitor.picture("replay-that-would-fail")
    mend_sales(pipeline)
    visitor.browser.refresh()
    visitor.see("5 would be applied, 0 would fail")
    visitor.picture("replay")

    visitor.say_why("the ENUM was mended")
    visitor.click("Replay 5")
    visitor.see("5 replayed")
    pipeline.wait_until_settled()

    assert pipeline.dead_letters().keys() == {"email"}
    assert pipeline.query("SELECT COUNT(*) FROM finanzas WHERE ventas_netas_mes = 'mas_6_smmlv'") == [(5,)]
    assert visitor.audited() == [("replay", "the ENUM was mended", 5)]


def test_a_letter_is_searched_edited_and_replayed(visitor: Visitor) -> None:
    pipeline, browser = visitor.pipeline, visitor.browser
    visitor.open("/letters")
    browser.find_element(By.ID, "q").send_keys("e-mail")
    visitor.click("Search")
    visitor.see("1 shown")
    visitor.picture("search")
    visitor.click(str(visitor.entry_id("email")))
    visitor.see("Payload")
    visitor.picture("entry")
    visitor.click("Edit")
    typed = browser.find_element(By.ID, "text")
    payload = json.loads(typed.get_attribute("value") or "")
    payload["data"]["email"] = "nueva@example.co"
    typed.clear()
    typed.send_keys(json.dumps(payload, indent=2))
    visitor.picture("edit")
    visitor.click("Look at the changes")
    visitor.see("would be applied to User:1")
    visitor.picture("edit-review")
    assert "s3cr3t" not in browser.page_source

    visitor.say_why("a typo")
    visitor.click("Take and replay")
    visitor.see("Edited and replayed")
    pipeline.wait_until_settled()

    assert "email" not in pipeline.dead_letters()
    assert pipeline.query("SELECT email, password_hash FROM usuarios WHERE id = 1") == [("nueva@example.co", "s3cr3t")]
    assert visitor.audited() == [("replay", "a typo", 1), ("edit", "a typo", 1)]


def test_a_letter_is_replayed_by_force_once_its_column_was_added(visitor: Visitor) -> None:
    pipeline, browser = visitor.pipeline, visitor.browser
    alter(pipeline, "emprendimientos DROP COLUMN sector_economico")
    sector = {"id": 1, "economicSector": "comercio", "name": "La Vieja"}
    for message in (
        a_message("sector", "UPDATE", "Business", sector),
        a_message("name", "UPDATE", "Business", {"id": 1, "name": "La Nueva"}),
    ):
        pipeline.send([message])
        pipeline.wait_until_settled()
    visitor.open(f"/replay?id={visitor.entry_id('sector')}")
    visitor.see("0 would be applied, 1 would fail. 1 would go back in time")

    alter(pipeline, "emprendimientos ADD COLUMN sector_economico VARCHAR(100)")
    browser.refresh()
    visitor.see("1 would be applied, 0 would fail. 1 would go back in time")
    visitor.see("UPDATE name, applied")
    visitor.picture("replay-back-in-time")
    visitor.say_why("the column was added")
    visitor.click("Replay 1")
    visitor.see("Nothing was done: tick the box")
    assert pipeline.query("SELECT nombre_emprendimiento FROM emprendimientos") == [("La Nueva",)]
    browser.find_element(By.ID, "force").click()
    visitor.click("Replay 1")
    visitor.see("Replayed")
    pipeline.wait_until_settled()

    rows = pipeline.query("SELECT nombre_emprendimiento, sector_economico FROM emprendimientos")
    assert rows == [("La Vieja", "comercio")]
    assert visitor.audited() == [("replay", "the column was added", 1)]
    pipeline.wait_until_the_cache_is_true()


def test_chosen_letters_are_discarded(visitor: Visitor) -> None:
    pipeline, browser = visitor.pipeline, visitor.browser
    visitor.open("/letters?entity=Finance")
    for box in browser.find_elements(By.CSS_SELECTOR, "td.tick input")[:2]:
        box.click()
    visitor.see("2 chosen")
    visitor.picture("chosen")
    visitor.click("Discard the chosen")
    visitor.say_why("not wanted")
    visitor.picture("discard")
    visitor.click("Discard 2")
    visitor.see("2 discarded")

    assert [entry.state for entry in pipeline.entries()].count(State.DISCARDED) == 2
    assert visitor.audited() == [("discard", "not wanted", 2)]


def test_the_figures_renew_themselves_and_tell_of_a_stopped_ingest(visitor: Visitor) -> None:
    pipeline, browser = visitor.pipeline, visitor.browser
    visitor.open("/")
    visitor.see("open: operations are sent")

    pipeline.send([a_message(f"more-{number}", "UPDATE", "User", {"id": 1}) for number in range(200)])
    pipeline.wait_until_settled()
    drawn = "return [...document.querySelectorAll('[data-last]')].every((one) => one.textContent !== '–')"
    eventually(lambda: browser.execute_script(drawn), 30, "every chart has figures, latency from /metrics too")
    visitor.picture("live")
    pipeline.service.ingest.stop()

    visitor.see("no ingest runs on this file")
    visitor.see("Database not known")
    visitor.picture("ingest-stopped")
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []
