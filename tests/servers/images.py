"""Small images made of plain JSON and bytes, and their way into a registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from dataclasses import dataclass, field

from tests.servers.client import ask_on, connection

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Image:
    """An image or an index: the exact bytes of its manifest, its own blobs, and the images in it."""

    manifest: bytes = field(repr=False)
    media_type: str
    config: bytes = field(default=b"", repr=False)
    layers: tuple[bytes, ...] = field(default=(), repr=False)
    images: tuple[Image, ...] = ()

    @property
    def digest(self):
        return sha256(self.manifest)

    @property
    def blobs(self):
        return () if self.images else (self.config, *self.layers)

    def descriptor(self, **more):
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.manifest), **more}


def tar_layer(files):
    """Return a gzipped tar file of {path: bytes}, the same bytes each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def make_image(layers=None, labels=None, index=None, **manifest_fields):
    """Make an image of these layers, by default one small file; or an index of the images in `index`.

    `manifest_fields` are set in the manifest as they are, such as subject=… or artifactType=….
    """
    if index is not None:
        return _index(tuple(index), manifest_fields)
    layers = (tar_layer({"hello.txt": b"hello\n"}),) if layers is None else tuple(layers)
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": labels or {}},
            "rootfs": {"type": "layers", "diff_ids": [sha256(_inflated(layer)) for layer in layers]},
        }
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": sha256(config), "size": len(config)},
        "layers": [{"mediaType": OCI_LAYER, "digest": sha256(data), "size": len(data)} for data in layers],
        **manifest_fields,
    }
    return Image(_json(manifest), manifest["mediaType"], config, layers)


def upload(image, address, repository, tag=None, *, authorization=None, context=None):
    """Push an image, with all that is in it, by tag or only by digest; return its digest."""
    with connection(address, context=context) as connected:
        _upload(connected, image, repository, tag, authorization)
    return image.digest


def _upload(connected, image, repository, tag, authorization):
    for child in image.images:
        _upload(connected, child, repository, None, authorization)
    for blob in image.blobs:
        _upload_blob(connected, blob, repository, authorization)
    reply = ask_on(
        connected,
        "PUT",
        f"/v2/{repository}/manifests/{tag or image.digest}",
        image.manifest,
        content_type=image.media_type,
        authorization=authorization,
    )
    assert reply.status == 201, reply.body


def _upload_blob(connected, data, repository, authorization):
    login = {"authorization": authorization}
    if ask_on(connected, "HEAD", f"/v2/{repository}/blobs/{sha256(data)}", **login).status == 200:
        return
    started = ask_on(connected, "POST", f"/v2/{repository}/blobs/uploads/", **login)
    assert started.status == 202, started.body
    location = started.headers["location"]
    if location.startswith("http"):
        location = "/" + location.split("/", 3)[3]
    target = f"{location}{'&' if '?' in location else '?'}digest={sha256(data)}"
    reply = ask_on(connected, "PUT", target, data, content_type="application/octet-stream", **login)
    assert reply.status == 201, reply.body


def _index(images, fields):
    platforms = [{"os": "linux", "architecture": name} for name in ("amd64", "arm64", "s390x", "riscv64")]
    manifests = [
        image.descriptor(platform=platforms[number % len(platforms)]) for number, image in enumerate(images)
    ]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests, **fields}
    return Image(_json(document), document["mediaType"], images=images)


def _inflated(layer):
    try:
        return gzip.decompress(layer)
    except (OSError, EOFError, zlib.error):
        return layer


def _json(document):
    return json.dumps(document, separators=(",", ":")).encode()
