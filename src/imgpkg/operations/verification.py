"""Verify signatures and attestations of images against a policy, before anything is written."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Protocol

import imgpkg
from imgpkg.bundle.image import attestation_tag, signature_tag
from imgpkg.dataclass import dataclass
from imgpkg.errors import Forbidden, NotFound, NotInFile, Untrusted, VerificationError, doing
from imgpkg.oci.derived_tags import attached_to
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Reference, Repository, parse_any
from imgpkg.operations.copy.plan import ROOT_BUNDLE_LABEL, BlobMove, digests_of
from imgpkg.operations.copy.values import Verified
from imgpkg.operations.workers import METADATA_JOBS, open_workers
from imgpkg.session import Session, operation
from imgpkg.trust.attachment import MOST_LAYERS, Attachment, Candidate, candidates, may_be_signature
from imgpkg.trust.judgement import judge
from imgpkg.trust.policy import Policy, Requirement

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from imgpkg.oci.descriptor import ByteReader, Descriptor
    from imgpkg.oci.manifest import Manifest
    from imgpkg.operations.copy.plan import OpenedSource, Root
    from imgpkg.operations.copy.values import CopyOptions, Log
    from imgpkg.operations.image_store import ImageReader
    from imgpkg.registry.client import RegistryClient
    from imgpkg.trust.key import PublicKey
    from imgpkg.trust.policy import PolicyRule

_MOST_LINES = 20
_NOT_IN_FILE = (
    "The file has no signature of it: make the file with --attachments, which takes along what is signed "
    "under cosign's tags and what refers to an image."
)
_NOT_IN_REGISTRY = (
    "Signatures are looked for beside the image: under cosign's tag, which is its digest with a hyphen and "
    "the ending .sig, or .att for attestations, and among what refers to it."
)
_UNPROVEN = (
    "a rule without requirements accepts no image of a file by its name, which nothing proves there; "
    "a signed bundle that names it does"
)


@operation
def verify_signatures(
    image: str,
    *,
    policy: Policy,
    session: Session,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> Verified:
    """Verify the signatures and attestations of the image or bundle `image` against `policy`.

    The digest of the result is the one that was verified: a tag may name another one the next time. Only the
    image itself is looked at, not what a bundle names.

    Raises InvalidReference, Untrusted, VerificationError, InvalidManifest, UsageError without sigstore-python
    where the policy needs it, TransportError or RegistryError.
    """
    asked = parse_any(image)
    found = asked.repository.digest(session.client.resolve(asked).digest)
    return verify_reference(found, policy, session.client, named=asked.repository)


def verify_reference(
    reference: Reference, policy: Policy, client: ImageReader, *, named: Repository, is_proven: bool = True
) -> Verified:
    """Verify the image at the digest reference `reference` by the rule for the repository `named`.

    `is_proven` is false if only a file says that it is from there.
    """
    _check_means(policy)
    verdict = _Verifier(policy, _Registry(client, {})).verdict(_Subject(reference, named, is_proven))
    if verdict.refusal:
        raise _untrusted([verdict], is_file=not is_proven)
    return verdict.verified


def verify_copy(opened: OpenedSource, policy: Policy, options: CopyOptions, log: Log) -> tuple[Verified, ...]:
    """Verify everything that a copy is about to write, and return what was verified by a signature.

    What was asked for needs the signatures of its rule. What a verified bundle names, at any depth, is
    covered by it, and so is what is attached to an image that is covered. Nothing else is accepted: a tar
    file or layout may have been changed by anybody. Raises Untrusted, or what reading the source raises.
    """
    _check_means(policy)
    verified = _Copy(opened, policy).verify()
    for image in verified:
        log(f"verified {image.reference}: signed by {', '.join(image.signers)}")
    takes = options.cosign_signatures or options.referrers or options.attachments
    if not takes and not opened.is_local:
        log("signatures are not copied (hint: --attachments takes them along)")
    return verified


def _check_means(policy: Policy) -> None:
    """Raise UsageError before any request if a rule needs what is not installed."""
    if any(requirement.identities for rule in policy.rules for requirement in rule.requirements):
        from imgpkg.trust.keyless import require_sigstore

        require_sigstore()


class _Store(Protocol):
    """Where attachments are read from."""

    def attached(self, image: Reference, wanted: Collection[str]) -> Iterator[tuple[str, Manifest]]:
        """Yield what may hold the `wanted` signatures and attestations of an image, and where it is."""
        ...

    def blob(self, repository: Repository, layer: Descriptor) -> AbstractContextManager[ByteReader]:
        """Open a layer, whose bytes are verified against its descriptor."""
        ...


def _tags(digest: Digest, wanted: Collection[str]) -> Iterator[str]:
    if "" in wanted:
        yield signature_tag(digest)
    if any(wanted):
        yield attestation_tag(digest)


def _digest(reference: Reference) -> Digest:
    assert reference.digest is not None  # noqa: S101 - roots and subjects are digest references
    return reference.digest


@dataclass(frozen=True, slots=True)
class _Registry:
    """Attachments in a registry; `tagged` are the manifests of tags that the copy itself will write."""

    client: ImageReader
    tagged: Mapping[Reference, Manifest]

    def attached(self, image: Reference, wanted: Collection[str]) -> Iterator[tuple[str, Manifest]]:
        repository, digest = image.repository, _digest(image)
        for name in _tags(digest, wanted):
            tag = repository.tag(name)
            manifest = self.tagged.get(tag) or self._read(tag)
            if manifest is not None:
                yield str(tag), manifest
        for found in self._referrers(repository, digest):
            if may_be_signature(found.artifact_type):
                place = repository.digest(found.digest)
                # A list that clients keep may still name what was deleted.
                if (manifest := self._read(place)) is not None:
                    yield str(place), manifest

    def blob(self, repository: Repository, layer: Descriptor) -> AbstractContextManager[ByteReader]:
        return self.client.blob(repository, layer)

    # Some registries answer 403 for what does not exist: then there is no signature.
    def _read(self, place: Reference) -> Manifest | None:
        try:
            return self.client.manifest(place)
        except (NotFound, NotInFile, Forbidden):
            return None

    def _referrers(self, repository: Repository, digest: Digest) -> tuple[Descriptor, ...]:
        try:
            return self.client.referrers(repository, digest)
        except (NotFound, Forbidden):
            return ()


class _File:
    """Attachments in a tar file or layout: its images with cosign's tags, and those with a subject."""

    def __init__(self, opened: OpenedSource) -> None:
        self._opened = opened
        # By tags, and by subjects, with their places in the file.
        self._attached: dict[str | Digest, dict[int, Root]] = {}
        for place, root in enumerate(opened.plan.roots):
            manifest = root.node.manifest
            if manifest.subject is not None and may_be_signature(manifest.artifact_type):
                self._attached.setdefault(manifest.subject.digest, {})[place] = root
            self._attached.setdefault(root.item.tag, {})[place] = root

    def attached(self, image: Reference, wanted: Collection[str]) -> Iterator[tuple[str, Manifest]]:
        digest = _digest(image)
        names: tuple[str | Digest, ...] = (digest, *_tags(digest, wanted))
        found: dict[int, Root] = {}
        for name in names:
            found |= self._attached.get(name, {})
        for place in sorted(found):
            root = found[place]
            yield str(root.item.reference), root.node.manifest

    def blob(self, repository: Repository, layer: Descriptor) -> AbstractContextManager[ByteReader]:
        return self._opened.open_blob(BlobMove(layer, repository))


