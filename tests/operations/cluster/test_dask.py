"""Copies through a cluster of Dask whose scheduler and worker are threads of this process."""

from __future__ import annotations

import math
import os
import pkgutil
import signal
import socket
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import dask
import pytest
import trustme
from distributed import Client, LocalCluster
from tests.operations.making import make_image, thirty
from tests.servers.faults import always, refusing
from tests.servers.fixtures import PASSWORD, USERNAME
from tests.servers.raw import RawServer, splice

import imgpkg
from imgpkg import errors
from imgpkg.embedded.message import Fault
from imgpkg.embedded.server import serve
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.cluster.connection import to_its_end
from imgpkg.operations.cluster.executor import DaskExecutor
from imgpkg.operations.cluster.roster import Roster
from imgpkg.operations.transfer.worker import stop, transfer
from imgpkg.version import VERSION


def threads(workers):
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=2,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        silence_logs=50,
    )


@pytest.fixture(scope="module", autouse=True)
def no_profile():
    """Some releases of CPython stop for ever when the frames of threads are listed while one begins."""
    with dask.config.set({"distributed.worker.profile.enabled": False}):
        yield


@pytest.fixture(scope="module")
def cluster():
    with threads(1) as cluster:
        yield cluster


@pytest.fixture
def executor(cluster):
    with imgpkg.dask_executor(cluster.scheduler_address, timeout=10) as executor:
        yield executor


@pytest.fixture
def bundle(embedded_registry, session, tmp_path):
    return imgpkg.CopySource(bundle=str(thirty(session, embedded_registry.address, tmp_path / "b", count=3)))


def test_blobs_move_and_events_count_them(executor, bundle, session):
    counter = imgpkg.TransferCounter()
    with serve() as there:
        copied = imgpkg.copy(
            bundle, to_repo=f"{there.address}/to/b", session=session, executor=executor, on_event=counter
        )
        assert session.client.exists(copied.bundle.destination)
    assert counter.total.moved == 11
    assert executor.room == 4


def test_positions_are_told_while_a_blob_moves(executor, session):
    events = []

    def pausing(request):
        """Pause within the body of a download for longer than there is between two reports."""
        return Fault(delay=0.5, delay_after=1 << 20) if "/blobs/" in request.path else None

    with serve(faults=pausing) as here, serve() as there:
        image = make_image(session, f"{here.address}/slow/app", [{"big": os.urandom(3 << 20)}])
        imgpkg.copy(
            imgpkg.CopySource(image=str(image)),
            to_repo=f"{there.address}/to/b",
            session=session,
            executor=executor,
            on_event=events.append,
        )
    advanced = [event for event in events if isinstance(event, imgpkg.BlobAdvanced)]
    finished = [event for event in events if isinstance(event, imgpkg.BlobFinished)]
    assert sum(event.count for event in advanced) == sum(event.size for event in finished)
    assert len(advanced) > len(finished)


def test_other_work_is_done_too(executor):
    assert executor.submit(os.path.join, "a", "b").result(10) == "a/b"


def test_a_registry_that_no_worker_reaches_ends_the_copy_with_the_name_of_the_worker(
    executor, bundle, open_session
):
    events = []
    with (
        serve(faults=always(Fault(hang_up=True), method="POST")) as there,
        pytest.raises(errors.TransportError, match=r"No worker can reach .* \(worker 0\)"),
    ):
        imgpkg.copy(
            bundle,
            to_repo=f"{there.address}/to/b",
            session=open_session(retry_count=1),
            executor=executor,
            on_event=events.append,
        )
    [warned] = [event.text for event in events if isinstance(event, imgpkg.Warned)]
    assert warned.startswith(f"worker 0 cannot reach {there.address}, and gets no more blobs for it: ")


def test_another_failure_of_a_unit_is_raised_as_it_is(executor, bundle, open_session):
    with (
        serve(faults=always(refusing(500), method="POST")) as there,
        pytest.raises(errors.RegistryError),
    ):
        imgpkg.copy(
            bundle, to_repo=f"{there.address}/to/b", session=open_session(retry_count=1), executor=executor
        )


