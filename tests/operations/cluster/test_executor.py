"""Copies through a cluster of Dask: events, counts, mounts, and workers that cannot do all of the work."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from typing import NamedTuple

import pytest
import trustme
from tests.operations.making import make_image, thirty
from tests.servers.dask import Cluster, end
from tests.servers.faults import always
from tests.servers.fixtures import PASSWORD, USERNAME
from tests.servers.raw import RawServer, proxying

import imgpkg
from imgpkg import errors
from imgpkg.embedded.message import Fault
from imgpkg.embedded.server import serve
from imgpkg.events import BlobAdvanced, BlobFinished, BlobStarted, TransferCounter, Warned

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster.add("one", "other")


@pytest.fixture
def executor(cluster):
    with imgpkg.dask_executor(cluster.address) as executor:
        yield executor


@pytest.fixture
def own_cluster(tmp_path):
    """A cluster whose parts may be killed."""
    (tmp_path / "dask").mkdir()
    with Cluster(tmp_path / "dask") as cluster:
        yield cluster


@pytest.fixture
def bundle(embedded_registry, session, tmp_path):
    return imgpkg.CopySource(bundle=str(thirty(session, embedded_registry.address, tmp_path / "b", count=4)))


def copied(source, to, session, executor, hook=None, **options):
    """Copy; return the events."""
    events = []
    lock = threading.Lock()

    def collect(event):
        with lock:
            events.append(event)
        if hook is not None:
            hook(event)

    imgpkg.copy(
        source,
        to_repo=to,
        session=session,
        executor=executor,
        on_event=collect,
        options=imgpkg.CopyOptions(**options),
    )
    return events


class TestEvents:
    def test_count_what_those_of_threads_count(self, executor, bundle, open_session):
        with serve() as one, serve() as other:
            counters = TransferCounter(), TransferCounter()
            imgpkg.copy(bundle, to_repo=f"{one.address}/to/b", session=open_session(), on_event=counters[0])
            copied(bundle, f"{other.address}/to/b", open_session(), executor, counters[1])
        assert counters[0].total == counters[1].total

    def test_come_while_a_blob_moves_in_order_and_add_up(self, executor, embedded_registry, open_session):
        session = open_session()
        big = os.urandom(24 << 20)
        image = make_image(session, f"{embedded_registry.address}/big/app", [{"big": big}])
        # Within the body of the download.
        faults = always(Fault(delay=1.5, delay_after=8 << 20), method="GET")
        with serve(faults=faults) as there, serve() as to:
            imgpkg.copy(
                imgpkg.CopySource(image=str(image)), to_repo=f"{there.address}/big/app", session=session
            )
            source = imgpkg.CopySource(image=f"{there.address}/big/app@{image.digest}")
            events = copied(source, f"{to.address}/big/b", open_session(), executor)
        size = max(event.size for event in events if isinstance(event, BlobFinished))
        digest = next(
            event.digest for event in events if isinstance(event, BlobFinished) and event.size == size
        )
        of_blob = [event for event in events if getattr(event, "digest", None) == digest]
        assert isinstance(of_blob[0], BlobStarted)
        assert isinstance(of_blob[-1], BlobFinished)
        counts = [event.count for event in of_blob if isinstance(event, BlobAdvanced)]
        assert sum(counts) == size
        assert len(counts) > 1
        # A worker may have died with it after its last byte.
        assert [one.path for one in to.requests if one.method == "HEAD" and str(digest) in one.path]

    def test_of_a_copy_that_is_over_are_heard_no_more(self, cluster, bundle, another_registry, open_session):
        with imgpkg.dask_executor(cluster.address) as executor:
            copied(bundle, f"{another_registry.address}/heard/b", open_session(), executor)
            client = executor._client
            assert executor._sent == {}
            assert executor._tell == {}
        assert client.status == "closed"


class TestBlobs:
    def test_of_several_images_move_once_and_the_largest_first(
        self, executor, embedded_registry, open_session
    ):
        session, at = open_session(), embedded_registry.address
        images = [
            make_image(session, f"{at}/shared/{n}", ["shared", {"big": os.urandom(n << 16)}])
            for n in range(10)
        ]
        with serve() as there:
            # Both workers have loaded what they need.
            copied(imgpkg.CopySource(image=str(images[0])), f"{there.address}/first/app", session, executor)
            copied(imgpkg.CopySource(image=str(images[1])), f"{there.address}/second/app", session, executor)
            before = len(there.requests)
            source = imgpkg.CopySource(images=[str(image) for image in images])
            events = copied(source, f"{there.address}/shared/all", session, executor)
            sent = [
                dict(one.query)["digest"]
                for one in there.requests[before:]
                if one.method == "PUT" and "/blobs/" in one.path
            ]
        blobs = {str(layer.digest) for image in images for layer in session.client.manifest(image).blobs()}
        assert Counter(sent) == dict.fromkeys(blobs, 1)
        sizes = {str(event.digest): event.size for event in events if isinstance(event, BlobFinished)}
        order = [sizes[digest] for digest in sent]
        # Four threads send at once, and each has one more.
        assert max(order) in order[:8]
        assert sum(order[:12]) > 0.8 * sum(order)

    def test_of_the_same_registry_are_mounted(self, executor, bundle, embedded_registry, open_session):
        counter = TransferCounter()
        copied(bundle, f"{embedded_registry.address}/mounted/dask", open_session(), executor, counter)
        assert (counter.total.moved, counter.total.mounted > 0) == (0, True)

    def test_that_are_there_are_not_sent_again(self, executor, bundle, another_registry, open_session):
        for is_again in (False, True):
            counter = TransferCounter()
            to = f"{another_registry.address}/again/dask"
            copied(bundle, to, open_session(), executor, counter)
            assert (counter.total.moved == 0) is is_again


class TestCredentials:
    def test_are_not_sent_without_tls(self, executor, bundle, another_registry, open_session):
        before = len(another_registry.requests)
        with pytest.raises(errors.UsageError, match="over TLS only"):
            copied(
                bundle, f"{another_registry.address}/no/b", open_session(), executor, send_credentials=True
            )
        assert len(another_registry.requests) == before

    def test_of_flags_that_no_worker_has_end_the_copy_before_anything_moves(
        self, executor, bundle, embedded_login, open_session
    ):
        session = open_session(username=USERNAME, password=PASSWORD)
        before = len(embedded_login.requests)
        with pytest.raises(errors.UsageError, match="No worker finds a credential") as raised:
            imgpkg.copy(
                bundle,
                to_repo=f"{embedded_login.address}/lacking/b",
                session=session,
                source_session=open_session(),
                executor=executor,
            )
        assert "--dask-send-credentials" in raised.value.hints[0]
        assert not [one for one in embedded_login.requests[before:] if one.method in ("POST", "PUT")]

    def test_that_one_worker_lacks_are_a_warning_with_its_name(
        self, own_cluster, bundle, embedded_login, open_session
    ):
        login = {"IMGPKG_USERNAME": USERNAME, "IMGPKG_PASSWORD": PASSWORD}
        own_cluster.add("has-it", **login).add("lacks-it")
        session = open_session(username=USERNAME, password=PASSWORD)
        events = []
        with (
            imgpkg.dask_executor(own_cluster.address) as executor,
            pytest.raises(errors.Unauthorized, match="worker lacks-it") as raised,
        ):
            imgpkg.copy(
                bundle,
                to_repo=f"{embedded_login.address}/half/b",
                session=session,
                source_session=open_session(),
                executor=executor,
                on_event=events.append,
            )
        assert any("own environment" in hint for hint in raised.value.hints)
        warned = [event.text for event in events if isinstance(event, Warned)]
        assert [text for text in warned if text.startswith("lacks-it")] == warned[:1]
        assert "no credential found" in warned[0]


@pytest.fixture
def outside(tmp_path):
    """A registry that is reached through a proxy only: what a worker needs, and the session of the client."""
    authority, name = trustme.CA(), "source.example.com"
    certificate = authority.issue_cert(name)
    chain, key, ca_file = (tmp_path / name for name in ("chain.pem", "key.pem", "ca.pem"))
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(ca_file))
    with (
        serve(tls=(str(chain), str(key))) as server,
        RawServer(proxying(names={f"{name}:443": ("127.0.0.1", server.port)})) as proxy,
    ):
        settings = imgpkg.Settings(
            environ={"HTTPS_PROXY": proxy.url}, ca_cert_paths=ca_file, retry_count=1, concurrency=2
        )
        with imgpkg.Session(settings) as session:
            bundle = thirty(session, name, tmp_path / "outside", count=4)
            yield Outside(imgpkg.CopySource(bundle=str(bundle)), session, proxy.url)


class Outside(NamedTuple):
    bundle: imgpkg.CopySource
    session: imgpkg.Session
    proxy: str


# Nobody listens there.
NO_PROXY_AT_ALL = "http://127.0.0.1:9"


class TestAWorkerThatCannotReachARegistry:
    def test_gets_no_more_of_its_blobs_and_is_named_once(self, own_cluster, outside):
        own_cluster.add("cut-off", HTTPS_PROXY=NO_PROXY_AT_ALL).add("connected", HTTPS_PROXY=outside.proxy)
        counter = TransferCounter()
        with serve() as there, imgpkg.dask_executor(own_cluster.address) as executor:
            events = copied(outside.bundle, f"{there.address}/to/b", outside.session, executor, counter)
        assert counter.total.moved == 14
        [warned] = [event.text for event in events if isinstance(event, Warned)]
        assert warned.startswith("cut-off cannot reach source.example.com, and gets no more blobs for it: ")

    def test_ends_the_copy_if_it_is_each_of_them(self, own_cluster, outside):
        own_cluster.add("cut-off", "as-well", HTTPS_PROXY=NO_PROXY_AT_ALL)
        with serve() as there, imgpkg.dask_executor(own_cluster.address) as executor:
            with pytest.raises(errors.TransportError, match="No worker can reach source") as raised:
                copied(outside.bundle, f"{there.address}/to/b", outside.session, executor)
            assert not [one for one in there.requests if "/manifests/" in one.path and one.method == "PUT"]
        assert "cut-off" in str(raised.value)
        assert "as-well" in str(raised.value)


class TestTheCluster:
    def test_grows_and_so_does_what_it_gets(self, own_cluster):
        own_cluster.add("one", threads=1)
        with imgpkg.dask_executor(own_cluster.address) as executor:
            assert executor.room == 2
            own_cluster.add("other", threads=3)
            deadline = time.monotonic() + 10
            while executor.room != 8:
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def test_without_workers_fails_the_copy_after_a_while(self, own_cluster, bundle, open_session):
        own_cluster.add("one")
        with (
            serve(faults=always(Fault(delay=2), method="PUT")) as there,
            imgpkg.dask_executor(own_cluster.address, timeout=4) as executor,
        ):
            timer = threading.Timer(1.5, end, (own_cluster.workers["one"],))
            timer.start()
            with pytest.raises(errors.ExecutorError, match="it has had no worker"):
                copied(bundle, f"{there.address}/to/b", open_session(), executor)
            timer.join()

    def test_names_the_blob_that_kills_each_worker(self, own_cluster, embedded_registry, open_session):
        session = open_session()
        image = make_image(session, f"{embedded_registry.address}/deadly/app", ["deadly"])
        died = threading.Event()

        def kill(request):
            if request.method == "PUT" and "/blobs/" in request.path:
                for process in tuple(own_cluster.workers.values()):
                    end(process)
                died.set()

        def replace_the_dead():
            for number in range(1, 5):
                died.wait(60)
                died.clear()
                own_cluster.add(f"w{number}", threads=1)

        own_cluster.add("w0", threads=1)
        adding = threading.Thread(target=replace_the_dead)
        with serve(faults=kill) as there, imgpkg.dask_executor(own_cluster.address) as executor:
            adding.start()
            with pytest.raises(errors.ExecutorError, match="4 workers died while they had it") as raised:
                copied(imgpkg.CopySource(image=str(image)), f"{there.address}/to/b", open_session(), executor)
            adding.join()
        blobs = [str(blob.digest) for blob in session.client.manifest(image).parts()]
        assert any(f"Copying blob {digest} from " in str(raised.value) for digest in blobs)
        assert any("Begin the same copy again" in hint for hint in raised.value.hints)

    @pytest.mark.parametrize("is_dead", [True, False], ids=["killed", "closed"])
    def test_that_is_lost_cannot_be_asked(self, own_cluster, is_dead):
        own_cluster.add("one")
        with imgpkg.dask_executor(own_cluster.address, timeout=5) as executor:
            assert len(executor.ask(os.getpid)) == 1
            if is_dead:
                end(own_cluster.scheduler)
            else:
                executor._client.close()
            with pytest.raises(errors.ExecutorError, match="failed: ") as raised:
                executor.ask(os.getpid)
            assert "Begin the same copy again" in raised.value.hints[0]

    def test_does_other_work_too(self, executor):
        assert executor.submit(os.path.join, "a", "b").result(20) == "a/b"
