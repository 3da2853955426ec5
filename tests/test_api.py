"""The public names are those of docs/api.txt, and whoever changes them is told what that means."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest
from tools.api import FILE, INTERNAL, MODULES, lines
from tools.api_changes import difference, takes_more

import imgpkg
from imgpkg.version import VERSION

ROOT = Path(__file__).parent.parent


# What the first test proves to be what the sources have.
WRITTEN = FILE.read_text().splitlines()


def test_the_file_has_the_public_names():
    said = difference(WRITTEN, lines())
    assert not said, said


def test_every_public_name_has_a_line():
    names = {line.partition(": ")[0] for line in WRITTEN}
    assert {f"imgpkg.{name}" for name in imgpkg.__all__} - names == {"imgpkg.__version__", "imgpkg.errors"}
    tree = {kind.__name__ for kind in vars(imgpkg.errors).values() if _is_error(kind)}
    assert len(tree) > 30
    assert {f"imgpkg.errors.{name}" for name in tree} - names == set()


def _is_error(kind):
    return inspect.isclass(kind) and issubclass(kind, imgpkg.ImgpkgError)


def test_every_line_says_a_type():
    assert [line for line in WRITTEN if re.search(r": (attribute|property|value) None$", line)] == []
    assert all(re.fullmatch(r"\w[\w.]*: \S.*", line) for line in WRITTEN)
    assert sorted(WRITTEN, key=lambda line: line.partition(": ")[0]) == WRITTEN


@pytest.mark.parametrize("path", sorted(INTERNAL))
def test_what_is_internal_exists(path):
    module = max((module for module in MODULES if path.startswith(f"{module}.")), key=len)
    owner = importlib.import_module(module)
    *parts, last = path.removeprefix(f"{module}.").split(".")
    for part in parts:
        owner = getattr(owner, part)
    assert hasattr(owner, last) or f"self.{last} = " in inspect.getsource(owner)


def test_the_documentation_imports_from_these_modules_only():
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", *(ROOT / "examples").rglob("*.py")]
    text = "\n".join(page.read_text() for page in pages)
    imported = re.findall(r"^ *(?:from|import) (imgpkg[\w.]*)", text, re.MULTILINE)
    assert len(imported) > 5
    assert set(imported) - {*MODULES} == set()


SOURCES = {
    "imgpkg/__init__.py": """
        from typing import TYPE_CHECKING

        if TYPE_CHECKING:
            from imgpkg.work import Colour as Colour, Hook as Hook, Job as Job
            from imgpkg.work import do as do, later as later, old as old, say as say

        _HOMES = {}
        _DEPRECATED: dict[str, tuple[str, str, str]] = {"old": ("imgpkg.work.old", "2.0.0", "use imgpkg.do")}
        """,
    "imgpkg/work.py": """
        from __future__ import annotations
        from collections.abc import Callable
        from enum import Enum
        from typing import TypeAlias, overload

        import imgpkg
        from imgpkg.dataclass import dataclass, field

        _FEW = 3

        class Colour(Enum):
            RED = "red"

        class Grip:
            def hold(self, /, a: int, *, b: str = "") -> imgpkg.Job: ...
            def __enter__(self) -> Grip: ...
            def _private(self) -> None: ...
            @staticmethod
            def of(text: str) -> Grip: ...

        class _Base:
            shared: int = 1

        @dataclass(frozen=True, order=True)
        class Job(_Base):
            name: str
            grip: Grip | None = None
            tries: int = _FEW
            marks: set[str] = field(default_factory=set)

            @property
            def is_done(self) -> bool: ...

        Hook: TypeAlias = Callable[[Job], None]

        def do(
            job: imgpkg.Job, /, *more: Job, hook: Hook | None = None, count: int = _FEW, **rest: object
        ) -> bool: ...
        async def later(job: Job) -> None: ...
        @overload
        def say(text: str) -> str: ...
        @overload
        def say(text: bytes) -> bytes: ...
        def say(text): ...
        def old(job: Job) -> bool: ...
        def hidden() -> None: ...
        """,
    "imgpkg/dataclass.py": "from dataclasses import dataclass, field",
}
DESCRIBED = """
Grip: class
Grip.__enter__: method() -> Grip
Grip.hold: method(a: int, *, b: str = '') -> Job
Grip.of: static method(text: str) -> Grip
imgpkg.Colour: class(Enum)
imgpkg.Colour.RED: member 'red'
imgpkg.Hook: type Callable[[Job], None]
imgpkg.Job: class(_Base), frozen, ordered
imgpkg.Job.__init__: method(name: str, grip: Grip | None = None, tries: int = 3, marks: set[str] = set())
imgpkg.Job.grip: attribute Grip | None
imgpkg.Job.is_done: property bool
imgpkg.Job.marks: attribute set[str]
imgpkg.Job.name: attribute str
imgpkg.Job.shared: attribute int
imgpkg.Job.tries: attribute int
imgpkg.do: function(job: Job, /, *more: Job, hook: Hook | None = None, count: int = 3, **rest: object) -> bool
imgpkg.later: async function(job: Job) -> None
imgpkg.old: deprecated until 2.0.0, use imgpkg.do: function(job: Job) -> bool
imgpkg.say: function(text: str) -> str or (text: bytes) -> bytes
"""


def test_a_line_has_all_that_a_program_relies_on(tmp_path):
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(inspect.cleandoc(text))
    assert lines(tmp_path, ("imgpkg",)) == DESCRIBED.strip().splitlines()


OLD = ["imgpkg.a: function(x: int) -> int", "imgpkg.b: class", "imgpkg.c: class"]


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (OLD, []),
        ([*OLD, "imgpkg.d: class"], ["added: imgpkg.d"]),
        (OLD[:1], ["removed: imgpkg.b, imgpkg.c"]),
        (["imgpkg.a: function(x: int, y: int = 0) -> int", *OLD[1:]], ["(extended: imgpkg.a)"]),
        (
            ["imgpkg.a: function(x: str) -> int", *OLD[1:2], "imgpkg.d: class"],
            [
                "added: imgpkg.d; changed: imgpkg.a; removed: imgpkg.c",
                "- imgpkg.a: function(x: int) -> int\n+ imgpkg.a: function(x: str) -> int",
            ],
        ),
    ],
)
def test_one_sentence_says_what_has_changed_and_what_to_do(new, said):
    sentence = difference(OLD, new)
    assert bool(sentence) == bool(said)
    assert all(part in sentence for part in said)
    assert sentence == "" or all(part in sentence for part in ("`make api`", "CONTRIBUTING.md"))


@pytest.mark.parametrize(
    "new",
    [
        "(a: int, b: str = '', c: int = 0, *, d: bool = False) -> int",
        "(a: int, b: str = '', *, d: bool = False, e: int | None = None) -> int",
        "(a: int = 1, b: str = '', *, d: bool = False) -> int",
        "(a: int, b: str = '', d: bool = False) -> int",
        "(a: int, b: str = '', *rest: int, d: bool = False, **more: int) -> int",
    ],
)
def test_further_parameters_and_defaults_break_no_call(new):
    assert takes_more("function(a: int, b: str = '', *, d: bool = False) -> int", f"function{new}")


@pytest.mark.parametrize(
    "new",
    [
        "function(b: str = '', *, d: bool = False) -> int",
        "function(b: str, a: int, *, d: bool = False) -> int",
        "function(a: int, new: int, b: str = '', *, d: bool = False) -> int",
        "function(a: int, b: str = '', *, d: bool = False, e: int) -> int",
        "function(a: int, b: str = 'x', *, d: bool = False) -> int",
        "function(a: int, b: str, *, d: bool = False) -> int",
        "function(a: int, *, b: str = '', d: bool = False) -> int",
        "function(a: int, /, b: str = '', *, d: bool = False) -> int",
        "function(a: str, b: str = '', *, d: bool = False) -> int",
        "function(a: int, b: str = '', *, d: bool = False) -> str",
        "function(a: int, b: str = '') -> int",
        "async function(a: int, b: str = '', *, d: bool = False) -> int",
        "method(a: int) -> int or (a: str) -> str",
        "attribute int",
        "deprecated until 2.0.0, use it (no more): function(a: int, b: str = '', *, d: bool = False) -> int",
    ],
)
def test_whatever_else_may_break_one(new):
    assert not takes_more("function(a: int, b: str = '', *, d: bool = False) -> int", new)


def test_no_name_stays_longer_than_was_said():
    now = [int(part) for part in VERSION.split(".")]
    for module in map(importlib.import_module, MODULES):
        for name, (home, removal, instead) in getattr(module, "_DEPRECATED", {}).items():
            assert [int(part) for part in removal.split(".")] > now, name
            assert home.startswith("imgpkg."), name
            assert instead, name
            assert f"`{name}`" in (ROOT / "CHANGELOG.md").read_text(), name
