"""The pages can be read and used by everybody: dark or light, on the narrowest phone, without a mouse (WCAG 2.2, AA)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By

from outbox import State
from tests.integration.standing_dashboard import StandingDashboard, standing_dashboard
from tests.support.visitor import TOO_WIDE, follow
from tests.support.waiting import eventually

CONTRAST = (Path(__file__).resolve().parents[1] / "support" / "contrast.js").read_text()

#: The narrowest phone, and what a page of 1,280 pixels is at 400 % (1.4.10).
WIDTHS = (360, 320)

PHONE = {"width": 360, "height": 640, "deviceScaleFactor": 1, "mobile": True}

#: What can be reached by the Tab key, in the order of the document.
REACHABLE = """
    const all = document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']");
    return [...all].filter((one) => one.type !== "hidden" && one.checkVisibility({visibilityProperty: true}));
"""

#: Where the focus is, the width of the line around it, and whether it is in the window with nothing above it.
FOCUSED = """
    const one = document.activeElement, style = getComputedStyle(one);
    const line = style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
    const box = one.getBoundingClientRect();
    const x = box.left + box.width / 2, y = (Math.max(box.top, 0) + Math.min(box.bottom, innerHeight)) / 2;
    const top = document.elementFromPoint(x, y); // whatever lies above the rest there
    return {one: one === document.body ? null : one, line,
            isSeen: top !== null && (one.contains(top) || top.contains(one))};
"""

#: Whether the middle of something is in the window: the link that leads past the menu is not until it has the focus.
IN_SIGHT = """
    const box = arguments[0].getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
    return x > 0 && x < innerWidth && y > 0 && y < innerHeight;
"""

#: Buttons and fields without a name for who cannot see them, pictures too; ids that stand twice; a jump among headings.
NAMELESS = """
    const nameless = [...document.querySelectorAll("a, button, input, select, textarea, svg, section, nav, table")].filter(
        (one) => one.type !== "hidden" && one.checkVisibility() && !(
            one.getAttribute("aria-label") || one.ariaLabelledByElements?.length || one.labels?.length ||
            (one.matches("a, button") && one.textContent.trim()) || one.querySelector(":scope > caption")));
    const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
    const levels = [...document.querySelectorAll("h1, h2, h3")].map((one) => Number(one.tagName[1]));
    return [
        ...nameless.map((one) => `no name: ${one.outerHTML.slice(0, 80)}`),
        ...ids.filter((id, index) => ids.indexOf(id) !== index).map((id) => `twice: ${id}`),
        ...levels.filter((level, index) => level > (levels[index - 1] || 0) + 1).map((level) => `jump to h${level}`),
        ...(levels.filter((level) => level === 1).length === 1 ? [] : ["not one h1"]),
        ...(document.documentElement.lang ? [] : ["no language"]),
        ...(document.title ? [] : ["no title"]),
    ];
