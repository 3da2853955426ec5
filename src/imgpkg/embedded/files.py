"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid


class FileWriter:
    """Writes small files by way of `folder`, which must be on the same file system as they are.

    `durable` files survive a power failure once they are visible.
    """

    def __init__(self, folder: str, *, durable: bool) -> None:
        self._folder = folder
        self._durable = durable

    def write(self, path: str, data: bytes) -> None:
        """Make `path` a file with this content, replacing an older one at once."""
        temporary = os.path.join(self._folder, uuid.uuid4().hex)
        try:
            with open(temporary, "xb") as file:
                file.write(data)
            self.publish(temporary, path)
        except BaseException:
            remove(temporary)
            raise

    def publish(self, temporary: str, path: str) -> None:
        """Give a finished file its final name."""
        if self._durable:
            _sync(temporary)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.replace(temporary, path)
        if self._durable:
            _sync(os.path.dirname(path))


def remove(path: str) -> bool:
    """Remove a file; tell whether there was one."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
