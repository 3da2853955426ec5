"""Push files as an image or a bundle."""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import imgpkg
from imgpkg.bundle.contents import IMAGES, find_bundle, holds_bundle
from imgpkg.bundle.image import BUNDLE_LABEL, internal_tag
from imgpkg.content.image import build_image
from imgpkg.content.pack import pack_layer
from imgpkg.dataclass import dataclass
from imgpkg.errors import InvalidLock, UsageError, doing
from imgpkg.events import Hook, Planned, Warned, silent
from imgpkg.oci.reference import Reference, listed, without_login
from imgpkg.operations.tag import confirm_tag
from imgpkg.registry.uploads import WORTH_ASKING
from imgpkg.session import Session, operation
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from imgpkg.bundle.lock import LockProblem
    from imgpkg.content.image import BuiltImage
    from imgpkg.content.pack import PackedLayer
    from imgpkg.registry.client import RegistryClient

DEFAULT_EXCLUSIONS = (".git",)
_LATER = "the bundle can be pushed, and not be pulled or copied"
_NO_LABELS: Mapping[str, str] = MappingProxyType({})
# The label makes an image a bundle, and is reserved for that.
_BUNDLE_LABELS = MappingProxyType({BUNDLE_LABEL: "true"})


@dataclass(frozen=True, slots=True)
class PushResult:
    """The result of a push: the digest reference, and the tag that was written.

    `signature` is the digest reference of the manifest with the signature, None without one.
    """

    reference: Reference
    tag: str
    signature: Reference | None = None