@dataclass(frozen=True, slots=True)
class _Subject:
    """An image to verify, and the repository by which its rule is found.

    `is_proven` is false for the name that a file gives: anybody could have written it there.
    """

    image: Reference
    named: Repository
    is_proven: bool = True


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What was verified, and why it is refused, or empty."""

    verified: Verified
    refusal: str = ""
    has_none: bool = False


@dataclass(frozen=True, slots=True)
class _Verifier:
    """Finds the rule of an image, reads what is attached to it, and judges that."""

    policy: Policy
    store: _Store

    def verdict(self, subject: _Subject) -> _Verdict:
        rule = self.policy.rule(subject.named)
        nothing = Verified(subject.image)
        if rule is None:
            return _Verdict(nothing, f"no rule of the policy is for {subject.named}")
        if not rule.requirements:
            return _Verdict(nothing, "" if subject.is_proven else _UNPROVEN)
        with doing(f"Verifying {subject.image}"):
            return self._judged(subject.image, rule)

    def _judged(self, image: Reference, rule: PolicyRule) -> _Verdict:
        attachments = self._attachments(image, {needed.predicate_type for needed in rule.requirements})
        judgements = [judge(needed, _digest(image), attachments) for needed in rule.requirements]
        refusals = [judgement.reason for judgement in judgements if not judgement.is_fulfilled]
        signers = (str(signer) for judgement in judgements for signer in judgement.signers)
        types = (needed.predicate_type for needed in rule.requirements)
        verified = Verified(image, tuple(dict.fromkeys(signers)), tuple(dict.fromkeys(filter(None, types))))
        return _Verdict(verified, "; ".join(refusals), has_none=not attachments)

    def _attachments(self, image: Reference, wanted: Collection[str]) -> list[Attachment]:
        return _read(self.store, image, self.store.attached(image, wanted), wanted)


def _read(
    store: _Store,
    image: Reference,
    attached: Iterable[tuple[str, Manifest]],
    wanted: Collection[str],
) -> list[Attachment]:
    found: list[Candidate] = []
    for place, manifest in attached:
        found += candidates(manifest, place, wanted)
        if len(found) > MOST_LAYERS:
            raise VerificationError(f"it has more than {MOST_LAYERS} signatures and attestations")
    # All of them are checked before the first is read.
    for candidate in found:
        candidate.check_size()
    return [Attachment(candidate, _content(store, image.repository, candidate.layer)) for candidate in found]


def _content(store: _Store, repository: Repository, layer: Descriptor) -> bytes:
    with store.blob(repository, layer) as stream:
        return b"".join(iter(lambda: stream.read(1 << 20), b""))


def has_signed(
    client: RegistryClient, image: Reference, attached: Iterable[tuple[str, Manifest]], key: PublicKey
) -> bool:
    """Return whether a manifest of `attached`, each with its place, has a signature of `image` by `key`."""
    read = _read(_Registry(client, {}), image, attached, ("",))
    return judge(Requirement((key,)), _digest(image), read).is_fulfilled


class _Copy:
    """The images of a copy: which of them need signatures of their own, and which are covered by others."""

    def __init__(self, opened: OpenedSource, policy: Policy) -> None:
        self._opened = opened
        self._policy = policy
        self._records = {record.bundle: record for record in opened.collected.records}
        self._asked = frozenset(item.key for item in opened.collected.items)
        self._verifier = _Verifier(policy, self._store())
        self._verdicts: dict[_Subject, _Verdict] = {}

    def verify(self) -> tuple[Verified, ...]:
        roots = self._opened.plan.roots
        # Bundles that were asked for come first: they cover the images that they name.
        bundles = [root for root in roots if ROOT_BUNDLE_LABEL in root.item.labels]
        self._examine(map(self._subject, bundles))
        covered = self._covered(bundles)
        known = {root.item.key for root in roots if self._is_covered(root, covered)}
        known |= {root.item.key for root in bundles}
        own = [root for root in roots if root.item.key not in known and not self._is_attached(root)]
        self._examine(map(self._subject, own))
        known |= {root.item.key for root in own}
        self._examine(map(self._subject, self._loose(known)))
        if self._policy.checks_members:
            self._examine(self._members(covered))
        return self._result()

    def _result(self) -> tuple[Verified, ...]:
        refused = [verdict for verdict in self._verdicts.values() if verdict.refusal]
        if refused:
            raise _untrusted(refused, is_file=self._opened.is_local)
        return tuple(verdict.verified for verdict in self._verdicts.values() if verdict.verified.signers)

    def _store(self) -> _Store:
        if self._opened.session is None:
            return _File(self._opened)
        items = ((root.item, root.node.manifest) for root in self._opened.plan.roots)
        tagged = {
            item.reference.repository.tag(item.tag): manifest
            for item, manifest in items
            if item.tag and attached_to(item.tag, manifest) is not None
        }
        return _Registry(self._opened.session.client, tagged)

    def _subject(self, root: Root) -> _Subject:
        named = root.item.reference.repository
        # The signatures of an index that was cut are those of the whole one.
        return _Subject(root.named, named, is_proven=not self._opened.is_local)

    def _examine(self, subjects: Iterable[_Subject]) -> None:
        new = [subject for subject in dict.fromkeys(subjects) if subject not in self._verdicts]
        session = self._opened.session
        if session is None:
            self._verdicts.update((subject, self._verifier.verdict(subject)) for subject in new)
            return
        with open_workers(session, max(session.settings.concurrency, METADATA_JOBS)) as workers:
            self._verdicts.update(zip(new, workers.map(self._verifier.verdict, new), strict=True))

    def _covered(self, bundles: Iterable[Root]) -> dict[Digest, Repository]:
        """Return the images that `bundles` name, at any depth, with the repositories of their locks."""
        covered: dict[Digest, Repository] = {}
        queue = [root.node.manifest.digest for root in bundles]
        while queue:
            record = self._records.get(queue.pop())
            for location in record.images if record is not None else ():
                reference = Reference.parse(location.image)
                if _digest(reference) not in covered:
                    covered[_digest(reference)] = reference.repository
                    queue.append(_digest(reference))
        return covered

    def _is_covered(self, root: Root, covered: Collection[Digest]) -> bool:
        # A tag that a file gives to an image of the bundle is in no signed lock.
        has_own_tag = bool(root.item.tag) and self._opened.is_local
        return not has_own_tag and root.named.digest in covered

    def _is_attached(self, root: Root) -> bool:
        """Return whether `root` is in the copy only because it is attached to something."""
        if _target(root) is None:
            return False
        # What a registry was asked for is no attachment, whatever its subject is.
        return self._opened.is_local or bool(root.item.tag) or root.item.key not in self._asked

    def _loose(self, known: Collection[tuple[str, str]]) -> list[Root]:
        """Return what is attached, but to nothing that is verified or covered."""
        roots = self._opened.plan.roots
        left = [root for root in roots if root.item.key not in known]
        found = [root for root in roots if root.item.key in known]
        below: set[Digest] = set()
        while found:
            below |= digests_of(found)
            # A signature of an SBOM is attached to what is attached.
            found = [root for root in left if _target(root) in below]
            left = [root for root in left if _target(root) not in below]
        return left

    def _members(self, covered: Mapping[Digest, Repository]) -> Iterator[_Subject]:
        for root in self._opened.plan.roots:
            named = covered.get(_digest(root.named))
            if named is not None:
                yield _Subject(root.named, named)


def _target(root: Root) -> Digest | None:
    return attached_to(root.item.tag, root.node.manifest)


def _untrusted(refused: list[_Verdict], *, is_file: bool) -> Untrusted:
    where = _NOT_IN_FILE if is_file else _NOT_IN_REGISTRY
    hints = (where,) if any(verdict.has_none for verdict in refused) else ()
    lines = [f"{verdict.verified.reference}: {verdict.refusal}" for verdict in refused]
    if len(lines) == 1:
        return Untrusted(f"Not trusted: {lines[0]}", hints=hints)
    more = [f"and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
    shown = tuple(f"  {line}" for line in chain(lines[:_MOST_LINES], more))
    return Untrusted(f"{len(lines)} images are not trusted", hints=hints, lines=shown)
