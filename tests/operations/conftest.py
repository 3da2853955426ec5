"""Trees of files to push and compare, and a bundle with everything in it."""

from __future__ import annotations

import pytest
from tests.operations.making import make_bundle, make_image, make_index


@pytest.fixture
def write_tree(tmp_path):
    """Write {path: text or bytes} below a new folder and return the folder."""
    numbers = iter(range(1000))

    def written(files):
        root = tmp_path / f"tree{next(numbers)}"
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            path.chmod(0o644)
        return root

    return written


@pytest.fixture
def nested(embedded_registry, session, tmp_path):
    """A bundle that names an image, an index and a bundle that names the image too."""
    address = embedded_registry.address
    image = make_image(session, f"{address}/app/nested", ["n1", "n2"])
    where = f"{address}/app/nested-multi"
    platforms = {
        "linux/amd64": make_image(session, where, ["amd"]),
        "linux/arm64": make_image(session, where, ["arm"]),
    }
    index = make_index(session, where, platforms)
    inner = make_bundle(session, f"{address}/bundles/nested-in:v1", {image: {}}, tmp_path / "nested-in")
    images = {inner: {}, index: {"kind": "index"}, image: {}}
    return make_bundle(session, f"{address}/bundles/nested:v1", images, tmp_path / "nested", files={"f": "x"})


def read_tree(root):
    """Return {path: bytes} of every file below `root`."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
