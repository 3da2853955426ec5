"""The site as its readers see it: every page in a browser that has no network, every link followed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest

PROJECT = Path(__file__).parent.parent.parent
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Every host but this machine is unknown.
    "--host-resolver-rules=MAP * ~NOTFOUND",
]
# What a page needs to be shown; a link to elsewhere may be followed or not.
RESOURCES = {("link", "href"), ("script", "src"), ("img", "src"), ("source", "srcset"), ("iframe", "src")}
BUTTON, FIELD = "label.md-header__button[for=__search]", "input.md-search__input"

pytestmark = pytest.mark.slow


class Document(HTMLParser):
    """The links, resources and anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.resources, self.anchors = set(), set(), {"", "__top"}
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        for name, value in given.items():
            if (tag, name) in RESOURCES and given.get("rel") not in ("canonical", "next", "prev"):
                self.resources.add(value)
            elif tag == "a" and name == "href":
                self.links.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site as `make docs` does, where it disturbs nobody; return its folder."""
    folder = tmp_path_factory.mktemp("site")
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environ = {"PATH": os.environ["PATH"], "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(argv, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"^WARNING", done.stderr, re.MULTILINE), done.stderr
    return folder


@pytest.fixture(scope="module")
def documents(site):
    # A server shows 404.html at any address, so that its links are those from the root of the site.
    return {path: Document(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield browser
        browser.close()


class Watched:
    """A page of the browser, with all that went wrong on it."""

    def __init__(self, context):
        self.page = context.new_page()
        self.troubles = []
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self._note("error", str(error)))
        self.page.on("requestfailed", self._failed)
        self.page.on("request", self._request)

    def _note(self, kind, text):
        if kind in ("error", "warning"):
            self.troubles.append(f"{self.page.url}: {text}")

    def _failed(self, request):
        # The icon may still be asked for when the next page is opened.
        if "ERR_ABORTED" not in request.failure:
            self._note("error", f"failed: {request.url}: {request.failure}")

    def _request(self, request):
        if not request.url.startswith(("file:", "data:", "blob:", "about:")):
            self.troubles.append(f"{self.page.url}: asked for {request.url}")


@pytest.fixture
def open_page(browser, site):
    """Open a page of the site from its file, at a width and in a scheme of colours."""
    contexts = []

    def opened(name, viewport=DESK, scheme="light"):
        contexts.append(browser.new_context(viewport=viewport, color_scheme=scheme))
        watched = Watched(contexts[-1])
        page, hash_sign, anchor = name.partition("#")
        watched.page.goto((site / page).as_uri() + hash_sign + anchor)
        return watched

    yield opened
    for context in contexts:
        context.close()


def test_no_page_needs_anything_from_elsewhere(documents, site):
    for path, document in documents.items():
        outside = [each for each in document.resources if re.match(r"(?:https?:)?//", each)]
        assert outside == [], path
        assert not re.search(r"url\((?!['\"]?(?:data:|#|\.))[^)]*//", path.read_text()), path
    for path in site.rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?(?:https?:)?//", path.read_text()), path


def test_every_link_leads_to_a_page_and_an_anchor_that_exist(documents, site):
    broken = []
    for path, document in documents.items():
        for link in document.links | document.resources:
            address, anchor = urldefrag(urljoin(path.as_uri(), link))
            if not address.startswith("file:"):
                continue
            target = Path(unquote(address.removeprefix("file://")))
            is_there = target.is_relative_to(site) and target.is_file()
            if not is_there or unquote(anchor) not in (
                documents[target].anchors if target in documents else {""}
            ):
                broken.append((path.name, link))
    assert broken == []
    assert sum(len(document.links) for document in documents.values()) > 5000


def test_every_page_is_reached_from_the_first_one(documents, site):
    reached, ahead = set(), [site / "index.html"]
    while ahead:
        path = ahead.pop()
        if path in reached:
            continue
        reached.add(path)
        for link in documents[path].links:
            address = urldefrag(urljoin(path.as_uri(), link)).url
            target = Path(unquote(address.removeprefix("file://")))
            if address.startswith("file:") and target in documents:
                ahead.append(target)
    assert set(documents) - reached == set()


def troubles_of(paths, watched):
    """Open one page after the other; return what went wrong, and which of them are wider than the screen."""
    wide = []
    for path in paths:
        watched.page.goto(path.as_uri())
        width = watched.page.evaluate("document.documentElement.scrollWidth")
        if width > watched.page.viewport_size["width"]:
            wide.append((path.name, width))
    return watched.troubles, wide


# In parts, for the time limit of a test.
@pytest.mark.parametrize("part", range(6))
def test_every_page_is_shown_without_an_error_and_fits_a_phone(part, documents, open_page):
    paths = sorted(documents)[part::6]
    assert troubles_of(paths, open_page("index.html", PHONE)) == ([], [])


def test_pages_of_each_kind_are_shown_without_an_error_on_a_desk_in_the_dark(documents, open_page):
    folders = {path.parent: path for path in documents}
    assert troubles_of(folders.values(), open_page("index.html", DESK, "dark")) == ([], [])


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("auth explain", "auth-explain.html"),
        ("keychain", "authentication.html"),
        ("IMGPKG_ACTIVE_KEYCHAINS", "variables.html"),
        ("CopyOptions", "copy.html"),
    ],
)
def test_the_search_finds_pages_and_leads_to_them(words, place, viewport, open_page):
    watched = open_page("air-gap.html", viewport)
    page = watched.page
    # On a phone the field is behind a button.
    page.locator(BUTTON if viewport is PHONE else FIELD).click()
    # The page listens for keys.
    page.locator(FIELD).press_sequentially(words)
    link = page.locator(f".md-search-result__link[href*='{place}']").first
    link.wait_for(state="visible", timeout=20_000)
    link.click()
    page.wait_for_url(re.compile(re.escape(place)), timeout=20_000)
    assert watched.troubles == []


def luminance(page, what, selector):
    """Return how light a colour of an element is, from 0 to 1."""
    code = f"getComputedStyle(document.querySelector({selector!r})).{what}"
    red, green, blue = map(int, re.findall(r"\d+", page.evaluate(code))[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_and_the_switch(scheme, open_page):
    watched = open_page("lock.html", DESK, scheme)
    page = watched.page
    is_light = luminance(page, "backgroundColor", "body") > 0.5
    assert is_light == (scheme == "light")
    page.locator("label.md-header__button[for^=__palette]:visible").first.click()
    page.wait_for_timeout(300)
    assert (luminance(page, "backgroundColor", "body") > 0.5) != is_light
    page.goto(page.url)
    assert (luminance(page, "backgroundColor", "body") > 0.5) != is_light
    assert watched.troubles == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_links_and_code_stand_out_from_what_is_behind_them(scheme, open_page):
    page = open_page("authentication.html", DESK, scheme).page
    behind = luminance(page, "backgroundColor", "body")
    for selector in (".md-content p", ".md-content p a:not(.name)", ".md-content pre code"):
        assert abs(luminance(page, "color", selector) - behind) > 0.4, selector


def test_a_flag_that_is_linked_to_is_unfolded(open_page):
    page = open_page("reference/commands/pull.html#--registry-token-file").page
    flag = page.locator("[id='--registry-token-file']")
    flag.wait_for(state="visible", timeout=5_000)
    assert flag.is_visible()


def test_what_is_copied_of_a_session_are_its_commands(browser, site):
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto((site / "index.html").as_uri())
    page.locator(".md-content pre").first.hover()
    page.locator(".md-content .md-clipboard, .md-content [data-md-type=copy]").first.click(force=True)
    copied = page.evaluate("navigator.clipboard.readText()")
    context.close()
    assert copied.splitlines()[1].startswith("imgpkg ")
    assert "$ " not in copied


def test_the_page_of_a_bundle_finds_entries(open_page):
    watched = open_page("images/shop.html")
    watched.page.locator(".search input").fill("worker")
    assert watched.page.locator(".search output").inner_text() == "2 of 15 entries"
    assert watched.troubles == []
