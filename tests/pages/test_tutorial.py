"""The first steps of the README and the tutorial work to their last line, each in one shell."""

from __future__ import annotations

import shutil
import socket

import pytest
from tests.pages.shell import ROOT, play, steps_of_consoles, steps_of_scripts

PAGE = ROOT / "docs" / "tutorial.md"
# They install the command, or need a cluster.
NOT_PLAYED = ("python3 -m venv", "kubectl create")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_everything_that_the_tutorial_types_works_and_prints_what_it_shows(tmp_path):
    every = steps_of_scripts(PAGE)
    steps = [step for step in every if not step.typed.startswith(NOT_PLAYED)]
    assert len(every) - len(steps) == len(NOT_PLAYED)
    ports = [(f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}") for port in (5001, 5002)]
    played = play(steps, tmp_path, replaced=ports)
    for one in played:
        assert one.missing == [], one.printed
        assert (one.status != 0) == ("imgpkg: Error: " in "".join(one.step.shown)), one.printed
    assert sum(one.status != 0 for one in played) == 2
    # The last step has tidied up.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_the_readme_types_to_try_it_works(tmp_path):
    shutil.copytree(ROOT / "examples/bundle", tmp_path / "examples/bundle")
    every = steps_of_consoles(ROOT / "README.md")
    first = next(number for number, step in enumerate(every) if step.typed.startswith("openssl"))
    steps = every[first : first + 7]
    played = play(steps, tmp_path, replaced=[("127.0.0.1:5001", f"127.0.0.1:{free_port()}")])
    assert [(one.status, "Error" in one.printed) for one in played] == [(0, False)] * 7
    assert "(user 'demo')" in played[-1].printed
    assert (tmp_path / "bundle/.imgpkg/images.yml").exists()
