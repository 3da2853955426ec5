"""What a processor can do: `make benchmark ARGS='--only capacity'`.

`python -m benchmarks.capacity [--requests 4000] [--megabytes 64] [--clients 8]` measures with another load.

There are two tables. The first has the small registry (`imgpkg registry serve`) beside docker-registry:
requests for a manifest and bytes of blobs for each second of its processor time, and its memory. Clients keep
their connections, on loopback, over http. The second has a copy between two registries: bytes for each second
of processor time above that of a copy of a few bytes, over http and over https. Times of the processor say
more than the clock where clients and servers share two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import trustme
from benchmarks import measure
from benchmarks.material import IMGPKG
from benchmarks.registries import docker_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
REPOSITORY = "bench/serving"
PIECE = 1 << 20
# Of the clock that counts the time of processes.
TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """Requests for a manifest, megabytes of each blob, and how many clients there are at once."""

    requests: int
    megabytes: int
    clients: int


LOAD = Load(requests=4000, megabytes=64, clients=8)
PARTS = ("registries", "copies")
ABOUT = "what a second of the processor serves and copies; 2 minutes"


@dataclass(frozen=True)
class Served:
    """What one registry did: per second of processor time, with requests per second of the clock; MB."""

    name: str
    requests: float
    requests_by_clock: float
    sent: float
    received: float
    idle: float
    peak: float

    def line(self) -> str:
        return (
            f"| {self.name} | {self.requests:,.0f} | {self.requests_by_clock:,.0f} | {self.sent:,.0f} "
            f"| {self.received:,.0f} | {self.idle:.0f} | {self.peak:.0f} |"
        )


HEAD = (
    "| registry | requests per CPU s | per s of the clock | MB sent per CPU s | MB received per CPU s "
    "| idle MB | peak MB |\n|--|--:|--:|--:|--:|--:|--:|"
)


@contextlib.contextmanager
def small_registry(work: Path) -> Iterator[tuple[str, int]]:
    """Run `imgpkg registry serve` with a folder in `work`; give its address and process."""
    folder = tempfile.mkdtemp(prefix="small", dir=work)
    words = ["-m", "imgpkg", "registry", "serve", "--address", "127.0.0.1:0", "--storage", folder]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().split("http://")[1].strip(), process.pid
    finally:
        process.terminate()
        process.communicate()
        shutil.rmtree(folder)


@contextlib.contextmanager
def distribution(work: Path) -> Iterator[tuple[str, int]]:
    """Run docker-registry; give its address and process."""
    with docker_registry(work) as registry:
        yield registry.address, registry.pid


REGISTRIES = {"`imgpkg registry serve`": small_registry, "docker-registry": distribution}


def spent(pid: int) -> float:
    """Return the processor time of a process so far, in seconds."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, after_name[11:13])) * TICK


def resident(pid: int, field: str) -> float:
    """Return VmRSS or VmHWM of a process in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


def ask(line: http.client.HTTPConnection, method: str, path: str, body=None, **headers: str):
    """Send a request and read its response; return the header Location."""
    line.request(method, path, body, headers)
    with line.getresponse() as response:
        while response.read(PIECE):
            pass
        if response.status >= 300:
            sys.exit(f"{method} {path}: {response.status}")
        return response.headers.get("Location")


def upload(line: http.client.HTTPConnection, data: bytes) -> str:
    """Store a blob; return its digest."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    place = ask(line, "POST", f"/v2/{REPOSITORY}/blobs/uploads/").removeprefix(
        f"http://{line.host}:{line.port}"
    )
    mark = "&" if "?" in place else "?"
    ask(line, "PUT", f"{place}{mark}digest={digest}", data, **{"Content-Type": "application/octet-stream"})
    return digest


def at_once(address: str, load: Load, work: Callable[[http.client.HTTPConnection, int], object]) -> list:
    """Let each client do its work with a connection of its own."""

    def client(number: int) -> object:
        line = http.client.HTTPConnection(address)
        with contextlib.closing(line):
            return work(line, number)

    with ThreadPoolExecutor(load.clients) as threads:
        return list(threads.map(client, range(load.clients)))


