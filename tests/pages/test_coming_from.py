"""The tables for users of other tools are right: commands of imgpkg run, and so do those of skopeo."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest
from tests.operations.making import make_bundle, make_image
from tests.pages.shell import ROOT

import imgpkg
from imgpkg.cli.arguments import Parser
from imgpkg.cli.commands import locate

FOLDER = ROOT / "docs" / "coming-from"
PAGES = sorted(FOLDER.glob("*.md"))
OUTSIDE, INSIDE = "registry.example.com", "registry.inside.example"
# skopeo has a flag for http at each place where a registry can be.
PLAIN = {
    "copy": ["--src-tls-verify=false", "--dest-tls-verify=false"],
    "sync": ["--src-tls-verify=false", "--dest-tls-verify=false"],
    "inspect": ["--tls-verify=false"],
    "list-tags": ["--tls-verify=false"],
    "delete": ["--tls-verify=false"],
}
# These wait for a password, need a token service, or serve until they are ended.
NOT_RUN = ("imgpkg auth login", "imgpkg auth token", "imgpkg registry serve")


def rows(page):
    """Yield the cells of each row of the tables of a page."""
    for line in page.read_text().splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def commands(cell, program):
    """The whole commands of a program in a cell."""
    return [
        text for text in re.findall(r"`([^`]+)`", cell) if text.startswith(f"{program} ") and "…" not in text
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_have_the_flags_that_are_shown(page):
    found = [text for cells in rows(page) for text in commands(cells[-1], "imgpkg")]
    for text in found:
        command, rest = locate(shlex.split(text)[1:])
        assert command.handler, text
        Parser(command.all_flags).parse(rest)
    assert len(found) > 2 or page.stem == "index"


@pytest.fixture
def run(embedded_registry, another_registry, session, tmp_path):
    """Run a command where the registries of the pages are; they have what the pages name."""
    addresses = {OUTSIDE: embedded_registry.address, INSIDE: another_registry.address}
    home = addresses[OUTSIDE]
    # The registry is that of other tests, too: one image with tags of both would surprise them.
    images = [
        make_image(session, f"{home}/team/app", [f"coming {tag}"], tag=tag)
        for tag in ("v1", "v2", "candidate")
    ]
    make_bundle(session, f"{home}/team/bundle:v1", {images[0]: {}}, tmp_path / "made")
    (tmp_path / "config").mkdir()
    (tmp_path / "config/app.yml").write_text(f"image: {home}/team/app:v1\n")
    (tmp_path / "bundle").mkdir()
    imgpkg.push([tmp_path / "config"], image=f"{home}/team/config:v1", session=session)

    def typed(text):
        for name, address in addresses.items():
            text = text.replace(name, address)
        words = shlex.split(text)
        if words[0] == "imgpkg":
            words = [sys.executable, "-m", *words]
        else:
            words = [words[0], "--insecure-policy", words[1], *PLAIN[words[1]], *words[2:]]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, (text, done.stderr)
        return done.stdout

    return typed


@pytest.mark.slow
def test_each_row_of_the_page_about_skopeo_runs_with_both_programs(run):
    both = [
        (commands(cells[1], "skopeo"), commands(cells[2], "imgpkg"))
        for cells in rows(FOLDER / "skopeo.md")
        if cells[2:]
    ]
    printed = [[run(text) for text in (*theirs, *ours)] for theirs, ours in both if theirs]
    assert [len(each) for each in printed] == [2] * 10
    digest_by_skopeo, digest_by_imgpkg = printed[1]
    assert digest_by_imgpkg.endswith(digest_by_skopeo.strip())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["docker", "crane", "oras"])
def test_the_commands_of_imgpkg_run_in_their_order(name, run):
    # A page may get a file and put it back, but what it deletes is not asked for again.
    found = [text for cells in rows(FOLDER / f"{name}.md") for text in commands(cells[-1], "imgpkg")]
    for text in sorted(found, key=lambda text: " delete " in text):
        if not text.startswith(NOT_RUN):
            run(text)
    assert len(found) > 8


@pytest.mark.slow
def test_the_way_of_a_bundle_on_the_page_about_hauler_runs(run, tmp_path):
    found = [text for cells in rows(FOLDER / "hauler.md") for text in commands(cells[-1], "imgpkg")]
    # They need Docker Hub, or a key.
    left_out = ("docker.io", "--verify-key", "registry serve")
    done = [text for text in found if not any(word in text for word in left_out)]
    for text in done:
        run(text)
    assert len(found) - len(done) == len(left_out)
    assert (tmp_path / "bundle.tar").exists()


def test_every_page_is_in_the_list():
    listed = set(re.findall(r"\]\((\S+\.md)\)", (FOLDER / "index.md").read_text()))
    assert {page.name for page in PAGES} - {"index.md"} <= listed
