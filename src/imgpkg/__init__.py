"""Store configuration and image references as OCI artifacts, and move bundles between registries.

    import imgpkg

    with imgpkg.Session(imgpkg.Settings.from_environment()) as session:
        pushed = imgpkg.push(["config"], image="registry.example.com/team/config:v1", session=session)
        imgpkg.pull("copy-of-config", image=str(pushed.reference), session=session)

Every public name is here and is imported on first use, so that `import imgpkg` itself imports nothing else.
PYTEST_DONT_REWRITE: pytest, which loads our plugin, would warn a program that has imported this before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgpkg import errors as errors
    from imgpkg.auth.keychain import Authorization as Authorization
    from imgpkg.auth.keychain import Credential as Credential
    from imgpkg.auth.keychain import CredentialSource as CredentialSource
    from imgpkg.auth.keychain import Decision as Decision
    from imgpkg.auth.keychain import Finding as Finding
    from imgpkg.auth.keychain import Keychain as Keychain
    from imgpkg.auth.keychain import NearMiss as NearMiss
    from imgpkg.auth.keychain import Outcome as Outcome
    from imgpkg.bundle.graph import Bundle as Bundle
    from imgpkg.bundle.graph import Member as Member
    from imgpkg.bundle.image import Image as Image
    from imgpkg.bundle.inventory import Base as Base
    from imgpkg.bundle.inventory import Inventory as Inventory
    from imgpkg.bundle.kubernetes import SkippedImage as SkippedImage
    from imgpkg.bundle.layer import FoundLocations as FoundLocations
    from imgpkg.bundle.locations import ImageLocations as ImageLocations
    from imgpkg.bundle.locations import Location as Location
    from imgpkg.bundle.lock import BundleLock as BundleLock
    from imgpkg.bundle.lock import ImagesLock as ImagesLock
    from imgpkg.bundle.lock import LockedImage as LockedImage
    from imgpkg.bundle.lock import read_lock as read_lock
    from imgpkg.bundle.placement import KeptNames as KeptNames
    from imgpkg.bundle.placement import MapRule as MapRule
    from imgpkg.bundle.placement import Placement as Placement
    from imgpkg.bundle.placement_file import read_placement as read_placement
    from imgpkg.bundle.policy_file import read_policy as read_policy
    from imgpkg.bundle.selection import Selection as Selection
    from imgpkg.bundle.yaml_text import Position as Position
    from imgpkg.content.filesystem import FileKind as FileKind
    from imgpkg.content.filesystem import ImageFile as ImageFile
    from imgpkg.deadline import CancelToken as CancelToken
    from imgpkg.deadline import limits as limits
    from imgpkg.deprecation import ImgpkgDeprecationWarning as ImgpkgDeprecationWarning
    from imgpkg.drawing.dot import draw_dot as draw_dot
    from imgpkg.drawing.page import draw_page as draw_page
    from imgpkg.drawing.svg import draw_svg as draw_svg
    from imgpkg.errors import ImgpkgError as ImgpkgError
    from imgpkg.events import BlobAdvanced as BlobAdvanced
    from imgpkg.events import BlobFinished as BlobFinished
    from imgpkg.events import BlobOutcome as BlobOutcome
    from imgpkg.events import BlobStarted as BlobStarted
    from imgpkg.events import Event as Event
    from imgpkg.events import Hook as Hook
    from imgpkg.events import Message as Message
    from imgpkg.events import PackAdvanced as PackAdvanced
    from imgpkg.events import PackStarted as PackStarted
    from imgpkg.events import Planned as Planned
    from imgpkg.events import StepsAdvanced as StepsAdvanced
    from imgpkg.events import Transfer as Transfer
    from imgpkg.events import TransferCounter as TransferCounter
    from imgpkg.events import Warned as Warned
    from imgpkg.observation.logs import EventLogger as EventLogger
    from imgpkg.oci.config import Healthcheck as Healthcheck
    from imgpkg.oci.config import HistoryEntry as HistoryEntry
    from imgpkg.oci.config import ImageConfig as ImageConfig
    from imgpkg.oci.cut import Cut as Cut
    from imgpkg.oci.descriptor import Descriptor as Descriptor
    from imgpkg.oci.descriptor import Digest as Digest
    from imgpkg.oci.descriptor import Readable as Readable
    from imgpkg.oci.manifest import Manifest as Manifest
    from imgpkg.oci.platform import Platform as Platform
    from imgpkg.oci.reference import Reference as Reference
    from imgpkg.oci.reference import Repository as Repository
    from imgpkg.oci.tag_version import TagVersion as TagVersion
    from imgpkg.operations.artifact.files import ArtifactFile as ArtifactFile
    from imgpkg.operations.artifact.pull import ArtifactPullResult as ArtifactPullResult
    from imgpkg.operations.artifact.pull import PulledFile as PulledFile
    from imgpkg.operations.artifact.pull import pull_artifact as pull_artifact
    from imgpkg.operations.artifact.push import ArtifactPushResult as ArtifactPushResult
    from imgpkg.operations.artifact.push import push_artifact as push_artifact
    from imgpkg.operations.attachments import Attached as Attached
    from imgpkg.operations.attachments import AttachmentKind as AttachmentKind
    from imgpkg.operations.breakdown import BundlePart as BundlePart
    from imgpkg.operations.breakdown import PartKind as PartKind
    from imgpkg.operations.breakdown import break_down as break_down
    from imgpkg.operations.bundle_pull import ImagesLockStatus as ImagesLockStatus
    from imgpkg.operations.bundle_pull import PullResult as PullResult
    from imgpkg.operations.catalog import Catalog as Catalog
    from imgpkg.operations.catalog import catalog as catalog
    from imgpkg.operations.check import AccessReport as AccessReport
    from imgpkg.operations.check import check_access as check_access
    from imgpkg.operations.cluster.dask import dask_executor as dask_executor
    from imgpkg.operations.copy.access import check_copy as check_copy
    from imgpkg.operations.copy.collection import Unselected as Unselected
    from imgpkg.operations.copy.copy import copy as copy
    from imgpkg.operations.copy.copy import copy_to_layout as copy_to_layout
    from imgpkg.operations.copy.copy import copy_to_repository as copy_to_repository
    from imgpkg.operations.copy.copy import copy_to_tar as copy_to_tar
    from imgpkg.operations.copy.plan import LeftOut as LeftOut
    from imgpkg.operations.copy.preview import CopyPreview as CopyPreview
    from imgpkg.operations.copy.preview import PreviewedImage as PreviewedImage
    from imgpkg.operations.copy.preview import preview_copy as preview_copy
    from imgpkg.operations.copy.stream import copy_from_stream as copy_from_stream
    from imgpkg.operations.copy.stream import copy_to_stream as copy_to_stream
    from imgpkg.operations.copy.values import Copied as Copied
    from imgpkg.operations.copy.values import CopyOptions as CopyOptions
    from imgpkg.operations.copy.values import CopyResult as CopyResult
    from imgpkg.operations.copy.values import CopySource as CopySource
    from imgpkg.operations.copy.values import Verified as Verified
    from imgpkg.operations.delete import Deleted as Deleted
    from imgpkg.operations.delete import DeletionOutcome as DeletionOutcome
    from imgpkg.operations.delete import delete_blob as delete_blob
    from imgpkg.operations.delete import delete_image as delete_image
    from imgpkg.operations.delete import delete_manifest as delete_manifest
    from imgpkg.operations.delete import delete_tag as delete_tag
    from imgpkg.operations.describe import describe as describe
    from imgpkg.operations.describe import read_bundle as read_bundle
    from imgpkg.operations.description import Description as Description
    from imgpkg.operations.description import ImageInfo as ImageInfo
    from imgpkg.operations.description import ImageType as ImageType
    from imgpkg.operations.files import ImageFiles as ImageFiles
    from imgpkg.operations.files import iter_files as iter_files
    from imgpkg.operations.files import open_files as open_files
    from imgpkg.operations.files import read_file as read_file
    from imgpkg.operations.image_search import DocumentFile as DocumentFile
    from imgpkg.operations.image_search import ResolvedImage as ResolvedImage
    from imgpkg.operations.images import read_image as read_image
    from imgpkg.operations.integrity.report import Defect as Defect
    from imgpkg.operations.integrity.report import DefectKind as DefectKind
    from imgpkg.operations.integrity.report import IntegrityReport as IntegrityReport
    from imgpkg.operations.integrity.report import MissingLayer as MissingLayer
    from imgpkg.operations.integrity.verify import verify as verify
    from imgpkg.operations.inventory import inventory as inventory
    from imgpkg.operations.jsonform.form import as_json as as_json
    from imgpkg.operations.lock import LockResult as LockResult
    from imgpkg.operations.lock import lock_images as lock_images
    from imgpkg.operations.login import IssuedToken as IssuedToken
    from imgpkg.operations.login import RemovedLogin as RemovedLogin
    from imgpkg.operations.login import StoredLogin as StoredLogin
    from imgpkg.operations.login import get_token as get_token
    from imgpkg.operations.login import login as login
    from imgpkg.operations.login import logout as logout
    from imgpkg.operations.plans.lines import PlanBlob as PlanBlob
    from imgpkg.operations.plans.lines import PlanEnd as PlanEnd
    from imgpkg.operations.plans.lines import PlanHeader as PlanHeader
    from imgpkg.operations.plans.lines import PlanImage as PlanImage
    from imgpkg.operations.plans.lines import PlanLine as PlanLine
    from imgpkg.operations.plans.lines import PlanLocked as PlanLocked
    from imgpkg.operations.plans.lines import PlanManifest as PlanManifest
    from imgpkg.operations.plans.lines import PlanRecord as PlanRecord
    from imgpkg.operations.plans.reader import CopyPlan as CopyPlan
    from imgpkg.operations.plans.reader import read_plan as read_plan
    from imgpkg.operations.plans.run import run_plan as run_plan
    from imgpkg.operations.prune.plan import PlannedManifest as PlannedManifest
    from imgpkg.operations.prune.plan import PrunePlan as PrunePlan
    from imgpkg.operations.prune.prune import PrunedManifest as PrunedManifest
    from imgpkg.operations.prune.prune import PruneOutcome as PruneOutcome
    from imgpkg.operations.prune.prune import PruneResult as PruneResult
    from imgpkg.operations.prune.prune import prune as prune
    from imgpkg.operations.prune.prune import prune_plan as prune_plan
    from imgpkg.operations.prune.rules import Reason as Reason
    from imgpkg.operations.prune.rules import ReasonKind as ReasonKind
    from imgpkg.operations.pull import pull as pull
    from imgpkg.operations.push import PushResult as PushResult
    from imgpkg.operations.push import push as push
    from imgpkg.operations.referrers import Referrer as Referrer
    from imgpkg.operations.referrers import ReferrerList as ReferrerList
    from imgpkg.operations.referrers import attach as attach
    from imgpkg.operations.referrers import referrers as referrers
    from imgpkg.operations.retag import Retagged as Retagged
    from imgpkg.operations.retag import retag as retag
    from imgpkg.operations.rewrite import RewriteResult as RewriteResult
    from imgpkg.operations.rewrite import rewrite_images as rewrite_images
    from imgpkg.operations.tag import Tag as Tag
    from imgpkg.operations.tag import TagList as TagList
    from imgpkg.operations.tag import list_tags as list_tags
    from imgpkg.operations.tag import resolve as resolve
    from imgpkg.operations.transfer.dispatch import BlobExecutor as BlobExecutor
    from imgpkg.operations.transfer.shares import WorkerShare as WorkerShare
    from imgpkg.operations.transfer.unit import Transferred as Transferred
    from imgpkg.operations.transfer.unit import TransferUnit as TransferUnit
    from imgpkg.operations.verification import verify_signatures as verify_signatures
    from imgpkg.progress import Progress as Progress
    from imgpkg.progress import ProgressCounter as ProgressCounter
    from imgpkg.progress import ProgressStage as ProgressStage
    from imgpkg.registry.client import RegistryClient as RegistryClient
    from imgpkg.session import Session as Session
    from imgpkg.session import explain as explain
    from imgpkg.settings import Login as Login
    from imgpkg.settings import Settings as Settings
    from imgpkg.settings import Side as Side
    from imgpkg.trust.identity import SignerIdentity as SignerIdentity
    from imgpkg.trust.key import PublicKey as PublicKey
    from imgpkg.trust.key import SigningKey as SigningKey
    from imgpkg.trust.policy import Match as Match
    from imgpkg.trust.policy import Policy as Policy
    from imgpkg.trust.policy import PolicyRule as PolicyRule
    from imgpkg.trust.policy import Requirement as Requirement

    __version__: str

# The public names of each module. Importing all of them would take most of the time of a short command.
_NAMES = {
    "auth.keychain": "Authorization Credential CredentialSource Decision Finding Keychain NearMiss Outcome",
    "bundle.graph": "Bundle Member",
    "bundle.image": "Image",
    "bundle.inventory": "Base Inventory",
    "bundle.kubernetes": "SkippedImage",
    "bundle.layer": "FoundLocations",
    "bundle.locations": "ImageLocations Location",
    "bundle.lock": "BundleLock ImagesLock LockedImage read_lock",
    "bundle.placement": "KeptNames MapRule Placement",
    "bundle.placement_file": "read_placement",
    "bundle.policy_file": "read_policy",
    "bundle.selection": "Selection",
    "bundle.yaml_text": "Position",
    "content.filesystem": "FileKind ImageFile",
    "deadline": "CancelToken limits",
    "deprecation": "ImgpkgDeprecationWarning",
    "drawing.dot": "draw_dot",
    "drawing.page": "draw_page",
    "drawing.svg": "draw_svg",
    "errors": "ImgpkgError",
    "events": (
        "BlobAdvanced BlobFinished BlobOutcome BlobStarted Event Hook Message PackAdvanced PackStarted "
        "Planned StepsAdvanced Transfer TransferCounter Warned"
    ),
    "observation.logs": "EventLogger",
    "oci.config": "Healthcheck HistoryEntry ImageConfig",
    "oci.cut": "Cut",
    "oci.descriptor": "Descriptor Digest Readable",
    "oci.manifest": "Manifest",
    "oci.platform": "Platform",
    "oci.reference": "Reference Repository",
    "oci.tag_version": "TagVersion",
    "operations.artifact.files": "ArtifactFile",
    "operations.artifact.pull": "ArtifactPullResult PulledFile pull_artifact",
    "operations.artifact.push": "ArtifactPushResult push_artifact",
    "operations.attachments": "Attached AttachmentKind",
    "operations.breakdown": "BundlePart PartKind break_down",
    "operations.bundle_pull": "ImagesLockStatus PullResult",
    "operations.catalog": "Catalog catalog",
    "operations.check": "AccessReport check_access",
    "operations.cluster.dask": "dask_executor",
    "operations.copy.access": "check_copy",
    "operations.copy.collection": "Unselected",
    "operations.copy.copy": "copy copy_to_layout copy_to_repository copy_to_tar",
    "operations.copy.plan": "LeftOut",
    "operations.copy.preview": "CopyPreview PreviewedImage preview_copy",
    "operations.copy.stream": "copy_from_stream copy_to_stream",
    "operations.copy.values": "Copied CopyOptions CopyResult CopySource Verified",
    "operations.delete": "Deleted DeletionOutcome delete_blob delete_image delete_manifest delete_tag",
    "operations.describe": "describe read_bundle",
    "operations.description": "Description ImageInfo ImageType",
    "operations.files": "ImageFiles iter_files open_files read_file",
    "operations.image_search": "DocumentFile ResolvedImage",
    "operations.images": "read_image",
    "operations.integrity.report": "Defect DefectKind IntegrityReport MissingLayer",
    "operations.integrity.verify": "verify",
    "operations.inventory": "inventory",
    "operations.jsonform.form": "as_json",
    "operations.lock": "LockResult lock_images",
    "operations.login": "IssuedToken RemovedLogin StoredLogin get_token login logout",
    "operations.plans.lines": (
        "PlanBlob PlanEnd PlanHeader PlanImage PlanLine PlanLocked PlanManifest PlanRecord"
    ),
    "operations.plans.reader": "CopyPlan read_plan",
    "operations.plans.run": "run_plan",
    "operations.prune.plan": "PlannedManifest PrunePlan",
    "operations.prune.prune": "PruneOutcome PruneResult PrunedManifest prune prune_plan",
    "operations.prune.rules": "Reason ReasonKind",
    "operations.pull": "pull",
    "operations.push": "PushResult push",
    "operations.referrers": "Referrer ReferrerList attach referrers",
    "operations.retag": "Retagged retag",
    "operations.rewrite": "RewriteResult rewrite_images",
    "operations.tag": "Tag TagList list_tags resolve",
    "operations.transfer.dispatch": "BlobExecutor",
    "operations.transfer.shares": "WorkerShare",
    "operations.transfer.unit": "TransferUnit Transferred",
    "operations.verification": "verify_signatures",
    "progress": "Progress ProgressCounter ProgressStage",
    "registry.client": "RegistryClient",
    "session": "Session explain",
    "settings": "Login Settings Side",
    "trust.identity": "SignerIdentity",
    "trust.key": "PublicKey SigningKey",
    "trust.policy": "Match Policy PolicyRule Requirement",
}
# Packages with public names of their own.
_PACKAGES = ("adaptors", "aio", "oci", "testing")
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}
# Names of the past: their values, the version without them, and what to use. See `imgpkg.deprecation`.
_DEPRECATED: dict[str, tuple[str, str, str]] = {}
__all__ = [*sorted(_HOMES), "__version__", "errors"]  # noqa: PLE0604 - names loaded on first use


if not TYPE_CHECKING:
    # With a module `__getattr__`, type checkers would accept any name.

    def __getattr__(name: str) -> object:
        if name == "__version__":
            return import_module("imgpkg.version").VERSION
        if name == "errors":
            return import_module("imgpkg.errors")
        if name in _DEPRECATED:
            return import_module("imgpkg.deprecation").value_of(f"imgpkg.{name}", *_DEPRECATED[name])
        if name not in _HOMES:
            remedy = f": import imgpkg.{name} first" if name in _PACKAGES else ""
            raise AttributeError(f"module 'imgpkg' has no attribute {name!r}{remedy}")
        # Kept, so that the next access does not come here.
        value = getattr(import_module(f"imgpkg.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
