"""Somebody who works with the dashboard's pages in Chromium. What was seen is kept in tests/pictures."""

from __future__ import annotations

import base64
from pathlib import Path

from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException, WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support.pipeline import Pipeline
from tests.support.waiting import eventually

PICTURES = Path(__file__).resolve().parents[1] / "pictures"

PHONE, DESK = 360, 1280

#: What makes a page wider than the screen.
TOO_WIDE = """
    if (document.documentElement.scrollWidth <= arguments[0]) return [];
    const wide = [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > arguments[0]);
    return wide.map((one) => `${one.tagName} ${one.className} ${one.textContent.slice(0, 40)}`);
"""


def follow(browser: Chrome, link: WebElement) -> None:
    """Click on what leads to another page, and wait until that is there whole.

    The driver returns from a click before the browser has left, if the answer is late.
    """
    before = browser.find_element(By.TAG_NAME, "html")
    link.click()
    eventually(lambda: has_gone(before), 30, "the page that was clicked on is left", (WebDriverException,))
    is_there = lambda: browser.execute_script("return document.readyState") == "complete"  # noqa: E731
    eventually(is_there, 30, "the next page is there whole", (WebDriverException,))


def has_gone(element: WebElement) -> bool:
    """Whether the page with this element has been left."""
    try:
        element.is_enabled()
    except (StaleElementReferenceException, NoSuchElementException):
        return True
    return False


class Visitor:
    """Somebody who works with the pages of a running service."""

    def __init__(self, pipeline: Pipeline, browser: Chrome) -> None:
        self.pipeline = pipeline
        self.browser = browser
        self.address = pipeline.service.dashboard_address

    def open(self, path: str) -> None:
        self.browser.get(f"{self.address}{path}")

    def text(self) -> str:
        return self.browser.find_element(By.TAG_NAME, "main").text

    def click(self, words: str) -> None:
        """The button or link that begins with these words, and leads to another page."""
        xpath = f"//main//*[self::a or self::button][starts-with(., '{words}')]"
        follow(self.browser, self.browser.find_element(By.XPATH, xpath))

    def say_why(self, why: str) -> None:
        self.browser.find_element(By.ID, "why").send_keys(why)

    def see(self, words: str) -> None:
        """Wait until the page says this; it may be on its way to another page meanwhile."""
        told = lambda: f"{words!r} is on the page, which says\n{self.text()}"  # noqa: E731
        eventually(lambda: words in self.text(), 30, told, ignoring=(WebDriverException,))

    def picture(self, name: str) -> None:
        """Keep what is seen, on a phone and on a desk, by day and by night; nothing may be wider than the screen."""
        PICTURES.mkdir(exist_ok=True)
        for width in (PHONE, DESK):
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == PHONE}
            self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            for scheme in ("light", "dark"):
                media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
                self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
                shot = self.browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
                (PICTURES / f"{name}-{width}-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))
            assert self.browser.execute_script(TOO_WIDE, width) == []
        self.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def entry_id(self, operation_id: str) -> int:
        return self.pipeline.dead_letters()[operation_id].entry_id

    def audited(self) -> list[tuple[str, str, int]]:
        with self.pipeline.outbox() as outbox:
            return [(one.action, one.why, one.changed) for one in outbox.actions()]
