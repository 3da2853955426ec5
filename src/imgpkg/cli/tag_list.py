"""`imgpkg tag list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.cli.output import Table

if TYPE_CHECKING:
    from imgpkg.cli.context import Context


def run(context: Context) -> None:
    """List the tags as a table sorted by name."""
    from imgpkg.operations.tag import list_tags  # noqa: PLC0415 - commands load what they need

    flags = context.flags
    digests = flags.is_on("digests")
    with context.session() as session:
        listed = list_tags(
            flags.text("image"),
            session=session,
            digests=digests,
            imgpkg_internal_tags=flags.is_on("imgpkg-internal-tags"),
        )
    rows = sorted((tag.name, str(tag.digest) if tag.digest else "") for tag in listed.tags)
    columns = ("Name", "Digest") if digests else ("Name",)
    context.output.table(Table("tags", ("Name", "Digest"), tuple(rows), columns))
