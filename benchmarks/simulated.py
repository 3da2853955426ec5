"""A registry with any number of images, which are made when they are asked for.

    python -m benchmarks.simulated --images 100000 --lock images.yml

Image n has a configuration and three layers of its own; nothing of it is kept but its digests. Whatever is
written is accepted and forgotten, and a blob may be mounted from anywhere: what is measured is the client.
One thread, one loop. The number of requests of each kind is at `/counts`; when each repository got its first
blob since the last such question is at `/begun`, in seconds of the monotonic clock of the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import time
from collections import Counter
from pathlib import Path

LAYERS = 3
REPOSITORY = "simulated/app"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_PATH = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>manifests|blobs|tags)/(?P<what>[^?]*)")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
# As long as those of real images: history, environment, labels.
_PADDING = "x" * 2000


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def config(number: int) -> bytes:
    return json.dumps({"config": {"Env": [f"N={number}", _PADDING]}, "rootfs": {"type": "layers"}}).encode()


def layer(number: int, place: int) -> bytes:
    return f"layer {place} of image {number}".encode()


def manifest(number: int) -> bytes:
    """Return the manifest of an image, which is always the same."""
    head = config(number)
    layers = [layer(number, place) for place in range(LAYERS)]
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor("application/vnd.oci.image.config.v1+json", head),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", data) for data in layers],
        }
    ).encode()


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


class Content:
    """What the registry has: the number, and the part, of each digest."""

    def __init__(self, images: int) -> None:
        self.manifests: dict[str, int] = {}
        self.blobs: dict[bytes, tuple[int, int]] = {}
        for number in range(images):
            self.manifests[digest_of(manifest(number))] = number
            self.blobs[hashlib.sha256(config(number)).digest()] = (number, -1)
            for place in range(LAYERS):
                self.blobs[hashlib.sha256(layer(number, place)).digest()] = (number, place)

    def blob(self, digest: str) -> bytes | None:
        found = self.blobs.get(bytes.fromhex(digest.rpartition(":")[2]))
        if found is None:
            return None
        number, place = found
        return config(number) if place < 0 else layer(number, place)


class Registry:
    """Answers requests; writes to other repositories than its own are accepted and forgotten."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self.counts: Counter[str] = Counter()
        self.begun: dict[str, float] = {}

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body and headers."""
        if target == "/counts":
            return 200, json.dumps(self.counts).encode(), {}
        if target == "/begun":
            begun, self.begun = self.begun, {}
            return 200, json.dumps(begun).encode(), {}
        found = _PATH.match(target)
        kind = found["kind"] if found else "version"
        self.counts[f"{method} {kind}"] += 1
        if found is None:
            return 200, b"{}", {}
        if kind == "tags":
            return 200, json.dumps({"name": found["name"], "tags": []}).encode(), {}
        if kind == "manifests":
            return self._manifest(method, found["name"], found["what"], body)
        return self._blob(method, target, found["name"], found["what"])

    def _manifest(self, method: str, name: str, what: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        if method == "PUT":
            return 201, b"", {"Docker-Content-Digest": digest_of(body)}
        number = self.content.manifests.get(what)
        if number is None or name != REPOSITORY:
            return _MISSING
        return 200, manifest(number), {"Content-Type": MANIFEST_TYPE, "Docker-Content-Digest": what}

    def _blob(self, method: str, target: str, name: str, what: str) -> tuple[int, bytes, dict[str, str]]:
        if method == "POST":
            mounted = re.search(r"[?&]mount=([^&]+)", target)
            if mounted:
                self._note(name)
                digest = mounted[1].replace("%3A", ":")
                return 201, b"", {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
            return 202, b"", {"Location": f"/v2/{name}/blobs/uploads/1"}
        if method in ("PUT", "PATCH"):
            self._note(name)
            return 201, b"", {}
        data = self.content.blob(what) if name == REPOSITORY else None
        if data is None:
            return _MISSING
        return 200, data, {"Content-Type": "application/octet-stream", "Docker-Content-Digest": what}

    def _note(self, name: str) -> None:
        self.begun.setdefault(name, time.monotonic())


_MISSING = 404, b'{"errors":[{"code":"NOT_FOUND"}]}', {"Content-Type": "application/json"}


class Connection(asyncio.Protocol):
    """One connection: requests one after the other, with bodies of a known length."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            length = _LENGTH.search(head)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < size:
                return
            body, self._received = self._received[end + 4 : size], self._received[size:]
            method, target, _ = head.partition(b"\r\n")[0].decode().split(" ", 2)
            status, content, headers = self._registry.answer(method, target, body)
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            start = f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n{lines}\r\n".encode()
            self._transport.write(start if method == "HEAD" else start + content)


def write_lock(path: Path, address: str, content: Content) -> None:
    """Write an ImagesLock of all images."""
    lines = [f"- image: {address}/{REPOSITORY}@{digest}\n" for digest in content.manifests]
    path.write_text(f"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n{''.join(lines)}")


async def _serve(options: argparse.Namespace) -> None:
    content = Content(options.images)
    registry = Registry(content)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(registry), "127.0.0.1", options.port
    )
    address = "{}:{}".format(*server.sockets[0].getsockname()[:2])
    if options.lock:
        write_lock(options.lock, address, content)
    print(address, flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulated", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--images", type=int, required=True, metavar="N")
    parser.add_argument("--lock", type=Path, metavar="FILE", help="write an ImagesLock of all images")
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
