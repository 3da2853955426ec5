"""`imgpkg auth check`, and the printed forms of access checks for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.cli.auth import failing_as_json, references
from imgpkg.errors import Several
from imgpkg.operations.jsonform.credentials import checked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imgpkg.cli.context import Context
    from imgpkg.operations.check import AccessReport, Step

_NAME_WIDTH = len("certificate")


def check(context: Context) -> None:
    """Print the steps of the way to each reference; raise Several when one of them has failed."""
    from imgpkg.operations.check import CheckTarget, check_access

    push = context.flags.is_on("push")
    with failing_as_json(context.output):
        given = references(context.flags)
        # A mistyped reference ends the command before anything is sent.
        for reference in given:
            CheckTarget.parse(reference)
        with context.session() as session:
            reports = [check_access(reference, session=session, push=push) for reference in given]
    raise_failed(context, reports)
    context.output.document("".join(report_text(reports)), report_json(reports))


def raise_failed(context: Context, reports: Sequence[AccessReport]) -> None:
    """Write the reports and raise Several, which counts the failed ones, if there are any."""
    if context.is_document:
        context.output.result({"checks": [checked(report) for report in reports]})
    failed = [report for report in reports if not report.is_ok]
    if failed:
        document = report_json(reports)
        context.output.document("".join(report_text(reports)), document)
        # The document is written with `--json` although the command fails.
        context.output.failure(document)
        names = ", ".join(report.reference for report in failed)
        several = Several(f"{len(failed)} of {len(reports)} checks failed: {names}")
        several.kinds = frozenset(step.failure for one in failed for step in one.steps if step.failure)
        raise several


def report_text(reports: Sequence[AccessReport]) -> Iterator[str]:
    """Yield the lines of the reports for people with their line ends; their marks need no colour."""
    for position, report in enumerate(reports):
        if position:
            yield "\n"
        yield f"{report.reference}\n"
        for step in report.steps:
            yield from _step_lines(step)


def _step_lines(step: Step) -> Iterator[str]:
    from imgpkg.operations.check import Mark

    # Words and no colours or symbols: logs of CI show them as they are.
    mark = {Mark.OK: "ok", Mark.NOTE: "note", Mark.FAILED: "FAILED", Mark.SKIPPED: "-"}[step.mark]
    yield f"  {mark:<6}  {step.name:<{_NAME_WIDTH}}  {step.text}\n"
    if step.remedy:
        yield f"  {'':<6}  {'':<{_NAME_WIDTH}}  -> {step.remedy}\n"


def report_json(reports: Sequence[AccessReport]) -> dict[str, object]:
    """Return the reports for programs, without secrets."""
    return {"ok": all(report.is_ok for report in reports), "checks": [checked(report) for report in reports]}