def test_stopping_the_session_ends_the_units(executor, bundle, session):
    with serve(faults=always(Fault(delay=20), method="PUT")) as there:
        threading.Timer(0.5, session.stop).start()
        started = time.monotonic()
        with pytest.raises(errors.Cancelled):
            imgpkg.copy(bundle, to_repo=f"{there.address}/to/b", session=session, executor=executor)
        assert time.monotonic() - started < 10


def test_a_unit_of_a_copy_that_was_ended_does_not_begin():
    place = Repository.parse("127.0.0.1:1/no/place")
    blob = Descriptor("application/octet-stream", Digest.of(b"blob"), 4)
    unit = imgpkg.TransferUnit("ended", blob, place, place, imgpkg.Settings(), imgpkg.Settings())
    stop("ended")
    with pytest.raises(errors.Cancelled):
        transfer(unit)


def test_credentials_are_not_sent_without_tls(executor, bundle, session):
    with pytest.raises(errors.UsageError, match="over TLS only"):
        imgpkg.copy(
            bundle,
            to_repo="127.0.0.1:1/to/b",
            session=session,
            executor=executor,
            options=imgpkg.CopyOptions(send_credentials=True),
        )


def test_a_login_of_flags_that_no_worker_has_is_a_mistake(executor, bundle, embedded_login, open_session):
    with pytest.raises(errors.UsageError, match="No worker finds a credential") as raised:
        imgpkg.copy(
            bundle,
            to_repo=f"{embedded_login.address}/flags/b",
            session=open_session(username=USERNAME, password=PASSWORD),
            source_session=open_session(),
            executor=executor,
        )
    assert "--dask-send-credentials" in raised.value.hints[0]


def test_one_for_the_source_alone_is_a_warning(executor, bundle, open_session):
    events = []
    with serve() as there:
        # In this process the units have the sessions of the copy.
        imgpkg.copy(
            bundle,
            to_repo=f"{there.address}/to/b",
            session=open_session(),
            source_session=open_session(username="user", password="word"),
            executor=executor,
            on_event=events.append,
        )
    [warned] = [event.text for event in events if isinstance(event, imgpkg.Warned)]
    assert warned.startswith("0 (tcp://127.0.0.1:")
    assert "no credential found for" in warned


def test_what_workers_find_themselves_is_no_warning(
    executor, bundle, embedded_login, open_session, monkeypatch
):
    monkeypatch.setenv("IMGPKG_USERNAME", USERNAME)
    monkeypatch.setenv("IMGPKG_PASSWORD", PASSWORD)
    events = []
    imgpkg.copy(
        bundle,
        to_repo=f"{embedded_login.address}/own/b",
        session=open_session(username=USERNAME, password=PASSWORD),
        source_session=open_session(),
        executor=executor,
        on_event=events.append,
    )
    assert not [event for event in events if isinstance(event, imgpkg.Warned)]


def test_a_client_of_the_program_stays_open(cluster):
    with Client(cluster, set_as_default=False) as client:
        with imgpkg.dask_executor(client) as executor:
            assert executor.room == 4
        assert client.status == "running"


@pytest.fixture
def client(cluster):
    with Client(cluster, set_as_default=False) as client:
        yield client


def failing(bundle, session, executor):
    """Copy where each request is refused a connection; return the text of the error."""
    with serve(faults=always(Fault(hang_up=True), method="POST")) as there:
        with pytest.raises(errors.TransportError) as raised:
            imgpkg.copy(bundle, to_repo=f"{there.address}/to/b", session=session, executor=executor)
        return str(raised.value)


def test_an_executor_of_the_client_does_what_one_of_ours_does(client, bundle, open_session):
    session = open_session(retry_count=1)
    assert "No worker can reach" in failing(bundle, session, client.get_executor())
    assert "No worker can reach" in failing(bundle, session, client.get_executor(pure=False, retries=2))


def test_an_executor_of_the_client_that_chooses_workers_stays_what_it_is(
    client, cluster, bundle, open_session
):
    [address] = cluster.scheduler_info["workers"]
    chosen = client.get_executor(workers=[address])
    assert "No worker" not in failing(bundle, open_session(retry_count=1), chosen)


def test_a_plan_runs_with_an_executor_of_the_client(client, bundle, session, tmp_path):
    with serve() as there:
        to, file = f"{there.address}/plan/b", tmp_path / "plan.jsonl"
        imgpkg.preview_copy(bundle, to, session=session, plan_output=file)
        copied = imgpkg.run_plan(file, session=session, executor=client.get_executor())
        assert session.client.exists(copied.bundle.destination)
    assert sum(share.transfer.moved for share in copied.workers) == 11


