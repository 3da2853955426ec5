"""Make an images lock: find the image references of documents, and resolve their tags to digests."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.bundle.kubernetes import SkippedImage
from imgpkg.bundle.lock import (
    ID_ANNOTATION,
    ImagesLock,
    LockedImage,
    LockEntry,
    read_entries,
    read_file,
    write_file,
)
from imgpkg.bundle.yaml_text import Position
from imgpkg.content.output import output_file
from imgpkg.dataclass import dataclass
from imgpkg.errors import (
    Cancelled,
    ImgpkgError,
    InvalidLock,
    TransportError,
    Unresolved,
    doing,
    local_io,
)
from imgpkg.events import Hook, Warned, silent
from imgpkg.oci.reference import Reference, listed, parse_any, without_login
from imgpkg.operations.disclosure import Disclosure
from imgpkg.operations.image_search import Files, ResolvedImage, search
from imgpkg.operations.workers import open_workers
from imgpkg.session import Session, operation
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FOLDER = ".imgpkg"


@dataclass(frozen=True, slots=True)
class LockResult:
    """A lock of images, each with the text that it was found by, sorted by that.

    `skipped` is text that is no reference. `removed` are the entries of the lock file that was there before
    which no document names any more; what people have added to it is in `lock`.
    """

    lock: ImagesLock
    images: tuple[ResolvedImage, ...]
    skipped: tuple[SkippedImage, ...] = ()
    removed: tuple[LockedImage, ...] = ()


@operation
def lock_images(
    files: Files = (),
    *,
    session: Session,
    images: Iterable[str] = (),
    paths: Iterable[str] = (),
    exclude: Collection[str] = (),
    strict: bool = False,
    output: StrPath = "",
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> LockResult:
    """Resolve the image references of `files`, and `images`, to digests, and write them as ImagesLock.

    `files` are paths, folders, or documents in memory; of folders all YAML and JSON files are searched. An
    index is named itself, so that all of its platforms are kept. `paths` name places besides the known ones,
    `exclude` patterns of references to leave out. Each reference is requested once. `output` is the file to
    write; what people have added to an older one stays. With `strict`, text that is no reference is an error.

    Raises UsageError, InvalidReference, InvalidDocument, InvalidLock or LocalIOError before any request, and
    Unresolved, which names every reference that was not resolved.
    """
    named = listed("images", images)
    wanted: dict[str, tuple[Reference, list[Position]]] = {text: (parse_any(text), []) for text in named}
    searched = search(files, paths=paths, exclude=exclude, strict=strict, on_event=on_event)
    for occurrence in (one for file in searched for one in file.found):
        wanted.setdefault(occurrence.text, (occurrence.reference, []))[1].append(occurrence.place)
    names = [file.file.name for file in searched]
    older = _Older.read(output, names) if output else None
    resolved = tuple(
        ResolvedImage(text, reference, tuple(wanted[text][1]))
        for text, reference in _resolved(session, wanted, set(named), on_event).items()
    )
    skipped = tuple(one for file in searched for one in file.skipped)
    if older is None:
        return LockResult(_lock(resolved, {}), resolved, skipped)
    return older.replaced(resolved, skipped, on_event)


def _resolved(
    session: Session,
    wanted: Mapping[str, tuple[Reference, list[Position]]],
    named: Collection[str],
    on_event: Hook,
) -> dict[str, Reference]:
    """Resolve all references, by their texts; raise Unresolved after all have been tried."""
    references = sorted({reference for reference, _ in wanted.values()})
    disclosure = Disclosure(session, "a document")
    disclosure.name(*(wanted[text][0].repository.registry for text in named))
    disclosure.approach_named(references)
    with open_workers(session, session.settings.concurrency, on_event, activity="resolving") as workers:
        answers = dict(zip(references, workers.map(_Resolver(session), references), strict=True))
    failed: dict[Reference, ImgpkgError] = {}
    found: dict[str, Reference] = {}
    for text, (reference, _) in sorted(wanted.items()):
        answer = answers[reference]
        if isinstance(answer, ImgpkgError):
            failed[reference] = answer
        else:
            found[text] = answer
    if failed:
        raise _unresolved(failed, wanted)
    return found


class _Resolver:
    """Asks a registry for the digest of a reference; safe from many threads."""

    def __init__(self, session: Session) -> None:
        self._client = session.client
        self._unreachable: dict[str, TransportError] = {}

    def __call__(self, reference: Reference) -> Reference | ImgpkgError:
        registry = reference.repository.registry
        # Every request has waited for all its repetitions: the same again for each image takes very long.
        if registry in self._unreachable:
            return self._unreachable[registry]
        try:
            return reference.repository.digest(self._client.resolve(reference).digest)
        except Cancelled:
            raise
        except TransportError as error:
            self._unreachable[registry] = error
            return error
        except ImgpkgError as error:
            return error


def _unresolved(
    failed: Mapping[Reference, ImgpkgError], wanted: Mapping[str, tuple[Reference, Sequence[Position]]]
) -> Unresolved:
    lines = []
    for reference, error in failed.items():
        texts = [text for text, (other, _) in wanted.items() if other == reference]
        places = [str(place) for text in texts for place in wanted[text][1]]
        lines += [
            f"  {', '.join(map(without_login, texts))}" + (f" ({', '.join(places)})" if places else ""),
            *(f"    {line}" for line in str(error).split("\n")),
        ]
    count = len({reference for reference, _ in wanted.values()})
    message = f"{len(failed)} of {count} image references were not resolved"
    errors = tuple(failed.values())
    # The one about a credential: its remedy is what most others need as well.
    first = next((error for error in errors if error.cause), errors[0])
    unresolved = Unresolved(message, hints=first.hints, lines=tuple(lines))
    unresolved.errors = errors
    unresolved.refusal = first.refusal if first.cause else None
    return unresolved


def _lock(resolved: Iterable[ResolvedImage], added: Mapping[str, Mapping[str, str]]) -> ImagesLock:
    """Return a lock with the text of each image as its annotation, and what people have `added`."""
    locked = (
        LockedImage(image.reference, {**added.get(image.text, {}), ID_ANNOTATION: image.text})
        for image in resolved
    )
    return _sorted(locked)


def _sorted(images: Iterable[LockedImage]) -> ImagesLock:
    # By what documents say: a new digest then changes one line, wherever the documents have moved.
    return ImagesLock(
        tuple(sorted(images, key=lambda one: (one.annotations.get(ID_ANNOTATION, ""), str(one.reference))))
    )


class _Older:
    """The lock file that is about to be replaced."""

    def __init__(
        self, path: StrPath, target: str, data: bytes = b"", entries: tuple[LockEntry, ...] = ()
    ) -> None:
        self._path, self._target = path, target
        self._data, self._entries = data, entries
        self._is_input = False

    @classmethod
    def read(cls, path: StrPath, inputs: Iterable[str]) -> _Older:
        """Read what is there; raise InvalidLock for another file, and LocalIOError."""
        folder = os.path.dirname(os.path.abspath(path))
        if os.path.basename(folder) == _FOLDER:
            # The first lock of a bundle has no folder yet.
            with local_io("mkdir", folder):
                os.makedirs(folder, exist_ok=True)
        with doing("Writing images config"):
            target = output_file(path)
        data = read_file(target, path) if os.path.isfile(target) else b""
        if not data.strip():
            return cls(path, target)
        try:
            older = cls(path, target, data, read_entries(data, os.fspath(path)))
        except InvalidLock as error:
            error.hints = (f"{os.fspath(path)} is no images lock, and is not overwritten.", *error.hints)
            raise
        # Its tags are resolved then, and everything else in it stays.
        older._is_input = target in map(os.path.realpath, inputs)
        return older

    def replaced(
        self, resolved: tuple[ResolvedImage, ...], skipped: tuple[SkippedImage, ...], on_event: Hook
    ) -> LockResult:
        """Write the file, unless it has the same bytes already, and report what is lost."""
        added = {image.text: self._annotations(image) for image in resolved}
        own, removed = self._others({image.text for image in resolved})
        lock = _sorted((*_lock(resolved, added).images, *own))
        self._warn(removed, on_event)
        data = lock.to_bytes()
        if data != self._data:
            with doing("Writing images config"):
                write_file(self._target, data, self._path)
        return LockResult(lock, resolved, skipped, removed)

    def _annotations(self, image: ResolvedImage) -> dict[str, str]:
        found: dict[str, str] = {}
        for entry in self._entries:
            # Without the annotation, people have written the reference itself.
            if entry.annotations.get(ID_ANNOTATION, entry.text) == image.text:
                found |= entry.annotations
        return found

    def _others(self, texts: Collection[str]) -> tuple[list[LockedImage], tuple[LockedImage, ...]]:
        """Return the entries that people have written, and those of documents that are gone."""
        own: list[LockedImage] = []
        removed: list[LockedImage] = []
        for entry in self._entries:
            if entry.annotations.get(ID_ANNOTATION, entry.text) in texts:
                continue
            locked = entry.locked(os.fspath(self._path))
            is_ours = ID_ANNOTATION in entry.annotations and not self._is_input
            (removed if is_ours else own).append(locked)
        return own, tuple(removed)

    def _warn(self, removed: tuple[LockedImage, ...], on_event: Hook) -> None:
        path = os.fspath(self._path)
        for image in removed:
            if len(image.annotations) > 1:
                text = without_login(image.annotations[ID_ANNOTATION])
                on_event(
                    Warned(f"{path}: no document names '{text}' any more: left out with its annotations")
                )
        if any(line.lstrip().startswith(b"#") for line in self._data.splitlines()):
            on_event(Warned(f"{path}: comments are not kept in a lock file; annotations are"))