"""


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[StandingDashboard]:
    with standing_dashboard(tmp_path) as dashboard:
        yield dashboard


def pages(dashboard: StandingDashboard, browser: Chrome) -> Iterator[str]:
    """Bring each page of the dashboard before the browser, those that follow a form too; its name."""
    for name, path in dashboard.paths.items():
        browser.get(f"{dashboard.address}{path}")
        yield name
    edit = f"{dashboard.address}{dashboard.paths['edit']}"
    for name, before, after in (
        ("edit that is refused", '"name"', '"colour"'),
        ("review", "Nueva", "Vieja"),
    ):
        browser.get(edit)
        typed = browser.find_element(By.ID, "text")
        text = (typed.get_attribute("value") or "").replace(before, after)
        browser.execute_script("arguments[0].value = arguments[1]", typed, text)
        follow(browser, browser.find_element(By.CSS_SELECTOR, "main button"))
        yield name


def press(browser: Chrome, *keys: str) -> None:
    ActionChains(browser, duration=0).send_keys(*keys).perform()


def focused(browser: Chrome) -> dict[str, Any]:
    told: dict[str, Any] = browser.execute_script(FOCUSED)
    return told


def tab_to(browser: Chrome, words: str) -> None:
    """Press Tab until the focus is on what is called so; it begins where the focus is."""
    for _ in range(60):
        press(browser, Keys.TAB)
        one = focused(browser)["one"]
        if one is not None and words in (one.accessible_name, one.text):
            return
    raise AssertionError(f"Tab does not lead to {words!r}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_too_pale(dashboard: StandingDashboard, browser: Chrome, scheme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    grounds, looked, pale = set(), 0, {}

    for name in pages(dashboard, browser):
        grounds.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
        told = browser.execute_script(CONTRAST)
        looked += told["looked"]
        if told["found"]:
            pale[name] = sorted(set(told["found"]))

    assert pale == {}
    assert looked > 500
    assert len(grounds) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_pointed_at_or_focused_is_not_too_pale(
    dashboard: StandingDashboard, browser: Chrome, scheme: str
) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    pale = []

    for name in ("overview", "letters", "a letter", "edit", "replay", "discard"):
        browser.get(f"{dashboard.address}{dashboard.paths[name]}")
        for one in browser.execute_script(REACHABLE):
            browser.execute_script("arguments[0].focus({focusVisible: true})", one)
            browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", one)
            if browser.execute_script(IN_SIGHT, one):
                ActionChains(browser, duration=0).move_to_element(one).perform()
            pale += [f"{name}: {told}" for told in browser.execute_script(CONTRAST)["found"]]

    assert sorted(set(pale)) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_a_phone(dashboard: StandingDashboard, browser: Chrome, width: int) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE | {"width": width})

    wide = {name: told for name in pages(dashboard, browser) if (told := browser.execute_script(TOO_WIDE, width))}

    assert wide == {}


def test_a_list_on_a_phone_is_still_a_table_for_who_cannot_see_it(
    dashboard: StandingDashboard, browser: Chrome
) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    browser.get(f"{dashboard.address}/letters")

    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]

    roles = Counter(node["role"]["value"] for node in nodes if not node["ignored"])
    assert (roles["table"], roles["row"], roles["rowheader"]) == (1, 1 + len(dashboard.dead()), len(dashboard.dead()))
    assert roles["columnheader"] == 5


def test_every_page_has_names_for_who_cannot_see_it(dashboard: StandingDashboard, browser: Chrome) -> None:
    wrong = {name: told for name in pages(dashboard, browser) if (told := browser.execute_script(NAMELESS))}

    assert wrong == {}


def test_the_tab_key_reaches_everything_in_order_and_shows_where_it_is(
    dashboard: StandingDashboard, browser: Chrome
) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    for name in pages(dashboard, browser):
        reachable = browser.execute_script(REACHABLE)
        reached = []
        browser.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
        for _ in reachable:
            press(browser, Keys.TAB)
            now = focused(browser)
            reached.append(now["one"])
            assert now["line"] >= 2, (name, now["one"].get_attribute("outerHTML")[:200])
            assert now["isSeen"], (name, now["one"].get_attribute("outerHTML")[:200])

        assert reached == reachable, name


def test_the_first_key_leads_past_the_menu(dashboard: StandingDashboard, browser: Chrome) -> None:
    browser.get(f"{dashboard.address}/groups")

    press(browser, Keys.TAB)
    assert focused(browser)["one"].text == "To the content"
    press(browser, Keys.ENTER)
    eventually(lambda: focused(browser)["one"].get_attribute("id") == "main", 10)
    press(browser, Keys.TAB)

    assert focused(browser)["one"].text == browser.find_element(By.CSS_SELECTOR, "main a").text


def test_letters_are_chosen_and_discarded_without_a_mouse(dashboard: StandingDashboard, browser: Chrome) -> None:
    first, second = dashboard.letters["missing"], dashboard.letters["value"]
    browser.get(dashboard.address)

    tab_to(browser, "List")
    press(browser, Keys.ENTER)
    eventually(lambda: browser.current_url.endswith("/letters"), 30)
    tab_to(browser, f"Choose {first}")
    press(browser, Keys.SPACE)
    tab_to(browser, f"Choose {second}")
    press(browser, Keys.SPACE)
    tab_to(browser, "Discard the chosen…")
    press(browser, Keys.ENTER)
    eventually(lambda: "/discard" in browser.current_url, 30)
    tab_to(browser, "Why (kept with the letter, and in the audit)")
    press(browser, "not wanted")
    tab_to(browser, "Discard 2")
    press(browser, Keys.ENTER)

    eventually(lambda: "/done" in browser.current_url, 30)
    assert {dashboard.desk.state(one) for one in (first, second)} == {State.DISCARDED}


def test_all_letters_of_a_page_are_chosen_by_one_key(dashboard: StandingDashboard, browser: Chrome) -> None:
    browser.get(f"{dashboard.address}/letters")
    boxes = browser.find_elements(By.CSS_SELECTOR, "td.tick input")

    tab_to(browser, "Choose all on this page")
    press(browser, Keys.SPACE)
    assert all(box.is_selected() for box in boxes)
    assert browser.find_element(By.ID, "how-many").text == f"{len(dashboard.dead())} chosen"
    press(browser, Keys.TAB, Keys.SPACE)

    assert [box.is_selected() for box in boxes].count(False) == 1
    assert not browser.find_element(By.ID, "every").is_selected()


def test_a_letter_is_edited_and_replayed_by_force_without_a_mouse(
    dashboard: StandingDashboard, browser: Chrome
) -> None:
    letter = dashboard.letters["behind"]
    browser.get(f"{dashboard.address}/entries/{letter}")

    tab_to(browser, "Edit…")
    press(browser, Keys.ENTER)
    eventually(lambda: browser.current_url.endswith("/edit"), 30)
    tab_to(browser, "Payload (***unchanged-1*** stands for a secret as it is)")
    ActionChains(browser, duration=0).key_down(Keys.CONTROL).send_keys(Keys.HOME).key_up(Keys.CONTROL).perform()
    press(browser, " ")
    browser.execute_script(
        "arguments[0].value = arguments[0].value.replace('La Vieja', 'La Otra')", focused(browser)["one"]
    )
    tab_to(browser, "Look at the changes…")
    press(browser, Keys.ENTER)
    eventually(lambda: "Take this payload" in browser.page_source, 30)
    tab_to(browser, "Why (kept with the letter, and in the audit)")
    press(browser, "the other name")
    tab_to(browser, "Force: also the 1 that would put older values over newer ones")
    press(browser, Keys.SPACE)
    tab_to(browser, "Take and replay")
    press(browser, Keys.ENTER)

    eventually(lambda: "told=edited-replayed" in browser.current_url, 30)
    assert dashboard.desk.state(letter) is State.PENDING
    assert dashboard.desk.payload(letter)["data"]["name"] == "La Otra"
