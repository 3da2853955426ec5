"""Trees of files to push and compare."""

from __future__ import annotations

import pytest


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


def read_tree(root):
    """Return {path: bytes} of every file below `root`."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