@pytest.mark.parametrize("restriction", [{}, {"workers": ["elsewhere"]}])
def test_an_executor_of_the_client_gets_no_credentials_without_tls(restriction, client, bundle, session):
    with pytest.raises(errors.UsageError, match="over TLS only"):
        imgpkg.copy(
            bundle,
            to_repo="127.0.0.1:1/to/b",
            session=session,
            executor=client.get_executor(**restriction),
            options=imgpkg.CopyOptions(send_credentials=True),
        )


@pytest.mark.parametrize("other", [None, 3, object()])
def test_other_objects_are_no_cluster(other):
    with pytest.raises(errors.UsageError, match="Expected the address"), imgpkg.dask_executor(other):
        pass


@pytest.mark.parametrize("limits", [{"timeout": 0}, {"timeout": -1.0}, {"timeout": math.nan}, {"threads": 0}])
def test_a_cluster_needs_time_and_threads(limits):
    with pytest.raises(errors.UsageError, match="at least one thread"):
        imgpkg.dask_executor("local:1", **limits).__enter__()


@pytest.mark.parametrize("timeout", [math.inf, 1e10])
def test_a_time_that_never_ends_is_a_year(cluster, timeout):
    with imgpkg.dask_executor(cluster.scheduler_address, timeout=timeout) as executor:
        assert executor.room == 4


def test_a_client_that_was_closed_is_a_failure_of_the_executor(cluster, bundle, session):
    with (
        Client(cluster, set_as_default=False) as client,
        imgpkg.dask_executor(client) as executor,
        serve() as there,
    ):
        client.close()
        with pytest.raises(errors.ExecutorError, match="the scheduler was lost") as raised:
            imgpkg.copy(bundle, to_repo=f"{there.address}/to/b", session=session, executor=executor)
    assert "Begin the same copy again" in raised.value.hints[0]


def test_an_executor_whose_context_has_ended_is_a_failure(client, bundle, session):
    """Nobody would take what the workers send."""
    with serve() as there:
        with imgpkg.dask_executor(client) as executor:
            pass
        with pytest.raises(errors.ExecutorError, match="its context has ended"):
            imgpkg.copy(
                bundle, to_repo=f"{there.address}/to/b", session=session, executor=executor, timeout=30
            )


def test_a_context_that_ends_while_a_thread_copies_ends_the_copy(client, bundle, session):
    with ThreadPoolExecutor(1) as thread, imgpkg.dask_executor(client) as executor:

        def leave(request):
            if request.method == "PUT" and "/blobs/" in request.path:
                executor.__exit__()

        with serve(faults=leave) as there:
            to = f"{there.address}/to/b"
            copying = thread.submit(
                imgpkg.copy, bundle, to_repo=to, session=session, executor=executor, timeout=30
            )
            assert isinstance(copying.exception(60), (errors.ExecutorError, errors.Cancelled))


def test_a_scheduler_that_does_not_run(session):
    with (
        pytest.raises(errors.ExecutorError, match=r"does not answer: (.*refused|Timed out)") as raised,
        imgpkg.dask_executor("tcp://127.0.0.1:9", timeout=0.2),
    ):
        pass
    assert "--dask-timeout" in raised.value.hints[1]


GREETINGS = [b"\xff" * 64, b"SSH-2.0-OpenSSH_9.2\r\n", b"\x01" + b"\0" * 7 + b"\xff"]


def greeting(words):
    """Return the server of another protocol, which begins with these words."""

    def greet(conversation):
        conversation.send(words)
        conversation.sock.shutdown(socket.SHUT_WR)

    return RawServer(greet)


@pytest.mark.parametrize("words", GREETINGS)
def test_a_server_that_is_no_scheduler(words):
    with (
        greeting(words) as server,
        pytest.raises(errors.ExecutorError, match="does not answer") as raised,
        imgpkg.dask_executor(f"tcp://{server.address}", timeout=2),
    ):
        pass
    assert "that a Dask scheduler runs there" in raised.value.hints[0]


def loops():
    return {thread for thread in threading.enumerate() if thread.name == "IO loop"}


def address_of(cluster):
    host, _, port = cluster.scheduler_address.removeprefix("tcp://").rpartition(":")
    return host, int(port)


