"""Clusters that cannot be used are told before anything moves; secrets travel over TLS only."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import dask
import pytest
import trustme
from distributed import Client, LocalCluster
from tests.operations.making import thirty
from tests.servers.dask import Cluster, end
from tests.servers.faults import always
from tests.servers.fixtures import PASSWORD, USERNAME

import imgpkg
from imgpkg import errors
from imgpkg.embedded.message import Fault
from imgpkg.embedded.server import serve
from imgpkg.version import VERSION

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """The paths of an authority, and of a certificate and key that it has signed."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    paths = [folder / name for name in ("ca.pem", "cert.pem", "key.pem")]
    authority.cert_pem.write_to_path(str(paths[0]))
    paths[1].write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(str(paths[2]))
    return paths


@pytest.fixture(scope="module")
def tls_cluster(tmp_path_factory, certificates):
    with Cluster(tmp_path_factory.mktemp("tls"), tls=certificates) as cluster:
        yield cluster.add("one", "other")


@pytest.fixture
def cluster(tmp_path):
    (tmp_path / "dask").mkdir()
    with Cluster(tmp_path / "dask") as cluster:
        yield cluster


def run(*words, **environ):
    """Run the command; return its exit code and what it wrote to standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "imgpkg", *map(str, words)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert PASSWORD not in done.stdout + done.stderr
    return done.returncode, done.stderr


# What workers have in the place of the package.
UNFIT = {"older": 'VERSION = "0.9.0"', "without": "raise ModuleNotFoundError('none')"}


def unfit(name, folder):
    """Return a PYTHONPATH for a worker that has something else."""
    package = folder / name / "imgpkg"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "version.py").write_text(UNFIT[name])
    return str(package.parent)


def wait(is_so):
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def copying(bundle, to, *more):
    return ("copy", "-b", bundle, "--to-repo", f"{to.address}/to/b", *more)


@pytest.fixture
def bundle(embedded_registry, session, tmp_path):
    return thirty(session, embedded_registry.address, tmp_path / "b", count=3)


def assert_silent(cluster):
    """Fail if a log has the password, or the bytes of a pickle with it."""
    for name in ("one", "other", "scheduler"):
        text = cluster.log(name)
        assert PASSWORD not in text
        assert PASSWORD.partition("é")[0] not in text, text[-2000:]


class TestTls:
    def test_moves_blobs_with_credentials_that_are_sent_and_shown_nowhere(
        self, tls_cluster, bundle, embedded_login, embedded_registry, session
    ):
        code, text = run(
            *copying(bundle, embedded_login, "--dask", tls_cluster.address, "--dask-send-credentials"),
            IMGPKG_TO_USERNAME=USERNAME,
            IMGPKG_TO_PASSWORD=PASSWORD,
            **tls_cluster.environ(),
        )
        assert code == 0, text
        assert_silent(tls_cluster)

    def test_does_not_show_a_secret_when_a_unit_fails(self, tls_cluster, bundle, embedded_login):
        code, text = run(
            *copying(bundle, embedded_login, "--dask", tls_cluster.address, "--dask-send-credentials"),
            IMGPKG_TO_USERNAME=USERNAME,
            IMGPKG_TO_PASSWORD=f"{PASSWORD}-wrong",
            **tls_cluster.environ(),
        )
        assert code == 4, text
        assert_silent(tls_cluster)

    def test_needs_certificates_and_names_the_variables(self, tls_cluster, bundle, another_registry):
        code, text = run(*copying(bundle, another_registry, "--dask", tls_cluster.address))
        assert code == 2
        assert "DASK_DISTRIBUTED__COMM__TLS__CA_FILE" in text
        assert "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT" in text

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("CA_FILE", "/nowhere/ca.pem", "CA_FILE: there is no file /nowhere/ca.pem"),
            ("CLIENT__CERT", os.devnull, "there is no file"),
            ("CLIENT__CERT", __file__, "cannot be read"),
        ],
    )
    def test_says_which_file_is_wrong(self, name, value, words, tls_cluster, bundle, another_registry):
        environ = {**tls_cluster.environ(), f"DASK_DISTRIBUTED__COMM__TLS__{name}": value}
        code, text = run(*copying(bundle, another_registry, "--dask", tls_cluster.address), **environ)
        assert (code, words in text) == (2, True), text

    def test_of_another_authority_is_refused(self, tls_cluster, bundle, another_registry, tmp_path):
        authority = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(str(authority))
        environ = {**tls_cluster.environ(), "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": str(authority)}
        code, text = run(
            *copying(bundle, another_registry, "--dask", tls_cluster.address, "--dask-timeout", "2s"),
            **environ,
        )
        assert code == 1
        assert "does not answer: " in text
        assert "CERTIFICATE_VERIFY_FAILED" in text


class TestAScheduler:
    def test_that_does_not_run(self, bundle, another_registry):
        started = time.monotonic()
        code, text = run(
            *copying(bundle, another_registry, "--dask", "tcp://127.0.0.1:9", "--dask-timeout", "1s")
        )
        assert code == 1
        assert "the Dask scheduler at tcp://127.0.0.1:9 does not answer:" in text
        # A busy machine may need the second for the attempt itself.
        assert "Connection refused" in text or "Timed out" in text
        assert time.monotonic() - started < 20

    def test_that_says_nothing(self, bundle, another_registry):
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
            code, text = run(*copying(bundle, another_registry, "--dask", address, "--dask-timeout", "1s"))
        assert (code, "does not answer: no answer within 2 s" in text) == (1, True), text

    def test_that_stops_after_the_connection(self, cluster):
        with Client(cluster.address, set_as_default=False) as client:
            cluster.scheduler.send_signal(signal.SIGSTOP)
            started = time.monotonic()
            try:
                with (
                    pytest.raises(errors.ExecutorError, match="does not answer any more: no answer within"),
                    imgpkg.dask_executor(client, timeout=0.5),
                ):
                    pass
            finally:
                cluster.scheduler.send_signal(signal.SIGCONT)
            assert time.monotonic() - started < 5

    def test_that_is_lost_while_the_workers_are_asked(self, cluster):
        cluster.add("one")
        worker = cluster.workers["one"]
        with Client(cluster.address, set_as_default=False) as client:
            worker.send_signal(signal.SIGSTOP)
            lost = threading.Timer(1, end, (cluster.scheduler,))
            lost.start()
            try:
                with (
                    pytest.raises(errors.ExecutorError, match="does not answer any more: "),
                    imgpkg.dask_executor(client, timeout=20),
                ):
                    pass
            finally:
                worker.send_signal(signal.SIGCONT)
                lost.join()

    def test_without_workers(self, cluster, bundle, another_registry):
        before = len(another_registry.requests)
        code, text = run(
            *copying(bundle, another_registry, "--dask", cluster.address, "--dask-timeout", "1s")
        )
        assert code == 1
        assert "has no workers, and got none within 1 s" in text
        assert len(another_registry.requests) == before

    def test_that_gets_its_workers_late(self, cluster):
        late = threading.Timer(1, cluster.add, ("one",))
        late.start()
        with imgpkg.dask_executor(cluster.address) as executor:
            assert executor.room == 4
        late.join()


class TestAWorker:
    def test_with_another_version_or_without_the_package_is_named(
        self, cluster, bundle, another_registry, tmp_path
    ):
        for name in UNFIT:
            cluster.add(name, PYTHONPATH=unfit(name, tmp_path))
        cluster.add("right")
        before = len(another_registry.requests)
        code, text = run(*copying(bundle, another_registry, "--dask", cluster.address))
        assert code == 1
        assert f"need imgpkg {VERSION}, and have: " in text
        assert "imgpkg 0.9.0 at older (tcp://" in text
        assert "no imgpkg (none) at without (tcp://" in text
        assert "right (tcp://" not in text
        assert len(another_registry.requests) == before

    @pytest.mark.parametrize(
        ("name", "words"), [("older", "has imgpkg 0.9.0"), ("without", "has no imgpkg (none)")]
    )
    def test_that_joins_later_with_something_else_is_left_out_with_one_warning(
        self, name, words, cluster, bundle, open_session, tmp_path
    ):
        events = []
        cluster.add("right")
        with (
            serve(faults=always(Fault(delay=0.5), method="PUT")) as there,
            imgpkg.dask_executor(cluster.address) as executor,
        ):
            joining = threading.Timer(0.1, cluster.add, (name,), {"PYTHONPATH": unfit(name, tmp_path)})
            joining.start()
            for place in ("to/b", "to/other"):
                imgpkg.copy(
                    imgpkg.CopySource(bundle=str(bundle)),
                    to_repo=f"{there.address}/{place}",
                    session=open_session(),
                    executor=executor,
                    on_event=events.append,
                )
                joining.join()
                # As long as it takes to look at the workers, and to ask a new one.
                wait(lambda: executor._roster.unfit)
            assert executor.room == 4
            assert open_session().client.tags(imgpkg.Repository.parse(f"{there.address}/to/other"))
        warned = [event.text for event in events if isinstance(event, imgpkg.Warned)]
        assert warned[0].startswith(f"{name} (tcp://")
        assert warned[0].endswith(f"{words}, and not imgpkg {VERSION}: it gets no blobs")
        # Once for each copy that it could have taken part in.
        assert len(set(warned)) == 1
        assert len(warned) in (1, 2)

    def test_that_is_left_alone_with_something_else_ends_the_copy(
        self, cluster, bundle, open_session, tmp_path
    ):
        process = cluster.add("right").workers["right"]
        with serve() as there, imgpkg.dask_executor(cluster.address, timeout=3) as executor:
            cluster.add("older", PYTHONPATH=unfit("older", tmp_path))
            end(process)
            with pytest.raises(errors.ExecutorError, match="no worker with imgpkg") as raised:
                imgpkg.copy(
                    imgpkg.CopySource(bundle=str(bundle)),
                    to_repo=f"{there.address}/to/b",
                    session=open_session(),
                    executor=executor,
                )
        assert f"no worker with imgpkg {VERSION} for 3 s: older (tcp://" in str(raised.value)
        assert str(raised.value).endswith("has imgpkg 0.9.0")
        assert "Begin the same copy again" in raised.value.hints[0]

    def test_that_joins_later_gets_blobs(self, cluster, bundle, open_session):
        process = cluster.add("right").workers["right"]
        with serve() as there, imgpkg.dask_executor(cluster.address) as executor:
            cluster.add("later", threads=3)
            wait(lambda: executor.room == 10)
            end(process)
            copied = imgpkg.copy(
                imgpkg.CopySource(bundle=str(bundle)),
                to_repo=f"{there.address}/to/b",
                session=open_session(),
                executor=executor,
            )
        assert copied.bundle is not None

    def test_with_other_versions_of_other_packages_is_not_mentioned(
        self, cluster, bundle, another_registry, tmp_path
    ):
        folder = tmp_path / "other" / "toolz-99.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: toolz\nVersion: 99\n")
        cluster.add("other", PYTHONPATH=str(folder.parent))
        assert run(*copying(bundle, another_registry, "--dask", cluster.address)) == (0, "")

    def test_that_says_nothing(self, cluster, bundle, another_registry):
        process = cluster.add("silent").workers["silent"]
        process.send_signal(signal.SIGSTOP)
        before = len(another_registry.requests)
        code, text = run(
            *copying(bundle, another_registry, "--dask", cluster.address, "--dask-timeout", "2s")
        )
        assert (code, "has a worker that does not answer within 2 s" in text) == (1, True), text
        assert len(another_registry.requests) == before


class TestAClient:
    def test_of_the_program_stays_open(self, tls_cluster, certificates, bundle, open_session):
        from distributed import Security

        ca, cert, key = map(str, certificates)
        security = Security(tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key, require_encryption=True)
        with (
            serve() as there,
            Client(tls_cluster.address, security=security, set_as_default=False) as client,
        ):
            with imgpkg.dask_executor(client) as executor:
                imgpkg.copy(
                    imgpkg.CopySource(bundle=str(bundle)),
                    to_repo=f"{there.address}/to/b",
                    session=open_session(),
                    executor=executor,
                    options=imgpkg.CopyOptions(send_credentials=True),
                )
            assert client.submit(os.path.join, "a", "b").result(10) == "a/b"

    def test_in_the_process_of_the_copy_reports_once(self, bundle, open_session):
        counter = imgpkg.TransferCounter()
        with (
            # Some releases of CPython stop for ever when the frames of threads are listed while one begins.
            dask.config.set({"distributed.worker.profile.enabled": False}),
            LocalCluster(
                n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
            serve() as there,
            imgpkg.dask_executor(client) as executor,
        ):
            imgpkg.copy(
                imgpkg.CopySource(bundle=str(bundle)),
                to_repo=f"{there.address}/to/b",
                session=open_session(),
                executor=executor,
                on_event=counter,
            )
        assert counter.total.moved == 11

    def test_that_is_closed_is_an_error(self, cluster):
        client = Client(cluster.address, set_as_default=False)
        client.close()
        with pytest.raises(errors.ExecutorError, match="is closed, and has no"), imgpkg.dask_executor(client):
            pass

    @pytest.mark.parametrize("other", [None, 3, object()])
    def test_is_no_other_object(self, other):
        with pytest.raises(errors.UsageError, match="Expected the address"), imgpkg.dask_executor(other):
            pass


def test_processes_of_this_machine_keep_no_profile():
    """It lists the frames of threads, which some releases of CPython do not survive while one begins."""
    with imgpkg.dask_executor("local:1") as executor:
        asked = executor.submit(dask.config.get, "distributed.worker.profile.enabled")
        assert asked.result(30) is False
    assert dask.config.get("distributed.worker.profile.enabled") is True


def printed(folder, program, *words):
    """Return what a program prints, which ends by itself."""
    (folder / "program.py").write_text(program)
    words = [sys.executable, str(folder / "program.py"), *words]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout


WITHOUT_GUARD = """
import imgpkg

