"""Time and weigh the command against real servers on loopback; print Markdown tables.

    .venv/bin/python benchmarks/run.py [--size MB] [--runs N]

Needs Debian's docker-registry; skopeo and the steps of yardstick.go are measured beside it where they can be
run. Bundles are made as the tests make them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.operations.making import thirty  # noqa: E402 - found only now

from imgpkg.content.deflate.gzip import FastEncoder  # noqa: E402
from imgpkg.content.deflate.reference import ReferenceEncoder  # noqa: E402
from imgpkg.embedded.server import serve  # noqa: E402
from imgpkg.session import Session  # noqa: E402
from imgpkg.settings import Settings  # noqa: E402

IMGPKG = str(Path(sys.executable).with_name("imgpkg"))


@dataclass(frozen=True)
class Measured:
    """Wall seconds (median), CPU seconds and peak resident MB of one command."""

    wall: float
    cpu: float
    peak: float


# A small process between us and the command: the peak of a child begins with that of whoever started it.
_WATCHER = """
import json, os, sys, time
started = time.perf_counter()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ,
                      file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - started
cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
print(json.dumps([os.waitstatus_to_exitcode(status), wall, cpu, peak]))
"""


def measure(argv: list[str], runs: int, before=lambda: None) -> Measured:
    measured = []
    for _ in range(runs):
        before()
        watched = [sys.executable, "-S", "-c", _WATCHER, *argv]
        done = subprocess.run(watched, stdout=subprocess.PIPE, text=True, check=True)
        code, *numbers = json.loads(done.stdout)
        if code:
            sys.exit(f"{' '.join(argv)} ended with {code}")
        measured.append(Measured(*numbers))
    return _middle(measured)


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
    yardstick = _yardstick(work)
    with docker_registry(work) as address:
        # By turns, so that a busy moment of the machine meets all of them.
        measured: dict[str, list[Measured]] = {}
        for number in range(runs):
            for name, argv in _transfers(work, address, number, yardstick):
                measured.setdefault(name.format(megabytes), []).append(measure(argv, 1))
        rows = [(name, _middle(each)) for name, each in measured.items()]
        if shutil.which("skopeo"):
            image = f"{address}/bench/tree0:v1"
            rows.append(("`skopeo copy` of that image to a folder, not unpacked", _skopeo(work, image, runs)))
    return rows


def _transfers(work: Path, address: str, number: int, yardstick: str) -> list[tuple[str, list[str]]]:
    tree, out = str(work / "tree"), str(work / "out")
    image = f"{address}/bench/tree{number}:v1"
    rows = [
        ("`imgpkg push` of {} MB", [IMGPKG, "push", "-i", image, "-f", tree]),
        ("`imgpkg pull` of {} MB", [IMGPKG, "pull", "-i", image, "-o", out]),
    ]
    if yardstick:
        base = f"{address}/v2/bench/yardstick{number}"
        rows.insert(1, ("the steps of the original's push, in Go", [yardstick, "push", base, tree]))
        rows.append(("the steps of the original's pull, in Go", [yardstick, "pull", base, out]))
    return rows


def _yardstick(work: Path) -> str:
    """Build yardstick.go; empty where there is no Go."""
    if not shutil.which("go"):
        return ""
    built = str(work / "yardstick")
    source = str(Path(__file__).with_name("yardstick.go"))
    subprocess.run(["go", "build", "-o", built, source], check=True)
    return built


def _skopeo(work: Path, image: str, runs: int) -> Measured:
    target = work / "skopeo"
    argv = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{image}", f"dir:{target}"]
    return measure(argv, runs, lambda: shutil.rmtree(target, ignore_errors=True))


@contextlib.contextmanager
def distant_registry(milliseconds: int):
    """Run the embedded registry in a process of its own, each answer late; yield its address."""
    script = str(ROOT / "benchmarks" / "distant_registry.py")
    process = subprocess.Popen([sys.executable, script, str(milliseconds)], stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate()


def distance(work: Path, milliseconds: int, runs: int) -> list[tuple[str, Measured]]:
    numbers = iter(range(10_000))
    with distant_registry(milliseconds) as address, Session(Settings(concurrency=20)) as session:
        bundle = thirty(session, address, work / "thirty")
        copies = [
            measure([IMGPKG, "copy", "-b", str(bundle), "--to-repo", f"{address}/copy/{next(numbers)}"], 1)
            for _ in range(runs)
        ]
        hosted = f"{address}/copy/0@{bundle.digest}"
        out = str(work / "out-bundle")
        return [
            ("`copy`, 30 images of two layers, one registry", _middle(copies)),
            ("`describe` of them, not collocated", measure([IMGPKG, "describe", "-b", str(bundle)], runs)),
            ("`describe` of them, collocated", measure([IMGPKG, "describe", "-b", hosted], runs)),
            ("`pull -b`, collocated", measure([IMGPKG, "pull", "-b", hosted, "-o", out], runs)),
        ]


def count(work: Path) -> list[tuple[str, int]]:
    """Count requests: what the original needs, and the floor, are in the README."""
    with serve() as server, Session() as session:
        bundle = thirty(session, server.address, work / "counted")
        to = f"{server.address}/copy/thirty"
        rows = []
        for name, argv in (
            ("`copy`, 30 images of two layers, one registry", ["copy", "-b", str(bundle), "--to-repo", to]),
            ("the same again, nothing to do", ["copy", "-b", str(bundle), "--to-repo", to]),
            ("`describe`, not collocated", ["describe", "-b", str(bundle)]),
            ("`describe`, collocated", ["describe", "-b", f"{to}@{bundle.digest}"]),
        ):
            before = len(server.requests)
            measure([IMGPKG, *argv], 1)
            rows.append((name, len(server.requests) - before))
    return rows


def encoders() -> list[tuple[str, float]]:
    """Measure the deflate encoders in MB/s of input, beside zlib's fastest level, on text-like data."""
    chance = random.Random(7)
    words = [
        bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 10))) for _ in range(4000)
    ]
    text = b" ".join(chance.choices(words, k=3_000_000))
    makers = [
        ("pure Python", ReferenceEncoder, 1 << 20),
        ("zlib level 1", lambda: zlib.compressobj(1), len(text)),
    ]
    if FastEncoder is not None:
        makers.insert(0, ("C extension", FastEncoder, len(text)))
    rows = []
    for name, make, size in makers:
        started = time.perf_counter()
        make().compress(text[:size])
        rows.append((name, size / 1e6 / (time.perf_counter() - started)))
    return rows


def _middle(measured: list[Measured]) -> Measured:
    return Measured(
        statistics.median(m.wall for m in measured),
        statistics.median(m.cpu for m in measured),
        max(m.peak for m in measured),
    )


def show(title: str, rows: list[tuple[str, Measured]]) -> None:
    print(f"\n| {title} | wall s | CPU s | peak MB |\n|---|--:|--:|--:|")
    for name, m in rows:
        print(f"| {name} | {m.wall:.3f} | {m.cpu:.3f} | {m.peak:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=150, help="megabytes of the tree")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--latency", type=int, default=20, help="milliseconds before each answer")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        show("start-up", start_up(4 * options.runs))
        show("traffic with docker-registry", traffic(work, options.size, options.runs))
        show(f"{options.latency} ms before each answer", distance(work, options.latency, options.runs))
        print("\n| requests | number |\n|---|--:|")
        for name, number in count(work):
            print(f"| {name} | {number} |")
        print("\n| deflate encoder | MB/s |\n|---|--:|")
        for name, rate in encoders():
            print(f"| {name} | {rate:.1f} |")


if __name__ == "__main__":
    main()
