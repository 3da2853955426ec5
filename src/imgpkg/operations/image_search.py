"""The image references of files and folders: documents of Kubernetes, kustomizations and values files."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.bundle.kubernetes import Occurrence, SkippedImage, find_references
from imgpkg.bundle.node_path import NodePath
from imgpkg.bundle.yaml_reader import MAX_SIZE
from imgpkg.bundle.yaml_text import MarkedText, Position
from imgpkg.content.pack import walk_sorted
from imgpkg.dataclass import dataclass
from imgpkg.errors import InvalidDocument, UsageError, local_io
from imgpkg.events import Hook, Warned
from imgpkg.oci.reference import Reference, listed
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Iterator


_SUFFIXES = (".yml", ".yaml", ".json")
_KUSTOMIZATION = "Kustomization"
_NOT_RENDERED = "is no YAML before the templates of its file are rendered"
_STRICT = "They are left as they are, and named by a warning, unless strict is asked for."


@dataclass(frozen=True, slots=True)
class DocumentFile:
    """The content of a file of any number of documents, and the `name` that errors and places have.

    `is_inside` is true for what was found in a folder; lock files of imgpkg are left out there.
    """

    name: str
    data: bytes
    is_inside: bool = False


Files: TypeAlias = Iterable[StrPath | DocumentFile] | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """A reference as it is written, the digest reference that it names, and all places where it is."""

    text: str
    reference: Reference
    places: tuple[Position, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchedFile:
    """A file that was searched: what was found in it, and, with a reason, what cannot be used."""

    file: DocumentFile
    text: MarkedText | None
    found: tuple[Occurrence, ...]
    skipped: tuple[SkippedImage, ...]


def read_files(files: Files) -> tuple[DocumentFile, ...]:
    """Read files, and those of folders that may hold documents.

    Below a folder these are the files with the suffixes .yml, .yaml and .json, and those of the name
    Kustomization, without what is hidden. Links to files are followed, links to folders are not. Raises
    UsageError and LocalIOError.
    """
    if isinstance(files, str):
        raise UsageError(f"Expected a list of files, but was the one name '{files}'")
    listed = [files] if isinstance(files, os.PathLike) else list(files)
    return tuple(found for item in listed for found in _read(item))


def _read(item: StrPath | DocumentFile) -> Iterator[DocumentFile]:
    if isinstance(item, DocumentFile):
        yield item
        return
    path = os.fspath(item)
    with local_io("stat", path):
        is_folder = stat.S_ISDIR(os.stat(path).st_mode)
    if not is_folder:
        yield _file(path, is_inside=False)
        return
    for name, entry in walk_sorted(path, lambda name: os.path.basename(name).startswith(".")):
        is_document = name.endswith(_SUFFIXES) or entry.name == _KUSTOMIZATION
        # False also for links to nothing, and to each other.
        if is_document and os.path.isfile(entry.path):
            yield _file(os.path.join(path, name), is_inside=True)


def _file(path: str, *, is_inside: bool) -> DocumentFile:
    # At most one byte more than is parsed: then the parser reports that the file is too large.
    with local_io("open", path), open(path, "rb") as file:
        return DocumentFile(path, file.read(MAX_SIZE + 1), is_inside)


def search(
    files: Files, *, paths: Iterable[str], exclude: Collection[str], strict: bool, on_event: Hook
) -> tuple[SearchedFile, ...]:
    """Search the files; `paths` are further places, `exclude` patterns of references to leave out.

    What is no reference is reported with a warning, with `strict` by InvalidDocument, which names all of it.
    Raises InvalidDocument for files that cannot be parsed, UsageError and LocalIOError.
    """
    parsed = [NodePath.parse(path) for path in listed("paths in documents", paths)]
    left_out = listed("patterns to exclude", exclude)
    attempts = [_attempt(file, parsed, left_out) for file in read_files(files)]
    # All invalid files are named in one go.
    invalid = [attempt for attempt in attempts if isinstance(attempt, InvalidDocument)]
    if invalid:
        raise invalid[0] if len(invalid) == 1 else _all_of(invalid)
    searched = tuple(attempt for attempt in attempts if isinstance(attempt, SearchedFile))
    report_skipped([one for file in searched for one in file.skipped], strict=strict, on_event=on_event)
    return searched


def _all_of(errors: list[InvalidDocument]) -> InvalidDocument:
    lines = tuple(f"  {line}" for error in errors for line in str(error).split("\n"))
    return InvalidDocument(f"{len(errors)} files cannot be read as YAML or JSON", lines=lines)


def _attempt(
    file: DocumentFile, paths: list[NodePath], exclude: Collection[str]
) -> SearchedFile | InvalidDocument:
    try:
        text = MarkedText(file.data, file.name)
    except InvalidDocument as error:
        return error
    try:
        found = find_references(text, paths, locks=not file.is_inside)
    except InvalidDocument as error:
        # Charts have their templates in files that end in .yaml.
        if "{{" not in text.text or not error.line:
            return error
        line = text.text.split("\n")[error.line - 1].strip()
        place = Position(file.name, error.line, error.column)
        return SearchedFile(file, None, (), (SkippedImage(place, line, _NOT_RENDERED),))
    kept = [one for one in found if not any(fnmatchcase(one.text, pattern) for pattern in exclude)]
    skipped = tuple(one for one in kept if isinstance(one, SkippedImage))
    return SearchedFile(file, text, tuple(one for one in kept if isinstance(one, Occurrence)), skipped)


def report_skipped(skipped: list[SkippedImage], *, strict: bool, on_event: Hook) -> None:
    """Report each with a warning; with `strict`, raise InvalidDocument for all of them instead."""
    if strict and skipped:
        lines = tuple(f"  {one}" for one in skipped)
        first = skipped[0].place
        text = f"{len(skipped)} image references cannot be used"
        raise InvalidDocument(text, lines=lines, hints=(_STRICT,), place=(first.line, first.column))
    for one in skipped:
        on_event(Warned(f"{one}; skipped"))
