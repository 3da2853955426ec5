"""The outputs of `imgpkg auth explain` on docs/authentication.md are those that people get."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "authentication.md"
EXAMPLE = re.compile(r"```sh\n([^`]*imgpkg auth explain[^`]*)```\n\n```(text|json)\n([^`]*)```")
FINGERPRINT = re.compile(r"(fingerprint\"?: \"?|fingerprint )[a-z2-7]{8}")
EXAMPLES = EXAMPLE.findall(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("given", "form", "printed"), EXAMPLES)
def test_an_output_on_the_page_is_what_its_example_prints(run, monkeypatch, tmp_path, given, form, printed):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for line in given.splitlines():
        words = shlex.split(line)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            monkeypatch.setenv(name, value)
        else:
            done = run(*words[1:])
    shown = FINGERPRINT.sub(r"\1k3x9a7qm", done.out).replace(str(tmp_path), "/home/me")
    assert shown.rstrip("\n") == printed.rstrip("\n")
    assert done.code == 0


def test_the_page_shows_outputs_as_text_and_as_a_document():
    assert {form for _, form, _ in EXAMPLES} == {"text", "json"}
    assert len(EXAMPLES) > 3
