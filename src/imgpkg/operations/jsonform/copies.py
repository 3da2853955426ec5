"""The JSON forms of copies: what was copied, what would be, and what became of the blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.operations.jsonform.credentials import decided

if TYPE_CHECKING:
    from collections.abc import Iterable

    import imgpkg
    from imgpkg.bundle.inventory import Base
    from imgpkg.events import Transfer
    from imgpkg.operations.copy.collection import Unselected
    from imgpkg.operations.copy.plan import LeftOut
    from imgpkg.operations.copy.preview import CopyPreview, PreviewedImage
    from imgpkg.operations.copy.values import Copied, CopyResult, Verified


def transferred(transfer: Transfer) -> dict[str, object]:
    """Return the form of a transfer: how many blobs were moved, mounted and present, and their bytes."""
    return {
        "blobs": {"moved": transfer.moved, "mounted": transfer.mounted, "present": transfer.present},
        "bytes": {
            "moved": transfer.moved_size,
            "mounted": transfer.mounted_size,
            "present": transfer.present_size,
        },
    }


def copied(result: CopyResult) -> dict[str, object]:
    """Return the form of a copy.

    `references` are the copies of what was asked for. `reference`, `digest` and `tags` are about the only one
    of them, and null and empty where there are several or none.
    """
    only = result.asked[0] if len(result.asked) == 1 else None
    tags = {one.tag for one in result.images if one.destination == only and one.tag}
    return {
        "reference": None if only is None else str(only),
        "repository": None if only is None else str(only.repository),
        "digest": None if only is None else str(only.digest),
        "tags": sorted(tags),
        "references": [str(reference) for reference in result.asked],
        "images": [_copied(one) for one in result.images],
        "bundles": [str(one.destination) for one in result.bundles],
        "leftOut": _left_out(result.left_out),
        "unselected": _unselected(result.unselected),
        "verified": _verified(result.verified),
        "bases": [base.fields() for base in result.bases],
        **_workers(result.workers),
    }


def _workers(shares: Iterable[imgpkg.WorkerShare]) -> dict[str, object]:
    """Return the field for what each worker has done; there is none without an executor."""
    listed = [
        {"name": one.name or None, **transferred(one.transfer), "seconds": round(one.seconds, 3)}
        for one in shares
    ]
    return {"workers": listed} if listed else {}


def _copied(one: Copied) -> dict[str, object]:
    return {
        "source": str(one.source),
        "destination": str(one.destination),
        "tag": one.tag or None,
        "attached": attached_form(one.attached),
        "platforms": _platforms(one.cut),
    }


def _platforms(cut: imgpkg.Cut | None) -> list[str] | None:
    return None if cut is None else [str(platform) for platform in cut.platforms]


def previewed(preview: CopyPreview) -> dict[str, object]:
    """Return the form of the preview of a copy."""
    return {
        "images": [_previewed(image) for image in preview.images],
        "blobs": preview.blobs,
        "size": preview.size,
        "mountableBlobs": preview.mountable,
        "mountableSize": preview.mountable_size,
        "leftOut": _left_out(preview.left_out),
        "unselected": _unselected(preview.unselected),
        "credentials": [decided(decision) for decision in preview.credentials],
        "verified": _verified(preview.verified),
        **bases_form(preview.bases),
    }


def _previewed(image: PreviewedImage) -> dict[str, object]:
    return {
        "image": str(image.reference),
        "tag": image.tag or None,
        "manifests": image.manifests,
        "blobs": image.blobs,
        "size": image.size,
        "alreadyThere": image.is_there,
        "attached": attached_form(image.attached),
        "destination": str(image.destination) if image.destination is not None else None,
        "platforms": _platforms(image.cut),
    }


def attached_form(attached: imgpkg.Attached | None) -> dict[str, object] | None:
    """Return what an image is attached to, None for an image of its own."""
    if attached is None:
        return None
    return {
        "kind": attached.kind.value,
        "subject": str(attached.subject),
        "artifactType": attached.artifact_type or None,
    }


def bases_form(bases: Iterable[Base]) -> dict[str, object]:
    """Return the field for what a file was made without; there is none if that is nothing."""
    listed = [base.fields() for base in bases]
    return {"bases": listed} if listed else {}


def _left_out(layers: Iterable[LeftOut]) -> list[dict[str, object]]:
    return [
        {"image": str(left.reference), "layer": str(left.layer.digest), "size": left.layer.size}
        for left in layers
    ]


def _unselected(images: Iterable[Unselected]) -> list[dict[str, object]]:
    return [{"image": str(one.reference), "namedBy": one.named_by} for one in images]


def _verified(images: Iterable[Verified]) -> list[dict[str, object]]:
    return [
        {
            "image": str(one.reference),
            "signers": list(one.signers),
            "predicateTypes": list(one.predicate_types),
        }
        for one in images
    ]
