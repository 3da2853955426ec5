"""Operations and requests are spans, without secrets; only who is asked to tells a registry of them."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from tests.operations.making import make_bundle, make_image
from tests.servers.faults import always
from tests.servers.fixtures import PASSWORD, USERNAME
from tests.servers.raw import RawServer, answering

import imgpkg
import imgpkg.aio
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.server import serve
from imgpkg.transport.message import Request

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from imgpkg.observation import spans

pytestmark = pytest.mark.usefixtures("written_log")


@pytest.fixture(scope="module")
def exporter():
    """The provider of a process can be set once; for tests of other modules it keeps nothing."""
    made, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))
    trace.set_tracer_provider(provider)
    yield made
    provider.shutdown()


@pytest.fixture
def finished(exporter):
    exporter.clear()
    return exporter.get_finished_spans


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("x")
    return [tmp_path / "in"]


def resolve(address, session, error):
    with pytest.raises(error):
        imgpkg.resolve(f"{address}/spans/a:v1", session=session)


def fails(span):
    return span.status.status_code is trace.StatusCode.ERROR


class TestAnOperation:
    def test_is_the_parent_of_its_requests(self, embedded_registry, folder, finished):
        with imgpkg.Session() as session:
            image = f"{embedded_registry.address}/spans/push:v1"
            imgpkg.push(folder, image=image, session=session)
        *requests, operation = finished()
        assert (operation.name, operation.parent) == ("imgpkg.push", None)
        assert operation.attributes["imgpkg.blobs.moved"] == 2
        assert operation.attributes["imgpkg.bytes.moved"] > 0
        assert {span.parent.span_id for span in requests} == {operation.context.span_id}
        assert {span.name for span in requests} >= {
            "POST /v2/{name}/blobs/uploads/{id}",
            "PUT /v2/{name}/blobs/uploads/{id}",
            "PUT /v2/{name}/manifests/{reference}",
        }
        # At first, it was looked whether there is TLS.
        assert [fails(span) for span in [*requests, operation]] == [True] + [False] * len(requests)

    def test_is_a_part_of_what_the_program_does(self, embedded_registry, folder, finished):
        with trace.get_tracer("mine").start_as_current_span("job") as job, imgpkg.Session() as session:
            image = imgpkg.push(folder, image=f"{embedded_registry.address}/spans/job", session=session)
            imgpkg.pull(folder[0].parent / "out", image=str(image.reference), session=session)
        operations = [span for span in finished() if span.name.startswith("imgpkg.")]
        assert [span.name for span in operations] == ["imgpkg.push", "imgpkg.pull"]
        assert {span.parent.span_id for span in operations} == {job.context.span_id}

    def test_has_the_requests_of_all_its_threads(self, embedded_registry, session, tmp_path, finished):
        place = f"{embedded_registry.address}/spans/threads"
        images = {make_image(session, f"{place}-{letter}", [letter]): {} for letter in "abcdef"}
        make_bundle(session, f"{place}:v1", images, tmp_path / "bundle")
        source = imgpkg.CopySource(bundle=f"{place}:v1")
        with imgpkg.Session() as another:
            before = len(finished())
            imgpkg.copy(source, to_repo=f"{place}-copy", session=another)
        *requests, operation = finished()[before:]
        assert operation.name == "imgpkg.copy"
        assert len(requests) > 20
        assert {span.context.trace_id for span in requests} == {operation.context.trace_id}

    def test_in_a_task_is_a_part_of_the_task(self, embedded_registry, folder, finished):
        async def push():
            async with imgpkg.aio.Session(trace_context=True) as session:
                with trace.get_tracer("mine").start_as_current_span("task") as task:
                    image = f"{embedded_registry.address}/spans/task"
                    await imgpkg.aio.push(folder, image=image, session=session)
                return task

        task = asyncio.run(push())
        (operation,) = [span for span in finished() if span.name == "imgpkg.push"]
        assert operation.parent.span_id == task.context.span_id
        assert operation.attributes["imgpkg.blobs.moved"] == 2

    def test_whose_time_is_over_says_so(self, finished):
        late = always(Fault(delay=1))
        with serve(faults=late) as server, imgpkg.Session(timeout=0.2) as session:
            resolve(server.address, session, imgpkg.errors.TimedOut)
        assert finished()[-1].attributes["error.type"] == "TimedOut"

    def test_that_fails_names_the_class_of_the_error(self, embedded_registry, finished):
        with imgpkg.Session() as session, pytest.raises(imgpkg.errors.NotFound):
            imgpkg.pull("out", image=f"{embedded_registry.address}/spans/nosuch", session=session)
        operation = finished()[-1]
        assert operation.attributes["error.type"] == "NotFound"
        assert fails(operation)
        # Neither a text nor a stack.
        assert operation.events == ()
        assert operation.status.description is None


@pytest.fixture
def image(embedded_registry, session, exporter):
    """An image with two layers and one file in each."""
    made = make_image(session, f"{embedded_registry.address}/spans/files", [{"lower": b"l"}, {"upper": b"u"}])
    exporter.clear()
    return str(made)


class TestAnOperationThatLasts:
    def test_has_its_own_requests_and_nothing_else_of_the_program(self, image, session, finished):
        with imgpkg.open_files(image, session=session) as files:
            imgpkg.resolve(image, session=session)
            assert len(list(files)) == 2
        operations = {span.name: span for span in finished() if span.name.startswith("imgpkg.")}
        resolved, lasted = operations["imgpkg.resolve"], operations["imgpkg.open_files"]
        assert (resolved.parent, lasted.parent, len(operations)) == (None, None, 2)
        assert lasted.attributes["imgpkg.blobs.moved"] == 2
        parents = [span.parent.span_id for span in finished() if span.name.startswith("GET")]
        assert parents == [lasted.context.span_id] * 4

    def test_is_whole_when_it_is_left_early(self, image, session, finished):
        walk = imgpkg.iter_files(image, session=session)
        next(walk)
        assert not trace.get_current_span().is_recording()
        walk.close()
        *requests, operation = finished()
        assert (operation.name, operation.attributes["imgpkg.blobs.moved"]) == ("imgpkg.iter_files", 1)
        assert not fails(operation)
        assert {span.parent.span_id for span in requests} == {operation.context.span_id}

    def test_fails_with_what_it_raises(self, image, session, finished):
        with pytest.raises(imgpkg.errors.TimedOut):
            next(imgpkg.iter_files(image, session=session, timeout=0))
        assert finished()[-1].attributes["error.type"] == "TimedOut"

    def test_within_another_one_is_a_part_of_it(self, image, session, finished):
        with pytest.raises(imgpkg.errors.NotInImage):
            imgpkg.read_file(image, "nosuch", session=session)
        assert [span.name for span in finished() if span.name.startswith("imgpkg.")] == ["imgpkg.read_file"]


class TestARequest:
    def test_has_method_host_and_status(self, embedded_registry, finished):
        with imgpkg.Session() as session, pytest.raises(imgpkg.errors.NotFound):
            imgpkg.resolve(f"{embedded_registry.address}/spans/nosuch:v1", session=session)
        host, port = embedded_registry.address.split(":")
        # At first, it is looked whether there is TLS.
        without_tls, span, *_ = finished()
        assert without_tls.attributes["error.type"] == "NotTLS"
        assert span.kind is trace.SpanKind.CLIENT
        assert dict(span.attributes) == {
            "http.request.method": "HEAD",
            "url.scheme": "http",
            "server.address": host,
            "server.port": int(port),
            "url.template": "/v2/{name}/manifests/{reference}",
            "http.response.status_code": 404,
        }
        # HEAD asks whether it is there.
        assert not fails(span)

    def test_that_is_refused_fails(self, tmp_path, finished):
        def broken(request):
            return Fault(answer=ServerResponse(500))

        once = imgpkg.Settings(retry_count=1)
        with serve(faults=broken) as server, imgpkg.Session(once) as session:
            resolve(server.address, session, imgpkg.errors.RegistryError)
        refused = finished()[1]
        assert refused.attributes["error.type"] == "500"
        assert fails(refused)

    def test_without_an_answer_fails(self, finished):
        with imgpkg.Session(imgpkg.Settings(retry_count=1)) as session:
            resolve("127.0.0.1:1", session, imgpkg.errors.TransportError)
        assert all(map(fails, finished()))
        assert "http.response.status_code" not in finished()[0].attributes

    def test_with_a_challenge_is_no_failure(self, folder, finished):
        with serve(login=(USERNAME, PASSWORD), token_service=True) as server:
            settings = imgpkg.Settings(login=imgpkg.Login(username=USERNAME, password=PASSWORD))
            with imgpkg.Session(settings) as session:
                imgpkg.push(folder, image=f"{server.address}/spans/login", session=session)
        statuses = {span.attributes.get("http.response.status_code"): fails(span) for span in finished()}
        assert statuses[401] is False
        text = "".join(span.to_json() for span in finished())
        assert [said for said in (PASSWORD, "Bearer", "Basic", "?", "scope=") if said in text] == []

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("", "GET"),
            ("/v2/", "GET /v2/"),
            ("/v2/_catalog?n=5", "GET /v2/_catalog"),
            ("/v2/a/b/tags/list?n=5", "GET /v2/{name}/tags/list"),
            ("/v2/a/manifests/v1", "GET /v2/{name}/manifests/{reference}"),
            ("/v2/a/blobs/sha256:0", "GET /v2/{name}/blobs/{digest}"),
            ("/v2/a/blobs/uploads/signed/secret?x=y", "GET /v2/{name}/blobs/uploads/{id}"),
            ("/v2/a/referrers/sha256:0", "GET /v2/{name}/referrers/{digest}"),
            ("/internal/secret", "GET"),
        ],
    )
    def test_is_named_by_its_endpoint_and_never_by_its_path(self, finished, path, name):
        with RawServer(answering(b"")) as server:
            for is_registry in (True, False):
                request = Request("GET", f"{server.url}{path}", to_registry=is_registry)
                with imgpkg.Session() as session:
                    session._pool().send(request).close()
        named, unnamed = finished()
        assert named.name == name
        # The host of a redirect has endpoints of its own.
        assert unnamed.name == "GET"
        assert "secret" not in named.to_json()


class TestTheContext:
    def headers(self, **options):
        """What a registry receives of a program that has a trace and baggage."""
        token = context.attach(baggage.set_baggage("customer", "private"))
        try:
            with RawServer(answering(b"")) as server, imgpkg.Session(**options) as session:
                with trace.get_tracer("mine").start_as_current_span("job") as job:
                    for is_registry in (True, False):
                        request = Request("GET", f"{server.url}/v2/", to_registry=is_registry)
                        session._pool().send(request).close()
                return job, [str(received.header_lines).lower() for received in server.requests]
        finally:
            context.detach(token)

    def test_is_not_sent_unless_the_program_asks_for_it(self, finished):
        _, received = self.headers()
        assert len(received) == 2
        assert not any("traceparent" in text or "baggage" in text for text in received)

    def test_is_sent_to_registries_alone_when_it_does(self, finished):
        lines = []
        job, (to_registry, elsewhere) = self.headers(trace_context=True, trace=lines.append)
        span = finished()[0]
        expected = f"00-{job.context.trace_id:032x}-{span.context.span_id:016x}-"
        assert "traceparent" in to_registry
        assert expected in to_registry
        assert expected in lines[0].lower()
        assert "traceparent" not in elsewhere
        assert "baggage" not in to_registry + elsewhere


PROGRAM = """
import sys
{before}
import imgpkg
with imgpkg.Session(trace_context=True) as session:
    try:
        imgpkg.resolve(sys.argv[1], session=session)
    except imgpkg.errors.NotFound:
        pass
print(sorted(name for name in sys.modules if name in ("opentelemetry", "imgpkg.observation.spans")))
"""


@pytest.mark.parametrize("before", ["", "from opentelemetry import trace"])
def test_it_is_loaded_by_the_program_and_never_by_us(embedded_registry, before):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before), f"{embedded_registry.address}/spans/nosuch"],
        capture_output=True,
        text=True,
        check=True,
        env={},
    )
    assert eval(done.stdout) == (["imgpkg.observation.spans", "opentelemetry"] if before else [])


def test_every_endpoint_has_a_name_of_its_own():
    templates = [template for _, template in spans._ENDPOINTS]
    assert len(set(templates)) == len(templates)
