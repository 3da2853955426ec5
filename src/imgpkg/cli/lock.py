"""The command `lock`: an images lock of what documents name, and the documents with its digests."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from imgpkg.errors import UsageError
from imgpkg.operations.jsonform.results import (
    locked_images,
    resolved_images,
    rewritten,
    skipped_images,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.bundle.lock import ImagesLock
    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context
    from imgpkg.operations.image_search import DocumentFile
    from imgpkg.operations.lock import LockResult

_STDIN, _STDOUT = "-", "-"


def run(context: Context) -> None:
    """Write the lock, or print the documents with the digests of a lock."""
    flags = context.flags
    _check(flags)
    files = _files(flags.texts("file"))
    if flags.text("images-lock"):
        from imgpkg.bundle.lock import ImagesLock

        # No session: it works where there is no registry, and no credential.
        _rewrite(context, files, ImagesLock.from_path(flags.text("images-lock")), None)
        return
    result = _lock(context, files)
    context.reporter.close()
    if flags.is_on("rewrite"):
        _rewrite(context, files, result.lock, result)
    else:
        _print(context, result)


def _check(flags: Parsed) -> None:
    """Refuse flags that exclude each other before anything is read."""
    rewrites, lock = flags.is_on("rewrite"), flags.text("images-lock")
    if not flags.texts("file") and not flags.texts("image"):
        raise UsageError("Expected --file or --image")
    if rewrites and not flags.texts("file"):
        raise UsageError("Expected --file with --rewrite: there is nothing to rewrite")
    if lock and not rewrites:
        raise UsageError("Expected --rewrite with --images-lock: that is what the lock is used for")
    if lock and (flags.texts("image") or flags.text("output")):
        raise UsageError("Expected neither --image nor --output with --images-lock: no lock is made")
    if rewrites and flags.text("output") == _STDOUT:
        raise UsageError("Expected a file for --output with --rewrite, which prints the documents")
    if flags.number("concurrency") < 1:
        raise UsageError(f"Expected --concurrency to be >= 1, but was {flags.number('concurrency')}")
    if flags.texts("file").count(_STDIN) and flags.is_on("registry-password-stdin"):
        raise UsageError("Expected only one of --file - and --registry-password-stdin")


def _files(names: Iterable[str]) -> list[DocumentFile]:
    from imgpkg.operations.image_search import DocumentFile, read_files

    listed: list[str | DocumentFile] = [
        DocumentFile("standard input", sys.stdin.buffer.read()) if name == _STDIN else name for name in names
    ]
    # Read once, since they may be searched for the lock and then rewritten.
    return list(read_files(listed))


def _lock(context: Context, files: list[DocumentFile]) -> LockResult:
    from imgpkg.operations.lock import lock_images

    flags = context.flags
    output = flags.text("output")
    with context.session() as session:
        return lock_images(
            files,
            session=session,
            images=flags.texts("image"),
            paths=flags.texts("path"),
            exclude=flags.texts("exclude"),
            strict=flags.is_on("strict"),
            output="" if output == _STDOUT else output,
            on_event=context.reporter,
        )


def _print(context: Context, result: LockResult) -> None:
    output = context.flags.text("output")
    is_printed = output in ("", _STDOUT)
    references = [image.reference for image in result.lock.images]
    context.result(
        result,
        {"output": None if is_printed else output},
        references=references,
        prints=context.is_document or not is_printed,
    )
    value = {
        "images": resolved_images(result.images),
        "output": "" if is_printed else output,
        "removed": locked_images(result.removed),
        "skipped": skipped_images(result.skipped),
    }
    if is_printed or context.is_for_programs:
        context.output.document(result.lock.to_bytes().decode(), value)
    else:
        count = len(result.lock.images)
        context.output.text(f"Locked {count} image{'' if count == 1 else 's'} in '{output}'")


def _rewrite(
    context: Context, files: list[DocumentFile], lock: ImagesLock, locked: LockResult | None
) -> None:
    from imgpkg.operations.rewrite import joined, rewrite_images

    flags = context.flags
    result = rewrite_images(
        files,
        lock,
        paths=flags.texts("path"),
        exclude=flags.texts("exclude"),
        strict=flags.is_on("strict"),
        on_event=context.reporter,
    )
    value = rewritten(result)
    if locked is not None:
        value["removed"] = locked_images(locked.removed)
    places = [] if locked is None else [image.reference for image in locked.lock.images]
    context.result(
        value, {"output": flags.text("output") or None}, references=places, prints=context.is_document
    )
    context.output.document(text_of(joined(result.files)), value)
