"""Read a bundle and the bundles inside it, for programs that want to know what is in them."""

from __future__ import annotations

from imgpkg.bundle.graph import Bundle, walk
from imgpkg.bundle.image import fetch_image
from imgpkg.oci.reference import parse_any
from imgpkg.operations.work import working
from imgpkg.session import Session


def read_bundle(bundle: str, *, session: Session) -> Bundle:
    """Read the images lock, the locations record and the members of `bundle`, to any depth; pull no content.

    Raises NotABundle, InvalidReference, InvalidLock, or an error of the registry.
    """
    root = fetch_image(session.client, parse_any(bundle))
    with working(session, session.settings.concurrency) as workers:
        return walk(session.client, root, workers)
