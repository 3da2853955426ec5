"""The pictures of docs/pictures.md are those that the code draws, and what the page says is so."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import imgpkg

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/pictures.md").read_text()
TOOL = runpy.run_path(str(ROOT / "tools/pictures.py"))
OUTSIDE = "registry.example.com"


def test_are_current():
    for name, text in TOOL["drawn"]().items():
        assert (ROOT / "docs/images" / name).read_text() == text, "run: make pictures"


def test_the_graph_is_that_of_its_source():
    titles = {
        title.text
        for title in ET.parse(ROOT / "docs/images/shop-graph.svg").iter()
        if title.tag.endswith("title")
    }
    source = (ROOT / "docs/images/shop.dot").read_text()
    named = set(re.findall(r"^  ((?:part|layer)\d+) \[", source, re.MULTILINE))
    assert len(named) > 20
    assert named <= titles
    assert {
        f"{one}->{other}" for one, other in re.findall(r"^  (\w+) -> (\w+)", source, re.MULTILINE)
    } <= titles


@pytest.fixture
def shop(embedded_registry, open_session, tmp_path):
    """The bundle of the page in a registry, its images in repositories of their own."""
    address = embedded_registry.address
    runpy.run_path(str(ROOT / "examples/shop/make_shop.py"))["write_images"](tmp_path / "layout")
    rule = imgpkg.MapRule.parse(f"{OUTSIDE}/shop={address}/shop")
    with open_session() as session:
        copied = imgpkg.copy_to_repository(
            imgpkg.CopySource(layout=tmp_path / "layout"),
            f"{address}/shop/images",
            session=session,
            options=imgpkg.CopyOptions(placement=imgpkg.Placement((rule,))),
        )
        assert copied
        for bundle, (documents, names) in TOOL["BUNDLES"].items():
            files = tmp_path / documents
            (files / ".imgpkg").mkdir(parents=True)
            imgpkg.lock_images(
                images=[f"{address}/shop/{name}" for name in names],
                output=files / ".imgpkg/images.yml",
                session=session,
            )
            imgpkg.push([str(files)], bundle=f"{address}/shop/{bundle}", session=session)
    return embedded_registry


@pytest.mark.slow
def test_the_commands_of_the_page_run(shop, tmp_path):
    lines = re.findall(r"^\$ (.*)", PAGE, re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        command = line.replace(OUTSIDE, shop.address).replace(
            "imgpkg ", f"{shlex.quote(sys.executable)} -m imgpkg "
        )
        done = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), line
    assert {"shop.svg", "shop.html", "shop-graph.svg"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_the_program_of_the_page_runs(shop, session, capsys):
    (text,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {"imgpkg": imgpkg, "session": session}
    exec(text.replace(OUTSIDE, shop.address), names)
    assert names["page"].startswith("<!DOCTYPE html>")
    assert capsys.readouterr().out.count("platform") == 4


@pytest.mark.slow
def test_the_requests_are_as_many_as_the_page_says(shop, tmp_path):
    rows = re.findall(r"^\| (`-o .*?) \| (\d+)", PAGE, re.MULTILINE)
    said = [(flags, int(number)) for forms, number in rows for flags in re.findall("`(.*?)`", forms)]
    assert len(said) == 6
    for flags, number in said:
        before = len(shop.requests)
        argv = [
            sys.executable,
            "-m",
            "imgpkg",
            "describe",
            "-b",
            f"{shop.address}/shop/shop:v1",
            *flags.split(),
        ]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        assert len(shop.requests) - before == number, flags
