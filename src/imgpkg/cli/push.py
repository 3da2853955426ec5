"""`imgpkg push`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from imgpkg.cli.context import Context


def run(context: Context) -> None:
    """Push the files and say where they are."""
    from imgpkg.operations.push import push  # noqa: PLC0415 - commands load what they need

    flags = context.flags
    with context.session() as session:
        pushed = push(
            flags.texts("file"),
            session=session,
            image=flags.text("image"),
            bundle=flags.text("bundle"),
            exclusions=flags.texts("file-exclusion"),
            preserve_permissions=flags.is_on("preserve-permissions"),
            labels=cast("dict[str, str]", flags.values["labels"]),
            lock_output=flags.text("lock-output"),
            on_event=context.watch,
        )
    context.watch.close()
    context.output.text(f"Pushed '{pushed.reference}'")
