"""The page: a file that loads nothing, with texts from outside as texts, and links that lead somewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from tests.drawing.making import bundle, deep, hostile, image, shop, wide

from imgpkg.dataclass import replace
from imgpkg.drawing.page import draw_page

BUNDLES = {"shop": shop(), "wide": wide(30), "deep": deep(20), "hostile": hostile(), "empty": bundle("e")}


class Page(HTMLParser):
    """The elements of a page, its texts, and what is in its style and script."""

    def __init__(self, root):
        super().__init__()
        self.elements, self.texts, self.raw, self._within = [], [], {}, ""
        self.feed(draw_page(root))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag):
        self._within = ""

    def handle_data(self, data):
        if self._within in ("style", "script"):
            self.raw[self._within] = self.raw.get(self._within, "") + data
        else:
            self.texts.append(data)

    def values(self, key):
        return [attrs[key] for _, attrs in self.elements if key in attrs]


@pytest.mark.parametrize("name", BUNDLES)
class TestEachPage:
    def test_allows_its_own_style_and_script_and_nothing_else(self, name):
        page = Page(BUNDLES[name])
        (policy,) = [v for v in page.values("content") if v.startswith("default-src")]
        for tag in ("style", "script"):
            digest = base64.b64encode(hashlib.sha256(page.raw[tag].encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy
        assert [tag for tag, _ in page.elements].count("script") == 1

    def test_has_no_handlers_and_no_styles_in_attributes(self, name):
        for tag, attrs in Page(BUNDLES[name]).elements:
            assert not [key for key in attrs if key.startswith("on") or key in ("style", "src")], tag

    def test_loads_nothing(self, name):
        page = Page(BUNDLES[name])
        assert {target for target in page.values("href") if not target.startswith("#")} == {"data:,"}
        assert "url(" not in page.raw["style"]
        assert not re.search(r"https?:", page.raw["style"] + page.raw["script"])

    def test_has_links_that_lead_somewhere_and_ids_once(self, name):
        page = Page(BUNDLES[name])
        ids = page.values("id")
        assert len(ids) == len(set(ids))
        targets = {target[1:] for target in page.values("href") if target.startswith("#")}
        assert targets <= set(ids)

    def test_opens_and_closes_what_must_be_closed(self, name):
        drawn = draw_page(BUNDLES[name])
        for tag in ("ul", "li", "details", "summary", "dl", "ol", "svg", "section", "table", "a", "span"):
            assert len(re.findall(rf"<{tag}[ >]", drawn)) == drawn.count(f"</{tag}>"), tag


def test_hostile_texts_are_texts():
    page = Page(hostile())
    assert sum("<script>alert(1)</script>" in text for text in page.texts) >= 8
    assert "alert(1)" not in page.raw["script"]
    assert "img" not in {tag for tag, _ in page.elements}


def test_shows_each_part_layer_and_attachment():
    page = Page(shop())
    ids = page.values("id")
    assert [f"p{at}" for at in range(10)] == [name for name in ids if re.fullmatch(r"p\d+", name)]
    assert [f"l{at}" for at in range(9)] == [name for name in ids if re.fullmatch(r"l\d+", name)]
    text = " ".join(page.texts)
    for said in ("application/spdx+json", "access denied", "14.0 MB", "linux/arm64", "28.8 MB if nothing"):
        assert said in text


def test_areas_are_only_those_of_layers_with_bytes():
    rects = [attrs for tag, attrs in Page(shop()).elements if tag == "rect" and attrs["width"] == "100%"]
    assert {attrs["data-layer"] for attrs in rects} == {f"l{at}" for at in range(9)}
    assert 'class="map"' not in draw_page(replace(bundle("b", image("a", ("nothing", 0))), layers=()))


def test_says_how_many_layers_are_too_small_for_an_area():
    many = bundle("b", *(image(f"i{at}", (f"l{at}", 1000 + at)) for at in range(600)))
    assert "101 layers are too small to be shown." in draw_page(many)


def test_a_repeated_bundle_links_to_the_first():
    inner = bundle("inner", image("a", ("l", 5)))
    drawn = draw_page(bundle("outer", inner, replace(inner, parts=(), is_repeated=True)))
    assert '<a href="#p1">shown above</a>' in drawn


def test_shows_where_an_image_came_from():
    moved = replace(image("a"), reference=f"inside.example/apps@{image('a').digest}")
    assert "<dt>Origin</dt>" in draw_page(bundle("b", moved))
    assert "<dt>Origin</dt>" not in draw_page(bundle("b", image("a")))
