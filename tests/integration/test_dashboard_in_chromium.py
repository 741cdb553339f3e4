"""dramatiq-dashboard as an operator sees it: served by the dashboard's program, opened in Chromium."""

from __future__ import annotations

import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dramatiq
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.support.child import Child
from tests.support.redis_server import RedisServer
from tests.support.service import ROOT
from tests.support.visitor import follow
from tests.support.waiting import eventually
from worker.broker import ServiceBroker, build_broker
from worker.messages import (
    APPLY_QUEUE,
    Batch,
    DispatchedOperation,
    Origin,
    apply_operation_message,
    apply_operations_message,
)
from worker.settings import load_settings

BROKER_DB = 1


class Dashboard:
    """The running program."""

    def __init__(self, child: Child) -> None:
        self.child = child
        found = re.search(r'http://[^"]+', child.wait_for_log("Dashboard is serving"))
        assert found is not None
        self.url = f"{found.group()}dramatiq/"

    def status(self) -> int:
        """The HTTP status of the first page."""
        try:
            with urllib.request.urlopen(self.url) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@pytest.fixture
def broker(redis_server: RedisServer) -> Iterator[ServiceBroker]:
    settings = load_settings({"BROKER_REDIS_URL": redis_server.url(BROKER_DB)}, Path("/nowhere/.env"))
    with closing(build_broker(settings, is_patient=False)) as broker:
        broker.declare_queue(APPLY_QUEUE)
        yield broker


@pytest.fixture
def dashboard(redis_server: RedisServer, tmp_path: Path) -> Iterator[Dashboard]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BROKER_REDIS_URL": redis_server.url(BROKER_DB),
        "LOG_DIR": str(tmp_path / "logs"),
        "DASHBOARD_PORT": "0",
    }
    command = [sys.executable, "-m", "worker.dashboard"]
    child = Child("dashboard", command, tmp_path / "dashboard.log", environment, tmp_path)
    child.spawn()
    yield Dashboard(child)
    child.kill()


def a_batch(batch_id: str) -> Batch:
    raw = b'{"type": "CREATE", "entity": "User", "data": {"passwordHash": "s3cr3t"}}'
    return Batch(batch_id, "outbox", "group", 1, (DispatchedOperation(Origin("topic", 0, 1, 42), "op_42", 0, raw),))


def a_failed_message(broker: ServiceBroker, batch_id: str) -> None:
    broker.enqueue(apply_operations_message(a_batch(batch_id)))
    consumer = broker.consume(APPLY_QUEUE, prefetch=1, timeout=100)
    failed = next(consumer)
    assert failed is not None
    consumer.nack(failed)


def test_the_queues_and_a_message_are_there(
    dashboard: Dashboard, broker: ServiceBroker, browser: Chrome, tmp_path: Path
) -> None:
    broker.enqueue(apply_operations_message(a_batch("batch-1")))
    broker.enqueue(apply_operation_message(a_batch("batch-2"), retries=2, max_retries=5), delay=60_000)

    browser.get(dashboard.url.removesuffix("/"))  # from there it finds its way
    queues = {link.text for link in browser.find_elements(By.CSS_SELECTOR, "td a")}
    follow(browser, browser.find_element(By.LINK_TEXT, "apply"))
    listed = browser.find_element(By.CSS_SELECTOR, ".table__subject a")
    listed_text = listed.text
    follow(browser, listed)
    message = browser.find_element(By.TAG_NAME, "body").text
    browser.get(dashboard.url + "queues/apply/delayed")
    delayed = browser.find_element(By.TAG_NAME, "body").text
    browser.save_screenshot(str(tmp_path / "dashboard.png"))

    assert queues == {"apply", "cache"}
    assert listed_text.startswith("apply_operations(")
    assert "batch-1.0" in message
    assert "op_42" in message
    assert "topic-1-42" in message
    assert "batch-2" in delayed


def test_no_page_shows_what_an_operation_holds(dashboard: Dashboard, broker: ServiceBroker, browser: Chrome) -> None:
    failed = apply_operation_message(a_batch("batch-1"), retries=5, max_retries=5).copy(
        options={"traceback": "s3cr3t of the database's error"}
    )
    bury: dramatiq.Message[None] = dramatiq.Message(APPLY_QUEUE, "bury", (failed.asdict(), {"retries": 5}), {}, {})
    paths = ["queues/apply"]
    for message in (broker.enqueue(failed), broker.enqueue(bury)):
        paths.append(f"queues/apply/standard/{message.options['redis_message_id']}")

    pages = []
    for path in paths:
        browser.get(dashboard.url + path)
        pages.append(browser.page_source)

    assert all("op_42" in page for page in pages)
    assert "s3cr3t" not in "".join(pages)


def test_a_failed_message_is_requeued_by_its_button(
    dashboard: Dashboard, broker: ServiceBroker, browser: Chrome
) -> None:
    a_failed_message(broker, "batch-1")

    browser.get(dashboard.url + "queues/apply/failed")
    browser.find_element(By.XPATH, "//button[text()='Requeue']").click()

    eventually(lambda: broker.holds(["batch-1"]))
    requeued = next(broker.consume(APPLY_QUEUE, prefetch=1, timeout=100))
    assert requeued is not None
    assert requeued.message_id == "batch-1"
    assert "eta" not in requeued.options


def test_while_redis_is_away_the_page_waits_for_it(dashboard: Dashboard, redis_server: RedisServer) -> None:
    redis_server.stop()
    away = dashboard.status()
    redis_server.start()

    assert away == 503
    eventually(lambda: dashboard.status() == 200)


def test_it_ends_in_order_when_it_is_told_to(dashboard: Dashboard) -> None:
    assert dashboard.child.stop(timeout=10) == 0
    assert "Dashboard has stopped" in dashboard.child.log()
