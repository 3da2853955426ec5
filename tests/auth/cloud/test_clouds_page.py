"""The trails on docs/clouds.md are what its variables give."""

from __future__ import annotations

import re
from pathlib import Path

from imgpkg.auth.activation import AVAILABLE, active_sources
from imgpkg.auth.keychain import Keychain
from imgpkg.oci.reference import Repository
from imgpkg.transport.pool import Pool

PAGE = (Path(__file__).parents[3] / "docs" / "clouds.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_trails_are_those_of_the_variables_above_them(tmp_path):
    variables = next(block for block in blocks("sh") if "GITHUB_TOKEN" in block)
    environ = dict(line.removeprefix("export ").split("=", 1) for line in variables.splitlines())
    trails = blocks("text")
    assert len(trails) == 2
    with Pool() as pool:
        keychain = Keychain(active_sources({**environ, "HOME": str(tmp_path)}, pool, lambda _: None))
        for trail in trails:
            repository = re.search(r"(?:for) (\S+?)[; ]", trail)[1]
            assert keychain.resolve(Repository.parse(repository)).explain() == trail.rstrip("\n")


def test_every_keychain_has_a_section():
    assert set(AVAILABLE) <= set(re.findall(r"^## (\w+)$", PAGE, re.MULTILINE))