def ended(before, *, within=10):
    """Wait until no loop of Dask runs that did not run before."""
    end = time.monotonic() + within
    while loops() - before and time.monotonic() < end:
        time.sleep(0.02)
    return not loops() - before


@pytest.mark.parametrize("words", GREETINGS)
def test_a_server_that_is_no_scheduler_leaves_nothing_open(words):
    """Dask would close its client when it is collected, and may then wait for what nobody gives back."""
    before = loops()
    with (
        greeting(words) as server,
        pytest.raises(errors.ExecutorError),
        imgpkg.dask_executor(f"tcp://{server.address}", timeout=0.5),
    ):
        pass
    assert ended(before)


def test_a_scheduler_that_does_not_run_leaves_nothing_open():
    before = loops()
    with pytest.raises(errors.ExecutorError), imgpkg.dask_executor("tcp://127.0.0.1:9", timeout=0.2):
        pass
    assert ended(before)


def test_a_scheduler_that_answers_too_late_leaves_nothing_open(cluster):
    before, answers = loops(), threading.Event()

    def tunnel(conversation):
        answers.wait(30)
        with socket.create_connection(address_of(cluster)) as onward:
            splice(conversation.sock, onward)

    with RawServer(tunnel) as server:
        with (
            pytest.raises(errors.ExecutorError, match="no answer within"),
            imgpkg.dask_executor(f"tcp://{server.address}", timeout=0.2),
        ):
            pass
        assert not ended(before, within=0)
        answers.set()
        assert ended(before)


def test_a_scheduler_without_workers():
    with (
        threads(0) as cluster,
        pytest.raises(errors.ExecutorError, match=r"has no workers, and got none within 0\.3 s"),
        imgpkg.dask_executor(cluster.scheduler_address, timeout=0.3),
    ):
        pass


def test_what_ctrl_c_finds_being_closed_is_closed_to_its_end():
    closed = threading.Event()

    def close():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.2)
        closed.set()

    with pytest.raises(KeyboardInterrupt):
        to_its_end(close)
    assert closed.is_set()


def test_tls_needs_certificates():
    with pytest.raises(errors.UsageError, match=r"not set: .*CA_FILE, .*CLIENT__CERT"):
        imgpkg.dask_executor("tls://127.0.0.1:9").__enter__()


@pytest.mark.parametrize(("path", "words"), [("/nowhere", "no file /nowhere"), (__file__, "cannot be read")])
def test_tls_says_which_file_is_wrong(path, words):
    tls = "distributed.comm.tls"
    with (
        dask.config.set({f"{tls}.ca-file": path, f"{tls}.client.cert": __file__}),
        pytest.raises(errors.UsageError, match=words),
    ):
        imgpkg.dask_executor("tls://127.0.0.1:9").__enter__()


def test_tls_with_certificates_needs_a_scheduler(tmp_path):
    authority = trustme.CA()
    certificate, ca = authority.issue_cert("127.0.0.1"), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    pair = tmp_path / "pair.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(pair))
    tls = "distributed.comm.tls"
    with (
        dask.config.set({f"{tls}.ca-file": str(ca), f"{tls}.client.cert": str(pair)}),
        pytest.raises(errors.ExecutorError, match="the Dask scheduler at tls://127"),
    ):
        imgpkg.dask_executor("tls://127.0.0.1:9", timeout=0.2).__enter__()


def test_without_the_package_of_dask_a_cluster_is_a_mistake_with_a_hint(monkeypatch):
    monkeypatch.delitem(sys.modules, "imgpkg.operations.cluster.connection")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(errors.UsageError, match="not installed") as raised:
        imgpkg.dask_executor("local:1").__enter__()
    assert "imgpkg-py[dask]" in raised.value.hints[0]


def test_a_worker_that_does_not_answer_is_not_awaited(cluster):
    with (
        imgpkg.dask_executor(cluster.scheduler_address, timeout=0.3) as executor,
        pytest.raises(errors.ExecutorError, match=r"a worker did not answer within 0\.3 s"),
    ):
        executor.ask(time.sleep, 0.6)


class Unreadable:
    """A part of a unit with which a worker can do nothing: it calls this when it reads the unit."""

    def __init__(self, act, *arguments):
        self.call = act, arguments

    def __reduce__(self):
        return self.call


