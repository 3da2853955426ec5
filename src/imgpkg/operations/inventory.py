"""Make the inventory of a tar file, a layout or a repository: its manifests and blobs, with their sizes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.bundle.inventory import Base, Inventory
from imgpkg.errors import InvalidManifest, NotFound, UsageError
from imgpkg.events import Hook, Warned, silent
from imgpkg.oci.derived_tags import DerivedTag, TagKind
from imgpkg.oci.reference import Repository, listed
from imgpkg.operations.copy.delta import grouped
from imgpkg.operations.workers import METADATA_JOBS, open_workers
from imgpkg.session import Session, operation
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.bundle.image import Workers
    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Reference
    from imgpkg.operations.copy.plan import OpenedSource, Root
    from imgpkg.registry.client import RegistryClient

# Below the depth at which copies fail; a hostile registry could nest indexes without end.
_MAX_DEPTH = 32


@operation
def inventory(
    repository: str = "",
    *,
    session: Session,
    tar: StrPath = "",
    layout: StrPath = "",
    output: StrPath = "",
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> Inventory:
    """Return what is in a repository, in the tar file `tar`, or in the layout folder `layout`.

    Of a repository it is what its tags lead to. That takes a request for the list of tags and one for each
    manifest, and is read from the registry itself and not from a mirror. A manifest that cannot be read is
    left out with a warning, since its blobs are not known. Of a file only the list of its content is read;
    no request is sent. The blobs that a file was made without are listed as well, and as those of its bases.

    `output` is a file to write. Raises UsageError, InvalidReference, ArchiveError, InvalidDocument,
    LocalIOError, VerificationError, TransportError or RegistryError.
    """
    if sum(1 for given in (repository, tar, layout) if given) != 1:
        raise UsageError("Expected either a repository, --tar or --from-oci-layout")
    made = _of_file(tar, layout) if tar or layout else _of_repository(repository, session, on_event)
    if output:
        made.write(output)
    return made


def _of_file(tar: StrPath, layout: StrPath) -> Inventory:
    from imgpkg.operations.copy.store import open_file
    from imgpkg.operations.copy.values import CopyOptions, CopySource

    options = CopyOptions(include_non_distributable_layers=True)
    with open_file(CopySource(tar=tar, layout=layout), options) as opened:
        return of_opened(opened, os.path.basename(os.path.abspath(tar or layout)))


def of_opened(opened: OpenedSource, name: str) -> Inventory:
    """Return the inventory of an opened tar file or layout, named `name`."""
    plan, root = opened.plan, opened.collected.root
    # All others came with the bundle that was asked for.
    tops = [found for found in plan.roots if root is None or found.item.key == root.key]
    nodes = [node for found in plan.roots for node in found.node.walk()]
    moves = [move for digest, move in plan.blobs.items() if not move.is_missing or digest in opened.bases]
    return Inventory(
        name,
        images=dict(map(_named, tops)),
        manifests={str(node.manifest.digest): len(node.manifest.raw) for node in nodes},
        blobs={str(move.descriptor.digest): move.descriptor.size for move in moves},
        bases=grouped(opened.bases),
    )


def read_since(since: Iterable[StrPath | Inventory], output: StrPath = "") -> tuple[Base, ...]:
    """Return the bases of a copy to the file `output` that is made since others: files, or inventories.

    What these were made without themselves is at their own bases. Raises UsageError for the file that is to
    be written, and what `inventory` raises for a file.
    """
    made = tuple(_since(each, output) for each in listed("files and inventories", since))
    return (*(each.as_base() for each in made), *(base for each in made for base in each.bases))


def _since(given: StrPath | Inventory, output: StrPath) -> Inventory:
    if isinstance(given, Inventory):
        return given
    if output and os.path.realpath(given) == os.path.realpath(output):
        raise UsageError(f"Expected --since to be another file than the one to write, {os.fspath(output)}")
    is_layout = os.path.isdir(given)
    return _of_file("" if is_layout else given, given if is_layout else "")


def _named(root: Root) -> tuple[str, str]:
    reference = root.node.image.reference
    place = reference.repository.tag(root.item.tag) if root.item.tag else reference
    return str(place), str(root.node.manifest.digest)


def _of_repository(text: str, session: Session, on_event: Hook) -> Inventory:
    repository = Repository.parse(text)
    jobs = max(session.settings.concurrency, METADATA_JOBS)
    with open_workers(session, jobs, on_event, activity="reading") as workers:
        # What a mirror has is not what the registry has.
        reading = _TaggedContent(session.client.primary, repository, workers, on_event)
        return reading.inventory()


class _TaggedContent:
    """The manifests that the tags of a repository lead to, each read once, and their blobs."""

    def __init__(
        self, client: RegistryClient, repository: Repository, workers: Workers, on_event: Hook
    ) -> None:
        self._client = client
        self._repository = repository
        self._workers = workers
        self._on_event = on_event
        self._manifests: dict[str, int] = {}
        self._blobs: dict[str, int] = {}

    def inventory(self) -> Inventory:
        """Read everything; raise an error of the registry."""
        derived = {tag: DerivedTag.parse(tag) for tag in self._client.tags(self._repository)}
        # The internal tag of an image names a digest, and need not be asked what it is: most images of a
        # bundle have no other tag, and those with another one are read once.
        internal = {made.digest for made in derived.values() if made and made.kind is TagKind.IMAGE}
        asked = [tag for tag, made in derived.items() if made is None or made.kind is not TagKind.IMAGE]
        found = self._read([self._repository.tag(tag) for tag in asked])
        images = {tag: manifest for tag, manifest in zip(asked, found, strict=True) if manifest}
        level = [*images.values(), *self._below(internal)]
        for _ in range(_MAX_DEPTH):
            level = self._below({child.digest for manifest in level for child in manifest.children})
        named = {str(self._repository.tag(tag)): str(found.digest) for tag, found in images.items()}
        chosen = {name: digest for name, digest in named.items() if derived[name.rpartition(":")[2]] is None}
        return Inventory(str(self._repository), str(self._repository), chosen, self._manifests, self._blobs)

    def _below(self, digests: Iterable[Digest]) -> list[Manifest]:
        unknown = sorted(digest for digest in set(digests) if str(digest) not in self._manifests)
        return [found for found in self._read(map(self._repository.digest, unknown)) if found]

    def _read(self, references: Iterable[Reference]) -> list[Manifest | None]:
        return list(self._workers.map(self._manifest, references))

    def _manifest(self, reference: Reference) -> Manifest | None:
        try:
            manifest = self._client.manifest(reference)
        except NotFound:
            # The tag was deleted meanwhile, or the index lists images for platforms that were not copied.
            return None
        except InvalidManifest as error:
            self._on_event(Warned(f"{reference} is not in the inventory: {error}"))
            return None
        self._manifests[str(manifest.digest)] = len(manifest.raw)
        # Registries often do not have other layers.
        blobs = [blob for blob in manifest.parts() if blob.is_distributable]
        self._blobs.update((str(blob.digest), blob.size) for blob in blobs)
        return manifest
