"""Write what a bundle is made of, the documents and the images of a small shop, without a network.

    python examples/shop/make_shop.py FOLDER REGISTRY

`FOLDER/images` is an OCI image layout; some layers are in several of its images. `FOLDER/shop` and
`FOLDER/database` are the folders of two bundles, without their images locks; their documents name the images
in REGISTRY. The digests of the images are the same on every machine; the content of their layers is noise.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).parent
REGISTRY = "registry.example.com"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
# In KiB. What a name ends with is the platform.
LAYERS = {
    "debian-amd64": 2900,
    "debian-arm64": 2750,
    "python-amd64": 1500,
    "python-arm64": 1450,
    "nginx-amd64": 900,
    "nginx-arm64": 860,
    "postgres-amd64": 2100,
    "shop-library": 420,
    "pages": 640,
    "api": 130,
    "worker": 90,
    "queue": 1200,
    "backup": 60,
    "exporter": 700,
}
IMAGES = {
    "web:1.4": ("debian-@", "nginx-@", "pages"),
    "api:2.1": ("debian-@", "python-@", "shop-library", "api"),
    "worker:2.1": ("debian-amd64", "python-amd64", "shop-library", "worker"),
    "queue:7": ("queue",),
    "database:16": ("debian-amd64", "postgres-amd64"),
    "backup:3": ("debian-amd64", "postgres-amd64", "backup"),
    "exporter:0.9": ("exporter",),
}


class Layout:
    """An OCI image layout (OCI image-spec, image-layout.md) that is written from scratch."""

    def __init__(self, folder: Path) -> None:
        self.blobs = folder / "blobs" / "sha256"
        self.folder = folder
        self.entries: list[dict[str, object]] = []

    def blob(self, data: bytes, media_type: str) -> dict[str, object]:
        """Write a blob; return its descriptor."""
        name = hashlib.sha256(data).hexdigest()
        self.blobs.mkdir(parents=True, exist_ok=True)
        (self.blobs / name).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}

    def document(self, content: dict[str, object], media_type: str) -> dict[str, object]:
        """Write a manifest, an index or a configuration."""
        return self.blob(json.dumps(content, indent=1).encode(), media_type)

    def image(self, layers: tuple[str, ...], platform: str) -> dict[str, object]:
        """Write an image of these layers; return its descriptor."""
        blobs = [self.blob(packed_layer(name), LAYER) for name in layers]
        # Layers that are not compressed have one digest in both documents.
        files = {"type": "layers", "diff_ids": [blob["digest"] for blob in blobs]}
        config = {"architecture": platform, "os": "linux", "rootfs": files}
        content = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.document(config, CONFIG),
            "layers": blobs,
        }
        return self.document(content, MANIFEST)

    def index(self, layers: tuple[str, ...]) -> dict[str, object]:
        """Write an image for two platforms."""
        children = []
        for platform in ("amd64", "arm64"):
            image = self.image(tuple(name.replace("@", platform) for name in layers), platform)
            children.append({**image, "platform": {"os": "linux", "architecture": platform}})
        return self.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}, INDEX)

    def bill(self, subject: dict[str, object], packages: tuple[str, ...]) -> dict[str, object]:
        """Write a list of the software of an image, which refers to it."""
        kind = "application/spdx+json"
        listed = [{"name": name} for name in packages]
        text = json.dumps({"spdxVersion": "SPDX-2.3", "packages": listed}).encode()
        content = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": self.blob(b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [self.blob(text, kind)],
            "subject": subject,
        }
        return self.document(content, MANIFEST)

    def add(self, image: dict[str, object], repository: str, tag: str = "") -> None:
        """List an image in the index of the layout."""
        named = {"org.opencontainers.image.ref.name": tag} if tag else {}
        source = {"dev.carvel.imgpkg.copy.source": f"{REGISTRY}/{repository}@{image['digest']}"}
        self.entries.append({**image, "annotations": {**source, **named}})

    def close(self) -> None:
        """Write the index, after which the layout can be read."""
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries}
        (self.folder / "index.json").write_text(json.dumps(index, indent=1))
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def packed_layer(name: str) -> bytes:
    """Return a layer with one file: a tar that is not compressed, as encoders differ."""
    content = random.Random(name).randbytes(LAYERS[name] << 10)  # noqa: S311 - no secret
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(f"opt/{name}")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def write_images(folder: Path) -> None:
    """Write all images into a new layout."""
    layout = Layout(folder)
    for name, layers in IMAGES.items():
        repository, _, tag = name.partition(":")
        is_index = any("@" in layer for layer in layers)
        image = layout.index(layers) if is_index else layout.image(layers, "amd64")
        layout.add(image, f"shop/{repository}", tag)
        if repository in ("api", "worker"):
            layout.add(layout.bill(image, layers), f"shop/{repository}")
    layout.close()


def write_documents(folder: Path, registry: str) -> None:
    """Write the folders of the bundles, with `registry` in the names of images."""
    for name, documents in (("shop", "config"), ("database", "database")):
        for file in sorted((HERE / documents).glob("*.yml")):
            written = folder / name / "config" / file.name
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(file.read_text().replace(REGISTRY, registry))
        (folder / name / ".imgpkg").mkdir()


def main(folder: str, registry: str = REGISTRY) -> None:
    """Write everything below `folder`."""
    write_images(Path(folder, "images"))
    write_documents(Path(folder), registry)


if __name__ == "__main__":
    main(*sys.argv[1:])
