"""From a result or an error to its JSON form, by its class.

A form is a new dict of texts, numbers, booleans, null, lists and dicts, with keys in camelCase. Digests,
references and times (RFC 3339) are texts, sizes are bytes, and what is not known is null. Keys are added, and
neither renamed nor removed, within a major version.
"""

from __future__ import annotations

from importlib import import_module

# The module and the function for each class. Only that module is imported, and none of the classes.
_FORMS = {
    "auth.inventory.KnownLogin": "credentials.known",
    "auth.keychain.Decision": "credentials.decided",
    "bundle.inventory.Inventory": "results.listed",
    "errors.ImgpkgError": "error.failed",
    "events.Transfer": "copies.transferred",
    "oci.reference.Reference": "results.resolved",
    "operations.artifact.pull.ArtifactPullResult": "results.pulled_artifact",
    "operations.artifact.push.ArtifactPushResult": "results.pushed_artifact",
    "operations.bundle_pull.PullResult": "results.pulled",
    "operations.catalog.Catalog": "results.cataloged",
    "operations.check.AccessReport": "credentials.checked",
    "operations.copy.preview.CopyPreview": "copies.previewed",
    "operations.copy.values.CopyResult": "copies.copied",
    "operations.delete.Deleted": "reports.deleted",
    "operations.description.Description": "descriptions.described",
    "operations.integrity.report.IntegrityReport": "reports.verified",
    "operations.lock.LockResult": "results.locked",
    "operations.login.IssuedToken": "credentials.issued",
    "operations.login.RemovedLogin": "credentials.removed",
    "operations.login.StoredLogin": "credentials.stored",
    "operations.prune.plan.PrunePlan": "reports.planned",
    "operations.prune.prune.PruneResult": "reports.pruned",
    "operations.push.PushResult": "results.pushed",
    "operations.referrers.ReferrerList": "results.referring",
    "operations.retag.Retagged": "results.retagged",
    "operations.rewrite.RewriteResult": "results.rewritten",
    "operations.tag.TagList": "results.tags",
}
# The errors are a package, and its classes are in several modules of it.
_ERRORS = "imgpkg.errors"


def as_json(value: object) -> dict[str, object]:
    """Return the JSON form of a result of this library, or of one of its errors; no secret is in it.

    The one exception is an IssuedToken, whose token is what was asked for. Raises TypeError for another
    value.
    """
    for kind in type(value).__mro__:
        form = _FORMS.get(_name(kind))
        if form is not None:
            module, _, function = form.partition(".")
            found = getattr(import_module(f"imgpkg.operations.jsonform.{module}"), function)(value)
            assert isinstance(found, dict)  # noqa: S101 - what all of them return
            return found
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _name(kind: type) -> str:
    module = _ERRORS if kind.__module__.startswith(f"{_ERRORS}.") else kind.__module__
    return f"{module}.{kind.__qualname__}".removeprefix("imgpkg.")
