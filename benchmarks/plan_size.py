"""What planning and copying many images takes: `python -m benchmarks.plan_size [--images N]`.

The images are those of a simulated registry (simulated.py), four blobs each, named by a lock file. Prints the
processor time, the peak of memory and the requests of `copy --dry-run`, of the same with a plan as a file,
and of `copy` into another repository of that registry, which mounts each blob. Per image the growth counts:
what more images need, divided by their number.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.material import IMGPKG
from benchmarks.measure import Spent, spent

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parent.parent
_WAYS = ("copy --dry-run", "copy --dry-run --plan-output", "copy --plan", "copy")
_MB = 1 << 20


@dataclass(frozen=True)
class Size:
    """What one command took for so many images: its time and memory, and requests by kind."""

    way: str
    images: int
    spent: Spent
    requests: dict[str, int]


@contextlib.contextmanager
def simulated(images: int, lock: Path) -> Iterator[str]:
    """Run a registry with these images in a process of its own; write `lock`, yield the address."""
    argv = [sys.executable, "-m", "benchmarks.simulated", "--images", str(images), "--lock", str(lock)]
    with subprocess.Popen(argv, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def counts(address: str) -> dict[str, int]:
    """Return how many requests of each kind the registry has answered."""
    with urllib.request.urlopen(f"http://{address}/counts") as response:
        return json.load(response)


def measured(images: int, ways: tuple[str, ...] = _WAYS) -> Iterator[Size]:
    """Run the commands for so many images, one after the other."""
    env = {"HOME": "/nonexistent", "PATH": os.environ["PATH"]}
    with tempfile.TemporaryDirectory(prefix="imgpkg-plan-size") as folder:
        lock, plan = Path(folder, "images.yml"), Path(folder, "plan.jsonl")
        with simulated(images, lock) as address:
            for way in ways:
                source = ["--lock", str(lock), "--to-repo", f"{address}/inside/{len(way)}"]
                words = {
                    "copy --dry-run": [*source, "--dry-run"],
                    "copy --dry-run --plan-output": [*source, "--dry-run", "--plan-output", str(plan)],
                    "copy --plan": ["--plan", str(plan)],
                    "copy": source,
                }[way]
                before = counts(address)
                used = spent([IMGPKG, "copy", *words], env)
                after = counts(address)
                found = {kind: after[kind] - before.get(kind, 0) for kind in sorted(after)}
                yield Size(way, images, used, {kind: count for kind, count in found.items() if count})


def table(sizes: list[Size]) -> str:
    """Return the rows of a table; growth is that since the smallest number of images."""
    lines = [
        "| command | images | CPU | for each image | peak | for each image | requests for each image |",
        "|--|--:|--:|--:|--:|--:|--|",
    ]
    for size in sizes:
        least = min((one for one in sizes if one.way == size.way), key=lambda one: one.images)
        more = size.images - least.images
        growth = (
            ("", "")
            if not more
            else (
                f"{(size.spent.cpu - least.spent.cpu) / more * 1000:.2f} ms",
                f"{(size.spent.peak - least.spent.peak) * _MB / more / 1000:.1f} kB",
            )
        )
        requests = ", ".join(f"{count / size.images:.3g} {kind}" for kind, count in size.requests.items())
        lines.append(
            f"| `{size.way}` | {size.images:,} | {size.spent.cpu:.1f} s | {growth[0]} "
            f"| {size.spent.peak:.0f} MB | {growth[1]} | {requests} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plan_size", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--images", type=int, action="append", metavar="N", help="1,000 and 100,000")
    parser.add_argument("--way", action="append", choices=_WAYS, help="measure this one alone")
    options = parser.parse_args()
    sizes = []
    for images in options.images or [1000, 100_000]:
        for size in measured(images, tuple(options.way or _WAYS)):
            print(f"{size.images:,} images, {size.way}: {size.spent.peak:.0f} MB", file=sys.stderr)
            sizes.append(size)
    print(table(sizes))


if __name__ == "__main__":
    main()
