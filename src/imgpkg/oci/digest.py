"""Digests, and the reader that proves a stream of bytes to be what its descriptor says."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol

from imgpkg.errors import InvalidReference, VerificationError

_HEX = re.compile(r"[0-9a-f]*")
_LENGTHS = {"sha256": 64, "sha512": 128}


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A content digest, `algorithm:hex` (OCI image spec, descriptor.md).

    The algorithm is sha256 or sha512; anything else raises InvalidReference.
    """

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        if self.algorithm not in _LENGTHS:
            raise InvalidReference(f"unsupported digest algorithm: {self}")
        if not _HEX.fullmatch(self.hex):
            raise InvalidReference(f"invalid checksum digest format: {self}")
        if len(self.hex) != _LENGTHS[self.algorithm]:
            raise InvalidReference(f"invalid checksum digest length: {self}")

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `sha256:<64 hex digits>` or `sha512:<128 hex digits>`; raise InvalidReference otherwise."""
        algorithm, colon, value = text.partition(":")
        if not colon:
            raise InvalidReference(f"unsupported digest algorithm: {text}")
        return cls(algorithm, value)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Compute the SHA-256 digest of `data`."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


class Readable(Protocol):
    """Anything bytes can be read from, in pieces of at most `size`; b"" at the end."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes."""
        ...


class VerifiedReader:
    """Count and hash bytes as they pass; raise VerificationError at the end when they are wrong.

    The last bytes are handed out only after they have verified, and one byte too many fails at once, so a
    reader that saw the end saw exactly the content of (digest, size).
    """

    def __init__(self, stream: Readable, digest: Digest, size: int) -> None:
        self._stream = stream
        self._digest = digest
        self._size = size
        self._hash = hashlib.new(digest.algorithm)
        self.count = 0

    def read(self, size: int = 1 << 20, /) -> bytes:
        """Return at most `size` bytes, b"" after the last verified one."""
        data = self._stream.read(size)
        self._hash.update(data)
        self.count += len(data)
        if self.count > self._size:
            raise VerificationError(f"error verifying size; got {self.count}, want {self._size}")
        if not data or self.count == self._size:
            self._verify(ended=not data)
        return data

    def _verify(self, *, ended: bool) -> None:
        if ended and self.count != self._size:
            raise VerificationError(f"error verifying size; got {self.count}, want {self._size}")
        got = f"{self._digest.algorithm}:{self._hash.hexdigest()}"
        if got != str(self._digest):
            raise VerificationError(
                f"error verifying {self._digest.algorithm} checksum after reading {self.count} bytes; "
                f'got "{got}", want "{self._digest}"'
            )


def verify(data: bytes, digest: Digest) -> None:
    """Raise VerificationError unless `data` has this digest."""
    got = Digest(digest.algorithm, hashlib.new(digest.algorithm, data).hexdigest())
    if got != digest:
        raise VerificationError(f'manifest digest: "{got}" does not match requested digest: "{digest}"')