def a_unit(to="127.0.0.1:1/no/place", settings=None, run="run"):
    place = Repository.parse(to)
    blob = Descriptor("application/octet-stream", Digest.of(b"blob"), 4, data=b"blob")
    return imgpkg.TransferUnit(run, blob, place, place, settings or imgpkg.Settings(), imgpkg.Settings())


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        (
            Unreadable(pkgutil.resolve_name, "imgpkg.absent:x"),
            errors.ExecutorError,
            "A worker cannot load imgpkg: ModuleNotFoundError",
        ),
        (Unreadable(open, "/nowhere"), errors.ExecutorError, "failed: FileNotFoundError"),
        (Unreadable(int, "x"), ValueError, "invalid literal"),
    ],
)
def test_what_a_worker_raises_is_explained(settings, kind, words, executor):
    with pytest.raises(kind, match=words):
        executor.submit(transfer, a_unit(settings=settings)).result(10)


def test_a_unit_that_is_cancelled_is_taken_back(executor):
    with serve(faults=always(Fault(delay=0.5))) as there:
        given = executor.submit(transfer, a_unit(f"{there.address}/to/b"))
        assert given.cancel()
        wait(lambda: not executor._sent)


def wait(is_so):
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class TestACluster:
    """Workers come and go."""

    @pytest.fixture
    def own(self):
        with dask.config.set({"distributed.scheduler.allowed-failures": 0}), threads(1) as own:
            yield own

    @pytest.fixture
    def there(self):
        with serve(faults=always(Fault(delay=0.3), method="PUT")) as there:
            yield there

    def test_grows_by_workers_that_fit(self, own):
        with imgpkg.dask_executor(own.scheduler_address) as executor:
            own.scale(2)
            wait(lambda: executor.room == 8)

    def test_gives_blobs_of_workers_that_have_gone_to_others(self, own, there, bundle, session):
        with imgpkg.dask_executor(own.scheduler_address) as executor:
            begun = threading.Event()

            def replace_them(event):
                if isinstance(event, imgpkg.Planned) and not begun.is_set():
                    begun.set()
                    own.scale(0)
                    # Before it has a blob, with which it would have died.
                    wait(lambda: not own.scheduler.workers)
                    own.scale(1)

            copied = imgpkg.copy(
                bundle,
                to_repo=f"{there.address}/to/b",
                session=session,
                executor=executor,
                on_event=replace_them,
            )
            assert session.client.exists(copied.bundle.destination)

    def test_without_workers_fails_the_copy_after_a_while(self, own, there, bundle, session):
        with imgpkg.dask_executor(own.scheduler_address, timeout=2) as executor:
            own.scale(0)
            with pytest.raises(
                errors.ExecutorError, match="it has had no worker, or did not answer, for 2 s"
            ):
                imgpkg.copy(bundle, to_repo=f"{there.address}/to/b", session=session, executor=executor)

    def test_whose_workers_die_with_a_blob_names_it(self, own, there, session):
        with imgpkg.dask_executor(own.scheduler_address) as executor:
            given = executor.submit(transfer, a_unit(f"{there.address}/to/b"))
            [address] = own.scheduler_info["workers"]
            wait(lambda: there.requests)
            own.sync(own.scheduler.remove_worker, address, stimulus_id="test")
            with pytest.raises(errors.ExecutorError, match="1 worker died while they had it, the last at"):
                given.result(10)

    def test_with_another_version_says_so_once_in_each_copy(self, own):
        roster, told = Roster({"tcp://right": 1}), []
        with Client(own, set_as_default=False) as client:
            executor = DaskExecutor(client, roster, address=own.scheduler_address, timeout=2)
            roster.update({"tcp://right": 1, "tcp://later": 1})
            asking = Future()
            asking.set_result("0.9.0")
            for run in ("one", "one", "other"):
                with executor.serving(run, told.append):
                    executor._learn("tcp://later", "later (tcp://later)", asking)
        text = f"later (tcp://later) has imgpkg 0.9.0, and not imgpkg {VERSION}: it gets no blobs"
        assert told == [imgpkg.Warned(text)] * 2
        assert executor._nobody() == (
            f"it has had no worker with imgpkg {VERSION} for 2 s: later (tcp://later) has imgpkg 0.9.0"
        )
