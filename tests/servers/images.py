"""The small images of `imgpkg.testing`, in more forms, and their way into any registry."""

from __future__ import annotations

import hashlib

from tests.servers.client import ask_on, connection

from imgpkg.dataclass import replace
from imgpkg.testing import image as sample
from imgpkg.testing.image import tar_layer

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
__all__ = [
    "OCI_CONFIG",
    "OCI_INDEX",
    "OCI_LAYER",
    "OCI_MANIFEST",
    "make_image",
    "sha256",
    "tar_layer",
    "upload",
]
_PLATFORMS = ("linux/amd64", "linux/arm64", "linux/s390x", "linux/riscv64")


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def make_image(layers=None, labels=None, index=None, **manifest_fields):
    """Make an image of these layers, by default one small file; or an index of the images in `index`.

    `manifest_fields` are set in the manifest as they are, such as subject=… or artifactType=….
    """
    if index is None:
        layers = ({"hello.txt": b"hello\n"},) if layers is None else layers
        return sample.make_image(*layers, labels=labels, **manifest_fields)
    placed = [
        replace(image, platform=_PLATFORMS[number % len(_PLATFORMS)]) for number, image in enumerate(index)
    ]
    return sample.make_index(*placed, **manifest_fields)


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
