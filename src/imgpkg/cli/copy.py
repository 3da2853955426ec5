"""`imgpkg copy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.errors import UsageError

if TYPE_CHECKING:
    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context
    from imgpkg.operations.copy_values import CopyOptions, CopySource
    from imgpkg.session import Session


def run(context: Context) -> None:
    """Copy what is named, or say what would be copied."""
    flags = context.flags
    source, options = _source(flags), _options(flags)
    source.check()
    _check_destination(flags)
    with context.session() as session:
        if flags.is_on("dry-run"):
            _preview(context, session, source, options)
        else:
            _copy(context, session, source, options)


def _source(flags: Parsed) -> CopySource:
    from imgpkg.operations.copy_values import CopySource  # noqa: PLC0415 - commands load what they need

    return CopySource(
        image=flags.text("image"),
        bundle=flags.text("bundle"),
        lock=flags.text("lock"),
        tar=flags.text("tar"),
        layout=flags.text("from-oci-layout"),
    )


def _options(flags: Parsed) -> CopyOptions:
    from imgpkg.operations.copy_values import CopyOptions  # noqa: PLC0415 - likewise

    return CopyOptions(
        include_non_distributable_layers=flags.is_on("include-non-distributable-layers"),
        repo_based_tags=flags.is_on("repo-based-tags"),
        cosign_signatures=flags.is_on("cosign-signatures"),
        referrers=flags.is_on("referrers"),
    )


def _check_destination(flags: Parsed) -> None:
    given = [name for name in ("to-tar", "to-repo", "to-oci-layout") if flags.text(name)]
    if len(given) != 1:
        raise UsageError("Expected either --to-tar or --to-repo")
    if given == ["to-tar"] and flags.text("tar"):
        raise UsageError("Cannot use tar source (--tar) with tar destination (--to-tar)")
    if given != ["to-repo"] and flags.text("lock-output"):
        raise UsageError("Cannot output lock file with tar destination")
    if given != ["to-tar"] and flags.is_on("resume"):
        raise UsageError("Flag --resume can only be used when copying to tar")


def _copy(context: Context, session: Session, source: CopySource, options: CopyOptions) -> None:
    from imgpkg.operations.copy import (  # noqa: PLC0415 - likewise
        copy_to_layout,
        copy_to_repository,
        copy_to_tar,
    )

    flags, watch = context.flags, context.watch
    if flags.text("to-tar"):
        resume = flags.is_on("resume")
        copy_to_tar(
            source, flags.text("to-tar"), session=session, options=options, resume=resume, on_event=watch
        )
    elif flags.text("to-oci-layout"):
        copy_to_layout(source, flags.text("to-oci-layout"), session=session, options=options, on_event=watch)
    else:
        lock = flags.text("lock-output")
        copy_to_repository(
            source, flags.text("to-repo"), session=session, options=options, lock_output=lock, on_event=watch
        )


def _preview(context: Context, session: Session, source: CopySource, options: CopyOptions) -> None:
    from imgpkg.cli import previewed  # noqa: PLC0415 - likewise
    from imgpkg.operations.preview import preview_copy  # noqa: PLC0415 - likewise

    flags = context.flags
    preview = preview_copy(source, flags.text("to-repo"), session=session, options=options)
    destination = flags.text("to-repo") or flags.text("to-tar") or flags.text("to-oci-layout")
    text = "".join(previewed.text(preview, destination))
    context.output.document(text, previewed.json(preview))
