"""The command `lock`: an images lock of what documents name, and the documents with its digests."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from imgpkg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.bundle.kubernetes import SkippedImage
    from imgpkg.bundle.lock import ImagesLock, LockedImage
    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context
    from imgpkg.operations.image_search import DocumentFile, ResolvedImage
    from imgpkg.operations.lock import LockResult
    from imgpkg.operations.rewrite import RewriteResult

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
    value = {
        "images": _images(result.images),
        "output": "" if is_printed else output,
        "removed": _locked(result.removed),
        "skipped": _skipped(result.skipped),
    }
    if is_printed or context.flags.is_on("json"):
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
    context.output.document(_text(joined(result.files)), _rewritten(result, locked))


def _rewritten(result: RewriteResult, locked: LockResult | None) -> dict[str, object]:
    documents = [{"file": file.name, "text": _text(file.data)} for file in result.files]
    value: dict[str, object] = {
        "documents": documents,
        "images": _images(result.images),
        "skipped": _skipped(result.skipped),
    }
    return value if locked is None else {**value, "removed": _locked(locked.removed)}


def _text(data: bytes) -> str:
    # Standard output is UTF-8, whatever the file was in; its mark of UTF-8 stays.
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")


def _images(images: Iterable[ResolvedImage]) -> list[dict[str, object]]:
    return [
        {
            "reference": image.text,
            "image": str(image.reference),
            "digest": image.reference.identifier,
            "places": [_place(place.file, place.line, place.column) for place in image.places],
        }
        for image in images
    ]


def _locked(images: Iterable[LockedImage]) -> list[dict[str, object]]:
    return [{"image": str(one.reference), "annotations": dict(one.annotations)} for one in images]


def _skipped(skipped: Iterable[SkippedImage]) -> list[dict[str, object]]:
    return [
        {
            **_place(one.place.file, one.place.line, one.place.column),
            "text": one.text,
            "reason": one.reason,
        }
        for one in skipped
    ]


def _place(file: str, line: int, column: int) -> dict[str, object]:
    return {"file": file, "line": line, "column": column}
