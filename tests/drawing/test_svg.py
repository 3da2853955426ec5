"""The tree as SVG: well formed, inert, within its frame, and with a row and a size for each part."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from tests.drawing.making import HOSTILE, bundle, deep, hostile, image, part, shop, wide

from imgpkg.dataclass import replace
from imgpkg.drawing.labels import width_of
from imgpkg.drawing.svg import draw_svg
from imgpkg.operations.breakdown import PartKind

SVG = "{http://www.w3.org/2000/svg}"
BUNDLES = {"shop": shop(), "wide": wide(30), "deep": deep(20), "hostile": hostile(), "empty": bundle("e")}
ELEMENTS = {"svg", "title", "desc", "style", "rect", "path", "g", "text"}


def texts(drawn):
    return [element.text for element in ET.fromstring(drawn).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", BUNDLES)
class TestEachPicture:
    def test_has_nothing_that_acts_or_loads(self, name):
        root = ET.fromstring(draw_svg(BUNDLES[name]))
        for element in root.iter():
            assert element.tag.removeprefix(SVG) in ELEMENTS
            assert not [key for key in element.attrib if key.startswith("on") or key.endswith("href")]
        assert "url(" not in draw_svg(BUNDLES[name])

    def test_keeps_its_shapes_and_words_within_the_frame(self, name):
        root = ET.fromstring(draw_svg(BUNDLES[name]))
        width, height = (float(root.attrib[side]) for side in ("width", "height"))
        for shape in root.iter(f"{SVG}rect"):
            x, y, w, h = (float(shape.attrib[key]) for key in ("x", "y", "width", "height"))
            assert x + w <= width
            assert y + h <= height
        for text in root.iter(f"{SVG}text"):
            assert float(text.attrib["y"]) < height
            kind = text.attrib.get("class", "")
            if "end" not in kind and "letter" not in kind:
                size = 20 if "title" in kind else 12 if "small" in kind else 14
                assert float(text.attrib["x"]) + width_of(text.text, size) <= width

    def test_is_light_and_dark(self, name):
        style = ET.fromstring(draw_svg(BUNDLES[name])).find(f"{SVG}style").text
        light, _, dark = style.partition("@media(prefers-color-scheme:dark)")
        colours = [re.findall(r"\.([a-z0-9]+)\{fill:#", half) for half in (light, dark)]
        assert colours[0] == colours[1]
        assert "quiet" in colours[0]


def test_names_every_part_with_its_size():
    found = texts(draw_svg(shop()))
    for text in ("shop/shop", "shop/database", "shop/api", "linux/amd64", "application/spdx+json"):
        assert text in found
    row = found[found.index("shop/postgres") :]
    assert row[2:4] == ["A", "14.0 MB"]
    assert "access denied" in found


def test_names_the_layers_that_are_shared_and_what_that_saves():
    found = texts(draw_svg(shop()))
    after = found[found.index("saved") + 1 :]
    assert after[:5] == [
        "A",
        "cae662172fd4",
        "5.0 MB",
        "in 3 images: shop/postgres, shop/api-amd linux/amd64, shop/worker",
        "10.0 MB",
    ]


def test_gives_no_more_colours_than_there_are_letters_for():
    found = texts(draw_svg(wide(30)))
    assert "6 more that several images have" in found
    assert {text for text in found if len(text) == 1} == set("ABCDEFGH")


def test_has_no_list_where_nothing_is_shared():
    assert "Shared layers" not in texts(draw_svg(bundle("b", image("a", ("l", 5)))))


def test_says_what_is_drawn_above():
    inner = bundle("inner", image("a", ("l", 5)))
    found = texts(draw_svg(bundle("outer", inner, replace(inner, parts=(), is_repeated=True))))
    assert len([text for text in found if text.endswith("shown above")]) == 1


def test_counts_platforms():
    one = image("one", parts=[part(PartKind.PLATFORM, "p", platform="linux/amd64")])
    assert any(text.endswith("1 platform") for text in texts(draw_svg(bundle("b", one))))
    assert any(text.endswith("2 platforms") for text in texts(draw_svg(shop())))


def test_shows_the_whole_name_to_those_who_point_at_it():
    titles = [title.text for title in ET.fromstring(draw_svg(wide(1))).iter(f"{SVG}title")]
    assert any("a-product-with-a-long-name/component-0@sha256:" in title for title in titles)


def test_a_hostile_name_is_a_text():
    found = texts(draw_svg(hostile()))
    assert any(text.startswith("</title>") for text in found)
    assert HOSTILE not in draw_svg(hostile())
