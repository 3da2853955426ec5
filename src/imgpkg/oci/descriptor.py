"""Content descriptors and digests (OCI image-spec, descriptor.md), and a reader that verifies content."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from imgpkg.dataclass import dataclass, field
from imgpkg.errors import InvalidManifest, InvalidReference, VerificationError
from imgpkg.expression import expression
from imgpkg.oci import media
from imgpkg.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Callable

EMPTY: Mapping[str, str] = FrozenDict()

_HEX = expression(r"[0-9a-f]*")
# Bytes. Large enough that calls cost little beside the bytes, and small enough to stay in the cache of a
# processor from its receipt until it is digested and written.
BLOCK = 1 << 18
# The algorithms that registries use, and the number of their hexadecimal digits.
_LENGTHS = {"sha256": 64, "sha512": 128}
# A lock of a million digests has one object for their algorithm.
_SHARED = {name: name for name in _LENGTHS}


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A content digest, `algorithm:hex` (OCI image-spec, descriptor.md, "Digests").

    The algorithm is sha256 or sha512, the two that the specification registers. Any other algorithm, or hex
    digits of the wrong number or case, raise InvalidReference.
    """

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        if self.algorithm not in _LENGTHS:
            raise InvalidReference(f"unsupported digest algorithm: {self}")
        # Upper-case digits are invalid: one digest must have one spelling (descriptor.md, "Digests").
        if not _HEX.fullmatch(self.hex):
            raise InvalidReference(f"invalid checksum digest format: {self}")
        if len(self.hex) != _LENGTHS[self.algorithm]:
            raise InvalidReference(f"invalid checksum digest length: {self}")

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Parse `sha256:<64 hex digits>` or `sha512:<128 hex digits>`; raise InvalidReference otherwise."""
        algorithm, colon, value = text.partition(":")
        if not colon:
            raise InvalidReference(f"unsupported digest algorithm: {text}")
        return cls(_SHARED.get(algorithm, algorithm), value)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Return the SHA-256 digest of `data`."""
        import hashlib

        return cls("sha256", hashlib.sha256(data).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A content descriptor (OCI image-spec, descriptor.md).

    `size` is in bytes. `data` is the content itself where the descriptor embeds it. `platform` is
    `os/architecture` or `os/architecture/variant`, and empty where none is given; `os_version` and
    `os_features` complete it, for Windows above all (image-index.md, "Platform").
    """

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=FrozenDict)
    urls: tuple[str, ...] = ()
    data: bytes | None = None
    artifact_type: str = ""
    platform: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # One for each of a million descriptors would fill the memory.
        if not isinstance(self.annotations, FrozenDict):
            object.__setattr__(self, "annotations", FrozenDict(self.annotations))

    @classmethod
    def of(cls, data: bytes, media_type: str, *, annotations: Mapping[str, str] = EMPTY) -> Descriptor:
        """Return the descriptor of `data`, with its SHA-256 digest and its size; `data` is not kept in it."""
        return cls(media_type, Digest.of(data), len(data), annotations)

    @classmethod
    def read(cls, document: dict[str, Any]) -> Descriptor:
        """Return the descriptor of a JSON object.

        Raises InvalidManifest, InvalidReference, KeyError, TypeError, AttributeError or ValueError;
        `Manifest.parse` turns all of them into InvalidManifest.
        """
        size = document["size"]
        # JSON has no integers of its own: `true` and `1.5` arrive here as well.
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise InvalidManifest(f"size is not a count of bytes: {size!r}")
        platform = document.get("platform")
        details = platform if isinstance(platform, dict) else {}
        return cls(
            media_type=sys.intern(str(document.get("mediaType") or "")),
            digest=Digest.parse(document["digest"]),
            size=size,
            annotations=strings_of(document.get("annotations")),
            urls=tuple(str(url) for url in list_of(document, "urls")),
            data=_inline(document.get("data")),
            artifact_type=str(document.get("artifactType") or ""),
            platform=_platform(platform),
            os_version=str(details.get("os.version") or ""),
            os_features=tuple(str(feature) for feature in list_of(details, "os.features")),
        )

    @property
    def is_distributable(self) -> bool:
        """False for layers that should not be uploaded (image-spec, layer.md, "Non-Distributable Layers")."""
        return self.media_type not in media.NON_DISTRIBUTABLE

    @property
    def is_manifest(self) -> bool:
        """True for an entry of an index that is a manifest; an entry without a media type counts as one."""
        # RFC 9110 §8.3.1: parameters may follow the type.
        kind = self.media_type.partition(";")[0].strip()
        return not kind or kind in media.MANIFESTS


def _platform(item: Any) -> str:
    if not isinstance(item, dict):
        return ""
    # As docker writes platforms: `linux/arm/v7`.
    variant = item.get("variant")
    return f"{item.get('os', '')}/{item.get('architecture', '')}{f'/{variant}' if variant else ''}"


def _inline(text: Any) -> bytes | None:
    if not isinstance(text, str):
        return None
    import base64

    return base64.b64decode(text, validate=True)


def list_of(document: dict[str, Any], key: str) -> list[Any]:
    """Return the list `document[key]`, empty if it is absent; raise InvalidManifest for other types."""
    items = document.get(key)
    if items is None:
        return []
    if not isinstance(items, list):
        raise InvalidManifest(f"{key} is not a list")
    return items


def strings_of(mapping: Any) -> Mapping[str, str]:
    """Return a JSON object as a mapping of strings, null values as empty strings.

    Go programs write null for an absent map, and other tools write numbers as annotations.
    """
    if not mapping:
        return EMPTY
    return FrozenDict({str(key): "" if value is None else str(value) for key, value in mapping.items()})


class ByteStream(Protocol):
    """Bytes that are written into buffers, which may be used again."""

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Write at least one byte to the start of `buffer` and return how many; 0 at the end."""
        ...


class ByteReader(ByteStream, Protocol):
    """A stream of bytes: a file, a response body, or anything else with these methods."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and b"" at the end."""
        ...


class Readable(io.BufferedIOBase):
    """A binary file that is read once, from its start to its end; see `io.BufferedIOBase`.

    It goes wherever a file opened for reading does that is not sought in: `shutil.copyfileobj`,
    `tarfile.open(fileobj=…, mode="r|*")`, `io.BufferedReader`, `io.TextIOWrapper`. `seek`, `tell`, `fileno`
    and `write` raise `io.UnsupportedOperation`, and a closed one raises ValueError. Sizes are in bytes.
    """

    @property
    def name(self) -> str:
        """What is read: the digest of a blob, the path of a file."""
        return ""

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Return `size` bytes, fewer only if the end comes before; all that are left for None or less than 0.

        Raises what the content raises that is read.
        """
        left = -1 if size is None else size
        parts: list[bytes] = []
        while left and (data := self.read1(left)):
            parts.append(data)
            # All that is left stays less than 0.
            left -= len(data) if left > 0 else 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read1(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, no more than 256 KiB, as soon as there are any; b"" at the end."""
        return read_by(self, BLOCK if size < 0 else size)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override] # of names that a program can look up
        """Write at least one byte to the start of `buffer` and return how many; 0 at the end."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        with memoryview(buffer) as view, view.cast("B") as octets:
            return self._fill(octets) if octets else 0

    def readinto1(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override] # as `readinto`
        """Do what `readinto` does."""
        return self.readinto(buffer)

    def _fill(self, view: memoryview) -> int:
        """Write at least one byte to `view`, which is not empty, and return how many; 0 at the end."""
        raise NotImplementedError


def file_position_of(stream: object) -> Callable[[], tuple[int, int]] | None:
    """Return the method with which a stream names the file that it is read from; None without a file.

    The method returns the descriptor of the open file and the offset of the byte that is read next.
    """
    found: Callable[[], tuple[int, int]] | None = getattr(stream, "file_position", None)
    return found


def read_by(stream: ByteStream, size: int) -> bytes:
    """Return at most `size` bytes of a stream that has no such method, and no more than a block."""
    buffer = bytearray(min(size, BLOCK))
    with memoryview(buffer) as view:
        return bytes(view[: stream.readinto(view)])


class VerifiedReader(Readable):
    """A stream that checks the bytes of another one against a digest and a size in bytes.

    The last bytes are returned only after the whole content has verified, and one byte too many fails at
    once: reading raises VerificationError. A caller that reaches the end has therefore read exactly the
    described content. `count` is the number of bytes read so far; `verifies` says which content it is.
    `release` is called when it is closed.
    """

    def __init__(
        self, stream: ByteStream, digest: Digest, size: int, release: Callable[[], None] | None = None
    ) -> None:
        # Set first: what is not finished is closed, too.
        self._release = release
        self._stream = stream
        import hashlib

        self.verifies = (digest, size)
        self._digest = digest
        self._size = size
        # Hashed while it is read, so that content is never read twice.
        self._hash = hashlib.new(digest.algorithm)
        # There are no bytes of the stream in memory: its position is that of this one.
        self.file_position = file_position_of(stream)
        self.count = 0

    @property
    def name(self) -> str:
        """The digest."""
        return str(self._digest)

    def close(self) -> None:
        """Release what the bytes come from; nothing can be read any more."""
        release, self._release = self._release, None
        super().close()
        if release is not None:
            release()

    def _fill(self, view: memoryview) -> int:
        # After an error the buffer has bytes that did not verify.
        count = self._stream.readinto(view)
        self._hash.update(view[:count])
        self.count += count
        # At once, and not at the end, which a hostile server may never send.
        if self.count > self._size:
            raise VerificationError(f"error verifying size; got {self.count}, want {self._size}")
        # At the full size, not at the end: a caller that knows the size may never read that.
        if not count or self.count == self._size:
            self._verify(ended=not count)
        return count

    def _verify(self, *, ended: bool) -> None:
        if ended and self.count != self._size:
            raise VerificationError(f"error verifying size; got {self.count}, want {self._size}")
        got = f"{self._digest.algorithm}:{self._hash.hexdigest()}"
        if got != str(self._digest):
            raise VerificationError(
                f"error verifying {self._digest.algorithm} checksum after reading {self.count} bytes; "
                f'got "{got}", want "{self._digest}"'
            )


def verified(stream: ByteStream, digest: Digest, size: int) -> ByteStream:
    """Return a stream that verifies this content: `stream`, if its `verifies` says so, or one around it.

    A digest costs more than all that is done with the bytes otherwise, so none is made twice.
    """
    if getattr(stream, "verifies", None) == (digest, size):
        return stream
    return VerifiedReader(stream, digest, size)


def verify(data: bytes, digest: Digest) -> None:
    """Raise VerificationError unless `data` has this digest."""
    import hashlib

    got = Digest(digest.algorithm, hashlib.new(digest.algorithm, data).hexdigest())
    if got != digest:
        raise VerificationError(f'manifest digest: "{got}" does not match requested digest: "{digest}"')
