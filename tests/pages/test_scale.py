"""The page about scale: its commands run, its calculator gives the times of its table."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import subprocess
import sys

import pytest
from tests.operations.making import make_bundle, make_image
from tests.pages.shell import ROOT, blocks

PAGE = ROOT / "docs/scale.md"
PROGRAM = ROOT / "examples/scale/how_long.py"
OUTSIDE, INSIDE = "registry.example.com", "registry.inside.example"
# Where a reader who has a clone of the repository would be.
HERE = {"how_long.py": str(PROGRAM)}


@pytest.fixture
def how_long(monkeypatch, capsys):
    """Return the lines of the calculator as pairs of a time and a limit."""

    def computed(*words):
        monkeypatch.setattr(sys, "argv", [PROGRAM.name, *map(str, words)])
        runpy.run_path(str(PROGRAM))
        return [tuple(line.strip().split("  ")) for line in capsys.readouterr().out.splitlines()]

    return computed


def rows():
    """Yield the flags of each row of the table and its three answers."""
    found = re.findall(r"^\| [^|]+ \| `(--[^`]+)` \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    return [(shlex.split(flags), answers.split(" | ")) for flags, answers in found]


def test_the_calculator_is_short():
    assert len(PROGRAM.read_text().splitlines()) <= 40


def test_the_table_has_the_answers_of_the_calculator(how_long):
    for flags, answers in rows():
        computed = [how_long(*flags, "--workers", workers)[0] for workers in (1, 4, 16)]
        assert [" ".join(longest) for longest in computed] == answers, flags
    assert len(rows()) > 5


def test_the_formula_gives_what_was_measured(how_long):
    # The requests, round trip and connections of two rows of the benchmarks.
    results = json.loads((ROOT / "benchmarks/results.json").read_text())["rows"]
    thirty, large = (
        next(row for row in results if (row["name"], row["group"]) == (name, "80 ms"))["programs"][0]
        for name in ("copy of 30 images, to another", "pull of one blob of 300 MB")
    )
    requests = thirty["requests"][0]
    words = ("--images", 1, "--blobs", requests / 3 - 1, "--size", 0, "--round-trip", 0.08)
    assert how_long(*words)[0] == ("0:00:06", "round trips")
    assert 5.5 < min(thirty["wall"]) < 6.5
    words = ("--images", 1, "--size", 300 << 20, "--speed", 10e6, "--round-trip", 0.08)
    assert how_long(*words)[0] == ("0:00:06", "connections")
    assert 6 < min(large["wall"]) < 8


def test_every_limit_decides_somewhere(how_long):
    flags = {
        "round trips": ("--round-trip", 1),
        "connections": ("--speed", 1e6),
        "cards": ("--card", 1e6),
        "processors": ("--core", 1e6),
        "limit of bytes": ("--limit", 1e6),
        "limit of requests": ("--requests", 0.1),
    }
    lines = [line for _, text in blocks(PAGE, "text") for line in text.splitlines()]
    for limit, words in flags.items():
        assert how_long("--images", 1, *words)[0][1] == limit
        assert any(line.startswith(limit) for line in lines), limit


@pytest.mark.slow
def test_the_commands_run_and_the_preview_is_read(embedded_registry, another_registry, session, tmp_path):
    places = {OUTSIDE: embedded_registry.address, INSIDE: another_registry.address, **HERE}
    image = make_image(session, f"{embedded_registry.address}/team/app", ["layer of scale"], tag="v1")
    make_bundle(session, f"{embedded_registry.address}/team/bundle:v1", {image: {}}, tmp_path / "bundle")
    lock = f"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n- image: {image}\n"
    (tmp_path / "images.yml").write_text(lock)
    # The section about Dask has a test of its own.
    (tmp_path / "page.md").write_text(PAGE.read_text().partition("\n## Copies on many machines")[0])
    text = "".join(text for _, text in blocks(tmp_path / "page.md", "console"))
    for name, place in places.items():
        text = text.replace(name, place)
    programs = {"imgpkg": f"{sys.executable} -m imgpkg", "python3": sys.executable}
    printed = {}
    for line in text.splitlines():
        program, _, words = line.removeprefix("$ ").partition(" ")
        done = subprocess.run(
            f"{programs[program]} {words}",
            shell=True,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), line
        printed[program] = done.stdout
    assert re.search(r"<-- 20\d \S+ \([\d.]+ms\)", (tmp_path / "debug.txt").read_text())
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert "planned" in {event["event"] for event in events}
    preview = json.loads((tmp_path / "preview.json").read_text())["preview"]
    assert len(printed["python3"].splitlines()) == 6
    assert preview["blobs"]
