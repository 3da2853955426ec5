"""Which files go into a layer, in which order, under which names: a plan, no bytes."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgpkg.errors import LocalIOError, UsageError, doing, local_io

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

ROOT = "."


@dataclass(frozen=True, slots=True)
class PackedEntry:
    """A folder or regular file: its name in the layer, where it is, and its mode as stat gives it.

    `root_mode` is the mode of the input it was found in; `size` is that of a file, in bytes.
    """

    name: str
    path: str
    mode: int
    root_mode: int
    size: int = 0

    @property
    def is_folder(self) -> bool:
        """True for a folder, whose content follows as entries of their own."""
        return stat.S_ISDIR(self.mode)


def list_entries(
    inputs: Sequence[str | os.PathLike[str]], exclusions: Collection[str]
) -> tuple[PackedEntry, ...]:
    """List what `inputs` hold, less names that equal an exclusion and what is below such a folder.

    Names are relative to their input; within a folder they are sorted by bytes. Raises UsageError for names
    that come from two inputs, LocalIOError for what cannot be read or is neither folder nor regular file.
    """
    entries = tuple(entry for item in inputs for entry in _input(os.fspath(item), frozenset(exclusions)))
    _check_duplicates(entries)
    return entries


def _input(path: str, exclusions: Collection[str]) -> Iterator[PackedEntry]:
    with local_io("lstat", path):
        mode = os.lstat(path).st_mode
    with doing(f"Adding file '{path}' to tar"):
        if stat.S_ISDIR(mode):
            if ROOT not in exclusions:
                yield PackedEntry(ROOT, path, mode, mode)
                yield from _folder(path, mode, exclusions)
            return
        name = os.path.basename(path)
        if name in exclusions:
            return
        with local_io("stat", path):
            found = os.stat(path)
        _check_regular(path, found.st_mode)
        yield PackedEntry(name, path, found.st_mode, found.st_mode, found.st_size)


def walk_sorted(
    path: str, is_left_out: Callable[[str], bool] = lambda _: False
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield (name relative to `path`, entry) of all that is below it, in the order of a layer, however deep.

    In each folder names are sorted by bytes, and a folder comes before what is in it. Links are not followed;
    what is left out is not looked into. Raises LocalIOError for a folder that cannot be read.
    """
    waiting = [("", _sorted(path))]
    while waiting:
        prefix, inside = waiting[-1]
        entry = next(inside, None)
        if entry is None:
            waiting.pop()
            continue
        name = prefix + entry.name
        if is_left_out(name):
            continue
        yield name, entry
        if entry.is_dir(follow_symlinks=False):
            waiting.append((f"{name}/", _sorted(entry.path)))


def _sorted(folder: str) -> Iterator[os.DirEntry[str]]:
    with local_io("open", folder), os.scandir(folder) as found:
        return iter(sorted(found, key=lambda entry: os.fsencode(entry.name)))


def _folder(path: str, root_mode: int, exclusions: Collection[str]) -> Iterator[PackedEntry]:
    for name, entry in walk_sorted(path, exclusions.__contains__):
        where = _tidy(entry.path)
        with local_io("lstat", where):
            found = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            yield PackedEntry(name, where, found.st_mode, root_mode)
            continue
        _check_regular(where, found.st_mode)
        yield PackedEntry(name, where, found.st_mode, root_mode, found.st_size)


def _tidy(path: str) -> str:
    """Leave out what means nothing; `..` stays, because what is before it may be a link."""
    return path if ".." in path.split(os.sep) else os.path.normpath(path)


def _check_regular(path: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise LocalIOError(f"Expected file '{path}' to be a regular file")


def _check_duplicates(entries: Sequence[PackedEntry]) -> None:
    """Refuse names given twice, unless each is a folder: the layer has then two entries of one folder."""
    by_name: dict[str, list[PackedEntry]] = {}
    for entry in entries:
        by_name.setdefault(entry.name, []).append(entry)
    paths = [
        entry.path
        for _, group in sorted(by_name.items())
        if len(group) > 1 and not all(entry.is_folder for entry in group)
        for entry in group
    ]
    if paths:
        raise UsageError(f"Found duplicate paths: {', '.join(paths)}")
