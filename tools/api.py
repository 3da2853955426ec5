"""The public names of the library as text: one line for each, sorted, with all that a program can rely on.

`make api` writes docs/api.txt anew; a test compares it with the sources, so that a review shows each change.
The sources are read and not imported, so the text is the same for every version of Python.

A name without a module is that of a type that programs do not import: they give or get its values by a public
name, as in `imgpkg.AccessReport.steps: attribute tuple[Step, ...]`.
"""

from __future__ import annotations

import ast
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import griffe

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from tools.documentation.dataclass_signatures import Dataclasses  # noqa: E402 - for `make api`

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILE = ROOT / "docs/api.txt"
# Where programs find names. What is in several of them is described for the first.
MODULES = (
    "imgpkg.errors",
    "imgpkg.errors.exit_codes",
    "imgpkg",
    "imgpkg.oci",
    "imgpkg.oci.media",
    "imgpkg.aio",
    "imgpkg.adaptors.httpx",
    "imgpkg.adaptors.requests",
    "imgpkg.testing",
    "imgpkg.testing.faults",
    "imgpkg.testing.plugin",
    "imgpkg.testing.strategies",
)
# What the package has for itself: it may change in every release.
INTERNAL = frozenset(
    {
        "imgpkg.Base.fields",
        "imgpkg.Base.read",
        "imgpkg.ImageFiles.__init__",
        "imgpkg.RegistryClient.__init__",
        "imgpkg.RegistryClient.accepts",
        "imgpkg.RegistryClient.exchange",
        "imgpkg.RegistryClient.token",
        "imgpkg.RegistryClient.watched",
        "imgpkg.Session.cancellation",
        "imgpkg.Session.client_for",
        "imgpkg.Session.limits",
        "imgpkg.Session.warn",
        "imgpkg.SigningKey.__init__",
        "imgpkg.aio.ImageFiles.__init__",
        "imgpkg.aio.Readable.__init__",
        "imgpkg.aio.RegistryClient.__init__",
        "imgpkg.aio.Running.__init__",
        "imgpkg.aio.Session.begin",
        "imgpkg.aio.Session.client_for",
        "imgpkg.aio.Session.turn",
        "imgpkg.aio.Session.warn",
        "imgpkg.errors.ImgpkgError.explain_later",
        "imgpkg.errors.doing",
        "imgpkg.errors.exit_codes.KINDS",
        "imgpkg.errors.local_io",
        "imgpkg.oci.media.IMAGES",
        "imgpkg.oci.media.INDEXES",
        "imgpkg.oci.media.LAYERS",
        "imgpkg.oci.media.MANIFESTS",
        "imgpkg.oci.media.MANIFEST_ACCEPT",
        "imgpkg.oci.media.NON_DISTRIBUTABLE",
        "imgpkg.testing.RegistryServer.__init__",
    }
)
# The methods that programs call by `with`, `for`, `str()` and the like.
_BY_SYNTAX = re.compile(
    "__(init|call|a?enter|a?exit|a?iter|a?next|len|bool|contains|getitem|str|fspath|lt)__"
)
_OPTIONS = {"frozen": "frozen=True", "ordered": "order=True"}
_POSITIONAL_ONLY, _NAMED_ONLY = griffe.ParameterKind.positional_only, griffe.ParameterKind.keyword_only
_STARS = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}


class Redundant(griffe.Extension):
    """Notes what a module offers though another one defines it: `from module import Name as Name`."""

    def on_alias_instance(
        self, *, alias: griffe.Alias, node: ast.AST | griffe.ObjectNode, **_: object
    ) -> None:
        """Make such a name public; griffe takes whatever is imported for private."""
        alias.public = any(name.asname == name.name == alias.name for name in getattr(node, "names", ()))


