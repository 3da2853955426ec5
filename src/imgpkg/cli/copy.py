"""`imgpkg copy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context
    from imgpkg.operations.copy.values import CopyOptions, CopySource
    from imgpkg.session import Session


def run(context: Context) -> None:
    """Copy what is named, or say what would be copied."""
    flags = context.flags
    source, options = _source(flags), _options(flags)
    _check(flags, source)
    with context.session() as session:
        if flags.is_on("dry-run"):
            _preview(context, session, source, options)
        else:
            _copy(context, session, source, options)


def _source(flags: Parsed) -> CopySource:
    from imgpkg.operations.copy.values import CopySource  # noqa: PLC0415 - commands load what they need

    return CopySource(
        image=flags.text("image"),
        bundle=flags.text("bundle"),
        lock=flags.text("lock"),
        tar=flags.text("tar"),
        layout=flags.text("from-oci-layout"),
    )


def _options(flags: Parsed) -> CopyOptions:
    from imgpkg.operations.copy.values import CopyOptions  # noqa: PLC0415 - likewise

    return CopyOptions(
        include_non_distributable_layers=flags.is_on("include-non-distributable-layers"),
        repo_based_tags=flags.is_on("repo-based-tags"),
        cosign_signatures=flags.is_on("cosign-signatures"),
        referrers=flags.is_on("referrers"),
    )


def _check(flags: Parsed, source: CopySource) -> None:
    """Find what does not go together before anything is read, a password on standard input included."""
    from imgpkg.operations.copy.copy import check_destination  # noqa: PLC0415 - likewise

    check_destination(
        source,
        to_repo=flags.text("to-repo"),
        to_tar=flags.text("to-tar"),
        to_layout=flags.text("to-oci-layout"),
        lock_output=flags.text("lock-output"),
        resume=flags.is_on("resume"),
    )


def _copy(context: Context, session: Session, source: CopySource, options: CopyOptions) -> None:
    from imgpkg.operations.copy.copy import copy  # noqa: PLC0415 - likewise

    flags = context.flags
    copy(
        source,
        session=session,
        to_repo=flags.text("to-repo"),
        to_tar=flags.text("to-tar"),
        to_layout=flags.text("to-oci-layout"),
        options=options,
        lock_output=flags.text("lock-output"),
        resume=flags.is_on("resume"),
        on_event=context.watch,
    )


def _preview(context: Context, session: Session, source: CopySource, options: CopyOptions) -> None:
    from imgpkg.cli import previewed  # noqa: PLC0415 - likewise
    from imgpkg.operations.copy.preview import preview_copy  # noqa: PLC0415 - likewise

    flags = context.flags
    preview = preview_copy(source, flags.text("to-repo"), session=session, options=options)
    destination = flags.text("to-repo") or flags.text("to-tar") or flags.text("to-oci-layout")
    text = "".join(previewed.text(preview, destination))
    context.output.document(text, previewed.json(preview))
