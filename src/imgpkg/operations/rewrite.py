"""Write the digests of an images lock into documents, in the places of the references that it was made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from imgpkg.bundle.kubernetes import Occurrence, SkippedImage
from imgpkg.bundle.lock import ID_ANNOTATION, ImagesLock, LockedImage
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import InvalidLock, InvalidReference
from imgpkg.events import Hook, silent
from imgpkg.oci.reference import Reference, without_login
from imgpkg.operations.image_search import (
    DocumentFile,
    Files,
    ResolvedImage,
    report_skipped,
    search,
)

if TYPE_CHECKING:
    from imgpkg.bundle.yaml_text import Edit, Position
    from imgpkg.operations.image_search import SearchedFile

_NOT_LOCKED = "is not in the images lock"


@dataclass(frozen=True, slots=True)
class RewriteResult:
    """Files in their order, with digests, and the images that were put in; `skipped` is what was left."""

    files: tuple[DocumentFile, ...]
    images: tuple[ResolvedImage, ...]
    skipped: tuple[SkippedImage, ...] = ()


def rewrite_images(
    files: Files,
    lock: ImagesLock,
    *,
    paths: Iterable[str] = (),
    exclude: Collection[str] = (),
    strict: bool = False,
    on_event: Hook = silent,
) -> RewriteResult:
    """Return `files` with the image references replaced by those of `lock`; nothing is written or requested.

    A reference is found in the lock by the annotation that `lock_images` writes, or by its digest. Where the
    lock has it in the same repository, its name stays as it is written. Every other byte of a file stays.
    What the lock does not have is reported, with `strict` by InvalidDocument, which names all of it. The
    other parameters and errors are those of `lock_images`; InvalidLock for two digests of one reference.
    """
    index = _Index(lock)
    searched = search(files, paths=paths, exclude=exclude, strict=strict, on_event=on_event)
    skipped = [one for file in searched for one in file.skipped]
    unknown = [
        SkippedImage(one.place, one.text, _NOT_LOCKED)
        for file in searched
        for one in file.found
        if index.find(one) is None
    ]
    report_skipped(unknown, strict=strict, on_event=on_event)
    written = tuple(replace(file.file, data=_rewritten(file, index)) for file in searched)
    return RewriteResult(written, _images(searched, index), (*skipped, *unknown))


def joined(files: Collection[DocumentFile]) -> bytes:
    """Return the documents of all files as one stream of YAML; a single file stays as it is."""
    if len(files) == 1:
        return next(iter(files)).data
    parts: list[str] = []
    for file in files:
        data = file.data
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        if parts and text and not text.startswith("---"):
            # Directives may only follow the end of a document.
            parts.append("...\n" if text.startswith("%") else "---\n")
        if text:
            parts.append(text if text.endswith("\n") else f"{text}\n")
    return "".join(parts).encode()


class _Index:
    """The images of a lock by the references that they were found by, and by their digests."""

    def __init__(self, lock: ImagesLock) -> None:
        self._texts: dict[str | Reference, LockedImage] = {}
        self._digests: dict[str, list[LockedImage]] = {}
        for image in lock.images:
            text = image.annotations.get(ID_ANNOTATION, "")
            for key in (text, _canonical(text)):
                if key and self._texts.setdefault(key, image).digest != image.digest:
                    raise InvalidLock(f"the images lock has two digests for '{without_login(text)}'")
            self._digests.setdefault(str(image.digest), []).append(image)

    def find(self, one: Occurrence) -> Reference | None:
        """Return the reference that stands for an occurrence, None if the lock has none."""
        image = self._texts.get(one.text) or self._texts.get(one.reference)
        if image is not None:
            return image.reference
        same = [image.reference for image in self._digests.get(str(one.reference.digest), ())]
        # A lock that was not relocated may have one digest in several repositories.
        return one.reference if one.reference in same else next(iter(same), None)


def _canonical(text: str) -> Reference | str:
    try:
        return Reference.parse(text)
    except InvalidReference:
        return ""


def _rewritten(file: SearchedFile, index: _Index) -> bytes:
    if file.text is None:
        return file.file.data
    edits: list[Edit] = []
    for one in file.found:
        target = index.find(one)
        if target is not None:
            keeps_name = target.repository == one.reference.repository
            edits += one.form.edits(file.text, target, keeps_name=keeps_name)
    return file.text.replaced(edits)


def _images(searched: Iterable[SearchedFile], index: _Index) -> tuple[ResolvedImage, ...]:
    found: dict[tuple[str, Reference], list[Position]] = {}
    for one in (one for file in searched for one in file.found):
        target = index.find(one)
        if target is not None:
            found.setdefault((one.text, target), []).append(one.place)
    return tuple(ResolvedImage(text, target, tuple(found[text, target])) for text, target in sorted(found))
