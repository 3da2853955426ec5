"""Write the verbs of `imgpkg.aio` from those of `imgpkg`: `python tools/coroutines.py`.

Each public function becomes a coroutine with the same parameters, which calls it in a thread; and so does
each method of the registry client. `tests/aio/test_aio_verbs.py` fails while the files are not what would be
written now.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import subprocess
import sys
import textwrap
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import imgpkg
from imgpkg.registry.client import RegistryClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

FOLDER = Path(__file__).parent.parent / "src" / "imgpkg" / "aio"
HEAD = "Made by tools/coroutines.py."

# Functions that compute and wait for nothing, and what is opened before a loop runs.
COMPUTING = {"as_json", "dask_executor", "draw_dot", "draw_page", "draw_svg", "limits"}
# What the client has for other modules of imgpkg, and what is written by hand.
NOT_OF_THE_CLIENT = {"exchange", "primary", "watched", "accepts", "token", "claim"}


class Module(NamedTuple):
    """A module of verbs, and the homes of these: the longest that fits a verb decides."""

    name: str
    sentence: str
    homes: tuple[str, ...]


MODULES = (
    Module("copies", "Coroutines that copy images and bundles.", ("operations.copy", "operations.plans")),
    Module(
        "transfers",
        "Coroutines that push and pull.",
        ("operations.push", "operations.pull", "operations.bundle_pull", "operations.artifact"),
    ),
    Module(
        "credentials",
        "Coroutines about credentials: which are used and accepted, and logins that are stored.",
        ("session", "auth", "operations.check", "operations.login", "operations.copy.access"),
    ),
    Module(
        "repositories",
        "Coroutines about what a repository has: tags, what refers to an image, and what is not needed.",
        (
            "operations.catalog",
            "operations.delete",
            "operations.inventory",
            "operations.prune",
            "operations.referrers",
            "operations.retag",
            "operations.tag",
            "registry",
        ),
    ),
    Module(
        "images",
        "Coroutines that read images and their files.",
        ("operations.files", "operations.images"),
    ),
    Module(
        "documents",
        "Coroutines about documents: locks of images, placements and policies.",
        ("operations.lock", "operations.rewrite", "bundle"),
    ),
    # And whatever fits no other module.
    Module("contents", "Coroutines that describe images and bundles, and verify them.", ("",)),
)

# What a blocking type is for a coroutine.
SAME_FOR_TASKS = {
    "Session": "Session",
    "RegistryClient": "RegistryClient",
    "Readable": "Readable",
    "ImageFiles": "ImageFiles",
    "ReadableStream": "AsyncReadable | ReadableStream",
    "WritableStream": "AsyncWritable | WritableStream",
}
HOMES_OF_TASKS = {
    "Session": "imgpkg.aio.session",
    "RegistryClient": "imgpkg.aio.client",
    "Readable": "imgpkg.aio.streams",
    "ImageFiles": "imgpkg.aio.files",
    "AsyncReadable": "imgpkg.aio.streams",
    "AsyncWritable": "imgpkg.aio.streams",
}


@dataclass
class Imports:
    """The names that a module imports."""

    names: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    # Of types that are loaded by no one who does not look at them.
    types: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    modules: set[str] = field(default_factory=set)

    def lines(self) -> list[str]:
        """Return the lines of the imports."""
        lines = [f"import {name}" for name in sorted(self.modules)]
        lines += [
            f"from {home} import {', '.join(sorted(names))}" for home, names in sorted(self.names.items())
        ]
        types = {home: names - self.names.get(home, set()) for home, names in self.types.items()}
        guarded = [
            f"    from {home} import {', '.join(sorted(names))}"
            for home, names in sorted(types.items())
            if names
        ]
        return lines + (["if TYPE_CHECKING:", *guarded] if guarded else [])


class Source:
    """One blocking function: its parameters as they are written, and where their names come from."""

    def __init__(self, function: Callable[..., object], imports: Imports) -> None:
        self.function = inspect.unwrap(function)
        self.imports = imports
        tree = ast.parse(textwrap.dedent(inspect.getsource(self.function))).body[0]
        assert isinstance(tree, ast.FunctionDef)  # noqa: S101 - every public function is one
        self.tree = tree
        self.is_context = any(getattr(one, "id", "") == "contextmanager" for one in tree.decorator_list)

    def text(self, node: ast.expr, *, is_type: bool) -> str:
        """Return an expression with the names that it has in the new module."""
        return ast.unparse(
            _Names(self, is_type=is_type).visit(ast.parse(ast.unparse(node), mode="eval").body)
        )

    def home(self, name: str) -> str:
        """Return the module from which to import `name`."""
        module = inspect.getmodule(self.function)
        assert module is not None  # noqa: S101 - it was imported
        return _imported(module).get(name, module.__name__)


@cache
def _imported(module: ModuleType) -> dict[str, str]:
    """Return the names that a module imports, and where they come from."""
    imports = (
        node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.ImportFrom)
    )
    return {each.asname or each.name: node.module or "" for node in imports for each in node.names}


class _Names(ast.NodeTransformer):
    """Replaces the names of an annotation or of a default."""

    def __init__(self, source: Source, *, is_type: bool) -> None:
        self.source = source
        self.is_type = is_type

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        self.source.imports.modules.add(ast.unparse(node.value))
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        name, imports = node.id, self.source.imports
        if self.is_type and name in SAME_FOR_TASKS:
            return self._of_tasks(SAME_FOR_TASKS[name])
        if name in imgpkg.__all__:
            imports.modules.add("imgpkg")
            return ast.parse(f"imgpkg.{name}", mode="eval").body
        if hasattr(builtins, name):
            return node
        if not self.is_type and (known := self._value(name)):
            return ast.parse(known, mode="eval").body
        home = self.source.home(name)
        is_light = not home.startswith("imgpkg.") or not self.is_type or home == "imgpkg.values"
        (imports.names if is_light else imports.types)[home].add(name)
        return node

    def _value(self, name: str) -> str:
        """Return what stands for a default whose module need not be loaded for it, or that is private."""
        value = self.source.function.__globals__.get(name)
        if isinstance(value, (int, str, tuple)):
            return repr(value)
        if isinstance(value, Mapping) and not value:
            self.source.imports.names["imgpkg.oci.descriptor"].add("EMPTY")
            return "EMPTY"
        if name.startswith("_") and callable(value):
            self.source.imports.names["imgpkg.aio.hooks"].add("unheard")
            return "unheard"
        return ""

    def _of_tasks(self, text: str) -> ast.expr:
        for name in text.split(" | "):
            home = HOMES_OF_TASKS.get(name) or self.source.home(name)
            self.source.imports.types[home].add(name)
        return ast.parse(text, mode="eval").body


class Coroutine:
    """A coroutine, an asynchronous generator or an async context, written from a blocking function."""

    def __init__(self, source: Source, called: str, shown_name: str) -> None:
        self.source = source
        self.called = called
        self.shown_name = shown_name
        self.parameters = source.tree.args
        self.has_session = any(each.arg == "session" for each in self.parameters.kwonlyargs)

    def text(self, session: str) -> str:
        """Return the function; `session` is what its thread works with."""
        returned = self.source.tree.returns
        assert returned is not None  # noqa: S101 - mypy wants it
        head, form, body = self._form(ast.unparse(returned), returned)
        call = f"{self.called}({self._arguments()})"
        thread = "at" if re.search(r"\bat\b[.,]", f"{body}{call}") else "_"
        lines = [
            f"{head} {self.source.tree.name}({self._signature()}) -> {form}:",
            textwrap.indent(self._docstring(), "    "),
            f"    {body.format(session=session, thread=thread, call=call)}",
        ]
        return "\n".join(lines) + "\n"

    def _form(self, returned: str, node: ast.expr) -> tuple[str, str, str]:
        """Return how the function begins, its type and its body."""
        inner = node.slice if isinstance(node, ast.Subscript) else node
        if isinstance(inner, ast.Tuple) and returned.startswith("Generator"):
            inner = inner.elts[0]
        kind = self._type(inner)
        if self.source.is_context or returned.startswith("AbstractContextManager"):
            self._import("collections.abc", "Callable", is_type=True)
            self._import("contextlib", "AbstractAsyncContextManager")
            self._import("imgpkg.aio.calls", "opened")
            self._import(HOMES_OF_TASKS[kind], kind)
            return (
                "def",
                f"AbstractAsyncContextManager[{kind}]",
                f"return opened({{session}}, lambda {{thread}}: {{call}}, {kind})",
            )
        if returned.startswith(("Iterator", "Generator")):
            self._import("collections.abc", "AsyncGenerator")
            self._import("imgpkg.aio.calls", "iterate")
            call = "{call}"
            if "Readable" in returned:
                self._import("imgpkg.aio.streams", "with_streams")
                call = "with_streams(at, {call})"
            more = ", at_once=1" if "Readable" in returned else ""
            return (
                "def",
                f"AsyncGenerator[{kind}, None]",
                f"return iterate({{session}}, lambda {{thread}}: {call}{more})",
            )
        self._import("imgpkg.aio.calls", "call")
        return "async def", self._type(node), "return await call({session}, lambda {thread}: {call})"

    def _import(self, home: str, name: str, *, is_type: bool = False) -> None:
        if not is_type:
            self.source.imports.names[home].add(name)

    def _type(self, node: ast.expr) -> str:
        return self.source.text(node, is_type=True)

    def _signature(self) -> str:
        given = self.parameters
        blanks: list[ast.expr | None] = [None] * (len(given.args) - len(given.defaults))
        texts = [self._parameter(*pair) for pair in zip(given.args, [*blanks, *given.defaults], strict=True)]
        if given.kwonlyargs:
            texts.append("*")
        texts += [self._parameter(*pair) for pair in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
        return ", ".join(texts)

    def _parameter(self, argument: ast.arg, default: ast.expr | None) -> str:
        if argument.annotation is None:
            return argument.arg
        text = f"{argument.arg}: {self._type(argument.annotation)}"
        return text if default is None else f"{text} = {self.source.text(default, is_type=False)}"

    def _arguments(self) -> str:
        by_position = [self._passed(each) for each in self.parameters.args if each.arg != "self"]
        by_name = [f"{each.arg}={self._passed(each)}" for each in self.parameters.kwonlyargs]
        return ", ".join(by_position + by_name)

    def _passed(self, argument: ast.arg) -> str:
        annotation = "" if argument.annotation is None else ast.unparse(argument.annotation)
        name = argument.arg
        if annotation == "Hook" or (annotation.startswith("Callable[") and annotation.endswith(", None]")):
            return f"at.hook({name})"
        forms = {
            "Session": "at.session",
            "Session | None": f"at.other({name})",
            "ReadableStream": f"at.reader({name})",
            "WritableStream": f"at.writer({name})",
        }
        return forms.get(annotation, name)

    def _docstring(self) -> str:
        sentence = (ast.get_docstring(self.source.tree) or "").partition("\n\n")[0]
        return f'"""{sentence}\n\nThe coroutine of `{self.shown_name}`, whose contract it has.\n"""'


def verbs() -> dict[str, list[str]]:
    """Return the names of the blocking functions for each module of coroutines."""
    found: dict[str, list[str]] = {module.name: [] for module in MODULES}
    for name in sorted(imgpkg.__all__):
        if inspect.isfunction(getattr(imgpkg, name)) and name not in COMPUTING:
            found[_module_of(imgpkg._HOMES[name])].append(name)  # noqa: SLF001 - the table of the package
    return found


def _module_of(home: str) -> str:
    fitting = [
        (len(beginning), module.name)
        for module in MODULES
        for beginning in module.homes
        if not beginning or f"{home}.".startswith(f"{beginning}.")
    ]
    return max(fitting)[1]


def client_methods() -> list[str]:
    """Return the names of the methods of the client that send requests."""
    functions = inspect.getmembers(RegistryClient, inspect.isfunction)
    return [name for name, _ in functions if not name.startswith("_") and name not in NOT_OF_THE_CLIENT]


def files() -> dict[str, str]:
    """Return the text of each module, before it is formatted."""
    made = {f"{module.name}.py": _module(module, names) for module, names in _modules()}
    return made | {"client.py": _client(), "__init__.py": _package()}


def _modules() -> Iterator[tuple[Module, list[str]]]:
    found = verbs()
    return ((module, found[module.name]) for module in MODULES)


def _module(module: Module, names: list[str]) -> str:
    imports = Imports()
    imports.modules.add("imgpkg")
    written = []
    for name in names:
        made = Coroutine(Source(getattr(imgpkg, name), imports), f"imgpkg.{name}", f"imgpkg.{name}")
        written.append(made.text("session" if made.has_session else "None"))
    return _text(module.sentence, imports, written)


def _client() -> str:
    imports = Imports()
    imports.modules.add("imgpkg")
    methods = [
        textwrap.indent(
            Coroutine(
                Source(getattr(RegistryClient, name), imports),
                f"self._blocking().{name}",
                f"imgpkg.RegistryClient.{name}",
            ).text("self._session"),
            "    ",
        )
        for name in client_methods()
    ]
    imports.types["collections.abc"].add("Callable")
    imports.types["imgpkg.aio.session"].add("Session")
    return _text("The registry client for coroutines.", imports, [_CLIENT + "\n".join(methods)])


_CLIENT = '''
class RegistryClient:
    """The methods of `imgpkg.RegistryClient` as coroutines; see `Session.client`.

    `blocking` returns the blocking client; it is called in threads.
    """

    def __init__(self, session: Session, blocking: Callable[[], imgpkg.RegistryClient]) -> None:
        self._session = session
        self._blocking = blocking

    @property
    def primary(self) -> RegistryClient:
        """The same client without mirrors: for what is written, and for what is compared with it."""
        return RegistryClient(self._session, lambda: self._blocking().primary)

'''


_PACKAGE = """The library for asyncio: the verbs of `imgpkg` as coroutines.

    import imgpkg.aio

    async with imgpkg.aio.Session(imgpkg.Settings.from_environment()) as session:
        async with asyncio.timeout(60):
            found = await imgpkg.aio.resolve("registry.example.com/team/app:v1", session=session)

