"""What refers to an image: list it, and attach more."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import imgpkg
from imgpkg.dataclass import dataclass
from imgpkg.errors import UsageError, VerificationError, doing
from imgpkg.events import Hook, silent
from imgpkg.oci.descriptor import EMPTY, Descriptor
from imgpkg.oci.reference import Reference, parse_any
from imgpkg.operations.artifact.files import ArtifactFile
from imgpkg.operations.artifact.push import ArtifactPushResult, push_artifact
from imgpkg.operations.referrer_lists import confirm_lists
from imgpkg.operations.workers import open_workers
from imgpkg.session import Session, operation
from imgpkg.values import StrPath

_KEEPS_NONE = (
    "Without a referrers API a registry has to keep an index under the tag that is made of the digest: this "
    "one lost it, or others write it all the time. The artifact itself is there, by its digest."
)


@dataclass(frozen=True, slots=True)
class Referrer:
    """Something that refers to an image: its digest reference, and its descriptor in the list."""

    reference: Reference
    descriptor: Descriptor

    @property
    def artifact_type(self) -> str:
        """The kind of artifact, such as `application/spdx+json`; empty where the list has none."""
        return self.descriptor.artifact_type

    @property
    def annotations(self) -> Mapping[str, str]:
        """The annotations of its manifest, as far as the list has them."""
        return self.descriptor.annotations


@dataclass(frozen=True, slots=True)
class ReferrerList:
    """The digest reference of an image, and what refers to it, in the order of the registry."""

    subject: Reference
    referrers: tuple[Referrer, ...]


@operation
def referrers(
    image: str,
    *,
    session: Session,
    artifact_type: str | Iterable[str] = (),
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> ReferrerList:
    """Return what refers to the image that `image` names: signatures, SBOMs and the like with it as subject.

    `artifact_type` is the kind to list, or several of them; a registry that can filters by a single one. The
    list is that of the API, and where a registry has none, that of the index under the tag `sha256-HEX`. What
    cosign attaches by its own tags is not in it; `describe` with `attachments` finds both. Raises
    InvalidReference, NotFound for an image that is not there, InvalidManifest, TransportError or
    RegistryError. See the distribution-spec, "Listing Referrers".
    """
    reference = parse_any(image)
    kinds = {artifact_type} if isinstance(artifact_type, str) else set(artifact_type)
    kinds.discard("")
    repository, client = reference.repository, session.client
    with doing(f"Listing what refers to '{reference}'"):
        digest = client.resolve(reference).digest
        asked = next(iter(kinds)) if len(kinds) == 1 else ""
        found = client.referrers(repository, digest, artifact_type=asked)
    wanted = (entry for entry in found if not kinds or entry.artifact_type in kinds)
    listed = tuple(Referrer(repository.digest(entry.digest), entry) for entry in wanted)
    return ReferrerList(repository.digest(digest), listed)


@operation
def attach(
    files: Iterable[StrPath | bytes | ArtifactFile]
    | Mapping[str, StrPath | bytes | ArtifactFile]
    | os.PathLike[str]
    | bytes
    | ArtifactFile,
    *,
    image: str,
    artifact_type: str,
    session: Session,
    media_type: str = "",
    annotations: Mapping[str, str] = EMPTY,
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> ArtifactPushResult:
    """Attach `files` to the image that `image` names: push them as an artifact with it as subject.

    `files`, `media_type` and `annotations` are those of `push_artifact`. The artifact has no tag. It is
    among the `referrers` of the image when this returns: the list is looked at, and where clients keep it
    because the registry has no API, written again if another client has overwritten it meanwhile. A login
    that may not read cannot look.

    Raises what `push_artifact` raises, NotFound for an image that is not there, and VerificationError where
    the artifact is stored and not listed. See the distribution-spec, "Pushing Manifests with Subject".
    """
    if not artifact_type:
        raise UsageError("Expected an artifact type, such as application/spdx+json")
    reference = parse_any(image)
    pushed = push_artifact(
        files,
        image=str(reference.repository),
        session=session,
        artifact_type=artifact_type,
        media_type=media_type,
        annotations=annotations,
        subject=reference,
        on_event=on_event,
    )
    _confirm(session, pushed, reference, on_event)
    return pushed


def _confirm(session: Session, pushed: ArtifactPushResult, image: Reference, on_event: Hook) -> None:
    manifest = pushed.manifest
    with open_workers(session, 1, on_event) as workers:
        client = session.client.primary
        lost = confirm_lists(client, image.repository, [manifest], {manifest.digest}, workers)
    if lost:
        raise VerificationError(
            f"{pushed.reference} was written, but is not listed as a referrer of {image}",
            hints=(_KEEPS_NONE,),
        )
