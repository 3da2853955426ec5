"""Push files of any kind as an artifact, as `oras push` does."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import InvalidReference, UsageError, doing
from imgpkg.events import Hook, Planned, silent
from imgpkg.oci.descriptor import EMPTY, Descriptor, Digest
from imgpkg.oci.encoding import EMPTY_BLOB
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Reference, Repository, parse_any, without_login
from imgpkg.operations.artifact.files import (
    ArtifactBlob,
    ArtifactFile,
    as_file,
    listed,
    prepare,
    prepare_config,
)
from imgpkg.operations.tag import confirm_tag
from imgpkg.operations.workers import open_workers
from imgpkg.registry.uploads import WORTH_ASKING
from imgpkg.session import Session, operation
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from imgpkg.operations.workers import WorkerPool
    from imgpkg.registry.client import RegistryClient

# What ORAS writes where nothing else is said.
UNKNOWN_ARTIFACT = "application/vnd.unknown.artifact.v1"
UNKNOWN_CONFIG = "application/vnd.unknown.config.v1+json"
_EMPTY = ArtifactBlob(EMPTY_BLOB, partial(io.BytesIO, EMPTY_BLOB.data or b""))


@dataclass(frozen=True, slots=True)
class ArtifactPushResult:
    """The result of a push: the digest reference, the tag that was written, and the manifest.

    `tag` is empty if none was written.
    """

    reference: Reference
    tag: str
    manifest: Manifest


@operation
def push_artifact(
    files: Iterable[StrPath | bytes | ArtifactFile]
    | Mapping[str, StrPath | bytes | ArtifactFile]
    | os.PathLike[str]
    | bytes
    | ArtifactFile,
    *,
    image: str,
    session: Session,
    artifact_type: str = "",
    media_type: str = "",
    config: StrPath | bytes | ArtifactFile | None = None,
    annotations: Mapping[str, str] = EMPTY,
    subject: str | Reference | Digest | Descriptor | None = None,
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> ArtifactPushResult:
    """Push `files`, each as a blob of one manifest, to the reference `image`.

    They are paths, bytes and ArtifactFiles, or a mapping of titles to these, or one of them, but for a str.
    Bytes without a title are pulled into no file. `media_type` is that of files that do not name their own.
    Without a tag in `image` none is written. `annotations` are those of the manifest; none is added, so that
    the same files have the same digest at any time. `artifact_type` is `application/vnd.unknown.artifact.v1`
    unless there is a `config`; without one the configuration is the empty descriptor, and so is the only
    layer without `files`. `subject` is what it refers to there: a reference or digest, or the descriptor.

    Raises UsageError, InvalidReference, LocalIOError, InvalidManifest for no media type or no text, NotFound
    for a missing subject, VerificationError, also for a file that changes meanwhile, TransportError or
    RegistryError. See the OCI image-spec, manifest.md.
    """
    (repository, tag), client = _target(image), session.client.primary
    with ExitStack() as opened, doing(f"Pushing artifact '{without_login(image)}'"):
        layers = prepare(listed(files, media_type), opened, on_event) or [_EMPTY]
        described = _EMPTY if config is None else _config(config, opened)
        manifest = Manifest.build(
            described.descriptor,
            [layer.descriptor for layer in layers],
            artifact_type=artifact_type or ("" if config is not None else UNKNOWN_ARTIFACT),
            subject=_subject(client, repository, subject),
            annotations=annotations,
        )
        with open_workers(session, session.settings.concurrency, on_event) as workers:
            _publish(client, _place(repository, tag, manifest), manifest, [described, *layers], workers)
    return ArtifactPushResult(repository.digest(manifest.digest), tag, manifest)


def _target(image: str) -> tuple[Repository, str]:
    """Return the repository and the tag that is written, empty for none."""
    with doing(f"Parsing '{without_login(image)}'"):
        parsed = Reference.parse(image)
        if parsed.digest is not None:
            raise InvalidReference(
                "an artifact is pushed to a tag or to a repository, and not to a digest",
                hints=(f"{parsed.repository} alone writes no tag: the artifact has its digest.",),
            )
    # `latest` is written where it is asked for: it may be the image that the artifact is about.
    _, colon, tag = image.rpartition(":")
    return parsed.repository, tag if colon and "/" not in tag else ""


def _config(given: StrPath | bytes | ArtifactFile, opened: ExitStack) -> ArtifactBlob:
    config = as_file(given)
    return prepare_config(replace(config, media_type=config.media_type or UNKNOWN_CONFIG), opened)


def _subject(
    client: RegistryClient,
    repository: Repository,
    subject: str | Reference | Digest | Descriptor | None,
) -> Descriptor | None:
    if subject is None or isinstance(subject, Descriptor):
        return subject
    reference = subject if isinstance(subject, Reference) else _named(repository, str(subject))
    if reference.repository != repository:
        raise UsageError(
            f"Expected the subject to be in {repository}, but was {reference}",
            hints=("An artifact refers to what is in its own repository.",),
        )
    found = client.resolve(reference)
    return Descriptor(found.media_type, found.digest, found.size)


def _named(repository: Repository, subject: str) -> Reference:
    """Return the reference of a subject, which may be a digest alone."""
    try:
        return repository.digest(Digest.parse(subject))
    except InvalidReference:
        return parse_any(subject)


def _place(repository: Repository, tag: str, manifest: Manifest) -> Reference:
    return repository.tag(tag) if tag else repository.digest(manifest.digest)


def _publish(
    client: RegistryClient,
    place: Reference,
    manifest: Manifest,
    blobs: Iterable[ArtifactBlob],
    workers: WorkerPool,
) -> None:
    # Two files with the same content are one blob.
    unique = {blob.descriptor.digest: blob for blob in blobs}
    totals = len(unique), sum(blob.descriptor.size for blob in unique.values())
    if client.names(place, manifest.digest):
        workers.on_event(Planned(0, 0, *totals))
        return
    workers.on_event(Planned(*totals))

    def send(blob: ArtifactBlob) -> None:
        # The empty blob is in most repositories of artifacts.
        check = blob is _EMPTY or blob.descriptor.size >= WORTH_ASKING
        client.push_blob(place.repository, blob.descriptor, blob.open, check=check, on_event=workers.on_event)

    workers.map(send, unique.values())
    # The manifest last: a registry refuses one whose blobs it lacks, and readers never see a part.
    client.push_manifest(place, manifest)
    if place.tag is not None:
        confirm_tag(client, place, manifest.digest)
