"""Links of images lead where the kernel says that they lead for a process with this root (openat2(2))."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
import tempfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.content.tars import file, folder, layer, link, tar

from imgpkg.content.filesystem import Filesystem
from imgpkg.content.layer_files import LayerFiles
from imgpkg.errors import NotInImage, UsageError

_OPENAT2, _RESOLVE_IN_ROOT = 437, 0x10
parts = st.sampled_from(["a", "b", "c", "..", "."])
# The kernel takes `file/` and `file/.` for directories.
paths = st.builds(
    lambda way, last, top: "/" * top + "/".join([*way, last]),
    st.lists(parts, max_size=4),
    st.sampled_from(["a", "b", "c", ".."]),
    st.booleans(),
)
places = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)
entries = st.lists(st.tuples(places, st.none() | st.just("") | paths), max_size=7)


def kernel_open(root, path):
    """Open `path` as if the folder `root`, an open one, were the root of the process."""
    libc = ctypes.CDLL(None, use_errno=True)
    how = struct.pack("QQQ", os.O_RDONLY | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    opened = libc.syscall(_OPENAT2, root, os.fsencode(path), how, len(how))
    if opened < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return opened


def kernel_read(root, path):
    """Return the content of a file, "directory", or None for nothing."""
    try:
        opened = kernel_open(root, path)
    except OSError:
        return None
    try:
        return "directory" if stat.S_ISDIR(os.fstat(opened).st_mode) else os.read(opened, 99).decode()
    finally:
        os.close(opened)


def written(root, chosen):
    """Write what can be written of the entries below `root`; return its members of a tar."""
    members = []
    for path, target in chosen:
        whole = os.path.join(root, path)
        # Only where a real folder is: a tar names no file through a link.
        if os.path.realpath(os.path.dirname(whole)) != os.path.dirname(whole) or os.path.lexists(whole):
            continue
        # Below a file, or a link to itself, nothing can be written.
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(whole), exist_ok=True)
            if target is None:
                os.mkdir(whole)
                members.append(folder(path))
            elif target:
                os.symlink(target, whole)
                members.append(link(path, target))
            else:
                with open(whole, "w") as made:
                    made.write(path)
                members.append(file(path, path.encode()))
    return members


def our_read(files, path):
    try:
        with files.open(path) as stream:
            return stream.read().decode()
    except NotInImage:
        return None
    except UsageError:
        return "directory"


@pytest.fixture(scope="module", autouse=True)
def _kernel():
    """Skip where the kernel has no openat2 (before Linux 5.6)."""
    root = os.open("/", os.O_RDONLY)
    try:
        os.close(kernel_open(root, "."))
    except OSError as error:
        pytest.skip(f"openat2: {error}")
    finally:
        os.close(root)


@given(entries, st.integers(0, 7), st.lists(paths, min_size=1, max_size=6))
@example([("a/b", ""), ("c", "a"), ("b", "c/../a/b")], 1, ["b", "c/b", "c/../b", "a/b/..", "a/b/../b"])
@example([("a", "a"), ("a/a/a", None)], 0, ["a"])
def test_a_path_leads_where_the_kernel_says(chosen, cut, asked):
    """path_resolution(7): each component is looked up where those before it really are."""
    with tempfile.TemporaryDirectory() as name:
        folder_name = os.path.realpath(name)
        members = written(folder_name, chosen)
        root = os.open(folder_name, os.O_RDONLY)
        try:
            expected = {path: kernel_read(root, path) for path in asked}
        finally:
            os.close(root)
    layers = dict(layer(tar(*some)) for some in (members[:cut], [*members[cut:], file("z")]))
    files = Filesystem(tuple(layers), lambda blob, names: LayerFiles(layers[blob], blob, names))
    try:
        assert {path: our_read(files, path) for path in asked} == expected
    finally:
        files.close()
