"""Images as the items of a tar file, and tar files of them."""

from __future__ import annotations

import io
from contextlib import nullcontext

from imgpkg.content.archive.manifest import ArchiveImage, ArchiveIndex, Marks
from imgpkg.content.archive.writer import ArchiveWriter
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.manifest import Manifest


def parsed(image):
    return Manifest.parse(image.manifest, image.media_type)


def item(image, *, tag="", origin="", labels=None, repository="localhost:5000/app"):
    """Turn an image of tests.servers.images into what a tar file lists."""
    manifest = parsed(image)
    marks = Marks(f"{repository}@{manifest.digest}", tag, origin, labels or {})
    if not image.images:
        return ArchiveImage(manifest, image.config, marks)
    children = [item(child, tag=tag, origin=origin, labels=labels) for child in image.images]
    images = tuple(child for child in children if isinstance(child, ArchiveImage))
    indexes = tuple(child for child in children if isinstance(child, ArchiveIndex))
    return ArchiveIndex(manifest, images, indexes, marks)


def layers(*images):
    """Map the descriptors of every layer to its bytes: pairs, each digest once."""
    found = {}
    for image in images:
        for child in image.images:
            found.update({blob.digest: (blob, data) for blob, data in layers(child)})
        if not image.images:
            pairs = zip(parsed(image).layers, image.layers, strict=True)
            found.update({blob.digest: (blob, data) for blob, data in pairs})
    return list(found.values())


def opener(data):
    """Give bytes the way a source gives a blob."""
    return lambda: nullcontext(io.BytesIO(data))


def never():
    """Be the opener of a blob that nobody may ask for."""
    raise AssertionError("a blob was read again")


def writer(path, *images, resume=False, split=0):
    blobs = [blob for blob, _ in layers(*images)]
    return ArchiveWriter(str(path), [item(image) for image in images], blobs, resume=resume, split=split)


def write(path, *images, resume=False, skip=(), split=0):
    """Write a tar file of `images`; return the digests that had to be written."""
    written = []
    with writer(path, *images, resume=resume, split=split) as target:
        for blob, data in layers(*images):
            if not target.has(blob):
                target.write(blob, opener(data))
                written.append(blob.digest)
    return written


def digest(data):
    return Digest.of(data)