@operation
def push(
    files: Iterable[StrPath] | os.PathLike[str],
    *,
    session: Session,
    image: str = "",
    bundle: str = "",
    exclusions: Collection[StrPath] = DEFAULT_EXCLUSIONS,
    preserve_permissions: bool = False,
    labels: Mapping[str, str] = _NO_LABELS,
    lock_output: StrPath = "",
    strict: bool = False,
    sign_key: imgpkg.SigningKey | None = None,
    sign_format: Literal["tag", "bundle"] = "tag",
    to_tar: StrPath = "",
    to_layout: StrPath = "",
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> PushResult:
    """Pack `files`, paths or one path, into a layer, and push it as `image` or as `bundle`, a tag reference.

    Of a folder the content is packed, a file under its own name. `exclusions` are names in the layer to leave
    out; a folder is left out with its content. `preserve_permissions` keeps the permissions of group and
    others, which are removed otherwise. `labels` are added to the image configuration. A bundle must contain
    `.imgpkg/images.yml`, an image must not contain `.imgpkg`. An images.yml that cannot be used when the
    bundle is pulled is reported with a warning, with `strict` by InvalidLock. `lock_output` is a BundleLock
    file to write. Blobs that the registry has are not uploaded again. `sign_key` signs the digest before a
    tag names it, under cosign's tag or by a sigstore bundle; what it has signed is not signed again. `to_tar`
    or `to_layout` is a tar file or layout folder to write instead, without images of a bundle. Raises
    UsageError, InvalidReference, LocalIOError, VerificationError, TransportError or RegistryError.
    """
    # All is checked before anything is packed, the lock file's folder too.
    target = _target(image, bundle, labels, lock_output)
    delivery = _Delivery(target, to_tar, to_layout, sign_key, sign_format).checked(lock_output)
    files = _listed(files, on_event)
    excluded = [os.fspath(path) for path in listed("names to exclude", exclusions)]
    _check_lock(_check_contents(files, excluded, is_bundle=bool(bundle)), strict=strict, on_event=on_event)
    place = _lock_place(lock_output)
    with pack_layer(
        files, exclusions=excluded, preserve_permissions=preserve_permissions, on_event=on_event
    ) as layer:
        # All digests are known before the first request, so that an equal image is found by its tag.
        built = build_image(layer, {**labels, **_BUNDLE_LABELS} if bundle else labels)
        result = delivery.run(session, layer, built, on_event)
    return _write_lock(result, place, lock_output)


@dataclass(frozen=True, slots=True)
class _Delivery:
    """Where a packed image goes: to a registry, signed if there is a key, or into a file; see `push`."""

    target: Reference
    tar: StrPath
    layout: StrPath
    key: imgpkg.SigningKey | None
    form: Literal["tag", "bundle"]

    def checked(self, lock_output: StrPath) -> _Delivery:
        """Return this; raise UsageError for what does not go together."""
        if self.tar and self.layout:
            raise UsageError("Expected only one of --to-tar and --to-oci-layout")
        is_file = bool(self.tar or self.layout)
        if is_file and lock_output:
            raise UsageError("Cannot output lock file with tar destination")
        return self

    def run(self, session: Session, layer: PackedLayer, built: BuiltImage, on_event: Hook) -> PushResult:
        """Write the image to the file, or push it."""
        target = self.target
        if self.tar or self.layout:
            signature = self._write(session, layer, built, on_event)
        else:
            signature = _sign(session, target, built, self.key, self.form)
            _publish(session.client.primary, target, layer, built, on_event)
        return PushResult(target.repository.digest(built.manifest.digest), str(target.tag), signature)

    def _write(
        self, session: Session, layer: PackedLayer, built: BuiltImage, on_event: Hook
    ) -> Reference | None:
        """Write the image to the file, with its signature if there is a key, whose reference is returned."""
        from imgpkg.operations.copy.file import write_built

        signature = None
        if self.key is not None:
            from imgpkg.operations.signing import bundle_signature, tag_signature

            signature = (
                bundle_signature(built.manifest, self.key)
                if self.form == "bundle"
                else tag_signature(self.target, built.manifest, self.key)
            )
        write_built(
            built,
            layer,
            self.target,
            tar=self.tar,
            layout=self.layout,
            session=session,
            on_event=on_event,
            signature=signature,
        )
        return self.target.repository.digest(signature.manifest.digest) if signature is not None else None


def _target(image: str, bundle: str, labels: Mapping[str, str], lock_output: StrPath) -> Reference:
    if BUNDLE_LABEL in labels:
        raise UsageError(
            f"label '{BUNDLE_LABEL}' is reserved and cannot be overriden. Please use a different key"
        )
    if image and bundle:
        raise UsageError("Expected only one of image or bundle")
    if not image and not bundle:
        raise UsageError(
            "Expected either image or bundle",
            hints=("Say what to push the files as: -i REFERENCE for an image, -b REFERENCE for a bundle.",),
        )
    if image and lock_output:
        raise UsageError("Lock output is not compatible with image, use bundle for lock output")
    text = image or bundle
    # A tag is needed: pushing by digest would leave an image that no tag names.
    with doing(f"Parsing '{without_login(text)}'"):
        return Reference.parse_tag(text)


def _listed(files: Iterable[StrPath] | os.PathLike[str], on_event: Hook) -> Sequence[StrPath]:
    # A str is an iterable of one-letter paths to the type checker.
    if isinstance(files, str):
        raise UsageError(f"Expected a list of files, but was the one name '{files}'")
    listed = [files] if isinstance(files, os.PathLike) else list(files)
    if not listed:
        on_event(Warned("no file is named with -f: the image is empty"))
    return listed


def _check_contents(files: Sequence[StrPath], exclusions: Collection[str], *, is_bundle: bool) -> str:
    """Return the `.imgpkg` folder of a bundle, empty for an image."""
    if is_bundle:
        return find_bundle(files, exclusions)
    if holds_bundle(files):
        raise UsageError(
            "Images cannot be pushed with '.imgpkg' directories, consider using --bundle (-b) option",
            hints=("To push the files without it as an image, add --file-exclusion .imgpkg.",),
        )
    return ""


def _check_lock(folder: str, *, strict: bool, on_event: Hook) -> None:
    """Report what is wrong with the images lock of a bundle: at its pull, its author is far away."""
    # An image has no such folder.
    if not folder:
        return
    from imgpkg.bundle.lock import HOW_TO_LOCK, find_problems, read_file

    path = os.path.join(folder, IMAGES)
    shown = _relative(path)
    problems = find_problems(read_file(path, shown), shown)
    lines = [_line(shown, problem) for problem in problems]
    if strict and lines:
        raise InvalidLock(
            f"{shown} cannot be used later",
            lines=tuple(f"  {line}" for line in lines),
            hints=(HOW_TO_LOCK,) if any(problem.lacks_digest for problem in problems) else (),
            place=(problems[0].line, problems[0].column),
        )
    for line, problem in zip(lines, problems, strict=True):
        remedy = "; imgpkg lock resolves it" if problem.lacks_digest else ""
        on_event(Warned(f"{line}; {_LATER}{remedy}" if problem.is_fatal else line))


def _relative(path: str) -> str:
    try:
        return os.path.relpath(path)
    # The working directory was removed, which matters only to relative outputs.
    except FileNotFoundError:
        return path


def _line(name: str, problem: LockProblem) -> str:
    numbers = [str(number) for number in (problem.line, problem.column) if number]
    return f"{':'.join((name, *numbers))}: {problem.text}"


def _sign(
    session: Session,
    target: Reference,
    built: BuiltImage,
    key: imgpkg.SigningKey | None,
    form: Literal["tag", "bundle"],
) -> Reference | None:
    if key is None:
        return None
    from imgpkg.operations.signing import sign_bundle, sign_tag

    # First the signature, then the tag: nobody meets the tag without it.
    sign = sign_bundle if form == "bundle" else sign_tag
    reference = target.repository.digest(built.manifest.digest)
    with doing(f"Signing '{reference}'"):
        return sign(session.client.primary, reference, built.manifest, key)


def _publish(
    client: RegistryClient, target: Reference, layer: PackedLayer, built: BuiltImage, on_event: Hook
) -> None:
    # The tag is derived from the digest. If it exists, the same content was pushed before, maybe under
    # another tag: then nothing is uploaded but the manifest under `target`.
    internal = target.repository.tag(internal_tag(built.manifest.digest))
    with doing(f"Writing '{target}'", "Writing image"):
        is_there = client.names(internal, built.manifest.digest)
        if is_there:
            on_event(Planned(0, 0, *_blobs(layer, built)))
        else:
            # The manifest last: a registry refuses one whose blobs it lacks, and readers never see a part.
            _send(client, target, layer, built, on_event)
            client.push_manifest(target, built.manifest)
            confirm_tag(client, target, built.manifest.digest)
    tag = target if is_there else internal
    with doing(f"Writing Tag '{tag}'", "Tagging image"):
        if not (is_there and client.names(target, built.manifest.digest)):
            client.push_manifest(tag, built.manifest)
            if is_there:
                confirm_tag(client, target, built.manifest.digest)


def _send(
    client: RegistryClient, target: Reference, layer: PackedLayer, built: BuiltImage, on_event: Hook
) -> None:
    repository = target.repository
    is_large = layer.descriptor.size >= WORTH_ASKING
    on_event(Planned(*_blobs(layer, built)))
    client.push_blob(repository, layer.descriptor, layer.open, check=is_large, on_event=on_event)
    client.push_blob(
        repository,
        built.config_descriptor,
        lambda: io.BytesIO(built.config),
        # A configuration is about 300 bytes.
        check=False,
        on_event=on_event,
    )


def _blobs(layer: PackedLayer, built: BuiltImage) -> tuple[int, int]:
    """Return how many blobs an image has, its layer and its configuration, and their bytes."""
    return 2, layer.descriptor.size + built.config_descriptor.size


def _lock_place(lock_output: StrPath) -> str:
    if not lock_output:
        return ""
    from imgpkg.content.output import output_file

    with doing("Writing bundle config"):
        return output_file(lock_output)


def _write_lock(result: PushResult, path: str, shown: StrPath) -> PushResult:
    if path:
        from imgpkg.bundle.lock import BundleLock

        BundleLock(result.reference, result.tag).write(path, shown)
    return result
