"""The page in a real Chromium: it sorts, filters, slides and fits a phone, and the console stays empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from report.browser import CHROMIUM, DRIVER, Browser
from report.stored import fill

from lossbench import report
from lossbench.specification.spec import Claim

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")]

RECIPES = {
    "softmax": [0.5, 0.51, 0.49, 0.5, 0.51, 0.49, 0.5, 0.5],
    "softmax+center": [0.6, 0.62, 0.61, 0.6, 0.62, 0.61, 0.6, 0.61],
    "<img src=x onerror=alert(1)>": [0.4, 0.41, 0.42, 0.4, 0.41, 0.42, 0.4, 0.41],
}
CLAIM = Claim(
    text="Center loss helps",
    metric="test.sphere.map_at_r",
    comparison=("softmax+center", "softmax"),
    direction="higher",
    smallest_effect=0.01,
)
NAMES = "return [...document.querySelectorAll('#t0-ranking-table tbody th')].map(cell => cell.textContent)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    fill(folder / "runs", RECIPES, claims=[CLAIM])
    *_, last = report.write("toy", folder / "runs", folder / "reports")
    return Path(last)


@pytest.fixture(scope="module")
def desktop(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile"), width=1280) as browser:
        browser.open(page)
        yield browser


def test_the_console_stays_empty(desktop: Browser) -> None:
    assert desktop.console() == []


def test_a_click_on_a_header_sorts_and_another_turns_it_round(desktop: Browser) -> None:
    click = "document.querySelectorAll('#t0-ranking-table thead button')[1].click();"
    falling = desktop.run(click + NAMES)
    assert falling[0] == "softmax+center"
    assert desktop.run(click + NAMES) == falling[::-1]
    assert desktop.run("return document.querySelectorAll('#t0-ranking-table th')[1].ariaSort") == "ascending"


def test_the_filter_keeps_the_rows_that_match(desktop: Browser) -> None:
    script = """
        const input = document.querySelector('[data-filter=t0-effects-table]');
        input.value = arguments[0];
        input.dispatchEvent(new Event('input'));
        return [...document.querySelectorAll('#t0-effects-table tbody tr')].filter(row => !row.hidden).length"""
    assert desktop.run(script, "center img") == 1
    assert desktop.run(script, "") == 3


def test_the_slider_draws_another_epoch(desktop: Browser) -> None:
    script = """
        const box = document.querySelector('[data-atlas]'), slider = box.querySelector('input[type=range]');
        const canvas = box.querySelector('canvas'), before = canvas.toDataURL();
        slider.value = arguments[0];
        slider.dispatchEvent(new Event('input'));
        return [box.querySelector('output').textContent, canvas.toDataURL() !== before]"""
    assert desktop.run(script, 0) == ["0 (untrained)", True]
    assert desktop.run(script, 4) == ["chosen", True]


def test_play_runs_through_the_epochs_and_pauses(desktop: Browser) -> None:
    click = """
        const box = document.querySelector('[data-atlas]'), button = box.querySelector('[data-play]');
        button.click();
        return [button.textContent, box.querySelector('output').textContent]"""
    assert desktop.run(click) == ["Pause", "0 (untrained)"]
    moved = """
        const done = arguments[arguments.length - 1], output = document.querySelector('[data-atlas] output');
        const look = () => output.textContent === "0 (untrained)" ? setTimeout(look, 50) : done(output.textContent);
        look();"""
    assert desktop.run_async(moved) == "1"
    assert desktop.run(click)[0] == "Play"


def test_a_class_can_be_picked_out(desktop: Browser) -> None:
    script = """
        const box = document.querySelector('[data-atlas]'), canvas = box.querySelector('canvas');
        const before = canvas.toDataURL(), button = box.querySelector('.classes button');
        button.click();
        const found = [button.ariaPressed, canvas.toDataURL() !== before];
        button.click();
        return found"""
    assert desktop.run(script) == ["true", True]


def test_the_button_switches_light_and_dark(desktop: Browser) -> None:
    script = """
        const color = () => getComputedStyle(document.body).backgroundColor, before = color();
        document.getElementById('theme').click();
        const after = color();
        document.getElementById('theme').click();
        return [before !== after, before === color()]"""
    assert desktop.run(script) == [True, True]


def test_print_is_light_whatever_the_button_says(desktop: Browser) -> None:
    ink = "return getComputedStyle(document.documentElement).getPropertyValue('--ink')"
    light = desktop.run(ink)
    desktop.run("document.getElementById('theme').click()")
    assert desktop.run(ink) != light
    try:
        desktop.media("print")
        assert desktop.run(ink) == light
        assert desktop.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert desktop.run("return getComputedStyle(document.querySelector('.static')).display") == "block"
    finally:
        desktop.media("")
        desktop.run("document.getElementById('theme').click()")


def test_a_hostile_name_makes_no_element(desktop: Browser) -> None:
    assert desktop.run("return document.images.length") == 0
    assert "<img src=x onerror=alert(1)>" in desktop.run(NAMES)


def test_the_keyboard_reaches_a_header_and_sorts(desktop: Browser) -> None:
    focused = "return document.activeElement.textContent"
    desktop.run("document.querySelectorAll('#t0-ranking-table thead button')[0].focus()")
    desktop.press("TAB")
    assert desktop.run(focused).startswith("MAP@R")
    desktop.press("ENTER")
    assert desktop.run("return document.querySelectorAll('#t0-ranking-table th')[1].ariaSort") == "descending"
    desktop.press("ENTER")
    assert desktop.run("return document.querySelectorAll('#t0-ranking-table th')[1].ariaSort") == "ascending"


def test_claims_and_mistakes_are_there_and_every_image_has_a_text(desktop: Browser) -> None:
    assert desktop.run("return document.querySelectorAll('#claims .claim').length") == 1
    assert desktop.run("return document.querySelector('#claims .chip').textContent") == "supported"
    script = "return [...document.querySelectorAll('svg[role=img]')].every(svg => svg.getAttribute('aria-label'))"
    assert desktop.run(script)


def test_no_request_leaves_the_page(desktop: Browser) -> None:
    script = """
        return new Promise((done) => {
          document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
          fetch("http://127.0.0.1:9/").catch(() => 0);
        })"""
    assert desktop.run(script) == "connect-src"


@pytest.mark.parametrize("width", [390, 768])
def test_nothing_sticks_out_sideways(page: Path, tmp_path: Path, width: int) -> None:
    with Browser(tmp_path, width=width) as phone:
        phone.open(page)
        assert phone.run("return innerWidth") == width
        assert phone.run("return document.documentElement.scrollWidth") <= width
        assert phone.console() == []
