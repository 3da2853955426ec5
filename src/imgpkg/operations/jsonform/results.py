"""The JSON forms of what push, pull, tags, inventories and locks return."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.bundle.inventory import Inventory
    from imgpkg.bundle.kubernetes import SkippedImage
    from imgpkg.bundle.lock import LockedImage
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Reference
    from imgpkg.operations.artifact.pull import ArtifactPullResult
    from imgpkg.operations.artifact.push import ArtifactPushResult
    from imgpkg.operations.bundle_pull import PullResult
    from imgpkg.operations.catalog import Catalog
    from imgpkg.operations.image_search import ResolvedImage
    from imgpkg.operations.lock import LockResult
    from imgpkg.operations.push import PushResult
    from imgpkg.operations.referrers import ReferrerList
    from imgpkg.operations.retag import Retagged
    from imgpkg.operations.rewrite import RewriteResult
    from imgpkg.operations.tag import TagList


def resolved(reference: Reference) -> dict[str, object]:
    """Return the form of a digest reference."""
    return {
        "reference": str(reference),
        "repository": str(reference.repository),
        "digest": None if reference.digest is None else str(reference.digest),
    }


def pushed(result: PushResult) -> dict[str, object]:
    """Return the form of a push."""
    signature = result.signature
    return {
        **resolved(result.reference),
        "tags": [result.tag],
        "signature": None if signature is None else str(signature),
    }


def pulled(result: PullResult) -> dict[str, object]:
    """Return the form of a pull, with those of the bundles below it."""
    status = result.images_lock
    return {
        **resolved(result.reference),
        "isBundle": result.is_bundle,
        "isCacheable": result.is_cacheable,
        "imagesLock": None
        if status is None
        else {
            "path": status.path,
            "isUpdated": status.is_updated,
            "isSpread": status.is_spread,
            "leftOut": [str(reference) for reference in status.left_out],
        },
        "nested": [pulled(below) for below in result.nested],
    }


def pushed_artifact(result: ArtifactPushResult) -> dict[str, object]:
    """Return the form of the push of an artifact."""
    return {
        **resolved(result.reference),
        "tags": [result.tag] if result.tag else [],
        **_artifact(result.manifest),
        "blobs": [
            {"mediaType": blob.media_type, "digest": str(blob.digest), "size": blob.size}
            for blob in result.manifest.layers
        ],
    }


def pulled_artifact(result: ArtifactPullResult) -> dict[str, object]:
    """Return the form of the pull of an artifact."""
    return {
        **resolved(result.reference),
        **_artifact(result.manifest),
        "files": [
            {
                "title": file.title,
                "path": file.path,
                "mediaType": file.descriptor.media_type,
                "digest": str(file.descriptor.digest),
                "size": file.descriptor.size,
            }
            for file in result.files
        ],
    }


def _artifact(manifest: Manifest) -> dict[str, object]:
    return {
        "artifactType": manifest.referrer_type,
        "annotations": dict(manifest.annotations),
        "subject": None if manifest.subject is None else str(manifest.subject.digest),
    }


def cataloged(catalog: Catalog) -> dict[str, object]:
    """Return the form of a list of repositories."""
    return {
        "registry": catalog.registry,
        "repositories": [str(repository) for repository in catalog.repositories],
        "others": list(catalog.others),
    }


def referring(found: ReferrerList) -> dict[str, object]:
    """Return the form of what refers to an image."""
    return {
        "subject": str(found.subject),
        "referrers": [
            {
                "reference": str(one.reference),
                "artifactType": one.artifact_type or None,
                "mediaType": one.descriptor.media_type,
                "size": one.descriptor.size,
                "annotations": dict(one.annotations),
            }
            for one in found.referrers
        ],
    }


def retagged(result: Retagged) -> dict[str, object]:
    """Return the form of an image with further tags, and what they named before."""
    return {
        **resolved(result.reference),
        "tags": list(result.tags),
        "replaced": {tag: str(digest) for tag, digest in result.replaced.items()},
    }


def tags(listed_tags: TagList) -> dict[str, object]:
    """Return the form of a list of tags: the names, and the digests of those that were resolved."""
    ordered = sorted(listed_tags.tags, key=lambda tag: tag.name)
    return {
        "repository": str(listed_tags.repository),
        "tags": [tag.name for tag in ordered],
        "digests": {tag.name: str(tag.digest) for tag in ordered if tag.digest is not None},
    }


def listed(inventory: Inventory) -> dict[str, object]:
    """Return the form of an inventory, which is the file that `copy --since-inventory` reads."""
    return inventory.document()


def locked(result: LockResult) -> dict[str, object]:
    """Return the form of a lock: its images with their places, and the file itself as text."""
    return {
        "references": [str(image.reference) for image in result.lock.images],
        "images": resolved_images(result.images),
        "removed": locked_images(result.removed),
        "skipped": skipped_images(result.skipped),
        "lock": result.lock.to_bytes().decode(),
    }


def rewritten(result: RewriteResult) -> dict[str, object]:
    """Return the form of rewritten documents: their text, the images in them, and what was left."""
    return {
        "documents": [{"file": file.name, "text": text_of(file.data)} for file in result.files],
        "images": resolved_images(result.images),
        "skipped": skipped_images(result.skipped),
    }


def text_of(data: bytes) -> str:
    """Return the text of a document in UTF-8 or UTF-16, whose mark of UTF-8 stays."""
    # Standard output is UTF-8, whatever the file was in.
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")


def resolved_images(images: Iterable[ResolvedImage]) -> list[dict[str, object]]:
    """Return references as they are written, with their digests and places."""
    return [
        {
            "reference": image.text,
            "image": str(image.reference),
            "digest": image.reference.identifier,
            "places": [_place(place.file, place.line, place.column) for place in image.places],
        }
        for image in images
    ]


def locked_images(images: Iterable[LockedImage]) -> list[dict[str, object]]:
    """Return entries of a lock."""
    return [{"image": str(one.reference), "annotations": dict(one.annotations)} for one in images]


def skipped_images(skipped: Iterable[SkippedImage]) -> list[dict[str, object]]:
    """Return what is no reference, with its place and the reason."""
    return [
        {
            **_place(one.place.file, one.place.line, one.place.column),
            "text": one.text,
            "reason": one.reason,
        }
        for one in skipped
    ]


def _place(file: str, line: int, column: int) -> dict[str, object]:
    return {"file": file, "line": line, "column": column}
