"""Pull the files of an artifact into a folder, as `oras pull` does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.content.artifact_output import adding_to, in_each_other, title_parts, write_file
from imgpkg.content.output import absolute
from imgpkg.dataclass import dataclass
from imgpkg.errors import InvalidManifest, UnpackError, UsageError, doing
from imgpkg.events import BlobOutcome, BlobTransfer, Hook, Planned, Warned, silent
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.platform import Platform, as_platform, entries_for, platform_of, platforms_of
from imgpkg.oci.reference import Reference, parse_any
from imgpkg.operations.artifact.files import TITLE, UNPACK
from imgpkg.operations.workers import open_workers
from imgpkg.session import Session, operation
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from imgpkg.content.unpack import Parts
    from imgpkg.registry.client import RegistryClient


@dataclass(frozen=True, slots=True)
class PulledFile:
    """A file or folder that was pulled: its title, its path in the output, and its blob."""

    title: str
    path: str
    descriptor: Descriptor


@dataclass(frozen=True, slots=True)
class ArtifactPullResult:
    """The result of a pull: the digest reference, the manifest, and the files in its order.

    Blobs of the manifest without a title are not among them: they were not pulled, and a warning said so.
    """

    reference: Reference
    manifest: Manifest
    files: tuple[PulledFile, ...]


@operation
def pull_artifact(
    output: StrPath,
    *,
    image: str,
    session: Session,
    platform: Platform | str | None = None,
    overwrite: bool = True,
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> ArtifactPullResult:
    """Write the files of the artifact `image`, a reference, into the folder `output`, made if missing.

    A file is a blob with a title, `org.opencontainers.image.title`, which is its path below `output`. One
    with the annotation `io.deis.oras.content.unpack` is the tar of a folder, which is unpacked. The files
    are moved into `output` when all of them were verified, and replace those of their names unless
    `overwrite` is false; other files there stay. Nothing is written outside of it, also not through links
    that are there. Of an index it is the artifact that is listed for `platform`, such as `linux/arm64`.

    Raises InvalidReference, UsageError if it is not there for the platform, InvalidManifest for an index
    without a platform and for what is no manifest, UnpackError for a title or an entry that leads out of the
    folder and for two files in one place, VerificationError, LocalIOError, also for what is in the way,
    NotFound, TransportError or RegistryError.
    """
    folder, reference = absolute(os.fspath(output)), parse_any(image)
    with doing(f"Pulling artifact '{reference}'"):
        manifest = _manifest(session.client, reference, as_platform(platform))
        found = reference.repository.digest(manifest.digest)
        files = [layer for layer in manifest.layers if layer.annotations.get(TITLE)]
        places = _places(files)
        _warn_of_the_rest(reference, manifest, len(files), on_event)
        with adding_to(folder, overwrite=overwrite) as fresh:
            _fetch(session, reference, list(zip(files, places, strict=True)), fresh, on_event)
    pulled = (
        PulledFile(file.annotations[TITLE], os.path.join(folder, os.fsdecode(b"/".join(place))), file)
        for file, place in zip(files, places, strict=True)
    )
    return ArtifactPullResult(found, manifest, tuple(pulled))


def _manifest(client: RegistryClient, reference: Reference, wanted: Platform | None) -> Manifest:
    manifest = client.manifest(reference)
    if manifest.is_index:
        chosen = _chosen(reference, manifest, wanted)
        manifest = client.manifest(reference.repository.digest(chosen.digest))
    if not manifest.is_image:
        raise InvalidManifest(f"{reference} is no artifact that can be pulled, but {manifest.media_type}")
    return manifest


def _chosen(reference: Reference, index: Manifest, wanted: Platform | None) -> Descriptor:
    """Return the entry of an index for a platform."""
    platforms = ", ".join(map(str, platforms_of(index)))
    if wanted is None:
        listed = ", ".join(str(entry.digest) for entry in index.children)
        others = (f"Name one of its manifests by digest: {listed}.",) if listed else ()
        raise InvalidManifest(
            f"{reference} is an index, and not an artifact",
            hints=(f"Choose a platform: {platforms}.",) if platforms else others,
        )
    for entry in entries_for(index, (wanted,)):
        # Without a platform it is for all of them, or an attestation, and so not what was asked for.
        if entry.is_manifest and platform_of(entry) is not None:
            return entry
    raise UsageError(
        f"{reference} is not there for {wanted}",
        hints=(f"It is there for {platforms}.",) if platforms else (),
    )


def _warn_of_the_rest(reference: Reference, manifest: Manifest, count: int, on_event: Hook) -> None:
    left = sum(layer.media_type != media.OCI_EMPTY for layer in manifest.layers) - count
    # Charts and images have no titles: who pulls them expects files.
    if left > 0:
        blobs = "1 blob" if left == 1 else f"{left} blobs"
        on_event(Warned(f"{blobs} of {reference} without a title: pulled into no file"))


def _places(files: list[Descriptor]) -> list[Parts]:
    """Return the place of each file below the output; raise UnpackError."""
    places = [title_parts(file.annotations[TITLE]) for file in files]
    for file, place in zip(files, places, strict=True):
        # ORAS packs the working directory under the title `.`.
        if not place and not _is_folder(file):
            raise UnpackError(f"Expected the name of a file, but was '{file.annotations[TITLE]}'")
    if (found := in_each_other(places)) is not None:
        above, below = (os.fsdecode(b"/".join(place)) or "." for place in found)
        raise UnpackError(f"Expected files in places of their own, but were '{above}' and '{below}'")
    return places


def _is_folder(file: Descriptor) -> bool:
    return file.annotations.get(UNPACK) == "true"


def _fetch(
    session: Session, reference: Reference, files: list[tuple[Descriptor, Parts]], fresh: str, on_event: Hook
) -> None:
    client = session.client
    on_event(Planned.of([file for file, _ in files]))
    with open_workers(session, session.settings.concurrency, on_event) as workers:

        def fetch(job: tuple[Descriptor, Parts]) -> None:
            file, place = job
            transfer = BlobTransfer(file, "pull", workers.on_event)
            with client.blob(reference.repository, file) as stream:
                counted = transfer.counted(stream)
                if _is_folder(file):
                    from imgpkg.content.artifact_folder import unpack_folder

                    unpack_folder(counted, place, fresh)
                else:
                    write_file(counted, place, fresh)
            transfer.finish(BlobOutcome.MOVED)

        workers.map(fetch, files)
