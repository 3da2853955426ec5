"""How much faster a copy is with more workers, each with a card: `make benchmark ARGS='--only scaling'`.

`python -m benchmarks.scaling [--workers 1 2 4 8] [--speed BYTES] [--size BYTES]` measures others.

A cluster of Dask on this machine; each worker is a process that reaches the registries through a proxy with a
limited speed (shaped_card.py). The bound is then what it is for a company: the cards, and not the processor.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import machine
from benchmarks.material import put_image
from benchmarks.registries import docker_registry
from benchmarks.scaling_picture import drawn, summary

import imgpkg

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchmarks.registries import Registry

_CARD = Path(__file__).with_name("shaped_card.py")
# Go, and so imgpkg, asks no proxy for loopback; these names are known to the proxies only.
_SOURCE, _DESTINATION = "source.example:5000", "destination.example:5000"
_THREADS = 4
_BLOBS = 96
# Bytes per second of each card, and bytes that are copied.
_SPEED, _SIZE = 5e6, 384_000_000
PARTS = {"1, 2, 4 and 8 workers": [1, 2, 4, 8]}
ABOUT = "copies by workers of a Dask cluster with a limited network card each; 4 minutes"


@dataclass(frozen=True)
class Measured:
    """A copy with this many workers: the time in seconds until it ended, and the bytes that were moved."""

    workers: int
    seconds: float
    size: int


@contextlib.contextmanager
def card(speed: float, places: dict[str, str]) -> Iterator[str]:
    """Run a proxy with this speed in bytes/s; yield its URL."""
    words = [sys.executable, str(_CARD), str(speed), *(f"{name}={to}" for name, to in places.items())]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://{process.stdout.readline().strip()}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


@contextlib.contextmanager
def scheduler(work: Path) -> Iterator[str]:
    """Run a scheduler of Dask; yield its address."""
    words = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    with _running("dask_scheduler", words, work / "scheduler.log", {}) as log:
        yield _found(log, r"Scheduler at:\s+(tcp://\S+)")


@contextlib.contextmanager
def worker(address: str, name: str, work: Path, proxy: str) -> Iterator[None]:
    """Run a worker that reaches everything but the scheduler through the proxy."""
    words = [address, "--name", name, "--nthreads", str(_THREADS), "--no-nanny", "--no-dashboard"]
    words += ["--local-directory", str(work)]
    env = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy}
    with _running("dask_worker", words, work / f"{name}.log", env):
        yield


@contextlib.contextmanager
def _running(module: str, words: list[str], log: Path, env: dict[str, str]) -> Iterator[Path]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *words],
            stdout=output,
            stderr=output,
            env={**os.environ, **env},
        )
    try:
        yield log
    finally:
        process.terminate()
        process.wait()


def _found(log: Path, pattern: str) -> str:
    for _ in range(600):
        if match := re.search(pattern, log.read_text(errors="replace")):
            return match[1]
        time.sleep(0.05)
    sys.exit(f"it did not start: {log.read_text(errors='replace')[-2000:]}")


def make_images(registry: Registry, size: int) -> imgpkg.CopySource:
    """Put an image of many layers, `size` bytes in all, into the registry."""
    with imgpkg.Session() as session:
        # What is compressed already: a layer of so many bytes.
        blobs = [random.Random(number).randbytes(size // _BLOBS) for number in range(_BLOBS)]
        layers = [(blob, f"sha256:{hashlib.sha256(blob).hexdigest()}") for blob in blobs]
        put_image(session, f"{registry.address}/team/app", layers)
    return imgpkg.CopySource(image=f"{_SOURCE}/team/app:v1")


def measure(
    workers: int, speed: float, source: imgpkg.CopySource, places: dict[str, str], work: Path
) -> float:
    """Copy with this many workers; return the seconds from the call to its return."""
    from distributed import Client

    with contextlib.ExitStack() as stack:
        own = stack.enter_context(card(0, places))
        address = stack.enter_context(scheduler(work))
        for number in range(workers):
            proxy = stack.enter_context(card(speed, places))
            stack.enter_context(worker(address, f"worker-{number}", work, proxy))
        client = stack.enter_context(Client(address))
        client.wait_for_workers(workers, timeout=120)
        # Loaded before, as in a cluster that is in use.
        client.run(__import__, "imgpkg.operations.transfer.worker")
        executor = stack.enter_context(client.get_executor(pure=False))
        environ = {"HTTP_PROXY": own, "HOME": str(work)}
        session = stack.enter_context(imgpkg.Session(imgpkg.Settings(environ=environ, insecure=True)))
        options = imgpkg.CopyOptions(in_flight=2 * _THREADS * workers)
        started = time.monotonic()
        imgpkg.copy(
            source,
            to_repo=f"{_DESTINATION}/copy/{secrets.token_hex(4)}",
            options=options,
            session=session,
            executor=executor,
        )
        return time.monotonic() - started


def measured(counts: list[int], speed: float, size: int) -> list[Measured]:
    """Measure a copy for each number of workers, each into an empty registry."""
    with tempfile.TemporaryDirectory(dir=machine.folder()) as folder, contextlib.ExitStack() as stack:
        work = Path(folder)
        here = stack.enter_context(docker_registry(work))
        source = make_images(here, size)
        found = []
        for count in counts:
            # Each copy has a registry of its own: in the same one, blobs would be there already.
            with docker_registry(work) as there:
                places = {_SOURCE: here.address, _DESTINATION: there.address}
                seconds = measure(count, speed, source, places, work)
            found.append(Measured(count, seconds, size))
            print(f"{count} workers: {seconds:.1f} s, {size / seconds / 1e6:.1f} MB/s", flush=True)
    return found


def text(found: list[Measured]) -> str:
    """Return the table: seconds, how many times as fast as the first, and that as a share of the most."""
    lines = ["| workers | seconds | MB/s | times as fast | of linear |", "|--:|--:|--:|--:|--:|"]
    for one in found:
        faster = found[0].seconds / one.seconds
        share = faster * found[0].workers / one.workers
        rate = one.size / one.seconds / 1e6
        lines.append(f"| {one.workers} | {one.seconds:.1f} | {rate:.1f} | {faster:.2f} | {share:.2f} |")
    return "\n".join(lines)


def numbers(part: str) -> list[dict[str, object]]:
    """Measure a part; return what is written down."""
    return [asdict(one) for one in measured(PARTS[part], _SPEED, _SIZE)]


def table(found: Iterable[dict[str, object]]) -> str:
    """Return the picture and the table of what was written down."""
    copies = [Measured(**one) for one in found]
    shown = (
        "<picture>\n"
        '  <source media="(prefers-color-scheme: dark)" srcset="scaling-dark.svg"/>\n'
        f'  <img src="scaling-light.svg" alt="{escape(summary(copies))}"/>\n'
        "</picture>\n"
    )
    return f"{shown}\n{text(copies)}\n"


def picture(found: Iterable[dict[str, object]], theme: str) -> str:
    """Return the picture of what was written down, in the colours of a theme."""
    return drawn([Measured(**one) for one in found], theme)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--speed", type=float, default=_SPEED, help="bytes per second of each card")
    parser.add_argument("--size", type=int, default=_SIZE, help="bytes to copy")
    options = parser.parse_args()
    print(text(measured(options.workers, options.speed, options.size)))


if __name__ == "__main__":
    main()
