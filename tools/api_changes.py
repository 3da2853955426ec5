"""What a change of the public names means to programs: in one sentence, with what to do."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FUNCTION = re.compile(r"(?P<kind>[a-z ]+)(?P<signature>\(.*)")
_NEXT = (
    "If that is what should be released, run `make api` and commit docs/api.txt; what programs use is not "
    "removed or changed before it has been deprecated (CONTRIBUTING.md, Public names)"
)


class Parameter(NamedTuple):
    """A parameter of a function; `default` is "" for one that is required."""

    kind: str
    name: str
    annotation: str
    default: str


def difference(old: Iterable[str], new: Iterable[str]) -> str:
    """Return one sentence on what became of the names, and what to do, before the lines; "" for no change.

    A name is extended if every call of it works as before: it has further parameters or defaults.
    """
    before, after = _by_name(old), _by_name(new)
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    extended = {name for name in changed if takes_more(before[name], after[name])}
    kinds = {
        "added": after.keys() - before,
        "extended": extended,
        "changed": changed - extended,
        "removed": before.keys() - after,
    }
    said = [f"{kind}: {', '.join(sorted(names))}" for kind, names in kinds.items() if names]
    if not said:
        return ""
    details = [f"- {name}: {before[name]}\n+ {name}: {after[name]}" for name in sorted(changed)]
    return "\n".join(
        [f"The public names are not those of docs/api.txt ({'; '.join(said)}). {_NEXT}.", *details]
    )


def takes_more(old: str, new: str) -> bool:
    """Return True for two functions of which the second has all parameters of the first in their places."""
    before, after = _parsed(old), _parsed(new)
    if before is None or after is None or before[::2] != after[::2]:
        return False
    was, now = before[1], after[1]
    places = [
        [each for each in parameters if each.kind.startswith("positional")] for parameters in (was, now)
    ]
    named = {each.name: each for each in now if each.kind != "positional only"}
    kept = all(map(_is_kept, places[0], places[1])) and len(places[0]) <= len(places[1])
    names = {each.name for each in was}
    return (
        kept
        and all(
            each.name in named and _is_kept(each, named[each.name]) for each in was if each not in places[0]
        )
        and all(each.default or each.kind.endswith("rest") for each in now if each.name not in names)
    )


def _is_kept(old: Parameter, new: Parameter) -> bool:
    return (
        (old.name, old.annotation) == (new.name, new.annotation)
        and old.kind in (new.kind, "named" if new.kind == "positional" else new.kind)
        and (not old.default or old.default == new.default)
    )


def _parsed(text: str) -> tuple[str, list[Parameter], str] | None:
    """Return the kind, the parameters and the result of a function, or None; one of several forms is none."""
    found = _FUNCTION.fullmatch(text)
    try:
        made = ast.parse(f"def _{found['signature']}: ...").body[0] if found else None
    except SyntaxError:
        return None
    if found is None or not isinstance(made, ast.FunctionDef):
        return None
    return found["kind"], list(_parameters(made.args)), ast.unparse(made.returns) if made.returns else ""


def _parameters(found: ast.arguments) -> Iterator[Parameter]:
    places = [("positional only", each) for each in found.posonlyargs]
    places += [("positional", each) for each in found.args]
    defaults = [None] * (len(places) - len(found.defaults)) + found.defaults
    for (kind, each), default in zip(places, defaults, strict=True):
        yield _parameter(kind, each, default)
    for each, default in zip(found.kwonlyargs, found.kw_defaults, strict=True):
        yield _parameter("named", each, default)
    for kind, rest in (("rest", found.vararg), ("named rest", found.kwarg)):
        if rest is not None:
            yield _parameter(kind, rest, None)


def _parameter(kind: str, found: ast.arg, default: ast.expr | None) -> Parameter:
    annotation = ast.unparse(found.annotation) if found.annotation else ""
    return Parameter(kind, found.arg, annotation, ast.unparse(default) if default else "")


def _by_name(text: Iterable[str]) -> dict[str, str]:
    return {name: description for name, _, description in (line.partition(": ") for line in text)}
