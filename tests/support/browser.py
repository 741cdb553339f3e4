"""A headless Chromium, as Debian packages it, driven with Selenium."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tests.support.machine import program

#: No sandbox, for tests run as root too; nothing that Chromium would fetch by itself.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


@contextmanager
def chromium() -> Iterator[Chrome]:
    """A browser with an empty profile, closed at the end of the block."""
    driver, browser = program("chromedriver"), program("chromium")
    assert driver is not None and browser is not None, "there is no chromium with its chromedriver"
    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        options = ChromeOptions()
        options.binary_location = browser
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        opened = Chrome(options=options, service=ChromeService(executable_path=driver))
        try:
            opened.set_page_load_timeout(30)
            yield opened
        finally:
            opened.quit()
