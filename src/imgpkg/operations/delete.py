"""Delete a tag, or an image with its tags, and nothing that is needed; a manifest or blob, needed or not."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.bundle.image import fetch_image
from imgpkg.bundle.layer import fetch_locations
from imgpkg.dataclass import dataclass
from imgpkg.errors import (
    InUse,
    InvalidManifest,
    InvalidReference,
    RegistryError,
    Unsupported,
    doing,
)
from imgpkg.events import Hook, silent
from imgpkg.oci import media
from imgpkg.oci.derived_tags import DerivedTag, TagKind
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Reference, listed, parse_any
from imgpkg.operations.workers import open_workers
from imgpkg.session import Session, operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgpkg.oci.descriptor import Descriptor
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.workers import WorkerPool
    from imgpkg.registry.client import RegistryClient

_RECORDS = frozenset({TagKind.LOCATIONS, TagKind.PLACES})
_WITH_IMAGE = "With --with-image the image is deleted, if no other tag and no index needs it."


class DeletionOutcome(Enum):
    """What was deleted: a tag alone, an image with its tags, or nothing, as it was not there."""

    TAG = "tag deleted"
    IMAGE = "image deleted"
    ABSENT = "not there"


@dataclass(frozen=True, slots=True)
class Deleted:
    """What became of one reference: the digest that it named, if it was there, and the tags that went."""

    reference: Reference
    outcome: DeletionOutcome
    digest: Digest | None = None
    tags: tuple[str, ...] = ()


@operation
def delete_tag(
    image: str,
    *,
    session: Session,
    with_image: bool = False,
    together_with: Iterable[str] = (),
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> Deleted:
    """Delete the tag that `image` names; the image and its other tags stay.

    The outcome is that of an image where the registry deletes an image with its last tag.
    Where the registry deletes no tags alone, `with_image` deletes the image if all of its tags are `image`
    and those of `together_with`, and no tagged index lists it. Raises InvalidReference without a tag, InUse
    for an image that is needed, Unsupported where the registry does not delete, or an error of the registry.
    `on_event` receives how many of the other tags have been looked at.
    """
    reference, named = written_tag(image), (image, *listed("images", together_with))
    client = session.client.primary
    found = client.exists(reference)
    try:
        is_deleted = client.delete_tag(reference)
    except Unsupported as error:
        if found is not None and not with_image:
            error.hints = (_WITH_IMAGE, *error.hints)
            raise
        is_deleted = False
        if found is not None:
            allowed = _tags_in(reference.repository, named)
            return _ImageDeletion(session, reference, found.digest, on_event).delete(allowed)
    if not is_deleted:
        return _absent(client, reference)
    digest = found.digest if found is not None else None
    is_whole = digest is not None and _is_gone(client, reference.repository.digest(digest))
    outcome = DeletionOutcome.IMAGE if is_whole else DeletionOutcome.TAG
    return Deleted(reference, outcome, digest, (str(reference.tag),))


@operation
def delete_image(
    image: str,
    *,
    session: Session,
    all_tags: bool = False,
    together_with: Iterable[str] = (),
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> Deleted:
    """Delete the manifest that `image` names by a tag or a digest, and with it all of its tags.

    Without `all_tags`, those must be `image` and the ones of `together_with`, besides the internal tag of a
    copied image. What an index lists, what a bundle names, what is attached to the image, and blobs stay.
    Raises InvalidReference without a tag or digest, InUse for an image with other tags and for one that a
    tagged index lists or a copied bundle names, Unsupported where the registry does not delete, or an error
    of the registry.
    """
    reference, named = written_out(image), (image, *listed("images", together_with))
    client = session.client.primary
    found = client.exists(reference)
    if found is None:
        return _absent(client, reference)
    allowed = None if all_tags else _tags_in(reference.repository, named)
    return _ImageDeletion(session, reference, found.digest, on_event).delete(allowed)


@operation
def delete_manifest(
    image: str,
    *,
    session: Session,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> Deleted:
    """Delete the manifest that `image` names by a tag or a digest, and all its tags, whoever needs it.

    Unlike `delete_image` it takes a few requests, however many tags there are: nobody looks for other tags,
    which are not in the result, for indexes that list it, and for bundles that name it. What has a subject
    leaves the list of what refers to that. Raises InvalidReference without a tag or digest, ImmutableTag,
    Unsupported where the registry does not delete, Unauthorized, Forbidden, TransportError or RegistryError.
    See the distribution-spec, "Deleting Manifests".
    """
    reference = written_out(image)
    client = session.client.primary
    found = client.exists(reference)
    if found is None:
        return _absent(client, reference)
    place = reference.repository.digest(found.digest)
    manifest = _readable(client, place)
    subject = manifest.subject.digest if manifest is not None and manifest.subject is not None else None
    is_deleted = client.delete_manifest(place.repository, found.digest, subject)
    return Deleted(reference, DeletionOutcome.IMAGE if is_deleted else DeletionOutcome.ABSENT, found.digest)


@operation
def delete_blob(
    blob: str,
    *,
    session: Session,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> bool:
    """Delete the blob `blob`, `REPOSITORY@DIGEST`, whoever needs it; return False if there is none.

    An image with this layer or configuration cannot be pulled any more. Registries free the space of blobs
    without an image themselves, by their garbage collection. Raises InvalidReference without a digest,
    Unsupported where the registry does not delete, Unauthorized, Forbidden, TransportError or RegistryError.
    See the distribution-spec, "Deleting Blobs".
    """
    reference = parse_any(blob)
    if reference.digest is None:
        raise InvalidReference(f"{blob} has no digest: a blob is REPOSITORY@DIGEST")
    return session.client.primary.delete_blob(reference.repository, reference.digest)


def written_out(image: str) -> Reference:
    """Parse a reference that has a tag or a digest; raise InvalidReference, also for one with neither."""
    reference = parse_any(image)
    # `latest` is a default for reading: nobody should delete it without having written it.
    if reference.tag is not None and not image.endswith(f":{reference.tag}"):
        raise InvalidReference(f"{image} names neither a tag nor a digest: write out what is to be deleted")
    return reference


def written_tag(image: str) -> Reference:
    """Parse a reference that has a tag; raise InvalidReference, also for one with a digest or neither."""
    reference = written_out(image)
    if reference.tag is None:
        raise InvalidReference(f"{image} names no tag: `imgpkg delete` deletes images by their digest")
    return reference


def _absent(client: RegistryClient, reference: Reference) -> Deleted:
    # A repository that is misspelt, or hidden from this credential, is not empty: it is an error.
    with doing(f"{reference} is not there"):
        next(iter(client.tags(reference.repository)), None)
    return Deleted(reference, DeletionOutcome.ABSENT)


def _readable(client: RegistryClient, image: Reference) -> Manifest | None:
    try:
        return client.manifest(image)
    except InvalidManifest:
        # What cannot be read can still be deleted.
        return None


def _is_gone(client: RegistryClient, image: Reference) -> bool:
    try:
        return client.exists(image) is None
    except RegistryError:
        # The tag is deleted; what became of the image cannot be seen.
        return False


def _tags_in(repository: Repository, images: Iterable[str]) -> frozenset[str]:
    named = map(written_out, images)
    return frozenset(each.tag for each in named if each.tag is not None and each.repository == repository)


class _ImageDeletion:
    """The deletion of one image, after a look at everything in its repository that has a tag."""

    def __init__(self, session: Session, reference: Reference, digest: Digest, on_event: Hook) -> None:
        self._session = session
        self._client = session.client.primary
        self._reference = reference
        self._repository = reference.repository
        self._digest = digest
        self._on_event = on_event

    def delete(self, allowed: frozenset[str] | None) -> Deleted:
        """Delete it if `allowed` has all of its tags; None allows any."""
        jobs = self._session.settings.concurrency
        with open_workers(self._session, jobs, self._on_event, activity="looking at tags") as workers:
            tagged = self._look_up(workers, tuple(self._client.tags(self._repository)))
            manifest = _readable(self._client, self._repository.digest(self._digest))
            self._check_tags(tagged, allowed)
            self._check_indexes(workers, tagged, manifest)
            self._check_bundles(workers, tagged)
            # The look at all tags takes a while where there are many.
            tagged = self._again(workers, tagged)
            self._check_tags(tagged, allowed)
        subject = manifest.subject if manifest is not None else None
        is_deleted = self._client.delete_manifest(
            self._repository, self._digest, subject.digest if subject is not None else None
        )
        outcome = DeletionOutcome.IMAGE if is_deleted else DeletionOutcome.ABSENT
        return Deleted(self._reference, outcome, self._digest, self._names(tagged))

    def _look_up(self, workers: WorkerPool, tags: Iterable[str]) -> dict[str, Descriptor]:
        def look(tag: str) -> tuple[str, Descriptor | None]:
            return tag, self._client.exists(self._repository.tag(tag))

        return {tag: found for tag, found in workers.map(look, tags) if found is not None}

    def _again(self, workers: WorkerPool, before: Mapping[str, Descriptor]) -> dict[str, Descriptor]:
        """Return what the tags of this image, and those that are new, name now."""
        names = self._names(before)
        new = [tag for tag in self._client.tags(self._repository) if tag not in before]
        return self._look_up(workers, dict.fromkeys((*names, *new)))

    def _names(self, tagged: Mapping[str, Descriptor]) -> tuple[str, ...]:
        return tuple(sorted(tag for tag, found in tagged.items() if found.digest == self._digest))

    def _check_tags(self, tagged: Mapping[str, Descriptor], allowed: frozenset[str] | None) -> None:
        names = self._names(tagged)
        if self._reference.tag is not None and self._reference.tag not in names:
            raise InUse(f"{self._reference} was changed a moment ago, and was not deleted")
        others = [tag for tag in names if tag not in (allowed or ()) and not self._is_own(tag)]
        if others and allowed is not None:
            raise InUse(
                f"{self._reference} was not deleted: {self._digest} has other tags, which would go with it: "
                f"{', '.join(others)}",
                hints=("Name them too, or `imgpkg delete --all-tags` deletes the image with all its tags.",),
            )

    def _is_own(self, tag: str) -> bool:
        """Return True for the tag with which a copy keeps this image; see `_check_bundles`."""
        derived = DerivedTag.parse(tag)
        return derived is not None and (derived.kind, derived.digest) == (TagKind.IMAGE, self._digest)

    def _check_bundles(self, workers: WorkerPool, tagged: Mapping[str, Descriptor]) -> None:
        # A bundle whose images are here was copied here, and each of them has such a tag.
        if not any(map(self._is_own, self._names(tagged))):
            return
        derived = filter(None, map(DerivedTag.parse, sorted(tagged)))
        bundles = [each.digest for each in derived if each.kind in _RECORDS]

        def names_it(bundle: Digest) -> bool:
            reference = self._repository.digest(bundle)
            if bundle == self._digest or self._client.exists(reference) is None:
                return False
            found = fetch_locations(self._client, fetch_image(self._client, reference))
            images = () if found is None else found.record.images
            return any(image.image.endswith(f"@{self._digest}") for image in images)

        for bundle, is_named in zip(bundles, workers.map(names_it, bundles), strict=True):
            if is_named:
                raise InUse(
                    f"{self._reference} was not deleted: the bundle {self._repository.digest(bundle)} names "
                    f"{self._digest}",
                    hints=("Delete the bundle first if it is not needed.",),
                )

    def _check_indexes(
        self, workers: WorkerPool, tagged: Mapping[str, Descriptor], manifest: Manifest | None
    ) -> None:
        subject = manifest.subject if manifest is not None else None
        # The index of referrers loses its entry when the image goes.
        own = "" if subject is None else f"{subject.digest.algorithm}-{subject.digest.hex}"
        indexes = {
            tag: found
            for tag, found in tagged.items()
            if found.media_type in media.INDEXES and tag != own and found.digest != self._digest
        }

        def lists(tag: str) -> bool:
            index = self._client.manifest(self._repository.digest(indexes[tag].digest))
            return any(child.digest == self._digest for child in index.manifests)

        # One tag for each index is enough.
        firsts = {found.digest: tag for tag, found in sorted(indexes.items(), reverse=True)}
        for tag, is_listed in zip(firsts.values(), workers.map(lists, firsts.values()), strict=True):
            if is_listed:
                raise InUse(
                    f"{self._reference} was not deleted: {self._digest} is part of "
                    f"{self._repository.tag(tag)}, which cannot be pulled without it",
                    hints=(f"Delete {self._repository.tag(tag)} first if it is not needed.",),
                )
