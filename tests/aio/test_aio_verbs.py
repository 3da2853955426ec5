"""The verbs of both: none is forgotten, and the files are those that the tool would write now."""

from __future__ import annotations

import ast
import inspect
import typing
from pathlib import Path

import pytest
from tools import coroutines as tool

import imgpkg
import imgpkg.aio

ROOT = Path(__file__).parent.parent.parent


def meaning(text):
    """Return the statements of a module, imports in any order."""
    statements = []
    for node in ast.parse(text).body:
        names = getattr(node, "names", None)
        if names is not None:
            names.sort(key=lambda name: name.name)
        statements += node.body if isinstance(node, ast.If) else [node]
    return sorted(map(ast.dump, statements))


def test_the_files_are_what_the_tool_writes_now():
    for name, text in tool.files().items():
        path = ROOT / "src" / "imgpkg" / "aio" / name
        assert meaning(path.read_text()) == meaning(text), f"{path} is not what make api writes"


def test_every_function_that_may_wait_has_a_coroutine():
    functions = {name for name in imgpkg.__all__ if inspect.isfunction(getattr(imgpkg, name))}
    assert {name for names in tool.verbs().values() for name in names} == functions - tool.COMPUTING
    assert functions - tool.COMPUTING <= set(dir(imgpkg.aio))


@pytest.mark.parametrize("name", sorted(name for name in dir(imgpkg.aio) if name in imgpkg.__all__))
def test_each_has_the_parameters_and_the_defaults_of_the_other(name):
    blocking, coroutine = getattr(imgpkg, name), getattr(imgpkg.aio, name)
    if inspect.isclass(blocking):
        return
    first, second = inspect.signature(blocking).parameters, inspect.signature(coroutine).parameters
    assert list(first) == list(second)
    for each in first.values():
        other = second[each.name]
        assert each.kind == other.kind
        # A hook that ignores everything, whichever it is.
        assert each.default == other.default or (callable(each.default) and callable(other.default))


@pytest.mark.parametrize("name", ["RegistryClient", "ImageFiles"])
def test_each_method_is_there(name):
    def public(kind):
        return {key for key in vars(kind) if not key.startswith("_")} - (tool.NOT_OF_THE_CLIENT - {"primary"})

    assert public(getattr(imgpkg, name)) <= public(getattr(imgpkg.aio, name))


def test_each_member_of_a_session_is_there():
    # `aclose`, and those that are not public or that `blocking` has.
    renamed = {"close", "cancellation", "keychain", "limits"}
    members = {name for name in vars(imgpkg.Session) if not name.startswith("_")}
    assert members - renamed <= set(vars(imgpkg.aio.Session))
    blocking, coroutine = inspect.signature(imgpkg.Session), inspect.signature(imgpkg.aio.Session)
    assert str(blocking) == str(coroutine)


def test_a_program_can_read_the_types_of_the_parameters():
    for name in ("copy", "resolve", "prune", "push"):
        function = getattr(imgpkg.aio, name)
        names = {**vars(inspect.getmodule(function)), "Session": imgpkg.aio.Session}
        hints = typing.get_type_hints(function, names)
        assert hints["session"] is imgpkg.aio.Session