def lines(sources: Path = ROOT / "src", modules: Iterable[str] = MODULES) -> list[str]:
    """Return the lines that describe the modules of the package in the folder, sorted by name."""
    extensions = griffe.load_extensions(Dataclasses, Redundant)
    loader = griffe.GriffeLoader(search_paths=[sources], extensions=extensions)
    loader.load("imgpkg", try_relative_path=False)
    loader.resolve_aliases(external=False)
    collection = loader.modules_collection
    waiting = [(path, thing) for module in modules for path, thing in _offered(collection[module])]
    homes: dict[str, str] = {}
    for path, thing in waiting:
        homes.setdefault(thing.canonical_path, path)
    found: dict[str, str] = {}
    for path, thing in waiting:
        home = homes[thing.canonical_path]
        if home != path:
            found[path] = f"the same as {home}"
            continue
        for member_path, member in _with_members(path, thing, homes):
            found[member_path] = _text(member)
            for other in _types_of_ours(member, collection):
                if other.canonical_path not in homes:
                    homes[other.canonical_path] = other.name
                    waiting.append((other.name, other))
    deprecated = {path: text for module in modules for path, text in _deprecated(collection[module])}
    return [f"{path}: {deprecated.get(path, '')}{text}" for path, text in sorted(found.items())]


def _deprecated(module: griffe.Module) -> Iterator[tuple[str, str]]:
    """Yield the deprecated names of a module, and what stands in front of the description of each."""
    table = module.members.get("_DEPRECATED")
    for name, (_, removal, instead) in ast.literal_eval(str(table.value)).items() if table else ():
        yield f"{module.path}.{name}", f"deprecated until {removal}, {instead}: "


def _offered(module: griffe.Module) -> Iterator[tuple[str, griffe.Object]]:
    """Yield the public names of a module and what they are, without the modules below it."""
    for name, member in module.members.items():
        is_offered = member.public if member.is_alias else not name.startswith("_")
        if is_offered and (not module.exports or name in module.exports):
            target = _target(member)
            is_variable = re.match("(TypeVar|ParamSpec)\\(", str(getattr(target, "value", "")))
            if not isinstance(target, griffe.Module) and not is_variable:
                yield f"{module.path}.{name}", target


def _with_members(
    path: str, thing: griffe.Object, homes: dict[str, str]
) -> Iterator[tuple[str, griffe.Object]]:
    """Yield the thing and, of a class, its public members and those of bases without a public name."""
    if path not in INTERNAL:
        yield path, thing
    for name, member in thing.all_members.items() if isinstance(thing, griffe.Class) else ():
        target = _target(member)
        is_said_elsewhere = member.inherited and target.parent.canonical_path in homes
        # Without a name, nobody makes one.
        is_public = _BY_SYNTAX.fullmatch(name) if name.startswith("_") else True
        is_made = name == "__init__" and "." not in path
        if is_public and not is_made and not is_said_elsewhere and f"{path}.{name}" not in INTERNAL:
            yield f"{path}.{name}", target


def _target(member: griffe.Object | griffe.Alias) -> griffe.Object:
    return member.final_target if isinstance(member, griffe.Alias) else member


def _types_of_ours(thing: griffe.Object, collection: griffe.ModulesCollection) -> Iterator[griffe.Object]:
    """Yield the types of the package that a signature, an attribute or an alias names."""
    for expression in _expressions(thing):
        for name in expression.iterate(flat=True) if isinstance(expression, griffe.Expr) else ():
            path = name.canonical_path if isinstance(name, (griffe.ExprName, griffe.ExprAttribute)) else ""
            with suppress(KeyError, griffe.AliasResolutionError):
                other = _target(collection[path]) if path.startswith("imgpkg.") and "._" not in path else None
                if isinstance(other, griffe.Class) or (other and "TypeAlias" in str(_annotation(other))):
                    yield other


def _expressions(thing: griffe.Object) -> Iterator[griffe.Expr | str | None]:
    if isinstance(thing, griffe.Function):
        for form in thing.overloads or [thing]:
            yield from (parameter.annotation for parameter in form.parameters)
            yield form.returns
    elif isinstance(thing, griffe.Attribute):
        yield _annotation(thing)
        yield thing.value if "TypeAlias" in str(thing.annotation) else None


