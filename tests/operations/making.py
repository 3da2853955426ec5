"""Make images, indexes and bundles in a registry, with our own client, for tests of copy and describe."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile

from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Repository
from imgpkg.operations.push import push


def layer_of(files):
    """Return the gzip bytes of a tar with {name: bytes}."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


def put_blob(session, repository, data, media_type):
    blob = Descriptor(media_type, Digest.of(data), len(data))
    session.client.push_blob(repository, blob, lambda: io.BytesIO(data))
    return {"mediaType": media_type, "size": len(data), "digest": str(blob.digest)}


def put_manifest(session, repository, document, tag=""):
    raw = json.dumps(document).encode()
    manifest = Manifest.parse(raw, document["mediaType"])
    reference = repository.tag(tag) if tag else repository.digest(manifest.digest)
    session.client.push_manifest(reference, manifest)
    return repository.digest(manifest.digest)


def make_image(session, where, contents=("one", "two"), *, tag="", layer_type=media.DOCKER_LAYER, **more):
    """Put an image with one layer per text, or {name: bytes}, in `contents`; return its digest reference."""
    repository = Repository.parse(where)
    layers = [layer_of(each if isinstance(each, dict) else {"file": each.encode()}) for each in contents]
    diff_ids = [f"sha256:{hashlib.sha256(gzip.decompress(layer)).hexdigest()}" for layer in layers]
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": diff_ids}, "config": {}}).encode()
    document = {
        "schemaVersion": 2,
        "mediaType": media.DOCKER_MANIFEST,
        "config": put_blob(session, repository, config, media.DOCKER_CONFIG),
        "layers": [put_blob(session, repository, layer, layer_type) for layer in layers],
        **more,
    }
    return put_manifest(session, repository, document, tag)


def make_index(session, where, children, *, tag=""):
    """Put an OCI index over {platform: digest reference in the same repository}; return its reference."""
    repository = Repository.parse(where)
    manifests = []
    for platform, reference in children.items():
        found = session.client.manifest(reference)
        names = zip(("os", "architecture", "variant"), platform.split("/"), strict=False)
        manifests.append(
            {
                "mediaType": found.media_type,
                "digest": str(found.digest),
                "size": len(found.raw),
                "platform": dict(names),
            }
        )
    document = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": manifests}
    return put_manifest(session, repository, document, tag)


def make_bundle(session, where, images, folder, *, files=None):
    """Push a bundle that names {reference: annotations}; return its digest reference."""
    root = folder
    (root / ".imgpkg").mkdir(parents=True)
    lines = ["apiVersion: imgpkg.carvel.dev/v1alpha1", "kind: ImagesLock"]
    if images:
        lines.append("images:")
    for reference, notes in images.items():
        lines.append(f"- image: {reference}")
        if notes:
            lines.append("  annotations:")
            lines += [f"    {key}: {value}" for key, value in notes.items()]
    (root / ".imgpkg" / "images.yml").write_text("\n".join(lines) + "\n")
    for name, text in (files or {}).items():
        (root / name).write_text(text)
    return push([str(root)], bundle=where, session=session).reference


def thirty(session, registry, folder, count=30, layers=2):
    """Make a bundle of `count` images of `layers` layers, each in a repository of its own."""
    images = {
        make_image(session, f"{registry}/app/image{n}", [f"{n}-{layer}" for layer in range(layers)]): {}
        for n in range(count)
    }
    return make_bundle(session, f"{registry}/bundles/thirty:v1", images, folder)
