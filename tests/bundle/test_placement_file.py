"""Placement files: rules in YAML, and what is wrong with others."""

from __future__ import annotations

import pytest

from imgpkg.bundle.placement import KeptNames, MapRule, Placement
from imgpkg.bundle.placement_file import parse_placement, read_placement
from imgpkg.errors import ImgpkgError, InvalidSettings, LocalIOError

HEAD = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagePlacement\n"
RULES = (
    "rules:\n- from: docker.io/team\n  to: inside.example/hub\n- {from: quay.io, to: inside.example/quay}\n"
)
BOTH = (MapRule("docker.io/team", "inside.example/hub"), MapRule("quay.io", "inside.example/quay"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RULES, Placement(BOTH)),
        (f"keepNames: hosts\n{RULES}", Placement(BOTH, KeptNames.HOSTS)),
        ("keepNames: paths\n", Placement((), KeptNames.PATHS)),
        (f"keepNames: none\n{RULES}", Placement(BOTH)),
    ],
)
def test_says_where_images_go(tmp_path, text, expected):
    (tmp_path / "rules.yml").write_text(f"{HEAD}{text}")
    assert read_placement(tmp_path / "rules.yml") == expected


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("kind: ImagePlacement\nrules: []\n", "apiVersion is missing", 1),
        (f"{HEAD.replace('ImagePlacement', 'ImagesLock')}{RULES}", "expected ImagePlacement", 2),
        (HEAD, "expected rules, or keepNames", 1),
        (f"{HEAD}rules: []\n", "expected rules, or keepNames", 1),
        (f"{HEAD}keepNames: all\n", "expected none or paths or hosts", 3),
        (f"{HEAD}rule:\n- from: a.b\n", "rule: unknown field", 4),
        (f"{HEAD}rules:\n- from: docker.io\n", r"rules\[0\]: to is missing", 4),
        (f"{HEAD}rules:\n- from: docker.io\n  to: 7\n  if: x\n", "unknown field", 6),
        (f"{HEAD}rules:\n- from: team/app\n  to: inside.example/x\n", "expected a registry", 4),
        (f"{HEAD}rules:\n- from: docker.io\n  to: mirror\n", "expected a registry", 4),
        (f"{HEAD}{RULES}- from: quay.io/\n  to: inside.example/other\n", "Expected one rule for", 4),
        ("a: b: c", "mapping values are not allowed", 1),
    ],
)
def test_that_is_wrong_is_refused_with_its_line(text, message, line):
    with pytest.raises(ImgpkgError, match=message) as caught:
        parse_placement(text.encode(), "rules.yml")
    assert any("rules.yml" in hint and f"line {line}" in hint for hint in caught.value.hints), (
        caught.value.hints
    )


def test_that_does_not_exist_is_an_error_of_the_disk(tmp_path):
    with pytest.raises(LocalIOError):
        read_placement(tmp_path / "rules.yml")


def test_with_a_repeated_field_is_refused():
    with pytest.raises(InvalidSettings):
        parse_placement(f"{HEAD}keepNames: paths\nkeepNames: none\n".encode(), "rules.yml")


def test_comes_after_what_was_asked_for_otherwise():
    own = (MapRule("docker.io/team", "inside.example/hub"), MapRule("quay.io", "inside.example/quay"))
    placement = Placement(own, KeptNames.PATHS)
    mine = MapRule("index.docker.io/team/", "inside.example/mine")
    assert placement.overridden_by([mine], KeptNames.NONE) == Placement((mine, own[1]), KeptNames.PATHS)
    assert placement.overridden_by([], KeptNames.HOSTS) == Placement(own, KeptNames.HOSTS)
