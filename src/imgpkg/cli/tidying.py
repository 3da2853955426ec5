"""The commands that delete: `imgpkg tag delete`, `imgpkg delete` and `imgpkg prune`."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING

from imgpkg.cli.output import Table
from imgpkg.cli.rendering import count_of, error_json, human
from imgpkg.errors import ImgpkgError, Several, UsageError, local_io, printable
from imgpkg.events import StepsAdvanced
from imgpkg.expression import expression
from imgpkg.operations.jsonform.form import as_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context
    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.reference import Reference
    from imgpkg.operations.delete import Deleted
    from imgpkg.operations.prune.plan import PlannedManifest, PrunePlan
    from imgpkg.operations.prune.prune import PrunedManifest, PruneResult
    from imgpkg.session import Session

    _Delete = Callable[[Session, str, tuple[str, ...]], Deleted]

_HEX = expression(r"(?<![0-9a-f])[0-9a-f]{64}")
_MAX_LIST = 256 << 20
_DIGITS, _CUT = 12, "…"
_TITLES = ("Digest", "Tags", "Action", "Why", "Size")
_UNSEEN = (
    "Manifests that no tag leads to are listed by no registry, and are left to its garbage collection, which "
    "also frees the space.\n"
)


def delete_tags(context: Context) -> None:
    """Delete each tag, and print what became of it."""
    from imgpkg.operations.delete import delete_tag, written_tag

    with_image = context.flags.is_on("with-image")

    def delete(session: Session, image: str, given: tuple[str, ...]) -> Deleted:
        hook = context.reporter
        return delete_tag(image, session=session, with_image=with_image, together_with=given, on_event=hook)

    _delete_each(context, written_tag, delete)


def delete_images(context: Context) -> None:
    """Delete each image, and print which tags went with it."""
    from imgpkg.operations.delete import delete_image, written_out

    all_tags = context.flags.is_on("all-tags")

    def delete(session: Session, image: str, given: tuple[str, ...]) -> Deleted:
        hook = context.reporter
        return delete_image(image, session=session, all_tags=all_tags, together_with=given, on_event=hook)

    _delete_each(context, written_out, delete)


def _delete_each(context: Context, parse: Callable[[str], Reference], delete: _Delete) -> None:
    given = _references(context.flags)
    # A mistyped reference ends the command before anything is deleted.
    references = {image: parse(image) for image in given}
    results: list[dict[str, object]] = []
    forms: list[dict[str, object]] = []
    failures: list[ImgpkgError] = []
    gone: set[str] = set()
    with context.session() as session:
        for image, reference in references.items():
            # It went with the image of an earlier one.
            if str(reference) in gone:
                continue
            try:
                deleted = delete(session, image, given)
            except ImgpkgError as error:
                failures.append(error)
                failed = {"reference": str(reference), "result": "failed"}
                results.append({**failed, **error_json(error)})
                forms.append({**failed, "digest": None, "tags": [], "error": as_json(error)})
                continue
            gone.update(str(reference.repository.tag(tag)) for tag in deleted.tags)
            results.append(as_json(deleted))
            forms.append({**as_json(deleted), "error": None})
            # At once, so that a later failure does not hide what is gone.
            context.output.block(_line(deleted))
    context.output.result({"deletions": forms})
    _finish(context, results, failures)


def _references(flags: Parsed) -> tuple[str, ...]:
    given = tuple(dict.fromkeys((*flags.words, *flags.texts("image"))))
    if not given:
        raise UsageError("requires at least 1 arg(s), only received 0: a reference")
    return given


def _finish(context: Context, results: list[dict[str, object]], failures: list[ImgpkgError]) -> None:
    document: dict[str, object] = {"ok": not failures, "deletions": results}
    if not failures:
        context.output.document("", document)
        return
    context.output.failure(document)
    if len(results) == 1:
        raise failures[0]
    several = Several(
        f"{len(failures)} of {len(results)} could not be deleted",
        lines=tuple(str(error) for error in failures),
        hints=tuple(dict.fromkeys(hint for error in failures for hint in error.hints)),
    )
    several.errors = tuple(failures)
    raise several


def _line(deleted: Deleted) -> str:
    from imgpkg.operations.delete import DeletionOutcome
    from imgpkg.operations.tag import INTERNAL_SUFFIX

    reference, digest = deleted.reference, deleted.digest
    match deleted.outcome:
        case DeletionOutcome.TAG:
            named = f", which named {digest}" if digest is not None else ""
            return f"Deleted the tag {reference}{named}\n"
        case DeletionOutcome.IMAGE:
            image = reference.repository.digest(digest) if digest is not None else reference
            # The internal tag of a pushed image is hidden as in a list of tags.
            shown = [tag for tag in deleted.tags if not tag.endswith(INTERNAL_SUFFIX)]
            its = "tag" if len(shown) == 1 else "tags"
            tags = f" and its {its} {', '.join(shown)}" if shown else ", which had no tag"
            return f"Deleted {image}{tags}\n"
        case DeletionOutcome.ABSENT:
            return f"{reference} was not there\n"


def prune(context: Context) -> None:
    """Print what would be deleted, or delete it with `--yes`."""
    from imgpkg.operations.prune.prune import prune_plan

    flags = context.flags
    repository = _repository(flags)
    only = _listed(flags.text("only-listed"), repository) if flags.text("only-listed") else None
    with context.session() as session:
        plan = prune_plan(
            repository,
            session=session,
            keep=flags.texts("keep"),
            keep_newest=flags.number("keep-newest"),
            keep_locks=flags.texts("keep-lock"),
            only=only,
            on_event=context.reporter,
        )
        if flags.is_on("yes"):
            _carry_out(context, session, plan)
        else:
            _list(context, plan)


def _repository(flags: Parsed) -> str:
    given = (*flags.words, *filter(None, (flags.text("image"),)))
    if len(given) != 1:
        raise UsageError(f"accepts 1 arg(s), received {len(given)}: a repository")
    return given[0]


def _listed(path: str, repository: str) -> frozenset[Digest]:
    """Return the digests of what an earlier run has listed; raise UsageError for another document."""
    from imgpkg.oci.reference import Reference, Repository

    with local_io("open", path), open(path, "rb") as file:
        raw = file.read(_MAX_LIST)
    try:
        document = json.loads(raw)
        listed = [Reference.parse_digest(entry["image"]) for entry in document["delete"]]
        place = Repository.parse(document["repository"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(f"--only-listed {path}: this is not what `imgpkg prune --json` writes") from error
    if place != Repository.parse(repository):
        raise UsageError(f"--only-listed {path}: this is a list for {place}, and not for {repository}")
    return frozenset(each.digest for each in listed if each.digest is not None)


def _list(context: Context, plan: PrunePlan) -> None:
    rows = [
        *(_row(each, "keep") for each in plan.kept),
        *(_row(each, "delete") for each in plan.removed),
    ]
    context.output.table(Table("images", _TITLES, tuple(rows)))
    again = " Run again with --yes to delete them." if plan.removed else ""
    text = f"Would delete {_counted(plan)}.{again}\n{_notes(plan)}{_UNSEEN}"
    context.output.result({"dryRun": True, **as_json(plan), "results": [], "problem": None})
    context.output.document(text, as_json(plan))


def _row(manifest: PlannedManifest, action: str) -> tuple[str, ...]:
    reason = manifest.reason
    why = f"{reason.kind.value} {_short(reason.about)}".rstrip()
    return str(manifest.digest), ", ".join(_tags(manifest)), action, why, human(manifest.size)


def _tags(manifest: PlannedManifest) -> list[str]:
    """Return the tags, those of people first."""
    return sorted(map(_short, manifest.tags), key=lambda tag: _CUT in tag)


def _short(text: str) -> str:
    """Return a digest, or a tag that is made from one, with as many digits as docker prints."""
    return _HEX.sub(lambda match: f"{match[0][:_DIGITS]}{_CUT}", text)


def _counted(plan: PrunePlan) -> str:
    everything = len(plan.kept) + len(plan.removed)
    tags = sum(len(manifest.tags) for manifest in plan.removed)
    return (
        f"{len(plan.removed)} of {count_of(everything, 'manifest')} from {plan.repository}, with "
        f"{count_of(tags, 'tag')} and {human(plan.size)} that is stored for them alone"
    )


def _notes(plan: PrunePlan) -> str:
    notes = [*plan.notes]
    if plan.dangling:
        notes.append(f"these tags name nothing, and stay: {', '.join(plan.dangling)}")
    return "".join(f"Note: {printable(note)}\n" for note in notes)


def _carry_out(context: Context, session: Session, plan: PrunePlan) -> None:
    from imgpkg.operations.prune.prune import prune as carry_out

    # Counted by its own lock: results come from several threads.
    number = count(1)

    def tell(pruned: PrunedManifest) -> None:
        # At once: whoever stops the command knows what is gone.
        context.reporter.block(_pruned_line(plan, pruned))
        context.reporter(StepsAdvanced("deleting", next(number), len(plan.removed)))

    result = carry_out(plan, session=session, on_result=tell)
    document = {**as_json(plan), **as_json(result)}
    context.output.result({"dryRun": False, **document})
    if not result.is_ok:
        context.output.failure(document)
        raise _failure(result)
    text = f"Deleted {_counted(plan)}.\n{_notes(plan)}{_UNSEEN}"
    context.output.document(text, document)


def _pruned_line(plan: PrunePlan, pruned: PrunedManifest) -> str:
    from imgpkg.operations.prune.prune import PruneOutcome

    manifest = pruned.manifest
    tags = f" ({', '.join(_tags(manifest))})" if manifest.tags else ""
    named = f"{plan.repository.digest(manifest.digest)}{tags}"
    match pruned.outcome:
        case PruneOutcome.DELETED:
            return f"Deleted {named}\n"
        case PruneOutcome.ABSENT:
            return f"Not there any more: {named}\n"
        case PruneOutcome.CHANGED:
            return f"Kept {named}: {printable(pruned.text)}\n"
        case PruneOutcome.FAILED:
            return f"FAILED {named}: {printable(pruned.text)}\n"
        case PruneOutcome.NOT_TRIED:
            return f"Not tried: {named}\n"


def _failure(result: PruneResult) -> ImgpkgError:
    from imgpkg.operations.prune.prune import PruneOutcome

    gone = (PruneOutcome.DELETED, PruneOutcome.ABSENT)
    left = [each for each in result.manifests if each.outcome not in gone]
    text = f"{len(left)} of {count_of(len(result.manifests), 'manifest')} not deleted"
    return ImgpkgError(
        f"{text}: {result.problem}" if result.problem else text,
        hints=result.hints or ("Run the command again: it makes a new plan, and goes on with what is left.",),
    )
