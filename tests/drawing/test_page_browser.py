"""The page in a browser without a network: nothing hostile runs, and its search, links and tables work."""

from __future__ import annotations

import pytest
from tests.drawing.making import bundle, deep, hostile, image, shop, wide

from imgpkg.drawing.page import draw_page
from imgpkg.drawing.svg import draw_svg

pytestmark = pytest.mark.slow

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
BUNDLES = {
    "shop": shop(),
    "wide": wide(30),
    "deep": deep(20),
    "hostile": hostile(),
    "one": bundle("b", image("a", ("l", 5))),
}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    argv = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=argv)
        yield browser
        browser.close()


@pytest.fixture
def show(browser, tmp_path):
    """Show a document; the page remembers in `troubles` what went wrong, and what it asked for."""
    contexts = []

    def shown(text, *, viewport=DESK, name="page.html", scripts=True):
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        contexts.append(browser.new_context(viewport=viewport, java_script_enabled=scripts))
        page = contexts[-1].new_page()
        page.troubles = []
        page.on("console", lambda message: page.troubles.append(message.text))
        page.on("pageerror", lambda error: page.troubles.append(str(error)))
        page.on("dialog", lambda dialog: (page.troubles.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: page.troubles.append(request.url))
        page.goto(file.as_uri())
        assert page.troubles.pop(0) == file.as_uri()
        return page

    yield shown
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_shows_every_page_without_trouble_and_within_its_width(show, name, viewport):
    page = show(draw_page(BUNDLES[name]), viewport=viewport)
    assert page.troubles == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_runs_no_handler_that_would_get_into_the_page(show):
    """What escapes would not stop, the policy does."""
    text = draw_page(shop()).replace(
        "</header>", "<script>alert(1)</script><b onclick='alert(2)'>x</b></header>"
    )
    page = show(text)
    page.click("header b")
    assert all("Content Security Policy" in trouble for trouble in page.troubles)
    assert page.troubles


@pytest.mark.parametrize("draw", [draw_page, draw_svg])
def test_hostile_texts_run_nothing(show, draw):
    page = show(draw(hostile()), name="page.html" if draw is draw_page else "picture.svg")
    assert page.troubles == []
    assert page.evaluate("document.querySelectorAll('img').length") == 0


def visible(page, selector):
    return [one.get_attribute("id") for one in page.query_selector_all(selector) if one.is_visible()]


class TestTheSearch:
    def test_shows_what_fits_with_all_around_it(self, show):
        page = show(draw_page(shop()))
        page.keyboard.press("/")
        page.keyboard.type("POSTGRES")
        assert visible(page, ".tree li[id]") == ["p0", "p1", "p2"]
        assert page.inner_text(".search output") == "1 of 10 entries"
        assert visible(page, "#layers ~ .scroll tbody tr") == ["l0", "l1"]
        page.keyboard.press("Escape")
        assert len(visible(page, ".tree li[id]")) == 10

    def test_wants_every_word_and_finds_whole_digests(self, show):
        page = show(draw_page(shop()))
        digest = str(shop().layers[0].digest)
        page.fill(".search input", digest)
        assert len(visible(page, "#layers ~ .scroll tbody tr")) == 1
        page.fill(".search input", "linux arm64")
        assert page.inner_text(".search output") == "1 of 10 entries"
        page.fill(".search input", "no such word")
        assert visible(page, ".tree li[id]") == []

    def test_is_not_there_without_scripts_and_everything_else_is(self, show):
        page = show(draw_page(shop()), scripts=False)
        assert not page.query_selector(".search").is_visible()
        page.click("#p2 > details > summary")
        assert "Digest" in page.inner_text("#p2 > details")


def test_an_area_leads_to_its_layer_and_a_layer_to_its_images(show):
    page = show(draw_page(shop()))
    page.click(".map a[href='#l0']")
    assert page.url.endswith("#l0")
    page.click("#l0 .users a")
    assert page.url.endswith("#p2")
    assert page.query_selector("#p2 > details").get_attribute("open") is not None
    assert page.troubles == []


def test_a_table_is_sorted_by_a_column_both_ways(show):
    page = show(draw_page(shop()))
    rows = "#layers ~ .scroll tbody tr"
    largest = visible(page, rows)
    page.click("#layers ~ .scroll th:nth-child(3) button")
    assert visible(page, rows) == largest
    page.click("#layers ~ .scroll th:nth-child(3) button")
    assert visible(page, rows)[-1] == "l0"


def test_all_entries_open_and_close(show):
    page = show(draw_page(shop()))
    page.click(".search button")
    assert len(page.query_selector_all(".tree details[open]")) == 10
    page.click(".search button")
    assert page.query_selector_all(".tree details[open]") == []


def test_a_layer_lights_up_wherever_it_is(show):
    page = show(draw_page(shop()))
    page.hover(".map a[href='#l1'] rect")
    lit = page.query_selector_all(".lit")
    assert len(lit) > 3
    assert {one.get_attribute("data-layer") for one in lit} == {"l1"}
