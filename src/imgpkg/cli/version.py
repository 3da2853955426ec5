"""`imgpkg version`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.version import VERSION

if TYPE_CHECKING:
    from imgpkg.cli.context import Context


def run(context: Context) -> None:
    """Say the version; with `--verbose` which Python and which encoder are in use."""
    text = f"imgpkg version {VERSION}\n"
    if context.flags.is_on("verbose"):
        import platform  # noqa: PLC0415 - only here

        from imgpkg.content.deflate import encoder_name  # noqa: PLC0415 - likewise

        text += f"python {platform.python_version()}\ndeflate encoder: {encoder_name()}\n"
    context.output.block(text)
