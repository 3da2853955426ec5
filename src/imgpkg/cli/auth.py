"""The functions of the commands below `imgpkg auth`. The table in `commands` names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.cli.rendering import decision_json
from imgpkg.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imgpkg.auth.keychain import Decision, NearMiss
    from imgpkg.cli.context import Context


def explain(context: Context) -> None:
    """Print which credential the repository gets and why, without a request to the registry."""
    from imgpkg.session import explain

    with context.session() as session:
        decision = explain(context.flags.words[0], session=session)
        misses = session.keychain.near_misses(decision)
    context.output.document("".join(_text(decision, misses)), _document(decision, misses))


def _text(decision: Decision, misses: Sequence[NearMiss]) -> Iterator[str]:
    yield f"{decision.explain()}\n"
    if misses:
        yield "near misses:\n"
    for miss in misses:
        yield printable(f"  {miss.source}: {miss}") + "\n"


def _document(decision: Decision, misses: Sequence[NearMiss]) -> dict[str, object]:
    return {
        **decision_json(decision),
        "nearMisses": [
            {"source": miss.source, "text": miss.text, "remedy": miss.remedy or None} for miss in misses
        ],
    }
