"""`imgpkg pull`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgpkg.cli.context import Context


def run(context: Context) -> None:
    """Pull into the output folder."""
    from imgpkg.operations.pull import pull  # noqa: PLC0415 - commands load what they need

    flags = context.flags
    with context.session() as session:
        pull(
            flags.text("output"),
            session=session,
            image=flags.text("image"),
            bundle=flags.text("bundle"),
            lock=flags.text("lock"),
            recursive=flags.is_on("recursive"),
            image_is_bundle_check=flags.is_on("image-is-bundle-check"),
            on_event=context.watch,
        )
