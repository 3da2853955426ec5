"""Processes of docker-registry that count what they answer, and links in front of them."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINK = Path(__file__).with_name("shaped_link.py")
_ATTEMPTS = 400
_PAUSE = 0.025
# In which a line of the access log is written that belongs to an answer which was already received.
_SETTLED = 0.01
# A line of the access log: `127.0.0.1 - - [26/Nov/2026:05:59:52 +0000] "GET /v2/ HTTP/1.1" 200 ...`.
_REQUEST = re.compile(rb'^[\d.]+ - - \[[^\]]+\] "', re.MULTILINE)


@dataclass
class Registry:
    """A docker-registry at `address`, whose access log is the file `log`, in the process `pid`."""

    address: str
    log: Path
    pid: int = 0
    _read: int = 0
    _requests: int = 0

    def requests(self) -> int:
        """Return how many requests are in the log so far."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            added = file.read()
        # A line may have been written in part.
        whole = added[: added.rfind(b"\n") + 1]
        self._read += len(whole)
        self._requests += len(_REQUEST.findall(whole))
        return self._requests


def settled(registries: list[Registry]) -> int:
    """Return how many requests these have answered; the last lines may come a moment after their answers."""
    before, now = -1, sum(registry.requests() for registry in registries)
    while registries and before != now:
        time.sleep(_SETTLED)
        before, now = now, sum(registry.requests() for registry in registries)
    return now


@contextlib.contextmanager
def docker_registry(work: Path, *, certificate: Path | None = None) -> Iterator[Registry]:
    """Run docker-registry on a free loopback port, with a new folder in `work` that is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="registry", dir=work))
    port = free_port()
    http: dict[str, object] = {"addr": f"127.0.0.1:{port}", "secret": "of nobody"}
    if certificate is not None:
        http["tls"] = {"certificate": str(certificate), "key": str(certificate)}
    storage = {"filesystem": {"rootdirectory": str(folder / "storage")}}
    config = {"version": "0.1", "log": {"level": "error"}, "storage": storage, "http": http}
    (folder / "config.json").write_text(json.dumps(config))
    log = folder / "log.txt"
    with log.open("wb") as output:
        words = ["docker-registry", "serve", str(folder / "config.json")]
        env = {"HOME": str(folder), "OTEL_TRACES_EXPORTER": "none"}
        process = subprocess.Popen(words, stdout=output, stderr=output, env=env)
    try:
        _wait_until_it_answers(process, port, log)
        yield Registry(f"127.0.0.1:{port}", log, process.pid)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def _wait_until_it_answers(process: subprocess.Popen, port: int, log: Path) -> None:
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None:
            break
        time.sleep(_PAUSE)
    sys.exit(f"docker-registry did not start: {log.read_text(errors='replace')[-2000:]}")


def free_port() -> int:
    """Return the number of a port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Link:
    """A shaped link at `address`; after its end also what went through it."""

    address: str
    connections: int = 0
    most: int = 0
    bytes: int = 0


@contextlib.contextmanager
def link(target: str, round_trip: float, speed: float, *, port: int = 0) -> Iterator[Link]:
    """Run a link to `target` with a round trip in seconds and a speed in bytes/s of each connection."""
    words = [sys.executable, str(_LINK), target, str(1000 * round_trip), str(speed), str(port)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    running = Link(process.stdout.readline().strip())
    try:
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate()[0]
        running.connections, running.most, running.bytes = map(int, re.findall(r"\d+", said))
