"""The words in pictures: names and sizes of parts, how wide they are, and how they are written in XML."""

from __future__ import annotations

import unicodedata
from html import escape
from typing import TYPE_CHECKING

from imgpkg.errors import printable
from imgpkg.expression import expression
from imgpkg.operations.breakdown import PartKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from imgpkg.drawing.sharing import Sharing
    from imgpkg.oci.descriptor import Digest
    from imgpkg.operations.breakdown import BundlePart

# XML 1.0 §2.2 has no characters for these; those below U+0020 have been escaped before.
_NO_CHARACTER = expression("[\ud800-\udfff\ufffe\uffff]")
# kbld and `imgpkg lock` write the name that the digest was found for.
_NAME = "kbld.carvel.dev/id"
_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")
# As many digits of a digest as docker prints.
_DIGITS = 12
_WORDS = {
    PartKind.BUNDLE: ("bundle", "bundles"),
    PartKind.IMAGE: ("image", "images"),
    PartKind.PLATFORM: ("platform image", "platform images"),
    PartKind.SIGNATURE: ("signature", "signatures"),
    PartKind.ATTESTATION: ("attestation", "attestations"),
    PartKind.SBOM: ("SBOM", "SBOMs"),
    PartKind.REFERRER: ("referrer", "referrers"),
    PartKind.LOCATIONS: ("record of locations", "records of locations"),
}
# What is attached to something else.
ATTACHED = (PartKind.SIGNATURE, PartKind.ATTESTATION, PartKind.SBOM, PartKind.REFERRER)
# Parts of the size of a font, for DejaVu Sans, which is wider than most sans-serif fonts of browsers.
_NARROW = frozenset("iljtfrI.,:;'|!()[]/ -\\·")
_WIDE = frozenset("mwMW@%—…<>=+~^#&\ufffd")
_NARROW_EM, _WIDE_EM, _CAPITAL_EM, _SMALL_EM, _FULL_EM = 0.36, 0.92, 0.74, 0.63, 1.05
# How much wider bold letters are.
BOLD = 1.12


def markup(text: str) -> str:
    """Return text from outside for the content or a quoted attribute of XML or HTML."""
    return escape(_NO_CHARACTER.sub("\ufffd", printable(text)))


def human_size(size: int) -> str:
    """Return a size in bytes for people, in powers of 1000, as docker prints sizes."""
    if size < 1000:  # noqa: PLR2004 - the smallest unit
        return f"{size} byte{'' if size == 1 else 's'}"
    value = float(size)
    for unit in _UNITS:
        value /= 1000
        # What would be printed as 1000.0 belongs to the next unit.
        if round(value, 1) < 1000 or unit == _UNITS[-1]:  # noqa: PLR2004 - likewise
            return f"{value:,.1f} {unit}"
    raise AssertionError  # pragma: no cover - the last unit returns


def counted(number: int, kind: PartKind) -> str:
    """Return a number with the word for parts of this kind."""
    return f"{number:,} {_WORDS[kind][number != 1]}"


def layers_counted(number: int) -> str:
    """Return a number of layers."""
    return f"{number:,} layer{'' if number == 1 else 's'}"


def short(digest: Digest | None) -> str:
    """Return the first digits of a digest, or nothing."""
    return "" if digest is None else digest.hex[:_DIGITS]


def name_of(part: BundlePart) -> str:
    """Return the name of a part without its registry, for the people who have chosen it."""
    match part.kind:
        case PartKind.PLATFORM:
            return _platform(part)
        case PartKind.BUNDLE | PartKind.IMAGE:
            return _path(part.annotations.get(_NAME) or part.origin or part.reference)
        case PartKind.REFERRER:
            return part.artifact_type or "referrer"
        case _:
            return _WORDS[part.kind][0]


def kind_of(part: BundlePart) -> str:
    """Return the word for the kind of a part."""
    return _WORDS[part.kind][0]


