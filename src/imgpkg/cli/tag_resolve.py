"""`imgpkg tag resolve`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgpkg.cli.context import Context


def run(context: Context) -> None:
    """Say the digest reference, without a newline."""
    from imgpkg.operations.tag import resolve  # noqa: PLC0415 - commands load what they need

    with context.session() as session:
        context.output.block(str(resolve(context.flags.text("image"), session=session)))
