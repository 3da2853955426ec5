"""The JSON forms of verifications, deletions and plans of what to delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgpkg.operations.delete import Deleted
    from imgpkg.operations.integrity.report import IntegrityReport
    from imgpkg.operations.prune.plan import PlannedManifest, PrunePlan
    from imgpkg.operations.prune.prune import PruneResult


def verified(report: IntegrityReport) -> dict[str, object]:
    """Return the form of a verification, with every defect."""
    return {
        "ok": report.is_ok,
        "subject": report.subject,
        "roots": [str(root) for root in report.roots],
        "manifests": report.manifests,
        "blobs": report.blobs,
        "size": report.size,
        "defects": [
            {
                "kind": defect.kind.value,
                "subject": defect.subject,
                "reason": defect.reason,
                "namedBy": list(defect.named_by),
            }
            for defect in report.defects
        ],
        "leftOut": [
            {"digest": str(layer.digest), "namedBy": list(layer.named_by)} for layer in report.left_out
        ],
        "reliedOn": [str(digest) for digest in report.relied_on],
        "unreferenced": [str(digest) for digest in report.unreferenced],
        "dangling": list(report.dangling),
    }


def deleted(one: Deleted) -> dict[str, object]:
    """Return the form of what became of one reference that should be deleted."""
    return {
        "reference": str(one.reference),
        "result": one.outcome.value,
        "digest": None if one.digest is None else str(one.digest),
        "tags": list(one.tags),
    }


def planned(plan: PrunePlan) -> dict[str, object]:
    """Return the form of a plan: what stays and what goes, and why."""
    return {
        "repository": str(plan.repository),
        "keep": [_manifest(plan, manifest) for manifest in plan.kept],
        "delete": [_manifest(plan, manifest) for manifest in plan.removed],
        "size": plan.size,
        "danglingTags": list(plan.dangling),
        "notes": list(plan.notes),
    }


def _manifest(plan: PrunePlan, manifest: PlannedManifest) -> dict[str, object]:
    return {
        "image": str(plan.repository.digest(manifest.digest)),
        "tags": list(manifest.tags),
        "why": manifest.reason.kind.value,
        "about": manifest.reason.about or None,
        "size": manifest.size,
    }


def pruned(result: PruneResult) -> dict[str, object]:
    """Return the form of what became of the manifests of a plan."""
    return {
        "ok": result.is_ok,
        "results": [
            {
                "image": str(result.repository.digest(each.manifest.digest)),
                "tags": list(each.manifest.tags),
                "result": each.outcome.value,
                "reason": each.text or None,
            }
            for each in result.manifests
        ],
        "problem": result.problem or None,
    }
