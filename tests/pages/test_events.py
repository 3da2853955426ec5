"""The programs of the page about events run, one after the other, and print what they say."""

from __future__ import annotations

import re

import pytest
from tests.operations.making import make_bundle, make_image
from tests.pages.shell import ROOT
from tests.test_docs import INSIDE, OUTSIDE, blocks

from imgpkg.embedded.server import serve

pytestmark = pytest.mark.usefixtures("written_log")

PAGE = ROOT / "docs" / "events.md"


@pytest.fixture
def names(embedded_registry, session, tmp_path, monkeypatch, capsys, caplog):
    """Run all programs at registries of this machine, and return what they have defined."""
    with serve() as inside:
        address = embedded_registry.address
        image = make_image(session, f"{address}/team/bundle", ["layer"])
        make_bundle(session, f"{address}/team/bundle:v1", {image: {}}, tmp_path / "bundle")
        monkeypatch.chdir(tmp_path)
        found = {}
        for text in blocks(PAGE, "python"):
            program = text.replace(OUTSIDE, address).replace(INSIDE, inside.address)
            exec(compile(program, "events.md", "exec"), found)
        found["records"] = [(record.name, record.getMessage()) for record in caplog.records]
        found["printed"] = capsys.readouterr().out
        yield found
        found["session"].close()


def test_the_programs_draw_full_bars(names):
    printed = names["printed"]
    assert names["bar"].done == names["bar"].total > 0
    assert f"{names['bar'].total} of {names['bar'].total} bytes\n" in printed
    assert "\n1.0\n" in printed


def test_the_program_that_logs_gets_the_lines_of_the_page(names):
    """Sizes, times and digests are others."""
    shown = re.findall(r"^INFO:(imgpkg\.pull): *(\w+)", PAGE.read_text(), re.MULTILINE)
    logged = [(name, text) for name, text in names["records"] if name == "imgpkg.pull"]
    assert len(shown) == 6
    for name, word in shown:
        assert any(text.lstrip().startswith(word) for logger, text in logged if logger == name)
    own = [text for name, text in names["records"] if name == "deployment.images"]
    assert any(text.startswith("planned: ") for text in own)
