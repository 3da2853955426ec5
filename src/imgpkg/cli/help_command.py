"""`imgpkg help`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.cli.commands import ROOT
from imgpkg.cli.helptext import help_of, lookup

if TYPE_CHECKING:
    from imgpkg.cli.context import Context


def run(context: Context) -> None:
    """Say the help of the command that is named, or of imgpkg itself."""
    context.output.block(help_of(lookup(context.flags.words) or ROOT))
