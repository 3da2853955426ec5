"""`imgpkg help`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.cli.commands import ROOT
from imgpkg.cli.helptext import help_of
from imgpkg.cli.locate import locate

if TYPE_CHECKING:
    from imgpkg.cli.context import Context


def run(context: Context) -> None:
    """Say the help of the command that is named, or of imgpkg itself."""
    command, unknown = locate(context.flags.words)
    context.output.block(help_of(ROOT if unknown else command))
