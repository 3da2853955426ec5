"""Placement files: where a copy puts images, in YAML."""

from __future__ import annotations

import os

from imgpkg.bundle.lock import read_file
from imgpkg.bundle.placement import KeptNames, MapRule, Placement
from imgpkg.bundle.settings_file import SettingsValue, placed_at, read_settings
from imgpkg.values import StrPath

KIND = "ImagePlacement"
# Without the field, names are not kept.
_NONE = "none"
_KEPT = {_NONE: KeptNames.NONE, "paths": KeptNames.PATHS, "hosts": KeptNames.HOSTS}


def read_placement(path: StrPath) -> Placement:
    """Read a placement file; raise LocalIOError, or InvalidSettings whose hint names the line and column."""
    return parse_placement(read_file(path), os.fspath(path))


def parse_placement(data: bytes, name: str) -> Placement:
    """Parse a placement in YAML that was read from the file `name`; see `read_placement`."""
    top = read_settings(data, name)
    fields = top.fields("apiVersion", "kind", "keepNames", "rules")
    top.check_header(fields, KIND)
    keep = _KEPT[fields["keepNames"].choice(*_KEPT)] if "keepNames" in fields else KeptNames.NONE
    rules = tuple(_rule(item) for item in fields["rules"].items()) if "rules" in fields else ()
    # A file that changes nothing is a mistake, as is a misspelt one.
    if not rules and keep is KeptNames.NONE:
        raise top.error("expected rules, or keepNames with paths or hosts")
    with placed_at(fields.get("rules", top)):
        return Placement(rules, keep)


def _rule(node: SettingsValue) -> MapRule:
    fields = node.fields("from", "to")
    for name in ("from", "to"):
        if name not in fields:
            raise node.error(f"{name} is missing")
    with placed_at(node):
        return MapRule(fields["from"].text(), fields["to"].text())
