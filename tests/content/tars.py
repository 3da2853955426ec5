"""Tar archives for tests, harmless and hostile, made with the standard library."""

from __future__ import annotations

import io
import os
import tarfile

from imgpkg.content.unpack import unpack_layers
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest, VerifiedReader


def file(name, data=b"", **header):
    """Make a member of any type; `header` sets fields of tarfile.TarInfo."""
    info = tarfile.TarInfo(name)
    info.mode = 0o644
    for key, value in header.items():
        setattr(info, key, value)
    info.size = len(data)
    return info, data


def folder(name, **header):
    return file(name, type=tarfile.DIRTYPE, **header)


def link(name, target, kind=tarfile.SYMTYPE):
    return file(name, type=kind, linkname=target)


def tar(*members, kind=tarfile.PAX_FORMAT, **options):
    """Write members into a tar and return its bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind, **options) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def layer(data):
    """Give a layer's bytes as a registry does: with a descriptor, verified while they are read."""
    descriptor = Descriptor(media.OCI_LAYER, Digest.of(data), len(data))
    return descriptor, VerifiedReader(io.BytesIO(data), descriptor.digest, descriptor.size)


def unpack(directory, *layers):
    """Unpack tars, base to top, into a new folder; return `tree` of it."""
    fill(directory, *layers)
    return tree(directory)


def fill(directory, *layers):
    """Unpack tars, base to top, into a new folder."""
    os.makedirs(directory, exist_ok=True)
    unpack_layers([layer(data) for data in layers], str(directory))


def tree(directory):
    """Map every path below to its content; folders end in a slash and have none, links tell where to."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_dir():
            found[name + "/"] = None
        else:
            found[name] = path.read_bytes()
    return found
