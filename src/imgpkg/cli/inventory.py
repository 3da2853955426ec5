"""The command `inventory`: prints what a place has, or writes the file for `copy --since-inventory`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imgpkg.errors import UsageError

if TYPE_CHECKING:
    from imgpkg.bundle.inventory import Inventory
    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context


def run(context: Context) -> None:
    """Print the inventory, or write it to the file of `--output`."""
    from imgpkg.operations.inventory import inventory

    flags = context.flags
    repository, tar, layout = _place(flags)
    output = flags.text("output")
    with context.session() as session:
        made = inventory(
            repository, session=session, tar=tar, layout=layout, output=output, on_event=context.reporter
        )
    if context.is_document:
        context.output.result({"output": output or None, "inventory": made.document()})
        return
    if output and not flags.is_on("json"):
        context.output.text(_summary(made, output))
    else:
        context.output.document(made.to_bytes().decode(), made.document())


def _place(flags: Parsed) -> tuple[str, str, str]:
    """Return the repository, the tar file or the layout that is asked for, and empty texts for the others."""
    named = tuple(filter(None, (flags.text("image"), flags.text("tar"), flags.text("from-oci-layout"))))
    given = (*flags.words, *named)
    if len(given) != 1:
        raise UsageError(
            f"accepts 1 arg(s), received {len(given)}: a tar file, a folder with a layout, or a repository"
        )
    if named:
        return flags.text("image"), flags.text("tar"), flags.text("from-oci-layout")
    (word,) = given
    if os.path.isdir(word):
        return "", "", word
    # A file that is not there is named in the error; no repository ends so.
    if os.path.exists(word) or word.endswith(".tar"):
        return "", word, ""
    return word, "", ""


def _summary(made: Inventory, output: str) -> str:
    from imgpkg.cli.rendering import count_of, human

    blobs = f"{count_of(len(made.blobs), 'blob')} with {human(made.size)}"
    return f"Listed {count_of(len(made.manifests), 'manifest')} and {blobs} in '{output}'"
