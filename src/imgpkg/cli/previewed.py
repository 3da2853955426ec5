"""The forms in which `imgpkg copy --dry-run` says what would move."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.filesize import decimal as human

from imgpkg.cli import decided

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.operations.copy.preview import CopyPreview, PreviewedImage


def text(preview: CopyPreview, destination: str) -> Iterator[str]:
    """Yield the lines of a report for people, newlines included; `destination` is as the user gave it."""
    there = sum(1 for image in preview.images if image.is_there)
    yield f"Would copy {_count(len(preview.images) - there, 'image')} to {destination}, "
    yield f"{_count(preview.blobs, 'blob')} with {human(preview.size)}\n"
    if there:
        yield f"  besides {_count(there, 'image')} already there\n"
    if preview.mountable:
        yield f"  of which {_count(preview.mountable, 'blob')} with {human(preview.mountable_size)} "
        yield "can be mounted within the registry\n"
    yield "\nImages:\n"
    yield from (_image(image) for image in preview.images)
    if preview.left_out:
        yield "\nNon-distributable layers that stay behind:\n"
        for left in preview.left_out:
            yield f"  {left.layer.digest} {human(left.layer.size)} of {left.reference}\n"
    if preview.credentials:
        yield "\nCredentials:\n"
        yield from (f"  {decision.summary()}\n" for decision in preview.credentials)


def _image(image: PreviewedImage) -> str:
    tag = f" as {image.tag}" if image.tag else ""
    blobs, manifests = _count(image.blobs, "blob"), _count(image.manifests, "manifest")
    there = ", already there" if image.is_there else ""
    return f"  {image.reference}{tag}: {manifests}, {blobs}, {human(image.size)}{there}\n"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def json(preview: CopyPreview) -> dict[str, object]:
    """Return the same for programs; sizes in bytes."""
    return {
        "images": [
            {
                "image": str(image.reference),
                "tag": image.tag or None,
                "manifests": image.manifests,
                "blobs": image.blobs,
                "size": image.size,
                "alreadyThere": image.is_there,
            }
            for image in preview.images
        ],
        "blobs": preview.blobs,
        "size": preview.size,
        "mountableBlobs": preview.mountable,
        "mountableSize": preview.mountable_size,
        "leftOut": [
            {"image": str(left.reference), "layer": str(left.layer.digest), "size": left.layer.size}
            for left in preview.left_out
        ],
        "credentials": [decided.json(decision) for decision in preview.credentials],
    }
