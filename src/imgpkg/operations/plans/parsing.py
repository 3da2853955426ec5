"""The values of the lines of a plan from their JSON objects, which may come from anybody."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from imgpkg.bundle.locations import Location
from imgpkg.errors import InvalidDocument, VerificationError
from imgpkg.oci.descriptor import EMPTY, Descriptor, Digest, verify
from imgpkg.operations.plans.fields import PlanFields
from imgpkg.operations.plans.lines import (
    FORMAT,
    FORMAT_VERSION,
    LINES,
    PlanBlob,
    PlanEnd,
    PlanHeader,
    PlanImage,
    PlanLocked,
    PlanManifest,
    PlanRecord,
)
from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    import imgpkg
    from imgpkg.operations.plans.lines import PlanLine

# Bytes: embedded content is part of a manifest, and whole indexes prove a cut.
_MAX_CONTENT = 16 << 20
_HOW = "`imgpkg copy … --dry-run --plan-output FILE` writes one."


def parse_line(document: Any) -> PlanLine:
    """Return the line of a JSON value; raise InvalidDocument, InvalidReference, or what a cut raises."""
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(kind, str) or kind not in _READERS:
        raise InvalidDocument(f"it has none of the kinds {', '.join(_READERS)}")
    return _READERS[kind](PlanFields(document))


def _header(fields: PlanFields) -> PlanHeader:
    if fields.text("format") != FORMAT:
        raise InvalidDocument("this is no plan", hints=(_HOW,))
    if fields.count("formatVersion") != FORMAT_VERSION:
        raise InvalidDocument(
            f"the plan has version {fields.count('formatVersion')} of the format; this is imgpkg "
            f"{VERSION}, which reads version {FORMAT_VERSION}",
            hints=(f"The plan was written by imgpkg {fields.text('imgpkg')}: run it with that version.",),
        )
    root = fields.object("rootBundle")
    return PlanHeader(
        fields.text("source", longest=_MAX_CONTENT),
        fields.repository("destination"),
        fields.flag("isPlaced"),
        fields.flag("repoBasedTags"),
        fields.flag("includeNonDistributableLayers"),
        fields.texts("platforms"),
        None if root is None else (root.reference("image"), root.text("tag")),
        fields.flag("hasImagesLock"),
        fields.text("imgpkg"),
    )


def _blob(fields: PlanFields) -> PlanBlob:
    destination, mounts = fields.repository("destination"), fields.repositories("mountFrom")
    if any(place.registry != destination.registry for place in mounts):
        raise InvalidDocument("mountFrom is in another registry than destination")
    digest, size = fields.digest("digest"), fields.count("size")
    return PlanBlob(
        Descriptor(
            fields.media_type(),
            digest,
            size,
            urls=fields.texts("urls", longest=_MAX_CONTENT),
            data=_content(fields, digest, size) if fields.has("data") else None,
        ),
        fields.repository("source"),
        destination,
        mounts[0] if mounts else None,
    )


def _content(fields: PlanFields, digest: Digest, size: int) -> bytes:
    try:
        data = base64.b64decode(fields.text("data", longest=_MAX_CONTENT), validate=True)
        verify(data, digest)
    # Text that is not ASCII is a plain ValueError.
    except (binascii.Error, ValueError) as error:
        raise InvalidDocument(f"data is not base64: {error}") from error
    except VerificationError as error:
        raise InvalidDocument(f"data is not the content of {digest}") from error
    if len(data) != size:
        raise InvalidDocument(f"data has {len(data)} bytes, and size is {size}")
    return data


def _manifest(fields: PlanFields) -> PlanManifest:
    source = fields.reference("source")
    if source.digest != fields.digest("digest"):
        raise InvalidDocument("source and digest are two")
    return PlanManifest(source, fields.media_type(), fields.count("size"), fields.references("destinations"))


def _record(fields: PlanFields) -> PlanRecord:
    return PlanRecord(
        fields.repository("destination"),
        fields.digest("bundle"),
        tuple(map(_location, fields.objects("images"))),
        fields.flag("isPartial"),
    )


def _location(fields: PlanFields) -> Location:
    place = str(fields.reference("location")) if fields.has("location") else ""
    return Location(str(fields.reference("image")), fields.flag("isBundle"), place, _read_cut(fields))


def _locked(fields: PlanFields) -> PlanLocked:
    return PlanLocked(fields.reference("image"), fields.mapping("annotations") or EMPTY)


def _image(fields: PlanFields) -> PlanImage:
    source, cut = fields.reference("source"), _read_cut(fields)
    if cut is not None and cut.result.digest != source.digest:
        raise InvalidDocument(f"keptDigests and wholeIndexes are those of {cut.result.digest}")
    destinations = fields.references("destinations")
    if not destinations or any(one.tag is None for one in destinations):
        raise InvalidDocument("destinations has no references with tags")
    tag = fields.text("tag") if fields.has("tag") else ""
    if tag:
        # Raises for what is no tag.
        destinations[0].repository.tag(tag)
    return PlanImage(
        fields.reference("image"),
        source,
        destinations,
        tag,
        str(fields.reference("origin")) if fields.has("origin") else "",
        fields.flag("isRootBundle"),
        cut,
    )


def _read_cut(fields: PlanFields) -> imgpkg.Cut | None:
    if not fields.has("wholeIndexes"):
        return None
    from imgpkg.oci.cut import Cut

    return Cut.parse(fields.texts("keptDigests"), fields.texts("wholeIndexes", longest=_MAX_CONTENT))


def _end(fields: PlanFields) -> PlanEnd:
    return PlanEnd(*map(fields.count, ("blobs", "bytes", "manifests", "images")))


_READERS: dict[str, Callable[[PlanFields], PlanLine]] = dict(
    zip(
        (line.kind for line in LINES),
        (_header, _blob, _manifest, _record, _locked, _image, _end),
        strict=True,
    )
)
