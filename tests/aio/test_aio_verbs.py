"""The verbs of both: none is forgotten, and the files are those that the tool would write now."""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import typing
from pathlib import Path

import pytest
from tests.aio.conftest import run
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


async def finished(called):
    """Do what is called, whatever form it has: a coroutine, an iterator or a context."""
    if inspect.isawaitable(called):
        return await called
    if hasattr(called, "__aiter__"):
        return [each async for each in called]
    async with called as shown:
        return shown


def with_cancellation(name):
    return "cancel" in inspect.signature(getattr(imgpkg.aio, name)).parameters


VERBS = sorted(name for names in tool.verbs().values() for name in names)


@pytest.mark.parametrize("name", [name for name in VERBS if with_cancellation(name)])
def test_each_ends_with_a_token_that_is_cancelled_and_sends_nothing(name, embedded_registry):
    """The parameters do not matter then: nothing is begun."""
    token = imgpkg.CancelToken()
    token.cancel()
    verb = getattr(imgpkg.aio, name)
    given = {
        parameter.name: f"{embedded_registry.address}/a/b:v1"
        for parameter in inspect.signature(verb).parameters.values()
        if parameter.default is parameter.empty and parameter.name != "session"
    }
    if "stream" in given:
        given["stream"] = io.BytesIO()

    async def work(session):
        with pytest.raises(imgpkg.errors.Cancelled):
            await finished(verb(**given, session=session, cancel=token))

    before = len(embedded_registry.requests)
    run(work)
    assert len(embedded_registry.requests) == before


def test_those_without_a_session_read_files(tmp_path):
    document = imgpkg.DocumentFile("app.yml", b"image: registry.example.com/team/app:v1")

    async def work():
        for verb in (imgpkg.aio.read_lock, imgpkg.aio.read_placement, imgpkg.aio.read_policy):
            with pytest.raises(imgpkg.errors.LocalIOError):
                await verb(tmp_path / "missing.yml")
        return await imgpkg.aio.rewrite_images([document], imgpkg.ImagesLock(()))

    assert asyncio.run(work()).files[0].data == document.data


@pytest.mark.parametrize("name", tool.client_methods())
def test_each_method_of_the_client_ends_with_the_limits_of_the_task(name, embedded_registry):
    blob = imgpkg.Descriptor("a/b", imgpkg.Digest.of(b"blob"), 4)
    reference = imgpkg.Reference.parse(f"{embedded_registry.address}/a/b:v1")
    known = {
        "reference": reference,
        "repository": reference.repository,
        "digest": blob.digest,
        "blob": blob,
        "manifest": imgpkg.Manifest.parse(b'{"schemaVersion": 2, "manifests": []}'),
        "open": lambda: io.BytesIO(b"blob"),
        "registry": embedded_registry.address,
    }

    async def work(session):
        method = getattr(session.client, name)
        given = {
            parameter.name: known[parameter.name]
            for parameter in inspect.signature(method).parameters.values()
            if parameter.default is parameter.empty
        }
        # What needs no request needs no time, either.
        if name in ("sources", "decision"):
            return await method(**given)
        with imgpkg.limits() as block:
            block.cancel()
            with pytest.raises(imgpkg.errors.Cancelled):
                await finished(method(**given))
        return None

    run(work)
