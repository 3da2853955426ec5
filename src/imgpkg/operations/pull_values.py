"""What a pull answers."""

from __future__ import annotations

from dataclasses import dataclass

from imgpkg.oci.reference import Reference


@dataclass(frozen=True, slots=True)
class ImagesLockStatus:
    """Where a pulled bundle's images.yml is, and whether it was rewritten to the bundle's repository."""

    path: str
    is_updated: bool


@dataclass(frozen=True, slots=True)
class PullResult:
    """What was pulled: `reference` is its digest reference.

    `nested` are the bundles that it names; of a bundle that was met before those are left out when more than
    ten thousand are told of in all. `is_cacheable` is true when pulling the same reference again is sure to
    give the same files.
    """

    reference: Reference
    is_bundle: bool = False
    images_lock: ImagesLockStatus | None = None
    nested: tuple[PullResult, ...] = ()
    is_cacheable: bool = False
