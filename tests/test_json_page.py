"""docs/json.md shows what the commands write; docs/scripting.md says what is so."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import run  # noqa: F401 - a fixture
from tests.cli.test_document import checked
from tests.json_examples import EXAMPLES, Places, page

import imgpkg
from imgpkg.cli import reporting
from imgpkg.embedded.server import serve
from imgpkg.errors.exit_codes import EXIT_CODES, FailureKind

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "json.md"
SCRIPTING = (ROOT / "docs" / "scripting.md").read_text()
# Read before the environment of the test is emptied.
IS_WRITTEN_ANEW = "IMGPKG_WRITE_PAGES" in os.environ
LOCK = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n- image: {}\n"
POD = "kind: Pod\nspec:\n  containers:\n  - image: {}\n"


@pytest.fixture
def places(empty_environment):
    # Of their own: others leave bundles in those of all tests, and a page names all that there is.
    with serve() as outside, serve() as inside:
        yield Places(outside.address, inside.address, empty_environment)


def test_the_page_shows_what_the_commands_write(run, places, session, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    image = places.real("registry.example.com/team/config:v1")
    (tmp_path / "config/app.yml").write_text("replicas: 1\n")
    (tmp_path / "manifests").mkdir()
    digest = imgpkg.push(["config"], image=image, session=session).reference
    (tmp_path / "manifests/pod.yml").write_text(POD.format(image))
    (tmp_path / "bundle/.imgpkg").mkdir(parents=True)
    (tmp_path / "bundle/.imgpkg/images.yml").write_text(LOCK.format(digest))
    shown = []
    for example in EXAMPLES:
        done = run(*shlex.split(places.real(example.line))[1:], stdin=example.stdin)
        assert done.code == example.code, (example.line, done.err)
        document = json.loads(done.out)
        checked(document, document["command"])
        shown.append((example, places.printed(document)))
    if IS_WRITTEN_ANEW:
        PAGE.write_text(page(shown))
    assert PAGE.read_text() == page(shown)


@pytest.mark.slow
def test_the_commands_of_the_page_of_scripts_run(places, tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/app.yml").write_text("replicas: 1\n")
    blocks = re.findall(r"^```(?:console|bash)\n(.*?)^```$", SCRIPTING, re.DOTALL | re.MULTILINE)
    lines = places.real("\n".join(re.sub(r"^\$ ", "", block, flags=re.MULTILINE) for block in blocks))
    # It would change what comes after it.
    export = "export IMGPKG_EXIT_CODES=original\n"
    assert (lines.count("imgpkg ") > 8, lines.count(export)) == (True, 1)
    done = subprocess.run(
        ["bash", "--norc", "-ec", lines.replace(export, "")],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert [line[:18] for line in done.stderr.splitlines() if not line.startswith("hint: ")] == [
        "imgpkg: Error: GET"
    ]
    digest, *rest = done.stdout.splitlines()
    assert (tmp_path / "digest.txt").read_text() == f"{digest}\n"
    assert rest[0] == "v1"
    assert "is new" in rest
    assert "MANIFEST_UNKNOWN" in rest
    assert (tmp_path / "out/app.yml").exists()
    for line in (tmp_path / "events.jsonl").read_text().splitlines():
        assert f"| `{json.loads(line)['event']}` |" in SCRIPTING


def test_the_page_of_scripts_lists_every_exit_code():
    rows = dict(re.findall(r"^\| ([\d, ]+) \| `(\w+)` \|", SCRIPTING, re.MULTILINE))
    assert {rows[str(code)] if code != 130 else "interrupted" for code in EXIT_CODES.values()} == {
        kind.value for kind in FailureKind
    }
    for kind in FailureKind:
        assert f"`{kind.value}`" in SCRIPTING


def test_the_page_of_scripts_lists_every_event():
    source = Path(reporting.__file__).read_text()
    names = re.findall(r'self\._write\(\s*"(\w+)"', source)
    assert len(names) == 8
    for name in names:
        assert f"| `{name}` |" in SCRIPTING
