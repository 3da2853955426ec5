"""`imgpkg describe`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.cli import described
from imgpkg.content import go_json
from imgpkg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.cli.context import Context
    from imgpkg.operations.describe import Description

_TYPES = ("text", "yaml", "json", "tree")


def run(context: Context) -> None:
    """Say what the bundle holds, in the form that is asked for."""
    from imgpkg.operations.describe import describe  # noqa: PLC0415 - commands load what they need

    flags = context.flags
    kind = flags.text("output-type")
    if kind not in _TYPES:
        raise UsageError("--output-type can only have the following values [text, yaml, json, tree]")
    if flags.number("concurrency") < 1:
        raise UsageError(f"Expected --concurrency to be >= 1, but was {flags.number('concurrency')}")
    with context.session() as session:
        description = describe(
            flags.text("bundle"),
            session=session,
            layers=flags.is_on("layers"),
            cosign_artifacts=flags.is_on("cosign-artifacts"),
            referrers=flags.is_on("referrers"),
        )
    if kind == "json":
        value = described.json(description)
        context.output.document(go_json.encode(value, indent=2).decode() + "\n", value)
        return
    for block in _blocks(description, kind, layers=flags.is_on("layers")):
        context.output.block(block)


def _blocks(description: Description, kind: str, *, layers: bool) -> Iterable[str]:
    if kind == "yaml":
        return [described.yaml(description)]
    return described.tree(description) if kind == "tree" else described.text(description, layers=layers)