def _text(thing: griffe.Object) -> str:
    if isinstance(thing, griffe.Function):
        return _of_function(thing)
    return _of_class(thing) if isinstance(thing, griffe.Class) else _of_attribute(thing)


def _of_class(thing: griffe.Class) -> str:
    bases = ", ".join(_shown(base) for base in thing.bases)
    options = " ".join(str(decorator.value) for decorator in thing.decorators)
    words = [word for word, option in _OPTIONS.items() if option in options]
    return ", ".join([f"class({bases})" if bases else "class", *words])


def _of_function(thing: griffe.Function) -> str:
    kind = "method" if isinstance(thing.parent, griffe.Class) else "function"
    if any(str(decorator.value).startswith("pytest.fixture") for decorator in thing.decorators):
        return f"fixture {_shown(thing.returns)}"
    words = [word for word in ("async", "class", "static") if {word, f"{word}method"} & thing.labels]
    forms = [_signature(form) for form in thing.overloads or [thing]]
    return " ".join([*words, kind]) + " or ".join(forms)


def _signature(thing: griffe.Function) -> str:
    """Return the parameters and the result, as they are written in a `def`."""
    is_bound = isinstance(thing.parent, griffe.Class) and "staticmethod" not in thing.labels
    shown: list[str] = []
    kind = None
    for parameter in list(thing.parameters)[is_bound:]:
        if kind is _POSITIONAL_ONLY is not parameter.kind:
            shown.append("/")
        if parameter.kind is _NAMED_ONLY and kind not in (_NAMED_ONLY, griffe.ParameterKind.var_positional):
            shown.append("*")
        kind = parameter.kind
        shown.append(_parameter(parameter))
    shown += ["/"] if kind is _POSITIONAL_ONLY else []
    result = "" if thing.name == "__init__" else f" -> {_shown(thing.returns)}"
    return f"({', '.join(shown)}){result}"


def _parameter(parameter: griffe.Parameter) -> str:
    stars = _STARS.get(parameter.kind, "")
    kind = f": {_shown(parameter.annotation)}" if parameter.annotation is not None else ""
    has_default = parameter.default is not None and not stars
    return f"{stars}{parameter.name}{kind}{f' = {_default(parameter)}' if has_default else ''}"


def _default(parameter: griffe.Parameter) -> str:
    """Return the default as it is written, and for a constant of the package what it stands for."""
    if isinstance(parameter.default, griffe.ExprName):
        with suppress(KeyError):
            constant = parameter.function.modules_collection[parameter.default.canonical_path]
            if isinstance(constant, griffe.Attribute):
                return str(constant.value)
    return _shown(parameter.default)


def _of_attribute(thing: griffe.Object) -> str:
    value = getattr(thing, "value", None)
    if isinstance(thing.parent, griffe.Class):
        if any("Enum" in str(base) for base in thing.parent.bases):
            return f"member {value}"
        return f"{'property' if 'property' in thing.labels else 'attribute'} {_shown(_annotation(thing))}"
    return f"type {_shown(value)}" if "TypeAlias" in str(_annotation(thing)) else f"value {value}"


def _annotation(thing: griffe.Object) -> griffe.Expr | str | None:
    """Return the type of an attribute, which is that of the parameter which `__init__` sets it to."""
    if not isinstance(thing, griffe.Attribute) or thing.annotation is not None:
        return getattr(thing, "annotation", None)
    init = thing.parent.members.get("__init__") if thing.parent else None
    is_known = isinstance(init, griffe.Function) and str(thing.value) in init.parameters
    return init.parameters[str(thing.value)].annotation if is_known else None


def _shown(expression: griffe.Expr | str | None) -> str:
    text = str(expression)
    # An alias of types may be a text.
    written = text[1:-1] if text.startswith(("'", '"')) and "[" in text else text
    return written.replace("imgpkg.", "")


if __name__ == "__main__":
    FILE.write_text("\n".join(lines()) + "\n")