try:
    with imgpkg.dask_executor("local:1", timeout=20):
        pass
except imgpkg.errors.ExecutorError as error:
    print(error, *error.hints, flush=True)
"""


def test_a_program_whose_processes_begin_it_anew_is_told_of_its_guard(tmp_path):
    text = printed(tmp_path, WITHOUT_GUARD)
    assert "the processes of local:1 cannot be started: " in text
    assert 'needs `if __name__ == "__main__":`' in text


FORKED = """
import multiprocessing
import sys

import imgpkg
from imgpkg.operations.transfer.worker import transfer


def use(executor):
    try:
        executor.submit(transfer, None)
    except imgpkg.errors.ExecutorError as error:
        print(error, flush=True)


with imgpkg.dask_executor(sys.argv[1]) as executor:
    process = multiprocessing.get_context("fork").Process(target=use, args=(executor,))
    process.start()
    process.join(60)
"""


def test_a_process_that_was_forked_from_a_program_is_told_so(tmp_path, cluster):
    cluster.add("one")
    text = printed(tmp_path, FORKED, cluster.address)
    assert "opened by another process, from which this one was forked" in text


def test_without_the_extra_a_cluster_is_a_mistake_with_a_hint(tmp_path, bundle, another_registry):
    (tmp_path / "distributed.py").write_text("raise ModuleNotFoundError('No module named distributed')")
    code, text = run(*copying(bundle, another_registry, "--dask", "local:2"), PYTHONPATH=str(tmp_path))
    assert code == 2
    assert "pip install 'imgpkg-py[dask]'" in text
