"""An index that was cut to some of its entries, with the proof of what it was cut from.

The digest of the cut index follows from the bytes of the whole one and from the digests that were kept. So
whoever trusts the digest of the whole index can trust the other one, and needs no registry to see why.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from imgpkg.dataclass import dataclass
from imgpkg.errors import InvalidManifest, doing
from imgpkg.oci.descriptor import Digest, list_of, verify
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.platform import Platform, platforms_of

# As deep as indexes may be nested in a copy.
_MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Cut:
    """The index `result`, which has the entries of the first of `indexes` whose digests are `kept`.

    The other `indexes` are nested in it and were cut, too. Everything else of an index stays: its media type,
    the order of its entries, annotations.
    """

    indexes: tuple[Manifest, ...]
    kept: tuple[Digest, ...]
    result: Manifest

    @classmethod
    def make(cls, indexes: Iterable[Manifest], kept: Iterable[Digest]) -> Cut:
        """Return the cut of the first of `indexes`; raise InvalidManifest for what is no index."""
        wholes, digests = tuple(indexes), tuple(sorted(set(kept)))
        return cls(wholes, digests, _results(wholes, digests)[wholes[0].digest])

    @classmethod
    def parse(cls, kept: Iterable[str], indexes: Iterable[str]) -> Cut:
        """Return the cut whose `texts` these are; the digest before each index is verified.

        Raises InvalidManifest, InvalidReference or VerificationError.
        """
        with doing("Reading from which index it was cut"):
            wholes = tuple(map(_read, indexes))
            if not wholes:
                raise InvalidManifest("no index")
            return cls.make(wholes, map(Digest.parse, kept))

    def texts(self) -> tuple[list[str], list[str]]:
        """Return the digests that were kept, and the indexes, each as its digest, `@`, and base64."""
        indexes = [f"{index.digest}@{base64.b64encode(index.raw).decode()}" for index in self.indexes]
        return [str(digest) for digest in self.kept], indexes

    @property
    def whole(self) -> Manifest:
        """The index that was cut."""
        return self.indexes[0]

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms that were kept, each once."""
        manifests = self.results.values()
        return tuple(dict.fromkeys(platform for index in manifests for platform in platforms_of(index)))

    @property
    def results(self) -> Mapping[Digest, Manifest]:
        """The cut form of each of `indexes` that is in the result, by the digest that it had."""
        return _results(self.indexes, self.kept)


def _results(indexes: tuple[Manifest, ...], kept: tuple[Digest, ...]) -> dict[Digest, Manifest]:
    """Return the cut indexes by the digests of the whole ones, nested ones first."""
    cutting = _IndexCut({index.digest: index for index in indexes}, frozenset(kept), {})
    cutting.cut(indexes[0], 0)
    return cutting.done


@dataclass(frozen=True, slots=True)
class _IndexCut:
    """Cuts an index after those that are nested in it, each once."""

    wholes: Mapping[Digest, Manifest]
    kept: frozenset[Digest]
    done: dict[Digest, Manifest]

    def cut(self, index: Manifest, depth: int) -> Manifest:
        # What is read here may come from anybody.
        if not index.is_index or depth == _MAX_DEPTH:
            raise InvalidManifest(f"{index.digest} cannot be cut")
        if index.digest not in self.done:
            document = json.loads(index.raw)
            entries = list_of(document, "manifests")
            kept = [
                self._entry(entry, depth) for entry in entries if Digest.parse(entry["digest"]) in self.kept
            ]
            # ASCII, which has one form in every encoder of JSON.
            raw = json.dumps({**document, "manifests": kept}, separators=(",", ":")).encode()
            self.done[index.digest] = Manifest.parse(raw, index.media_type)
        return self.done[index.digest]

    def _entry(self, entry: dict[str, Any], depth: int) -> dict[str, Any]:
        """Return an entry, with another digest and size if it names an index that is cut, too."""
        whole = self.wholes.get(Digest.parse(entry["digest"]))
        if whole is None:
            return entry
        result = self.cut(whole, depth + 1)
        return {**entry, "digest": str(result.digest), "size": result.descriptor.size}


def _read(text: str) -> Manifest:
    name, _, encoded = text.partition("@")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise InvalidManifest(f"not base64: {error}") from error
    digest = Digest.parse(name)
    verify(raw, digest)
    return Manifest.parse(raw, digest=digest)
