"""Read a tar file of images: its headers once when it is opened, then blobs in any order by many threads."""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from io import BytesIO
from typing import TYPE_CHECKING

from imgpkg.content.archive.manifest import LARGEST_MANIFEST, MANIFEST, ArchiveImage, decode
from imgpkg.content.archive.pieces import PieceFiles, check_pieces, explained, open_pieces, split_path
from imgpkg.content.store import Extent
from imgpkg.content.tar.reader import REGULAR, Pieces, read_entries
from imgpkg.errors import ArchiveError, ImgpkgError, UnpackError, VerificationError
from imgpkg.oci.descriptor import Descriptor, Digest, VerifiedReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from typing_extensions import Self

    from imgpkg.content.archive.manifest import ArchiveItem, OnDamage
    from imgpkg.oci.descriptor import ByteReader
    from imgpkg.oci.manifest import Manifest

_PIECE = 1 << 20
# Enough for a header and, after a small member, the next one, without reading much of a large layer.
_LOOK_AHEAD = 4 << 10
_SUFFIX = ".tar.gz"
_SAVE = "Save it to a file first."
_MAGIC_AT, _MAGIC = 257, b"ustar"
_HINT = (
    "(hint: This may be because when copying to a tarball, the --include-non-distributable-layers flag "
    "should have been provided.)"
)


class Archive:
    """The tar file at `path`; use it as a context manager, or close it. Safe for many threads.

    `items` are its images and indexes in the order of the file. Opening reads manifest.json and verifies
    every manifest and configuration in it. Raise LocalIOError, ArchiveError for an incomplete file,
    VerificationError; with `on_damage`, call it with what is wrong, and have what can be read.
    """

    def __init__(self, path: str, *, on_damage: OnDamage | None = None) -> None:
        if path == "-" and not os.path.exists(path):
            raise ArchiveError(
                "a tar file is read from standard input by a copy to a repository only", hints=(_SAVE,)
            )
        self._whole = split_path(path)
        self._path = path if self._whole is None else self._whole
        self._files = PieceFiles.open((path,)) if self._whole is None else open_pieces(self._whole)
        try:
            self._members = self._indexed(on_damage)
            self.items = self._decoded(on_damage)
        except ImgpkgError as error:
            # A piece that was damaged or changed places with another one is the likely reason.
            found = error if self._whole is None else explained(self._whole, self._files, error)
            self.close()
            if found is error:
                raise
            raise found from error
        except BaseException:
            self.close()
            raise
        self._manifests = {node.manifest.digest: node.manifest for node in self._nodes()}
        # Configurations are in manifest.json and have no members of their own.
        self._configs = {
            node.manifest.config.digest: node.config_raw
            for node in self._nodes()
            if isinstance(node, ArchiveImage) and node.manifest.config is not None
        }

    def manifest(self, digest: Digest) -> Manifest:
        """Return the manifest; raise ArchiveError if it is missing."""
        try:
            return self._manifests[digest]
        except KeyError as error:
            raise ArchiveError(f"manifest {digest} not found in {self._path}") from error

    def blob(self, blob: Descriptor) -> AbstractContextManager[ByteReader]:
        """Open a layer or configuration, verified while it is read; raise ArchiveError if it is missing."""
        config = self._configs.get(blob.digest)
        if config is not None:
            return nullcontext(VerifiedReader(BytesIO(config), blob.digest, blob.size))
        content = self._files.range(self._member(blob))
        return nullcontext(VerifiedReader(content, blob.digest, blob.size))

    def check_pieces(self) -> None:
        """Read all of a file in pieces; raise ArchiveError that names each piece that is not as listed."""
        if self._whole is not None:
            check_pieces(self._whole, self._files)

    def has(self, blob: Descriptor) -> bool:
        """Return whether the file has a member for the blob; its content is not checked."""
        return blob.digest in self._configs or member_name(blob.digest) in self._members

    def extents(self, blob: Descriptor) -> tuple[tuple[str, Extent], ...]:
        """Return the files and the places in them where the blob is; raise ArchiveError if it has none.

        Configurations have none: they are in manifest.json.
        """
        return self._files.extents(self._member(blob))

    def held(self) -> Iterator[Descriptor]:
        """Yield the blobs that have members of their own, whether or not an image names them."""
        for name, member in self._members.items():
            algorithm, _, digits = name.removesuffix(_SUFFIX).partition("-")
            if name.endswith(_SUFFIX):
                with suppress(ImgpkgError):
                    yield Descriptor("", Digest.parse(f"{algorithm}:{digits}"), member.size)

    def verify(self, blobs: Iterable[Descriptor]) -> None:
        """Read all of `blobs`; raise ArchiveError or VerificationError if one is missing or damaged."""
        for blob in blobs:
            with self.blob(blob) as stream:
                while stream.read(_PIECE):
                    pass

    def close(self) -> None:
        """Close the file."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _indexed(self, on_damage: OnDamage | None) -> Mapping[str, Extent]:
        try:
            return read_members(self._files)
        except ArchiveError as error:
            if on_damage is None:
                raise
            on_damage(error)
            return read_members(self._files, lenient=True)

    def _decoded(self, on_damage: OnDamage | None) -> tuple[ArchiveItem, ...]:
        try:
            data = self._manifest_json()
        except ArchiveError as error:
            if on_damage is None:
                raise
            on_damage(error)
            return ()
        return decode(data, on_damage)

    def _nodes(self) -> Iterator[ArchiveItem]:
        for item in self.items:
            yield from item.walk()

    def _manifest_json(self) -> bytes:
        member = self._members.get(MANIFEST)
        if member is None:
            raise not_found(MANIFEST)
        # The header of a damaged file can claim any size.
        if member.size > LARGEST_MANIFEST:
            raise ArchiveError(f"file {MANIFEST} in {self._path} is too large")
        content = self._files.range(member)
        return b"".join(iter(lambda: content.read(_PIECE), b""))

    def _member(self, blob: Descriptor) -> Extent:
        name = member_name(blob.digest)
        member = self._members.get(name)
        if member is None:
            raise not_found(name)
        # The size is in the header, so a wrong member is found before its content is sent anywhere.
        if member.size != blob.size:
            raise VerificationError(
                f"file {name} in tar: error verifying size; got {member.size}, want {blob.size}"
            )
        return member


def member_name(digest: Digest) -> str:
    """Return the name of a layer's member; the original ends it in .tar.gz for any compression."""
    return f"{digest.algorithm}-{digest.hex}{_SUFFIX}"


