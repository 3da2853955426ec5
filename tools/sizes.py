"""Print what an installation needs on disk, one row for each package: `python tools/sizes.py FOLDER`.

FOLDER is the site-packages of a virtual environment. Sizes are in units of 1,000,000 bytes; what pip has
compiled is counted, and named again beside. pip itself is left out.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions

# The installers that a virtual environment may have are not ours.
INSTALLERS = frozenset({"pip", "setuptools", "wheel"})
MEGA = 1e6


@dataclass(frozen=True)
class Row:
    """One package: its size in bytes, that of its compiled files, and what requires it."""

    name: str
    version: str
    files: int
    compiled: int
    required_by: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """The size of everything."""
        return self.files + self.compiled


def canonical(name: str) -> str:
    """Return the normal form of a name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(one: Distribution) -> set[str]:
    """Return the names that a package requires, without those of its extras."""
    lines = [line for line in one.requires or () if "extra ==" not in line]
    return {canonical(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) for line in lines}


def sizes(one: Distribution) -> tuple[int, int]:
    """Return the sizes of the files of a package, and of those that are compiled."""
    plain = compiled = 0
    for file in one.files or ():
        path = str(one.locate_file(file))
        if not os.path.isfile(path):
            continue
        if path.endswith(".pyc"):
            compiled += os.path.getsize(path)
        else:
            plain += os.path.getsize(path)
    return plain, compiled


def table(folder: str) -> list[Row]:
    """Return the rows of an environment, the largest first."""
    found = {canonical(one.metadata["Name"]): one for one in distributions(path=[folder])}
    present = {name: one for name, one in found.items() if name not in INSTALLERS}
    needs = {name: requirements(one) for name, one in present.items()}
    rows = [
        Row(name, one.version, *sizes(one), tuple(sorted(other for other in needs if name in needs[other])))
        for name, one in present.items()
    ]
    return sorted(rows, key=lambda row: (-row.bytes, row.name))


def markdown(rows: list[Row]) -> str:
    """Return the table of the documentation."""
    lines = ["| package | MB | of it compiled | required by |", "|---|--:|--:|---|"]
    lines += [
        f"| {row.name} {row.version} | {row.bytes / MEGA:.1f} | {row.compiled / MEGA:.1f} "
        f"| {', '.join(row.required_by)} |"
        for row in rows
    ]
    whole, compiled = sum(row.bytes for row in rows), sum(row.compiled for row in rows)
    lines.append(f"| **{len(rows)} packages** | **{whole / MEGA:.1f}** | **{compiled / MEGA:.1f}** | |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(table(sys.argv[1])))
