"""The command `describe`: what a bundle contains, as text, as a document for programs, or as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.cli import rendering
from imgpkg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.cli.context import Context
    from imgpkg.operations.breakdown import BundlePart
    from imgpkg.operations.description import Description

_FORMS = ("text", "yaml", "json", "tree")
_PICTURES = ("svg", "dot", "html")


def run(context: Context) -> None:
    """Print what the bundle contains, in the form that `--output-type` names."""
    flags = context.flags
    form = flags.text("output-type")
    # Checked before the session is opened, which may read a password from standard input.
    if form not in (*_FORMS, *_PICTURES):
        known = ", ".join((*_FORMS, *_PICTURES))
        hint = "Write -o tree for what is in what, -o json or -o yaml for a program."
        raise UsageError(f"--output-type can only have the following values [{known}]", hints=(hint,))
    if flags.number("concurrency") < 1:
        raise UsageError(f"Expected --concurrency to be >= 1, but was {flags.number('concurrency')}")
    if form in _PICTURES and not context.is_document:
        picture = _drawn(_broken_down(context), form)
        context.output.block(picture)
        return
    description = _described(context)
    if form == "json" or context.is_document:
        from imgpkg.oci.encoding import encode_json
        from imgpkg.operations.jsonform.form import as_json

        value = as_json(description)
        context.output.result(
            {"reference": description.image, "digest": str(description.digest), "description": value}
        )
        context.output.document(encode_json(value, indent=2).decode() + "\n", value)
        return
    for block in _blocks(description, form, layers=flags.is_on("layers")):
        context.output.block(block)


def _described(context: Context) -> Description:
    from imgpkg.operations.describe import describe

    flags = context.flags
    with context.session() as session:
        return describe(
            flags.text("bundle"),
            session=session,
            layers=flags.is_on("layers"),
            cosign_artifacts=flags.is_on("cosign-artifacts"),
            referrers=flags.is_on("referrers"),
            attachments=flags.is_on("attachments"),
            tar=flags.text("tar"),
            layout=flags.text("from-oci-layout"),
            on_event=context.reporter,
        )


def _broken_down(context: Context) -> BundlePart:
    from imgpkg.operations.breakdown import break_down

    flags = context.flags
    with context.session() as session:
        return break_down(
            flags.text("bundle"),
            session=session,
            cosign_artifacts=flags.is_on("cosign-artifacts"),
            referrers=flags.is_on("referrers"),
            # A picture shows everything, unless the flag says otherwise.
            attachments=flags.is_on("attachments") or "attachments" not in flags.given,
            tar=flags.text("tar"),
            layout=flags.text("from-oci-layout"),
            on_event=context.reporter,
        )


def _drawn(root: BundlePart, form: str) -> str:
    match form:
        case "svg":
            from imgpkg.drawing.svg import draw_svg

            return draw_svg(root)
        case "dot":
            from imgpkg.drawing.dot import draw_dot

            return draw_dot(root)
        case _:
            from imgpkg.drawing.page import draw_page

            return draw_page(root)


def _blocks(description: Description, form: str, *, layers: bool) -> Iterable[str]:
    if form == "yaml":
        return [rendering.description_yaml(description)]
    return (
        rendering.description_tree(description)
        if form == "tree"
        else rendering.description_text(description, layers=layers)
    )
