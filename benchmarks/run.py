"""Time and weigh the command against real servers on loopback; print a Markdown table.

    .venv/bin/python benchmarks/run.py [--size MB] [--runs N]

Needs Debian's docker-registry; skopeo is measured beside it when it is there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

IMGPKG = str(Path(sys.executable).with_name("imgpkg"))


@dataclass(frozen=True)
class Measured:
    """Wall seconds (median), CPU seconds and peak resident MB of one command."""

    wall: float
    cpu: float
    peak: float


def measure(argv: list[str], runs: int, before=lambda: None) -> Measured:
    walls, cpus, peaks = [], [], []
    for _ in range(runs):
        before()
        started = time.perf_counter()
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        walls.append(time.perf_counter() - started)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(argv)} ended with {process.returncode}")
        cpus.append(usage.ru_utime + usage.ru_stime)
        peaks.append(usage.ru_maxrss / 1024)
    return Measured(statistics.median(walls), statistics.median(cpus), max(peaks))


def make_tree(folder: Path, megabytes: int) -> None:
    """Fill `folder` with text-like files, a tenth of them incompressible, of 1 KiB to 1 MiB."""
    chance = random.Random(20)
    words = [
        bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 10))) for _ in range(4000)
    ]
    left, number = megabytes << 20, 0
    while left > 0:
        size = min(left, int(2 ** chance.uniform(10, 20)))
        path = folder / f"d{number % 40:02}" / f"f{number}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        if chance.random() < 0.1:
            data = chance.randbytes(size)
        else:
            data = b" ".join(chance.choices(words, k=size // 6))[:size].ljust(size, b"\n")
        path.write_bytes(data)
        left -= size
        number += 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def docker_registry(folder: Path):
    """Run docker-registry on a free loopback port with its storage in `folder`; yield its address."""
    port = free_port()
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/storage}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    process = subprocess.Popen(
        ["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.1):
                break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def start_up(runs: int) -> list[tuple[str, Measured]]:
    return [
        ("bare interpreter (`python -c pass`)", measure([sys.executable, "-c", "pass"], runs)),
        ("`imgpkg version`", measure([IMGPKG, "version"], runs)),
        ("`imgpkg push --help`", measure([IMGPKG, "push", "--help"], runs)),
    ]


def traffic(work: Path, megabytes: int, runs: int) -> list[tuple[str, Measured]]:
    tree = work / "tree"
    make_tree(tree, megabytes)
    rows = []
    numbers = iter(range(10_000))
    with docker_registry(work) as address:

        def fresh() -> str:
            return f"{address}/bench/tree{next(numbers)}:v1"

        pushes = [fresh() for _ in range(runs)]
        targets = iter(pushes)
        walls = [measure([IMGPKG, "push", "-i", next(targets), "-f", str(tree)], 1) for _ in range(runs)]
        rows.append((f"`imgpkg push` of {megabytes} MB", _middle(walls)))
        out = work / "out"
        rows.append(
            (
                f"`imgpkg pull` of {megabytes} MB",
                measure([IMGPKG, "pull", "-i", pushes[0], "-o", str(out)], runs),
            )
        )
        if shutil.which("skopeo"):
            rows.append(
                ("`skopeo copy` of that image to a folder, not unpacked", _skopeo(work, pushes[0], runs))
            )
    return rows


def _skopeo(work: Path, image: str, runs: int) -> Measured:
    target = work / "skopeo"
    argv = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{image}", f"dir:{target}"]
    return measure(argv, runs, lambda: shutil.rmtree(target, ignore_errors=True))


def _middle(measured: list[Measured]) -> Measured:
    return Measured(
        statistics.median(m.wall for m in measured),
        statistics.median(m.cpu for m in measured),
        max(m.peak for m in measured),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=150, help="megabytes of the tree")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [*start_up(4 * options.runs), *traffic(Path(folder), options.size, options.runs)]
    print("| command | wall s | CPU s | peak MB |\n|---|--:|--:|--:|")
    for name, m in rows:
        print(f"| {name} | {m.wall:.3f} | {m.cpu:.3f} | {m.peak:.0f} |")


if __name__ == "__main__":
    main()
