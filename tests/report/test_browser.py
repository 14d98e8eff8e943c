"""The page in a real Chromium: it sorts, filters, switches, unfolds, fits a phone, and everybody can use it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from report import axe
from report.browser import CHROMIUM, DRIVER, Browser
from report.stored import TASK, fill

from lossbench import report
from lossbench.specification.experiment import Claim

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
TASKS = (TASK, "toy/open-set")
NAMES = "return [...document.querySelectorAll('#t0-ranking-table tbody th')].map(cell => cell.textContent)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    fill(folder / "runs", RECIPES, claims=[CLAIM], tasks=TASKS)
    *_, last = report.write("toy", folder / "runs", folder / "reports")
    return Path(last)


@pytest.fixture(scope="module")
def desktop(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile"), width=1280) as browser:
        browser.open(page)
        yield browser


def test_the_console_stays_empty(desktop: Browser) -> None:
    assert desktop.console() == []


def test_a_header_sorts_turns_the_order_round_and_the_third_click_restores_it(desktop: Browser) -> None:
    click = "document.querySelectorAll('#t0-ranking-table thead button')[2].click();"
    before = desktop.run(NAMES)
    orders = [desktop.run(click + NAMES) for _ in range(3)]
    assert orders[2] == before
    assert desktop.run("return document.querySelectorAll('#t0-ranking-table th[aria-sort]').length") == 0
    click = "document.querySelectorAll('#t0-ranking-table thead button')[1].click();"
    falling = desktop.run(click + NAMES)
    assert falling[0] == "softmax+center"
    assert desktop.run(click + NAMES) == falling[::-1]
    assert desktop.run("return document.querySelectorAll('#t0-ranking-table th')[1].ariaSort") == "ascending"
    assert desktop.run(click + NAMES) == before


def test_the_filter_keeps_the_rows_that_match(desktop: Browser) -> None:
    script = """
        const input = document.querySelector('[data-filter=t0-effects-table]');
        input.value = arguments[0];
        input.dispatchEvent(new Event('input'));
        return [...document.querySelectorAll('#t0-effects-table tbody tr')].filter(row => !row.hidden).length"""
    said = "return document.querySelector('[data-filter=t0-effects-table]').nextElementSibling.textContent.trim()"
    assert desktop.run(script, "center img") == 1
    assert desktop.run(said) == ""
    assert desktop.run(script, "no such recipe") == 0
    assert desktop.run(said) == "No row matches."
    assert desktop.run(script, "") == 3


def test_the_slider_draws_another_epoch(desktop: Browser) -> None:
    script = """
        const box = document.querySelector('[data-atlas]'), slider = box.querySelector('input[type=range]');
        const canvas = box.querySelector('canvas'), before = canvas.toDataURL();
        slider.value = arguments[0];
        slider.dispatchEvent(new Event('input'));
        return [box.querySelector('output').textContent, slider.getAttribute('aria-valuetext'),
                canvas.toDataURL() !== before]"""
    assert desktop.run(script, 0) == ["0 (untrained)", "epoch 0 (untrained)", True]
    assert desktop.run(script, 4) == ["chosen", "the chosen epoch", True]


def test_a_map_names_the_sample_under_the_pointer(desktop: Browser) -> None:
    script = """
        const canvas = document.querySelector('[data-atlas] canvas'), box = canvas.getBoundingClientRect();
        const tip = document.getElementById('tip');
        for (let x = 4; x < box.width; x += 8) for (let y = 4; y < box.height; y += 8) {
          const clientX = box.left + x, clientY = box.top + y;
          canvas.dispatchEvent(new PointerEvent('pointermove', { clientX, clientY }));
          if (!tip.hidden) return tip.textContent;
        }"""
    assert re.fullmatch(r"test sample \d+, class [012]", desktop.run(script))


def test_maps_fill_their_square_at_every_epoch(page: Path) -> None:
    """At each epoch the samples that were kept reach from one edge, less a margin, to the other."""
    data = json.loads(re.search(r'id="map-data">(.*?)</script>', page.read_text())[1])["t0"]
    assert data["epochs"] == [0, 1, 2, 3]
    for space in data["maps"][0]["spaces"].values():
        for packed in space["epochs"]:
            points = np.frombuffer(base64.b64decode(packed), "<u2").reshape(-1, 2) / 65535
            assert np.ptp(points, axis=0).max() == pytest.approx(1 / 1.06, abs=1e-3)


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


SHOWN = "return [...document.querySelectorAll('#effects [data-task]')].map(box => box.offsetParent !== null)"


def test_one_task_is_shown_at_a_time_and_the_keyboard_switches(desktop: Browser) -> None:
    assert desktop.run(SHOWN) == [True, False]
    desktop.run("document.querySelector('.switch input').focus()")
    desktop.press("RIGHT")
    assert desktop.run(SHOWN) == [False, True]
    desktop.run("document.querySelector('.switch input').click()")
    assert desktop.run(SHOWN) == [True, False]


def test_an_address_opens_what_it_leads_into(page: Path, tmp_path: Path) -> None:
    with Browser(tmp_path, width=1280) as browser:
        browser.open(page, "t1-effects")
        assert browser.run("return document.getElementById('t1-effects').closest('details').open")
        assert browser.run(SHOWN) == [False, True]
        top = "return document.getElementById('t1-effects').getBoundingClientRect().top"
        assert 0 <= browser.run(top) < 900
        browser.run("document.querySelector('.headline .term, .glance .term').click()")
        assert browser.run("return document.getElementById('words').open")


def test_paper_has_every_task_and_what_is_folded_away(desktop: Browser) -> None:
    closed = "return [...document.querySelectorAll('main details:not(.long)')].filter(each => !each.open).length"
    before = desktop.run(closed)
    assert before > 10
    try:
        desktop.media("print")
        desktop.run("dispatchEvent(new Event('beforeprint'))")
        assert desktop.run(closed) == 0
        assert desktop.run(SHOWN) == [True, True]
    finally:
        desktop.media("")
        desktop.run("dispatchEvent(new Event('afterprint'))")
    assert desktop.run(closed) == before


def test_the_page_is_short_and_hides_neither_answer_nor_cost_nor_catch(desktop: Browser) -> None:
    text = "return document.querySelector('main').innerText"
    assert len(re.findall(r"\S*\w\S*", desktop.run(text))) <= 1500
    assert desktop.run("return document.documentElement.scrollHeight") <= 8 * 900
    hidden = "return document.querySelectorAll('details .glance, details .verdict, details .headline').length"
    assert desktop.run(hidden) == 0
    asked = desktop.run("return [...document.querySelectorAll('.glance')].map(card => card.innerText)")
    assert len(asked) == len(TASKS)
    assert all(word in card for card in asked for word in ("Effect", "How sure", "Cost", "Beware"))


def test_a_word_is_explained_under_the_pointer_and_under_the_focus(desktop: Browser) -> None:
    script = """
        const word = document.querySelector(arguments[0]), tip = document.getElementById('tip');
        word.dispatchEvent(new PointerEvent('pointermove', { clientX: 50, clientY: 50 }));
        const said = tip.textContent;
        word.dispatchEvent(new PointerEvent('pointerleave'));
        return [said, tip.hidden, document.getElementById(word.dataset.term + '-text').textContent]"""
    for place in (".glance a.term", "#t0-ranking-table th button[data-term]"):
        said, hidden, meant = desktop.run(script, place)
        assert said == meant
        assert hidden
    desktop.run("document.querySelectorAll('#t0-ranking-table thead button')[0].focus()")
    desktop.press("TAB")
    assert "nearest neighbors" in desktop.run("return document.getElementById('tip').textContent")
    desktop.press("ESCAPE")
    assert desktop.run("return document.getElementById('tip').hidden")


def test_a_phone_keeps_the_recipe_in_sight_says_that_tables_scroll_and_where_one_is(page: Path, tmp_path: Path) -> None:
    with Browser(tmp_path, width=390) as phone:
        phone.open(page)
        hint = "return document.querySelector('#t0-ranking-table').closest('.scroll').nextElementSibling.innerText"
        assert phone.run(hint) == "Scroll sideways for more columns."
        script = """
            const table = document.querySelector('#t0-ranking-table'), box = table.closest('.scroll');
            box.scrollLeft = 120;
            return table.rows[1].cells[0].getBoundingClientRect().left - box.getBoundingClientRect().left"""
        assert phone.run(script) < 3
        phone.run("document.getElementById('cost').scrollIntoView({behavior: 'instant'})")
        seen = """
            const done = arguments[arguments.length - 1], bar = document.querySelector('nav');
            const look = (left) => {
              const link = bar.querySelector('.here');
              const inside = link.getBoundingClientRect(), frame = bar.getBoundingClientRect();
              const there = link.hash === '#cost' && inside.left >= frame.left - 1 && inside.right <= frame.right + 1;
              there || !left ? done([link.hash, there]) : setTimeout(() => look(left - 1), 50);
            };
            look(60);"""
        assert phone.run_async(seen) == ["#cost", True]


@pytest.mark.skipif(axe.script() is None, reason="needs axe-core, which .ci/run fetches")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_with_everything_unfolded(page: Path, tmp_path: Path, dark: bool) -> None:
    with Browser(tmp_path, width=1280, dark=dark) as browser:
        browser.open(page)
        assert browser.run("return matchMedia('(prefers-color-scheme: dark)').matches") == dark
        browser.run("document.querySelectorAll('main details').forEach(each => { each.open = true; })")
        browser.run(f"{axe.script()}; window.axe = axe")
        script = """
            const done = arguments[arguments.length - 1];
            axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => done(violations.map(
              ({ id, nodes }) => [id, nodes.length, nodes[0].html.slice(0, 200), nodes[0].failureSummary])))"""
        found = browser.run_async(script)
        assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize("width", [390, 768])
def test_nothing_sticks_out_sideways(page: Path, tmp_path: Path, width: int) -> None:
    with Browser(tmp_path, width=width) as phone:
        phone.open(page)
        assert phone.run("return innerWidth") == width
        assert phone.run("return document.documentElement.scrollWidth") <= width
        assert phone.console() == []
