"""Follow every reference from the roots: manifests, bundles and attachments, and the blobs that they name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from imgpkg.bundle.image import (
    Image,
    Reader,
    attestation_tag,
    read_config,
    sbom_tag,
    signature_tag,
)
from imgpkg.bundle.layer import fetch_images_lock, fetch_locations
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import (
    ArchiveError,
    Cancelled,
    ImgpkgError,
    NotFound,
    RegistryError,
    VerificationError,
)
from imgpkg.oci.reference import DOCKER_HUB, Repository
from imgpkg.operations.integrity.report import Defect, DefectKind, defect_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from imgpkg.bundle.image import Workers
    from imgpkg.oci.descriptor import Descriptor, Digest
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Reference


# Names content that has no name of its own: a layout that another tool made, blobs that nothing names.
UNNAMED = Repository(DOCKER_HUB, "library/layout")


class ContentHolder(Reader, Protocol):
    """A registry, tar file or layout whose content is verified; what it returns has its digest."""

    @property
    def has_repositories(self) -> bool:
        """Whether its repositories may differ; a file has the same content under every name."""
        ...

    def has_blob(self, repository: Repository, digest: Digest) -> bool:
        """Return whether the repository has the blob."""
        ...

    def attached(self, reference: Reference) -> tuple[Reference, ...]:
        """Return the digest references of what is attached to an image and is not listed elsewhere."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A manifest that has to be at one of `places`, of `size` bytes if that is known."""

    places: tuple[Reference, ...]
    named_by: str = ""
    size: int | None = None


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """A blob, and by repository the manifests that name it; none for a blob that is only there."""

    descriptor: Descriptor
    named_by: tuple[tuple[Repository, str], ...] = ()

    @property
    def repository(self) -> Repository:
        """The repository to read it from; any for a blob of a file that nothing names."""
        return self.named_by[0][0] if self.named_by else UNNAMED

    @property
    def names(self) -> tuple[str, ...]:
        """The references of the manifests that name it, each once."""
        return tuple(dict.fromkeys(name for _, name in self.named_by))


