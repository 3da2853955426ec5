"""What planning and copying many images takes: `make benchmark ARGS='--only "plan size"'`.

The images are those of a simulated registry (simulated.py), four blobs each, named by a lock file. Measured
are processor time, the peak of memory, requests, and how long it takes until the first blob is at the
destination: another repository of the same registry, which mounts each blob, or another registry, to which
the bytes of each are sent. Per image the growth counts: what more images need, divided by their number.

`python -m benchmarks.plan_size --images N --way WAY` measures other numbers of images, and prints them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.material import IMGPKG
from benchmarks.measure import Spent, spent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_ROOT = Path(__file__).parent.parent
_FEW, _MANY = 1000, 100_000
_MB = 1 << 20
# The command of each way; `{near}` is in the registry that is read from, `{far}` in another one.
_COMMANDS = {
    "copy --dry-run": "--lock {lock} --to-repo {near} --dry-run",
    "copy --stream-plan=false": "--lock {lock} --to-repo {near} --stream-plan=false",
    "copy --stream-plan": "--lock {lock} --to-repo {near} --stream-plan",
    "copy --dry-run --plan-output": "--lock {lock} --to-repo {near} --dry-run --plan-output {plan}",
    "copy --plan --shard 3/16": "--plan {plan} --shard 3/16",
    "copy --plan": "--plan {plan}",
    "copy --stream-plan=false, to another registry": "--lock {lock} --to-repo {far} --stream-plan=false",
    "copy --stream-plan, to another registry": "--lock {lock} --to-repo {far} --stream-plan",
}
WAYS = tuple(_COMMANDS)
# What is measured together: a plan is written before it is run.
PARTS = {
    "in one registry": WAYS[:3],
    "by a plan": WAYS[3:6],
    "to another registry": WAYS[6:7],
    "to another registry, streamed": WAYS[7:],
}
_HEAD = (
    "| command | images | CPU | for each image | peak | for each image | first blob after "
    "| requests for each image |"
)
ABOUT = "memory, requests and processor time of copies of 1,000 and 100,000 images; 30 minutes"


@dataclass(frozen=True)
class Size:
    """What one command took for so many images: its time and memory, and requests by kind.

    `first` is the time in seconds until the destination had a blob, None if it got none.
    """

    way: str
    images: int
    spent: Spent
    requests: dict[str, int]
    first: float | None = None


@contextlib.contextmanager
def simulated(images: int, lock: Path | None) -> Iterator[str]:
    """Run a registry with these images in a process of its own; write `lock`, yield the address."""
    argv = [sys.executable, "-m", "benchmarks.simulated", "--images", str(images)]
    argv += [] if lock is None else ["--lock", str(lock)]
    with subprocess.Popen(argv, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def asked(address: str, what: str) -> dict[str, float]:
    """Return what a simulated registry says of itself."""
    with urllib.request.urlopen(f"http://{address}/{what}") as response:
        return json.load(response)


def measured(images: int, ways: Sequence[str] = WAYS) -> Iterator[Size]:
    """Run the commands for so many images, one after the other."""
    env = {"HOME": "/nonexistent", "PATH": os.environ["PATH"]}
    with tempfile.TemporaryDirectory(prefix="imgpkg-plan-size") as folder:
        lock = Path(folder, "images.yml")
        with simulated(images, lock) as source, simulated(0, None) as other:
            for way in ways:
                name = f"inside/{WAYS.index(way)}"
                # What is run by a plan is copied to where the plan says.
                places = {"near": f"{source}/{name}", "far": f"{other}/{name}"}
                words = _COMMANDS[way].format(lock=lock, plan=Path(folder, "plan.jsonl"), **places)
                before = [asked(address, "counts") for address in (source, other)]
                _first((source, other), 0)
                begun = time.monotonic()
                used = spent([IMGPKG, "copy", *words.split()], env)
                yield Size(
                    way, images, used, _requests(before, (source, other)), _first((source, other), begun)
                )


def _requests(before: list[dict[str, float]], addresses: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for earlier, address in zip(before, addresses, strict=True):
        for kind, count in asked(address, "counts").items():
            found[kind] = found.get(kind, 0) + int(count - earlier.get(kind, 0))
    return {kind: found[kind] for kind in sorted(found) if found[kind]}


def _first(addresses: Iterable[str], begun: float) -> float | None:
    """Return the seconds from `begun` to the first blob since the last call, None if there was none."""
    times = [at for address in addresses for at in asked(address, "begun").values()]
    return round(min(times) - begun, 2) if times else None


def numbers(part: str) -> list[dict[str, object]]:
    """Measure a part, for few images and for many; return what is written down."""
    sizes = []
    for images in (_FEW, _MANY):
        for size in measured(images, PARTS[part]):
            print(
                f"{size.images:,} images, {size.way}: {size.spent.peak:.0f} MB", file=sys.stderr, flush=True
            )
            sizes.append(size)
    return [asdict(size) for size in sizes]


def table(found: Iterable[dict[str, object]]) -> str:
    """Return the table of what was written down."""
    return text([Size(**{**one, "spent": Spent(**one["spent"])}) for one in found])


def text(sizes: list[Size]) -> str:
    """Return the rows of a table; growth is that since the smallest number of images."""
    lines = [_HEAD, "|--|--:|--:|--:|--:|--:|--:|--|"]
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
        # A list of tags is one request, however many images there are.
        requests = ", ".join(
            f"{count / size.images:.3g} {kind}" for kind, count in size.requests.items() if count > 1
        )
        first = "" if size.first is None else f"{size.first:,.1f} s"
        lines.append(
            f"| `{size.way}` | {size.images:,} | {size.spent.cpu:.1f} s | {growth[0]} "
            f"| {size.spent.peak:.0f} MB | {growth[1]} | {first} | {requests} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plan_size", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--images", type=int, action="append", metavar="N", help="1,000 and 100,000")
    parser.add_argument("--way", action="append", choices=WAYS, help="measure this one alone")
    options = parser.parse_args()
    sizes = [
        size
        for images in options.images or [_FEW, _MANY]
        for size in measured(images, tuple(options.way or WAYS))
    ]
    print(text(sizes), end="")


if __name__ == "__main__":
    main()
