"""Read a repository: what its tags name, what that names, and what is attached to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from imgpkg.bundle.image import places_tag, with_config
from imgpkg.bundle.layer import fetch_images_lock, fetch_places
from imgpkg.errors import (
    InvalidLock,
    InvalidManifest,
    NotFound,
    UnpackError,
    VerificationError,
    doing,
)
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor
from imgpkg.operations.prune.graph import Graph, GraphNode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.bundle.image import Image, Workers
    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Reference, Repository
    from imgpkg.registry.client import RegistryClient

# A registry could invent referrers of referrers without end.
_MAX_DEPTH = 128
# imgpkg reads a bundle from a single layer of these types only.
_BUNDLE_LAYERS = media.LAYERS - media.NON_DISTRIBUTABLE
# What is wrong with one image, and not with the registry or the way to it.
_DAMAGE = (InvalidLock, InvalidManifest, NotFound, UnpackError, VerificationError)


def survey(
    client: RegistryClient, repository: Repository, workers: Workers, also: Iterable[Digest] = ()
) -> Graph:
    """Read everything that the tags of `repository` lead to, and the digests `also` where they are there.

    Takes a request for each tag and each other manifest, one more for each where the registry lists
    referrers, and one or two for each image that may be a bundle. Raises an error of the registry.
    """
    return _RepositoryReading(client, repository, workers).read(also)


class _RepositoryReading:
    """What was read, by digest; None for what is not in the repository."""

    def __init__(self, client: RegistryClient, repository: Repository, workers: Workers) -> None:
        # What is deleted must be known from the registry itself, and not from a mirror.
        self._client = client.primary
        self._repository = repository
        self._workers = workers
        self._names: frozenset[str] = frozenset()
        self._nodes: dict[Digest, GraphNode | None] = {}

    def read(self, also: Iterable[Digest]) -> Graph:
        """Read the tags, then one level of what they lead to after the other."""
        names = tuple(self._client.tags(self._repository))
        self._names = frozenset(names)
        found = self._workers.map(lambda tag: self._manifest(self._repository.tag(tag)), names)
        read = {tag: manifest for tag, manifest in zip(names, found, strict=True) if manifest is not None}
        tags = {tag: manifest.digest for tag, manifest in read.items()}
        level = {manifest.digest: manifest for manifest in read.values()}
        level.update(self._of_digests(digest for digest in also if digest not in level))
        for _ in range(_MAX_DEPTH):
            if not level:
                nodes = [node for node in self._nodes.values() if node is not None]
                return Graph(nodes, tags, set(names) - set(tags))
            level = self._next(level.values())
        raise InvalidManifest(f"{self._repository}: manifests lead to others more than {_MAX_DEPTH} deep")

    def _next(self, level: Iterable[Manifest | GraphNode]) -> dict[Digest, Manifest | GraphNode]:
        nodes = list(self._workers.map(self._examine, level))
        self._nodes.update((node.digest, node) for node in nodes)
        links = dict.fromkeys(digest for node in nodes for digest in node.links())
        return self._of_digests(digest for digest in links if digest not in self._nodes)

    def _of_digests(self, digests: Iterable[Digest]) -> dict[Digest, Manifest | GraphNode]:
        wanted = tuple(dict.fromkeys(digests))
        found = self._workers.map(lambda digest: self._manifest(self._repository.digest(digest)), wanted)
        read = dict(zip(wanted, found, strict=True))
        self._nodes.update((digest, None) for digest, manifest in read.items() if manifest is None)
        return {digest: manifest for digest, manifest in read.items() if manifest is not None}

    def _manifest(self, reference: Reference) -> Manifest | GraphNode | None:
        try:
            return self._client.manifest(reference)
        except NotFound:
            return None
        except InvalidManifest as error:
            # It can be deleted, but not followed.
            found = self._client.exists(reference)
            if found is None:
                return None
            return GraphNode(found.digest, found.media_type, found.size, problem=str(error))

    def _examine(self, manifest: Manifest | GraphNode) -> GraphNode:
        if isinstance(manifest, GraphNode):
            return manifest
        referrers = self._client.referrers(self._repository, manifest.digest, tag_scheme=False)
        images: tuple[Digest, ...] = ()
        cuts: tuple[tuple[Digest, Digest], ...] = ()
        subject, problem = None, ""
        try:
            (images, cuts), subject = self._images(manifest), _subject(manifest)
        except _DAMAGE as error:
            problem = str(error)
        return GraphNode(
            manifest.digest,
            manifest.media_type,
            manifest.descriptor.size,
            tuple(child.digest for child in manifest.manifests),
            images,
            subject,
            tuple(referrer.digest for referrer in referrers),
            tuple({part.digest: part.size for part in manifest.parts()}.items()),
            problem,
            cuts,
        )

    def _images(self, manifest: Manifest) -> tuple[tuple[Digest, ...], tuple[tuple[Digest, Digest], ...]]:
        """Return the images of the lock of a bundle, and which of them were cut; none for other images."""
        if not manifest.is_image or len(manifest.layers) != 1:
            return (), ()
        if manifest.layers[0].media_type not in _BUNDLE_LAYERS:
            return (), ()
        image = with_config(self._client, self._repository, manifest)
        if not image.is_bundle:
            return (), ()
        with doing("Reading ImagesLock file"):
            lock = fetch_images_lock(self._client, image)
        named = (locked.digest for locked in lock.images)
        cuts = self._cuts(image)
        return tuple(dict.fromkeys((*named, *(here for here, _ in cuts)))), cuts

    def _cuts(self, bundle: Image) -> tuple[tuple[Digest, Digest], ...]:
        if places_tag(bundle.manifest.digest) not in self._names:
            return ()
        found = fetch_places(self._client, bundle)
        cuts = {} if found is None else found.record.cuts()
        return tuple((cut.result.digest, whole) for whole, cut in cuts.items())


def _subject(manifest: Manifest) -> Digest | None:
    """Return the subject, also of the kinds of manifests that were only for artifacts."""
    if manifest.subject is not None:
        return manifest.subject.digest
    if manifest.media_type not in (media.OCI_ARTIFACT, media.ORAS_ARTIFACT):
        return None
    # Its form was checked when the manifest was parsed, which keeps no fields of these kinds.
    found = json.loads(manifest.raw).get("subject")
    return None if found is None else Descriptor.read(found).digest