def _platform(part: BundlePart) -> str:
    # BuildKit lists provenance in the index of an image, for a platform that does not exist.
    if part.annotations.get("vnd.docker.reference.type") == "attestation-manifest":
        return "attestation of the build"
    return part.platform or "no platform"


def _path(reference: str) -> str:
    """Return repository and tag of a reference that any tool may have written."""
    name = reference.partition("@")[0]
    first, slash, rest = name.partition("/")
    has_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return rest if has_registry else name


def place_of(part: BundlePart) -> str:
    """Return the repository in which a part is, with its registry."""
    return part.reference.partition("@")[0]


def names_of(parts: Iterable[BundlePart]) -> list[str]:
    """Return the names of parts, each once; those of platforms and attachments with their repository."""
    return list(dict.fromkeys(map(full_name, parts)))


def full_name(part: BundlePart) -> str:
    """Return the name of a part; that of a platform or an attachment with its repository."""
    if part.kind in (PartKind.BUNDLE, PartKind.IMAGE):
        return name_of(part)
    return f"{_path(part.reference)} {name_of(part)}"


def width_of(text: str, size: float) -> float:
    """Return about how many pixels a text needs at this size of a sans-serif font, rather more than fewer."""
    return size * sum(map(_em, text))


def _em(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return _FULL_EM
    if character in _NARROW:
        return _NARROW_EM
    if character in _WIDE:
        return _WIDE_EM
    return _CAPITAL_EM if character.isupper() else _SMALL_EM


def fitted(text: str, room: float, size: float) -> str:
    """Return `text`, printable, or its ends with `…` between them if it needs more pixels than `room`.

    The end of a name, with its tag, tells images apart, and so does its beginning.
    """
    text = printable(text)
    if width_of(text, size) <= room:
        return text
    room -= width_of("…", size)
    head, tail, used = 0, len(text), 0.0
    while head < tail:
        # Twice as much of the end as of the beginning.
        takes_tail = (len(text) - tail) <= 2 * head
        used += size * _em(text[tail - 1] if takes_tail else text[head])
        if used > room:
            break
        head, tail = (head, tail - 1) if takes_tail else (head + 1, tail)
    return f"{text[:head]}…{text[tail:]}"


def listed(names: Sequence[str], room: float, size: float) -> str:
    """Return as many names as fit into `room` pixels, and how many more there are."""
    for count in range(len(names), 1, -1):
        more = len(names) - count
        text = ", ".join(names[:count]) + (f" and {more} more" if more else "")
        if width_of(text, size) <= room:
            return printable(text)
    more = len(names) - 1
    end = f" and {more} more" if more else ""
    return fitted(names[0], room - width_of(end, size), size) + end


def heading_of(root: BundlePart) -> str:
    """Return the title of a picture."""
    return f"Bundle {name_of(root)}"


def summary_of(sharing: Sharing) -> list[str]:
    """Return phrases: the numbers of parts, the size, and how much more it would be without sharing."""
    parts = [part for part, _ in sharing.root.walk()][1:]
    size, without = human_size(sharing.size), human_size(sharing.size + sharing.saved)
    more = f", {without} if nothing were shared" if without != size else ""
    return [*_counts(parts), f"{size}{more}"]


def _counts(parts: list[BundlePart]) -> Iterator[str]:
    images = _different(parts, PartKind.IMAGE)
    yield counted(images, PartKind.IMAGE)
    bundles = _different(parts, PartKind.BUNDLE)
    if bundles:
        yield f"{bundles:,} nested {'bundle' if bundles == 1 else 'bundles'}"
    for kind in ATTACHED:
        number = _different(parts, kind)
        if number:
            yield counted(number, kind)
    problems = sum(1 for part in parts if part.problem)
    if problems:
        yield f"{problems:,} could not be read"


def _different(parts: list[BundlePart], kind: PartKind) -> int:
    return len({part.digest or part.reference for part in parts if part.kind is kind})
