"""Fail when a room's branch coverage is below its floor; print what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

FLOORS = {"oci": 100.0, "auth": 100.0, "registry": 100.0}
DEFAULT_FLOOR = 95.0


def report() -> dict[str, dict[str, dict[str, int]]]:
    """Return coverage's own JSON report, by file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "coverage.json")
        subprocess.run(
            [sys.executable, "-m", "coverage", "json", "--quiet", "-o", str(path)],
            check=True,
        )
        files: dict[str, dict[str, dict[str, int]]] = json.loads(path.read_text())["files"]
        return files


def room_of(path: str) -> str:
    """Name the room of a source file: the folder below `imgpkg`, or the package itself."""
    parts = Path(path).parts
    below = parts[parts.index("imgpkg") + 1 :]
    return below[0] if len(below) > 1 else "imgpkg"


def main() -> int:
    """Print a line per room and return 1 when one is below its floor."""
    covered: dict[str, int] = defaultdict(int)
    total: dict[str, int] = defaultdict(int)
    missing: dict[str, list[str]] = defaultdict(list)
    for path, entry in sorted(report().items()):
        summary, room = entry["summary"], room_of(path)
        hit = summary["covered_lines"] + summary["covered_branches"]
        all_of = summary["num_statements"] + summary["num_branches"]
        covered[room] += hit
        total[room] += all_of
        if hit < all_of:
            missing[room].append(
                f"    {path}: lines {entry['missing_lines']} branches {entry['missing_branches']}"
            )
    failed = False
    for room, count in sorted(total.items()):
        percent, floor = 100.0 * covered[room] / max(count, 1), FLOORS.get(room, DEFAULT_FLOOR)
        print(f"{room:12} {percent:6.2f} % of lines and branches (floor {floor:g} %)")
        if percent < floor:
            failed = True
            print("\n".join(missing[room]))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