They have the names, the parameters, the results and the errors of the blocking functions, with a `Session` of
this module. The values are those of `imgpkg`. Hooks are called in the event loop; iterators are asynchronous
ones. See `Session` for what a cancellation does."""
# By hand.
_OWN = {
    "imgpkg.aio.client": ("RegistryClient",),
    "imgpkg.aio.files": ("ImageFiles",),
    "imgpkg.aio.progress": ("Running", "progress"),
    "imgpkg.aio.session": ("Session",),
    "imgpkg.aio.streams": ("AsyncReadable", "AsyncWritable", "Readable"),
}


def _package() -> str:
    names = _OWN | {f"imgpkg.aio.{module.name}": tuple(found) for module, found in _modules()}
    lines = [f"from {home} import {name} as {name}" for home, each in names.items() for name in each]
    names_of_all = sorted(name for each in names.values() for name in each)
    return _text(_PACKAGE, Imports(), ["\n".join(lines), f"__all__ = {names_of_all!r}"])


def _text(sentence: str, imports: Imports, written: list[str]) -> str:
    lines = imports.lines()
    if any("TYPE_CHECKING" in line for line in lines):
        imports.names["typing"].add("TYPE_CHECKING")
    return "\n\n".join(
        [
            f'"""{sentence}\n\n{HEAD}\n"""',
            "from __future__ import annotations",
            "\n".join(imports.lines()),
            *written,
        ]
    )


def main() -> None:
    """Write the modules, formatted."""
    made = files()
    for name, text in made.items():
        (FOLDER / name).write_text(text)
    paths = [str(FOLDER / name) for name in made]
    ruff = str(Path(sys.executable).parent / "ruff")
    subprocess.run([ruff, "check", "--quiet", "--fix", "--select", "I", *paths], check=True)
    subprocess.run([ruff, "format", "--quiet", *paths], check=True)


if __name__ == "__main__":
    main()
