"""Laws of unpacking: nothing ever appears outside, and nothing but an error of ours comes out."""

from __future__ import annotations

import contextlib
import gzip
import io
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.content.tars import file, layer, tar, tree

from imgpkg.content.inflate import decompressed
from imgpkg.content.output import replacing
from imgpkg.content.tar.reader import Pieces, read_entries
from imgpkg.content.unpack import unpack_layers
from imgpkg.errors import ImgpkgError, LocalIOError, UnpackError

PARTS = ["..", ".", "", "a", "b", "output", "\\", "..\\..", "sibling", "ü"]
MARKS = [".wh.a", ".wh..", ".wh...", ".wh..wh..opq"]
names = st.lists(st.sampled_from(PARTS + MARKS), min_size=1, max_size=6).map("/".join)
kinds = st.sampled_from([b"0", b"0", b"0", b"1", b"2", b"3", b"5", b"6"])
members = st.builds(
    lambda name, kind, target: file(
        name, b"evil" if kind == b"0" else b"", type=kind, linkname=target if kind in b"12" else ""
    ),
    names,
    kinds,
    names,
)
tars = st.lists(members, max_size=8).map(lambda chosen: tar(*chosen, kind=tarfile.PAX_FORMAT))


@contextlib.contextmanager
def parent_folder():
    """Make a parent with an old output and a sibling in it."""
    parent = Path(tempfile.mkdtemp())
    try:
        (parent / "output").mkdir()
        (parent / "output" / "old").write_text("old")
        (parent / "sibling").write_text("precious")
        yield parent
    finally:
        shutil.rmtree(parent)


@given(st.lists(tars, max_size=3))
@settings(max_examples=150, deadline=None)
def test_nothing_outside_the_output_folder_ever_changes(layers):
    """Spec 10, FIX 20: `..` in entry names escapes the output directory - fail; FIX 17: then swap."""
    with parent_folder() as parent:
        before = tree(parent)
        try:
            with replacing(str(parent / "output")) as fresh:
                unpack_layers([layer(data) for data in layers], fresh)
        except (UnpackError, LocalIOError):
            assert tree(parent) == before
            return
        assert {name for name in tree(parent) if not name.startswith("output/")} == {"sibling"}
        assert (parent / "sibling").read_text() == "precious"
        assert not any(path.is_symlink() for path in parent.rglob("*"))


safe_parts = st.sampled_from(["a", "b", "c", "d"])
safe_names = st.lists(safe_parts, min_size=1, max_size=3).map(tuple)
changes = st.lists(st.tuples(safe_names, st.sampled_from(["write", "hide", "opaque"])), max_size=6)


def overlay(layers):
    """Say what a tree of files is after layers of changes, by the words of the specification alone.

    None when a layer has a file and, later, something below it.
    """
    files = {}
    for number, layer_changes in enumerate(layers):
        hidden = [path for path, verb in layer_changes if verb == "hide"]
        opaque = [path for path, verb in layer_changes if verb == "opaque"]
        lower = {
            path: data
            for path, data in files.items()
            if not any(path[: len(gone)] == gone for gone in hidden)
            and not any(len(path) > len(top) and path[: len(top)] == top for top in opaque)
        }
        files = lower if number else {}
        for path, verb in layer_changes:
            if verb == "write":
                if any(files.get(path[:depth]) == b"%d" % number for depth in range(1, len(path))):
                    return None
                files = {
                    other: data
                    for other, data in files.items()
                    if other[: len(path)] != path and path[: len(other)] != other
                }
                files[path] = b"%d" % number
    return files


def layer_tar(layer_changes, number):
    def member(path, verb):
        if verb == "write":
            return file("/".join(path), b"%d" % number)
        if verb == "hide":
            return file("/".join((*path[:-1], f".wh.{path[-1]}")))
        return file("/".join((*path, ".wh..wh..opq")))

    return tar(*(member(path, verb) for path, verb in layer_changes))


@given(st.lists(changes, max_size=4))
@settings(max_examples=200, deadline=None)
def test_layers_combine_as_the_image_specification_says(layers):
    """OCI layer.md: whiteout files MUST only apply to resources in lower/parent layers."""
    with parent_folder() as parent:
        output = parent / "fresh"
        output.mkdir()
        expected = overlay(layers)
        tars = [layer(layer_tar(each, number)) for number, each in enumerate(layers)]
        if expected is None:
            with pytest.raises(LocalIOError, match="not a directory"):
                unpack_layers(tars, str(output))
            return
        unpack_layers(tars, str(output))
        got = {tuple(name.split("/")): data for name, data in tree(output).items() if data is not None}
        assert got == expected


@given(st.binary(max_size=3000), st.sampled_from([lambda data: data, gzip.compress]))
@settings(deadline=None)
def test_any_bytes_are_read_or_refused_with_an_error_of_ours(noise, wrap):
    """errors.py: ImgpkgError is everything this package raises on purpose."""
    with contextlib.suppress(ImgpkgError):
        list(read_entries(Pieces(decompressed(io.BytesIO(wrap(noise))))))


@given(tars, st.data())
@settings(deadline=None)
def test_a_damaged_archive_is_read_or_refused_with_an_error_of_ours(data, draw):
    """errors.py: UnpackError is a layer that cannot be unpacked, or must not be."""
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 5))):
        damaged[draw.draw(st.integers(0, min(len(data), 4096) - 1))] = draw.draw(st.integers(0, 255))
    with parent_folder() as parent:
        try:
            with replacing(str(parent / "output")) as fresh:
                unpack_layers([layer(bytes(damaged))], fresh)
        except ImgpkgError:
            assert (parent / "output" / "old").read_text() == "old"
        assert {path.name for path in parent.iterdir()} == {"output", "sibling"}


@given(st.binary(max_size=5000), st.integers(1, 700), st.integers(0, 3))
def test_inflating_gives_back_what_was_deflated(data, size, cut):
    """RFC 1952, 2.2: a gzip file consists of a series of members, one after another."""
    at = len(data) * cut // 3
    stream = decompressed(io.BytesIO(gzip.compress(data[:at]) + gzip.compress(data[at:])))
    assert b"".join(iter(lambda: stream.read(size), b"")) == data
