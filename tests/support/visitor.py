"""Somebody who works with the dashboard's pages in Chromium. What was seen is kept in tests/pictures."""

from __future__ import annotations

import base64
from pathlib import Path

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

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
        """The button or link that begins with these words."""
        self.browser.find_element(By.XPATH, f"//main//*[self::a or self::button][starts-with(., '{words}')]").click()

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