def measured(name: str, address: str, pid: int, load: Load) -> Served:
    """Send all of `load` to one registry."""
    idle = resident(pid, "VmRSS")
    # None of them is sent twice, so that the registry has to store each.
    blobs = [random.Random(number).randbytes(load.megabytes << 20) for number in range(load.clients)]
    marks = [spent(pid)]
    digests = at_once(address, load, lambda line, number: upload(line, blobs[number]))
    marks.append(spent(pid))
    at_once(address, load, lambda line, number: ask(line, "GET", f"/v2/{REPOSITORY}/blobs/{digests[number]}"))
    marks.append(spent(pid))
    put_manifest(address, [(digest, len(blob)) for digest, blob in zip(digests, blobs, strict=True)])
    marks.append(spent(pid))
    wall = ask_for_manifest(address, load)
    marks.append(spent(pid))
    moved = load.clients * load.megabytes * 1.048576
    received, sent, _, asked = (max(after - before, TICK) for before, after in pairwise(marks))
    return Served(
        name,
        load.requests / asked,
        load.requests / wall,
        moved / sent,
        moved / received,
        idle,
        resident(pid, "VmHWM"),
    )


def put_manifest(address: str, blobs: list[tuple[str, int]]) -> None:
    """Store a manifest that names these blobs."""
    layers = [{"mediaType": LAYER, "digest": digest, "size": size} for digest, size in blobs]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": layers[0], "layers": layers}
    line = http.client.HTTPConnection(address)
    with contextlib.closing(line):
        ask(line, "PUT", f"/v2/{REPOSITORY}/manifests/v1", json.dumps(manifest), **{"Content-Type": MANIFEST})


def ask_for_manifest(address: str, load: Load) -> float:
    """Let all clients ask for the manifest again and again; return the seconds that it took."""
    path = f"/v2/{REPOSITORY}/manifests/v1"
    each = load.requests // load.clients
    begun = time.perf_counter()
    at_once(address, load, lambda line, _: [ask(line, "GET", path, Accept=MANIFEST) for _ in range(each)])
    return time.perf_counter() - begun


def copied(work: Path, megabytes: int, certificate: Path | None, flags: list[str]) -> float:
    """Return the megabytes that a copy between two registries moves in a second of processor time."""
    env = {"HOME": str(work), "PATH": os.environ["PATH"]}
    with (
        docker_registry(work, certificate=certificate) as one,
        docker_registry(work, certificate=certificate) as two,
    ):
        times = []
        for size in (1, megabytes << 20):
            folder = work / f"content-{size}"
            folder.mkdir(exist_ok=True)
            (folder / "noise").write_bytes(os.urandom(size))
            name = f"bench/copy{size}"
            commands = (
                ["push", "-i", f"{one.address}/{name}:v1", "-f", str(folder)],
                ["copy", "-i", f"{one.address}/{name}:v1", "--to-repo", f"{two.address}/{name}"],
            )
            times.append([measure.spent([IMGPKG, *words, *flags], env).cpu for words in commands][1])
    return megabytes * 1.048576 / (times[1] - times[0])


def served(load: Load) -> Iterator[Served]:
    """Measure both registries."""
    with _memory() as work:
        for name, registry in REGISTRIES.items():
            with registry(work) as (address, pid):
                yield measured(name, address, pid, load)


def copies(load: Load) -> Iterator[tuple[str, float]]:
    """Yield each scheme with the megabytes of a copy for each second of the processor."""
    with _memory() as work:
        authority, pair = work / "ca.pem", work / "pair.pem"
        trust = trustme.CA()
        trust.cert_pem.write_to_path(str(authority))
        trust.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pair))
        for scheme, certificate, flags in (
            ("http", None, []),
            ("https", pair, ["--registry-ca-cert-path", str(authority)]),
        ):
            yield scheme, copied(work, load.clients * load.megabytes, certificate, flags)


@contextlib.contextmanager
def _memory() -> Iterator[Path]:
    # No disk is to be measured.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as made:
        yield Path(made)


def numbers(part: str) -> list[dict[str, object]]:
    """Measure a part; return what is written down."""
    if part == "registries":
        return [asdict(one) for one in served(LOAD)]
    return [{"scheme": scheme, "rate": rate} for scheme, rate in copies(LOAD)]


def table(found: Iterable[dict[str, object]]) -> str:
    """Return the tables of what was written down."""
    rows = list(found)
    registries = [Served(**one) for one in rows if "scheme" not in one]
    rates = [(str(one["scheme"]), float(one["rate"])) for one in rows if "scheme" in one]
    return text(registries, rates)


def text(registries: Iterable[Served], rates: Iterable[tuple[str, float]]) -> str:
    """Return a table of the registries and one of the copies, where there are any."""
    tables = (
        (HEAD, [one.line() for one in registries]),
        (
            "| copy between two registries | MB per CPU s |\n|--|--:|",
            [f"| {scheme} | {rate:,.0f} |" for scheme, rate in rates],
        ),
    )
    return "\n".join("\n".join([head, *lines, ""]) for head, lines in tables if lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what one processor can do.")
    for name, value in asdict(LOAD).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    load = Load(**vars(parser.parse_args()))
    print(text(served(load), copies(load)), end="")


if __name__ == "__main__":
    main()