def not_found(name: str) -> ArchiveError:
    """Return the error of a missing member, with the text of the original."""
    return ArchiveError(f"file {name} not found in tar {_HINT}")


def read_members(files: PieceFiles, *, lenient: bool = False) -> Mapping[str, Extent]:
    """Return the places of the regular members by name; the first member of a name counts.

    The content is not checked. Raise ArchiveError for an incomplete file or no tar file, unless `lenient`:
    then return the members before the damage. Raise LocalIOError.
    """
    # Content is skipped by position, so a file of many gigabytes is indexed at once.
    whole = files.range(Extent(0, files.places.size))
    content = Pieces(whole, _LOOK_AHEAD, whole.skip)
    members: dict[str, Extent] = {}
    try:
        for entry in read_entries(content):
            if entry.kind == REGULAR:
                # `tar -c .` writes names that begin with `./`.
                name = entry.name.decode("utf-8", "surrogateescape").removeprefix("./")
                members.setdefault(name, Extent(content.position, entry.size))
    except UnpackError as error:
        if not lenient:
            raise ArchiveError(error.message, hints=_damage(files)) from error
    return members


def _damage(files: PieceFiles) -> tuple[str, ...]:
    # The magic number of gzip: the most likely mistake.
    if files.read(0, 2) == b"\x1f\x8b":
        return (f"{files.path} is compressed; unpack it with gunzip first.",)
    shown = files.path if len(files.paths) == 1 else f"{files.path} with the pieces that follow it"
    # The magic number of ustar, which all kinds of tar files have that are written today.
    if files.read(_MAGIC_AT, len(_MAGIC)) != _MAGIC:
        return (f"{shown} is not a tar file: --tar takes what copy --to-tar has written.",)
    return (f"{shown} is incomplete, or not a tar file; copy it again.",)
