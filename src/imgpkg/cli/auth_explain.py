"""`imgpkg auth explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.cli import decided

if TYPE_CHECKING:
    from imgpkg.cli.context import Context


def run(context: Context) -> None:
    """Say which credential the repository gets and why; nothing is asked of the registry."""
    from imgpkg.operations.credentials import explain  # noqa: PLC0415 - commands load what they need

    with context.session() as session:
        decision = explain(context.flags.words[0], session=session)
    context.output.document(f"{decision.explain()}\n", decided.json(decision))
