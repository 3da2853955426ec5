"""The printed forms of results: of a description, of the preview of a copy, of a credential decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from imgpkg.bundle.inventory import Base
    from imgpkg.errors import ImgpkgError
    from imgpkg.oci.descriptor import Digest
    from imgpkg.operations.copy.preview import CopyPreview, PreviewedImage
    from imgpkg.operations.description import Description, ImageInfo

_INDENT = "  "
# The joint in front of an entry, and the indentation of the entries below it.
_BRANCH, _LAST = ("├── ", "│   "), ("└── ", "    ")
# As many digits of a digest as docker prints.
_SHORT = 12


def description_text(description: Description, *, layers: bool) -> Iterator[str]:
    """Yield the lines of the text form with their line ends; `layers` is whether layers were asked for."""
    yield f"Bundle SHA: {description.digest}\n"
    yield "\n"
    yield from _content(description, 0, layers=layers)
    if description.bases:
        yield "\nMade without:\n"
        yield from (f"  {line}\n" for line in _without(description.bases))


def _without(bases: Iterable[Base]) -> Iterator[str]:
    for base in bases:
        size = human(sum(base.blobs.values()))
        yield f"{count_of(len(base.blobs), 'blob')} with {size} that {printable(base.shown)} has"


def _content(bundle: Description, level: int, *, layers: bool) -> Iterator[str]:
    if not bundle.bundles and not bundle.images:
        return
    # Scripts read these columns: only the entries of the root are indented below their heading.
    heading = _INDENT * (level + 1 if level else 0)
    entry = _INDENT * (level + 1)
    yield f"{heading}Images:\n"
    for position, inner in enumerate(bundle.bundles):
        if position:
            yield "\n"
        yield f"{entry}- Image: {inner.image}\n"
        yield f"{entry}  Type: Bundle\n"
        yield f"{entry}  Origin: {inner.origin}\n"
        yield from _details(inner.layers, inner.annotations, f"{entry}  ", layers=layers)
        if inner.is_repeated:
            yield f"{entry}  Images: (listed above)\n"
        yield from _content(inner, level + 1, layers=layers)
    for image in bundle.images:
        yield from _described_image(image, entry, layers=layers)


def _described_image(image: ImageInfo, entry: str, *, layers: bool) -> Iterator[str]:
    from imgpkg.operations.description import ImageType

    yield f"{entry}- Image: {image.image}\n"
    yield f"{entry}  Type: {image.image_type.value}\n"
    if image.error:
        yield f"{entry}  Error: {printable(image.error)}\n"
        return
    if image.image_type is ImageType.IMAGE:
        yield f"{entry}  Origin: {image.origin}\n"
    if image.cut_from:
        yield f"{entry}  Cut From: {image.cut_from}\n"
        yield f"{entry}  Platforms: {printable(', '.join(image.platforms))}\n"
    yield from _details(image.layers, image.annotations, f"{entry}  ", layers=layers)


def _details(
    digests: Iterable[Digest], annotations: Mapping[str, str], indent: str, *, layers: bool
) -> Iterator[str]:
    if layers:
        yield f"{indent}Layers:\n"
        yield from (f"{indent}  - Digest: {digest}\n" for digest in digests)
    if annotations:
        yield f"{indent}Annotations:\n"
        # Sorted, as Go prints maps.
        lines = (f"{indent}  {key}: {annotations[key]}" for key in sorted(annotations))
        yield from (f"{printable(line)}\n" for line in lines)


def description_yaml(description: Description) -> str:
    """Return the YAML form: the digest of the bundle, then its description."""
    from imgpkg.bundle.yaml_writer import dump
    from imgpkg.operations.jsonform.descriptions import content_of

    return f"sha: {description.digest}\n{dump(content_of(description))}"


def description_tree(description: Description) -> Iterator[str]:
    """Yield the lines of a tree: below each bundle what it names, with shortened digests."""
    yield f"Bundle {_name(description.image)}\n"
    yield from _branches(description, "")
    yield from (f"without {line}\n" for line in _without(description.bases))


def _branches(bundle: Description, indent: str) -> Iterator[str]:
    entries: list[tuple[str, Description | None]] = [
        *((_bundle_label(inner, bundle), inner) for inner in bundle.bundles),
        *((_image_label(image, bundle), None) for image in bundle.images),
    ]
    for position, (label, inner) in enumerate(entries, 1):
        joint, below = _LAST if position == len(entries) else _BRANCH
        yield f"{indent}{joint}{printable(label)}\n"
        if inner is not None:
            yield from _branches(inner, f"{indent}{below}")


def _bundle_label(inner: Description, bundle: Description) -> str:
    repeated = " (listed above)" if inner.is_repeated else ""
    return f"Bundle {_name(inner.origin)}{_copied_note(inner, bundle)}{repeated}"


def _image_label(image: ImageInfo, bundle: Description) -> str:
    kind = image.image_type.value
    if image.error:
        return f"{kind} {image.key} ({image.error})"
    return f"{kind} {_name(image.origin)}{_copied_note(image, bundle)}"


def _copied_note(entry: Description | ImageInfo, bundle: Description) -> str:
    # A copy puts all images into the repository of the bundle; their origin names the old place.
    is_here = _repository(entry.image) == _repository(bundle.image)
    is_moved = is_here and _repository(entry.origin) != _repository(entry.image)
    return " (copied here)" if is_moved else ""


def _repository(reference: str) -> str:
    return reference.partition("@")[0]


def _name(reference: str) -> str:
    """Return a digest reference with its digest shortened."""
    repository, _, digest = reference.partition("@sha256:")
    return f"{repository}@{digest[:_SHORT]}" if digest else repository


def preview_text(preview: CopyPreview, destination: str) -> Iterator[str]:
    """Yield the lines of a report for people with their line ends; `destination` is as the user wrote it."""
    there = sum(1 for image in preview.images if image.is_there)
    yield f"Would copy {count_of(len(preview.images) - there, 'image')} to {destination}, "
    yield f"{count_of(preview.blobs, 'blob')} with {human(preview.size)}\n"
    if there:
        yield f"  besides {count_of(there, 'image')} already there\n"
    if preview.mountable:
        yield f"  of which {count_of(preview.mountable, 'blob')} with {human(preview.mountable_size)} "
        yield "can be mounted within the registry\n"
    yield from (f"  without {line}\n" for line in _without(preview.bases))
    yield "\nImages:\n"
    places = {image.destination.repository for image in preview.images if image.destination is not None}
    # The only place is that which the user wrote.
    is_spread = len(places) > 1 or destination not in map(str, places)
    yield from (_previewed_image(image, names_place=is_spread) for image in preview.images)
    if preview.verified:
        yield "\nSigned:\n"
        for one in preview.verified:
            yield f"  {one.reference} by {', '.join(one.signers)}\n"
    if preview.unselected:
        yield "\nLeft out by --include and --exclude:\n"
        yield from (f"  {one.reference} of {printable(one.named_by)}\n" for one in preview.unselected)
    if preview.left_out:
        yield "\nNon-distributable layers that stay behind:\n"
        for left in preview.left_out:
            yield f"  {left.layer.digest} {human(left.layer.size)} of {left.reference}\n"
    if preview.credentials:
        yield "\nCredentials:\n"
        # Without the trails: `auth explain` has them.
        yield from (f"  {decision.summary()}\n" for decision in preview.credentials)


def _previewed_image(image: PreviewedImage, *, names_place: bool) -> str:
    tag = f" as {image.tag}" if image.tag else ""
    blobs, manifests = count_of(image.blobs, "blob"), count_of(image.manifests, "manifest")
    there = ", already there" if image.is_there else ""
    to = f" to {image.destination.repository}" if image.destination is not None and names_place else ""
    cut = f", cut to {', '.join(map(str, image.cut.platforms))}" if image.cut is not None else ""
    what = f"{manifests}, {blobs}, {human(image.size)}{cut}{_attached(image)}{there}"
    return f"  {image.reference}{to}{tag}: {what}\n"


def _attached(image: PreviewedImage) -> str:
    if image.attached is None:
        return ""
    return f", {image.attached.kind.value} of {str(image.attached.subject)[: len('sha256:') + _SHORT]}"


def count_of(number: int, noun: str) -> str:
    """Return a number with a noun, which gets an `s` unless there is one."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def human(size: int) -> str:
    """Return a size in bytes for people."""
    from imgpkg.cli.quantities import readable

    return readable(size)


def error_json(error: ImgpkgError) -> dict[str, object]:
    """Return an error for programs: its text, what became of the credential if it is about one, its hints."""
    refusal = error.refusal
    said = refusal and {
        "kind": refusal.kind.value,
        "sentence": refusal.sentence,
        "remedy": refusal.remedy or None,
    }
    return {"error": str(error), "refusal": said, "hints": list(error.hints)}
