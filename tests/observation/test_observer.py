"""Each of those who watch sees what is for it, whether the others are there or not."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager

import pytest
from tests.operations.making import make_image

import imgpkg
from imgpkg.observation.observer import TracerChain, make_tracer
from imgpkg.transport.message import Request

pytestmark = pytest.mark.usefixtures("written_log")


@pytest.fixture
def no_tracing(monkeypatch):
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)


@contextmanager
def handlers(*, are_there):
    """Give `imgpkg` a handler of its own, or none at all."""
    logger, records = logging.getLogger("imgpkg"), []
    level = logger.level
    handler = logging.Handler()
    handler.emit = records.append
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    if are_there:
        logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.propagate = True
        logger.setLevel(level)
        logger.removeHandler(handler)


def pull(address, session, tmp_path, **options):
    image = str(make_image(session, f"{address}/observer/app", ["one"]))
    return imgpkg.pull(tmp_path / "out", image=image, session=session, **options)


@pytest.mark.parametrize("is_logged", [False, True])
@pytest.mark.parametrize("is_traced", [False, True])
def test_an_operation_is_the_same_whoever_watches(request, embedded_registry, tmp_path, is_logged, is_traced):
    if is_traced:
        pytest.importorskip("opentelemetry.trace")
    else:
        request.getfixturevalue("no_tracing")
    seen, lines = [], []
    with handlers(are_there=is_logged) as records, imgpkg.Session(trace=lines.append) as session:
        result = pull(embedded_registry.address, session, tmp_path, on_event=seen.append)
    assert (tmp_path / "out" / "file").read_text() == "one"
    assert result.reference.repository.path == "observer/app"
    assert any(isinstance(event, imgpkg.BlobFinished) for event in seen)
    assert lines
    assert {record.name for record in records} == (
        {"imgpkg.pull", "imgpkg.transport"} if is_logged else set()
    )


@pytest.mark.usefixtures("no_tracing")
def test_without_anybody_a_session_has_the_tracer_of_the_program_or_none():
    with handlers(are_there=False):
        assert make_tracer(None, sends_context=True) == TracerChain(())
        with imgpkg.Session() as session:
            assert session._pool()._tracer is None


def test_the_first_tracer_is_around_the_others():
    class Named:
        def __init__(self, name):
            self.name = name

        def carry(self, request, send):
            return self.name, send(Request("GET", f"{request.url}{self.name}"))

    chain = TracerChain((Named("a"), Named("b")))
    assert chain.carry(Request("GET", "/"), lambda request: request.url) == ("a", ("b", "/ab"))
