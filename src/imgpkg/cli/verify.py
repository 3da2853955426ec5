"""The command `imgpkg verify`: what it was given, and the report as text and JSON."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imgpkg.cli.rendering import count_of, human
from imgpkg.errors import UsageError, VerificationError, printable
from imgpkg.operations.jsonform.reports import verified

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context
    from imgpkg.operations.integrity.report import Defect, IntegrityReport

_FLAGS = {"tar": "tar", "layout": "from-oci-layout", "image": "image", "bundle": "bundle"}
# Many images may name one blob, and the report is read by a person.
_MOST_NAMED = 5
_REMEDY = "Copy it again, or only what is damaged, from where it is whole."


def run(context: Context) -> None:
    """Verify, print the report, and fail if there is a defect."""
    from imgpkg.operations.integrity.verify import verify

    given = _given(context.flags)
    with context.session() as session:
        report = verify(
            tar=given.get("tar", ""),
            layout=given.get("layout", ""),
            image=given.get("image", ""),
            bundle=given.get("bundle", ""),
            session=session,
            on_event=context.reporter,
        )
    context.output.document("".join(_lines(report)), verified(report))
    context.output.result({"report": verified(report)})
    if not report.is_ok:
        # The document is written with `--json` although the command fails.
        context.output.failure(verified(report))
        text = f"{count_of(len(report.defects), 'defect')} in {report.subject}"
        raise VerificationError(text, hints=(_REMEDY,))


def _given(flags: Parsed) -> dict[str, str]:
    """Return the parameter that names what to verify; raise UsageError unless it is one."""
    given = {name: flags.text(flag) for name, flag in _FLAGS.items() if flags.text(flag)}
    if len(flags.words) + len(given) != 1:
        raise UsageError("Expected one tar file, layout folder, image or bundle to verify")
    return given or {_kind(flags.words[0]): flags.words[0]}


def _kind(word: str) -> str:
    """Return whether a word names a file, a folder or an image: what exists comes first."""
    if os.path.isdir(word):
        return "layout"
    # A file that was mistyped is no image of Docker Hub.
    is_path = word.startswith(("/", "./", "../")) or word.endswith(".tar")
    return "tar" if is_path or os.path.exists(word) else "image"


def _lines(report: IntegrityReport) -> Iterator[str]:
    for defect in report.defects:
        yield from _defect_lines(defect)
    for layer in report.left_out:
        yield f"Left out: {layer.digest}, a non-distributable layer{_of(layer.named_by)}\n"
    for digest in report.relied_on:
        yield f"Relied on: {digest}, which has to be at the destination already\n"
    for name in report.dangling:
        yield f"Note: {printable(name)} is attached to an image that is not there\n"
    if report.unreferenced:
        yield f"Note: no image names {count_of(len(report.unreferenced), 'blob')} of those that were read\n"
    read = (
        f"{count_of(report.manifests, 'manifest')} and {count_of(report.blobs, 'blob')}, {human(report.size)}"
    )
    result = "no defects" if report.is_ok else count_of(len(report.defects), "defect")
    yield f"Verified {printable(report.subject)}: {read}; {result}\n"


def _defect_lines(defect: Defect) -> Iterator[str]:
    yield f"{defect.kind.value.upper()} {printable(defect.subject)}{_of(defect.named_by)}\n"
    yield f"  {printable(defect.reason)}\n"


def _of(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    more = len(names) - _MOST_NAMED
    shown = ", ".join(map(printable, names[:_MOST_NAMED]))
    return f", named by {shown}{f' and {more} more' if more > 0 else ''}"
