"""Lock files: an ImagesLock names images by digest, a BundleLock one bundle."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from imgpkg.bundle.document import API_VERSION, HEADER, Field, Header
from imgpkg.bundle.yaml_reader import MAX_SIZE, look_at, read_document
from imgpkg.bundle.yaml_writer import dump
from imgpkg.content.output import output_file
from imgpkg.content.temporary import remove_left_files, replacing_file
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import InvalidLock, InvalidReference, doing, local_io
from imgpkg.oci.descriptor import EMPTY, Digest
from imgpkg.oci.reference import Reference, Repository, without_login
from imgpkg.values import FrozenDict, StrPath

if TYPE_CHECKING:
    from io import FileIO

    from imgpkg.bundle.yaml_value import Value
    from imgpkg.bundle.yaml_writer import Node

# The reference as the configuration has it, of which the image was found; kbld writes and reads it too.
ID_ANNOTATION = "kbld.carvel.dev/id"
HOW_TO_LOCK = "imgpkg lock resolves tags to digests: imgpkg lock -f FILE -o FILE, the same file for both."
# The words of the original's errors.
_IMAGES, _BUNDLE = "images lock", "bundle lock"
_MODE = 0o600
# Errors of renaming after which the old file can still be overwritten: its folder accepts no new file, or the
# file is a mount point.
_IN_PLACE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY})


@dataclass(frozen=True, slots=True)
class LockedImage:
    """An image that is named by digest; a reference without a digest raises InvalidLock."""

    reference: Reference
    annotations: Mapping[str, str] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        if not isinstance(self.annotations, FrozenDict):
            object.__setattr__(self, "annotations", FrozenDict(self.annotations))
        if self.reference.digest is None:
            raise _not_a_digest(str(self.reference))

    @property
    def digest(self) -> Digest:
        """The digest of the reference."""
        assert self.reference.digest is not None  # noqa: S101 - checked when it was made
        return self.reference.digest


@dataclass(frozen=True, slots=True)
class LockEntry:
    """An entry of an images lock as it is written: its reference may have no digest."""

    text: str
    annotations: Mapping[str, str]
    line: int
    column: int
    at: int

    def locked(self, name: str) -> LockedImage:
        """Return the image; raise InvalidLock, whose hint names its place in the file `name`."""
        hints = (look_at(name, self.at), *([HOW_TO_LOCK] if self.lacks_digest else []))
        reference = _digest_reference(self.text, hints, (self.line, self.column))
        return LockedImage(reference, self.annotations)

    @property
    def lacks_digest(self) -> bool:
        """Whether the reference is a tag, or nothing but a name."""
        return bool(self.text) and "@" not in self.text


def read_entries(data: bytes, name: str) -> tuple[LockEntry, ...]:
    """Read an ImagesLock whose references may lack their digests; raise InvalidLock."""
    with doing(f"Unmarshaling {_IMAGES}"):
        value = read_document(data, name, strict=True)
    return _entries(value, name)


@dataclass(frozen=True, slots=True)
class LockProblem:
    """What is wrong with an images lock; `line` and `column` are 0 where unknown.

    `is_fatal` is false where a bundle can be pulled, and its lock not be used for every document;
    `lacks_digest` is true for a reference that `imgpkg lock` would resolve.
    """

    line: int
    column: int
    text: str
    is_fatal: bool = True
    lacks_digest: bool = False


def find_problems(data: bytes, name: str) -> tuple[LockProblem, ...]:
    """Return what is wrong with an ImagesLock: one mistake of its form, or all of its references."""
    try:
        entries = read_entries(data, name)
    except InvalidLock as error:
        return (LockProblem(error.line, error.column, str(error)),)
    problems, named = [], dict[str, Digest]()
    for entry in entries:
        try:
            digest = entry.locked(name).digest
        except InvalidLock as error:
            place = entry.line, entry.column
            problems.append(LockProblem(*place, str(error), lacks_digest=entry.lacks_digest))
            continue
        text = entry.annotations.get(ID_ANNOTATION, "")
        if text and named.setdefault(text, digest) != digest:
            conflict = f"there are two digests for '{without_login(text)}'"
            problems.append(LockProblem(entry.line, entry.column, conflict, is_fatal=False))
    return tuple(problems)


@dataclass(frozen=True, slots=True)
class ImagesLock:
    """The images of a bundle, in the order of the file; a reference may occur more than once."""

    images: tuple[LockedImage, ...] = ()

    @classmethod
    def parse(cls, data: bytes, name: str = "images.yml") -> ImagesLock:
        """Parse an ImagesLock; references become canonical. Raises InvalidLock; hints name the line."""
        with doing(f"Unmarshaling {_IMAGES}"):
            value = read_document(data, name, strict=True)
        return cls._of(value, name)

    @classmethod
    def from_path(cls, path: StrPath, shown: StrPath | None = None) -> ImagesLock:
        """Read the file `path`, which errors name `shown`; raise LocalIOError or InvalidLock."""
        return cls.parse(read_file(path, shown), os.fspath(shown or path))

    @classmethod
    def _of(cls, value: Value, name: str) -> ImagesLock:
        entries = _entries(value, name)
        with doing(f"Validating {_IMAGES}"):
            return cls(tuple(entry.locked(name) for entry in entries))

    def relocated(
        self,
        repository: Repository,
        places: Mapping[Digest, Reference] = FrozenDict(),
        here: Collection[Digest] | None = None,
    ) -> ImagesLock:
        """Return a lock of the same images, with the references of `places`, or else in `repository`.

        What is not one of those that are `here` keeps its reference.
        """
        return ImagesLock(
            tuple(
                replace(image, reference=places.get(image.digest) or repository.digest(image.digest))
                if here is None or image.digest in here
                else image
                for image in self.images
            )
        )

    def to_bytes(self) -> bytes:
        """Return the normal form of the file."""
        # Annotations and images are left out where they are empty, as by Go's `omitempty`.
        images: list[Node] = [
            {
                "image": str(image.reference),
                **({"annotations": image.annotations} if image.annotations else {}),
            }
            for image in self.images
        ]
        return _document("ImagesLock", {"images": images} if images else {})

    def write(self, path: StrPath, shown: StrPath | None = None) -> None:
        """Write the file `path` atomically; errors name it `shown`. Raises LocalIOError."""
        with doing("Writing images config"):
            write_file(path, self.to_bytes(), shown)


@dataclass(frozen=True, slots=True)
class BundleLock:
    """A bundle that is named by digest, and its tag, which is empty where it has none.

    `text` is the reference as it is written in the file.
    """

    reference: Reference
    tag: str = ""
    text: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.reference.digest is None:
            raise _not_a_digest(str(self.reference))

    @classmethod
    def parse(cls, data: bytes, name: str = "bundle.lock.yml") -> BundleLock:
        """Parse a BundleLock; the reference becomes canonical. Raises InvalidLock; hints name the line."""
        with doing(f"Unmarshaling {_BUNDLE}"):
            value = read_document(data, name, strict=True)
        return cls._of(value, name)

    @classmethod
    def from_path(cls, path: StrPath) -> BundleLock:
        """Read the file `path`; raise LocalIOError or InvalidLock."""
        return cls.parse(read_file(path), os.fspath(path))

    @classmethod
    def _of(cls, value: Value, name: str) -> BundleLock:
        header = Header(look_at(name, value.line))
        bundle = ("", "", header.hint)
        with doing(f"Unmarshaling {_BUNDLE}"):
            fields = Field(value, name).fields("lockconfig.BundleLock", (*HEADER, "bundle"), strict=True)
            for key, found in fields:
                if key == "bundle":
                    bundle = _bundle_fields(found)
                else:
                    header.take(key, found)
        with doing(f"Validating {_BUNDLE}"):
            header.check("BundleLock")
            image, tag, hint = bundle
            return cls(_digest_reference(image, (hint,)), tag, image)

    def to_bytes(self) -> bytes:
        """Return the normal form of the file, with the canonical reference."""
        bundle = {"image": str(self.reference), **({"tag": self.tag} if self.tag else {})}
        return _document("BundleLock", {"bundle": bundle})

    def write(self, path: StrPath, shown: StrPath | None = None) -> None:
        """Write the file `path` atomically; errors name it `shown`. Raises LocalIOError."""
        with doing("Writing bundle config"):
            write_file(path, self.to_bytes(), shown)


def read_lock(path: StrPath) -> BundleLock | ImagesLock:
    """Read a lock file of either kind; raise LocalIOError or InvalidLock.

    For a file that is neither, the error is that of an ImagesLock, and a hint has that of a BundleLock.
    """
    data, name = read_file(path), os.fspath(path)
    with doing(f"Unmarshaling {_IMAGES}"):
        value = read_document(data, name, strict=True)
    # The order and the choice of the error are those of the original.
    try:
        return BundleLock._of(value, name)  # noqa: SLF001 - the document is parsed once for both
    except InvalidLock as bundle_error:
        try:
            return ImagesLock._of(value, name)  # noqa: SLF001 - likewise
        except InvalidLock as error:
            error.hints = (*error.hints, f"It is no bundle lock either: {bundle_error}.")
            raise


def _document(kind: str, content: Mapping[str, Node]) -> bytes:
    return f"---\n{dump({'apiVersion': API_VERSION, 'kind': kind, **content})}".encode()


def _entries(value: Value, name: str) -> tuple[LockEntry, ...]:
    header = Header(look_at(name, value.line))
    entries: tuple[LockEntry, ...] = ()
    with doing(f"Unmarshaling {_IMAGES}"):
        fields = Field(value, name).fields("lockconfig.ImagesLock", (*HEADER, "images"), strict=True)
        for key, found in fields:
            if key == "images":
                entries = tuple(_entry(item) for item in found.items("lockconfig.ImageRef"))
            else:
                header.take(key, found)
    with doing(f"Validating {_IMAGES}"):
        header.check("ImagesLock")
    return entries


def _entry(item: Field) -> LockEntry:
    image, annotations, at = "", EMPTY, item.value
    for key, found in item.fields("lockconfig.ImageRef", ("image", "annotations"), strict=True):
        if key == "image":
            image, at = found.string(), found.value
        else:
            annotations = found.strings()
    return LockEntry(image, annotations, at.line, at.column, item.value.line)


def _bundle_fields(item: Field) -> tuple[str, str, str]:
    texts = {"image": "", "tag": ""}
    for key, found in item.fields("lockconfig.BundleRef", ("image", "tag"), strict=True):
        texts[key] = found.string()
    return texts["image"], texts["tag"], item.hint()


def _digest_reference(text: str, hints: tuple[str, ...], place: tuple[int, int] = (0, 0)) -> Reference:
    try:
        return Reference.parse_digest(text)
    except InvalidReference as error:
        # A reference of the form user:password@host is refused, and its password is not printed.
        raise _not_a_digest(without_login(text), (f"{error}.", *hints), place) from error


def _not_a_digest(text: str, hints: tuple[str, ...] = (), place: tuple[int, int] = (0, 0)) -> InvalidLock:
    return InvalidLock(f"Expected ref to be in digest form, got '{text}'", hints=hints, place=place)


def read_file(path: StrPath, shown: StrPath | None = None) -> bytes:
    """Read the file `path`, which errors name `shown`; raise LocalIOError.

    Reads at most one byte more than a document may have: the parser then reports that it is too large.
    """
    name = os.fspath(path if shown is None else shown)
    with doing(f"Reading path {name}"), local_io("open", name), open(path, "rb") as file:
        return file.read(MAX_SIZE + 1)


def write_file(path: StrPath, data: bytes, shown: StrPath | None = None) -> None:
    """Write the file `path`, which errors name `shown`: write a new file beside it and rename that.

    Only its owner can read a new file; a replaced file keeps its mode and, where possible, its owner. Links
    are followed, and devices and pipes are written to directly. Where renaming is not allowed, the old file
    is overwritten, and restored when that fails. Raises LocalIOError.
    """
    with local_io("open", path if shown is None else shown):
        target = output_file(path)
        remove_left_files(*os.path.split(target))
        try:
            status = os.stat(target)
        except FileNotFoundError:
            _replace(target, data, None)
            return
        if not stat.S_ISREG(status.st_mode):
            with open(target, "wb") as file:
                file.write(data)
            return
        # Renaming needs only permission for the folder: a file that is not writable must not be replaced.
        with open(target, "r+b"):
            pass
        try:
            _replace(target, data, status)
        except OSError as error:
            if error.errno not in _IN_PLACE:
                raise
            _overwrite(target, data)


def _overwrite(target: str, data: bytes) -> None:
    with open(target, "r+b", buffering=0) as file:
        old = file.read()
        try:
            _fill(file, data)
        except BaseException:
            # The file still owns the blocks of the old content, so a full disk does not prevent this.
            _fill(file, old)
            raise


def _fill(file: FileIO, data: bytes) -> None:
    file.seek(0)
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
    file.truncate()


def _replace(target: str, data: bytes, status: os.stat_result | None) -> None:
    with replacing_file(target, _MODE) as file:
        file.write(data)
        if status is not None:
            _keep(file.fileno(), status)


def _keep(descriptor: int, status: os.stat_result) -> None:
    # Only root may give a file to another owner. The mode comes second, since fchown clears the setuid bit.
    with suppress(PermissionError):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