@dataclass(frozen=True, slots=True)
class Surveyed:
    """All manifests and blobs that were found by following the roots, and what was wrong with manifests."""

    manifests: tuple[tuple[Reference, Manifest], ...]
    parts: tuple[NamedBlob, ...]
    defects: tuple[Defect, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one manifest tells: it, the blobs that it names, and what to look at next."""

    found: tuple[Reference, Manifest] | None = None
    blobs: tuple[Descriptor, ...] = ()
    further: tuple[Wanted, ...] = ()
    defects: tuple[Defect, ...] = ()


def survey(holder: ContentHolder, roots: Iterable[Wanted], workers: Workers) -> Surveyed:
    """Look at everything that can be reached from `roots`, level by level; each manifest is read once.

    Nothing is raised for what is missing or damaged, but Cancelled.
    """
    manifests: dict[Reference, Manifest] = {}
    parts: dict[tuple[Digest, int], tuple[Descriptor, list[tuple[Repository, str]]]] = {}
    defects: list[Defect] = []
    asked: set[Hashable] = set()
    level = list(roots)
    while level:
        # Two bundles may name one image.
        keys = {_key(holder, wanted): wanted for wanted in reversed(level)}
        distinct = {key: wanted for key, wanted in keys.items() if key not in asked}
        asked |= distinct.keys()
        level = []
        for seen in workers.map(partial(_look, holder), list(distinct.values())):
            defects += seen.defects
            level += seen.further
            if seen.found is None or seen.found[0] in manifests:
                continue
            reference, manifest = seen.found
            manifests[reference] = manifest
            for blob in seen.blobs:
                _, named_by = parts.setdefault((blob.digest, blob.size), (blob, []))
                named_by.append((reference.repository, str(reference)))
    blobs = tuple(NamedBlob(blob, tuple(named_by)) for blob, named_by in parts.values())
    return Surveyed(tuple(manifests.items()), blobs, tuple(defects))


def _key(holder: ContentHolder, wanted: Wanted) -> Hashable:
    return wanted.places if holder.has_repositories else wanted.places[0].digest


def _look(holder: ContentHolder, wanted: Wanted) -> _Seen:
    try:
        reference, manifest = _found(holder, wanted.places)
    except Cancelled:
        raise
    except ImgpkgError as error:
        named_by = (wanted.named_by,) if wanted.named_by else ()
        return _Seen(defects=(defect_of(error, str(wanted.places[-1]), named_by),))
    looking = _Looking(holder, reference, manifest)
    looking.check_size(wanted)
    looking.follow()
    return _Seen((reference, manifest), manifest.parts(), tuple(looking.further), tuple(looking.defects))


def _found(holder: ContentHolder, places: tuple[Reference, ...]) -> tuple[Reference, Manifest]:
    here, *others = places
    if not others:
        return _at(holder, here)
    try:
        return _at(holder, here)
    except (RegistryError, ArchiveError):
        # Some registries answer 401 or 403 for a repository that does not exist.
        return _found(holder, tuple(others))


def _at(holder: ContentHolder, place: Reference) -> tuple[Reference, Manifest]:
    manifest = holder.manifest(place)
    return place.repository.digest(manifest.digest), manifest


@dataclass
class _Looking:
    """The look at one manifest that is there: gathers what it names and what is wrong with it."""

    holder: ContentHolder
    reference: Reference
    manifest: Manifest
    further: list[Wanted] = field(default_factory=list)
    defects: list[Defect] = field(default_factory=list)

    def check_size(self, wanted: Wanted) -> None:
        size = self.manifest.descriptor.size
        if wanted.size is not None and wanted.size != size:
            reason = f"it is named with {wanted.size} bytes, and has {size}"
            self.defects.append(Defect(DefectKind.DAMAGED, str(self.reference), reason, (wanted.named_by,)))

    def follow(self) -> None:
        name, repository = str(self.reference), self.reference.repository
        self.further += [
            Wanted((repository.digest(child.digest),), name, child.size) for child in self.manifest.children
        ]
        image = self._with_config()
        if image.is_bundle:
            self.further += self._members(image)
        try:
            self.further += [Wanted((found,), name) for found in self.holder.attached(self.reference)]
        except RegistryError as error:
            self.defects.append(defect_of(error, f"attachments of {self.reference}"))

    def _with_config(self) -> Image:
        image = Image(self.reference, self.manifest)
        if not self.manifest.is_image or self.manifest.config is None:
            return image
        try:
            config = read_config(self.holder, self.reference.repository, self.manifest.config)
        except (VerificationError, ArchiveError, RegistryError):
            # It is among the blobs, and is reported as one of them.
            return image
        return replace(image, config_raw=config)

    def _members(self, bundle: Image) -> Iterator[Wanted]:
        """Yield the images of a bundle, and the record of where they are."""
        repository, name = self.reference.repository, str(self.reference)
        try:
            locations = fetch_locations(self.holder, bundle)
        except ImgpkgError as error:
            self._report(error, "locations")
            locations = None
        if locations is not None:
            yield Wanted((locations.reference,), name)
        try:
            lock = fetch_images_lock(self.holder, bundle)
        except (VerificationError, ArchiveError, NotFound):
            # The layer is among the blobs, too.
            return
        except ImgpkgError as error:
            self._report(error, "images.yml")
            return
        places = locations.record.places() if locations is not None else {}
        for image in lock.images:
            here = places.get(image.digest) or repository.digest(image.digest)
            # A record promises that all images are in the repository of the bundle, or where it says.
            is_here = locations is not None or here == image.reference
            yield Wanted((here,) if is_here else (here, image.reference), name)

    def _report(self, error: ImgpkgError, what: str) -> None:
        if isinstance(error, Cancelled):
            raise error
        self.defects.append(defect_of(error, f"{what} of {self.reference}", (str(self.reference),)))


def attachment_tags(digest: Digest) -> tuple[str, ...]:
    """Return the tags at which cosign stores what belongs to an image."""
    return signature_tag(digest), attestation_tag(digest), sbom_tag(digest)
