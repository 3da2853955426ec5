"""The commands that delete: `imgpkg tag delete` and `imgpkg delete`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.cli.rendering import error_json
from imgpkg.errors import ImgpkgError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context
    from imgpkg.oci.reference import Reference
    from imgpkg.operations.delete import Deleted
    from imgpkg.session import Session

    _Delete = Callable[[Session, str, tuple[str, ...]], Deleted]


def delete_tags(context: Context) -> None:
    """Delete each tag, and print what became of it."""
    from imgpkg.operations.delete import delete_tag, written_tag

    with_image = context.flags.is_on("with-image")

    def delete(session: Session, image: str, given: tuple[str, ...]) -> Deleted:
        return delete_tag(image, session=session, with_image=with_image, together_with=given)

    _delete_each(context, written_tag, delete)


def delete_images(context: Context) -> None:
    """Delete each image, and print which tags went with it."""
    from imgpkg.operations.delete import delete_image, written_out

    all_tags = context.flags.is_on("all-tags")

    def delete(session: Session, image: str, given: tuple[str, ...]) -> Deleted:
        return delete_image(image, session=session, all_tags=all_tags, together_with=given)

    _delete_each(context, written_out, delete)


def _delete_each(context: Context, parse: Callable[[str], Reference], delete: _Delete) -> None:
    given = _references(context.flags)
    # A mistyped reference ends the command before anything is deleted.
    references = {image: parse(image) for image in given}
    results: list[dict[str, object]] = []
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
                results.append({"reference": str(reference), "result": "failed", **error_json(error)})
                continue
            gone.update(str(reference.repository.tag(tag)) for tag in deleted.tags)
            results.append(_document(deleted))
            # At once, so that a later failure does not hide what is gone.
            context.output.block(_line(deleted))
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
    raise ImgpkgError(
        f"{len(failures)} of {len(results)} could not be deleted",
        lines=tuple(str(error) for error in failures),
        hints=tuple(dict.fromkeys(hint for error in failures for hint in error.hints)),
    )


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
            tags = f" and its tags {', '.join(shown)}" if shown else ", which had no tag"
            return f"Deleted {image}{tags}\n"
        case DeletionOutcome.ABSENT:
            return f"{reference} was not there\n"


def _document(deleted: Deleted) -> dict[str, object]:
    return {
        "reference": str(deleted.reference),
        "result": deleted.outcome.value,
        "digest": None if deleted.digest is None else str(deleted.digest),
        "tags": list(deleted.tags),
    }
