"""Give further tags to an image, within its repository."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.dataclass import dataclass, field
from imgpkg.errors import Forbidden, InUse, Unauthorized, UsageError, doing
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Reference, parse_any
from imgpkg.operations.tag import confirm_tag
from imgpkg.session import Session, operation
from imgpkg.values import FrozenDict

if TYPE_CHECKING:
    from imgpkg.registry.client import RegistryClient


@dataclass(frozen=True, slots=True)
class Retagged:
    """The digest reference of an image, and the tags that name it now.

    `replaced` has what those named before that named something else.
    """

    reference: Reference
    tags: tuple[str, ...]
    replaced: Mapping[str, Digest] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "replaced", FrozenDict(self.replaced))


@operation
def retag(
    image: str,
    tags: str | Iterable[str],
    *,
    session: Session,
    overwrite: bool = True,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> Retagged:
    """Give `tags`, one or several, to the image that `image` names by a tag or a digest, in its repository.

    The manifest is written with the very bytes and the media type that it has, and no blob is moved; each tag
    is asked for afterwards. A tag that names the image already is not written. Without `overwrite` nothing is
    written if one of the tags names another image; another client may still write it in the same instant.

    Raises InvalidReference for a tag that is none, before a request, UsageError for no tag, InUse without
    `overwrite`, NotFound for an image that is not there, ImmutableTag where the registry keeps a tag as it
    is, VerificationError where it keeps another manifest than it was sent, TransportError or RegistryError.
    See the distribution-spec, "Pushing Manifests".
    """
    reference = parse_any(image)
    repository = reference.repository
    names = tuple(dict.fromkeys([tags] if isinstance(tags, str) else tags))
    if not names:
        raise UsageError(f"Expected at least one tag for {reference}")
    places = [repository.tag(name) for name in names]
    client = session.client.primary
    with doing(f"Tagging '{reference}'"):
        manifest = client.manifest(reference)
        before = {place: _named(client, place) for place in places}
        others = {place: digest for place, digest in before.items() if digest not in (None, manifest.digest)}
        if others and not overwrite:
            raise _taken(others)
        for place in places:
            if before[place] != manifest.digest:
                client.push_manifest(place, manifest)
                confirm_tag(client, place, manifest.digest)
    replaced = {str(place.tag): digest for place, digest in others.items()}
    return Retagged(repository.digest(manifest.digest), names, replaced)


def _named(client: RegistryClient, place: Reference) -> Digest | None:
    try:
        found = client.exists(place)
    # Some registries answer so for a tag that is not there: the write decides.
    except (Unauthorized, Forbidden):
        return None
    return None if found is None else found.digest


def _taken(others: Mapping[Reference, Digest]) -> InUse:
    named = ", ".join(f"{place} names {digest}" for place, digest in others.items())
    return InUse(
        f"nothing was tagged: {named}",
        hints=("Allow that to be replaced, or choose another tag.",),
    )
