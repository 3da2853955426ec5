"""Copies whose blobs an executor moves: what arrives is what the threads of a copy bring."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from tests.operations.making import make_image, thirty
from tests.servers.faults import always, refusing
from tests.servers.fixtures import PASSWORD, USERNAME

from imgpkg import errors
from imgpkg.auth.keychain import Credential
from imgpkg.bundle.placement import KeptNames, Placement
from imgpkg.embedded.message import Fault
from imgpkg.embedded.server import serve
from imgpkg.events import TransferCounter
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.copy import copy, copy_to_repository
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.transfer.unit import TransferUnit, public_settings
from imgpkg.operations.transfer.worker import transfer
from imgpkg.settings import Login, Settings

# The test process has threads, which a fork would copy in the middle of something.
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def bundle(embedded_registry, session, tmp_path):
    return CopySource(bundle=str(thirty(session, embedded_registry.address, tmp_path / "b", count=4)))


@pytest.fixture(scope="module")
def threads():
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, SPAWN) as pool:
        yield pool


@pytest.fixture(params=["threads", "processes"])
def executor(request):
    return request.getfixturevalue(request.param)


def content(session, repository):
    """Return the tags of a repository, and the bytes of what they name."""
    tags = session.client.tags(repository)
    return {tag: session.client.manifest(repository.tag(tag)).raw for tag in tags}


def transferred(copying, *arguments, **keywords):
    """Copy; return the result, and the count of what became of the blobs."""
    counter = TransferCounter()
    return copying(*arguments, **keywords, on_event=counter), counter.total


class TestWhatArrives:
    def test_is_what_the_threads_of_a_copy_bring(self, executor, bundle, open_session):
        session = open_session()
        with serve() as one, serve() as other:
            plain, counted = transferred(
                copy_to_repository, bundle, f"{one.address}/to/b", session=open_session()
            )
            brought, total = transferred(
                copy, bundle, to_repo=f"{other.address}/to/b", session=open_session(), executor=executor
            )
            assert total == counted
            assert content(session, brought.bundle.destination.repository) == content(
                session, plain.bundle.destination.repository
            )
        assert [one.destination.digest for one in brought.images] == [
            one.destination.digest for one in plain.images
        ]

    def test_a_second_copy_moves_nothing(self, executor, bundle, another_registry, open_session):
        to = f"{another_registry.address}/second/{executor.__class__.__name__.lower()}"
        for is_again in (False, True):
            _, total = transferred(copy_to_repository, bundle, to, session=open_session(), executor=executor)
            assert (total.moved == 0) is is_again

    def test_blobs_of_the_same_registry_are_mounted(self, executor, bundle, embedded_registry, open_session):
        to = f"{embedded_registry.address}/mounted/{executor.__class__.__name__.lower()}"
        _, total = transferred(copy_to_repository, bundle, to, session=open_session(), executor=executor)
        # The configuration that all images share is there by the time it is mounted again.
        assert (total.moved, total.mounted > 0) == (0, True)

    def test_a_blob_of_several_images_moves_once(
        self, executor, embedded_registry, another_registry, open_session
    ):
        session, at = open_session(), embedded_registry.address
        images = [make_image(session, f"{at}/shared/{n}", ["shared", str(n)]) for n in range(6)]
        with serve() as there:
            before = len(there.requests)
            copy_to_repository(
                CopySource(images=[str(image) for image in images]),
                f"{there.address}/shared/all",
                session=session,
                executor=executor,
            )
            sent = [request for request in there.requests[before:] if request.method == "PUT"]
        blobs = {layer.digest for image in images for layer in session.client.manifest(image).blobs()}
        assert sum("/blobs/" in request.path for request in sent) == len(blobs)

    def test_several_repositories_get_a_blob_once_and_mount_it(
        self, executor, embedded_registry, open_session
    ):
        session, at = open_session(), embedded_registry.address
        images = [make_image(session, f"{at}/spread/{n}", ["shared", str(n)]) for n in range(4)]
        with serve() as there:
            _, total = transferred(
                copy_to_repository,
                CopySource(images=[str(image) for image in images]),
                f"{there.address}/placed",
                session=session,
                executor=executor,
                options=CopyOptions(placement=Placement(keep=KeptNames.PATHS)),
            )
        assert (total.moved, total.mounted) == (9, 3)


class TestCredentials:
    def test_units_have_no_secrets(self):
        settings = Settings(
            login=Login("user", "secret-1", token="secret-2"),
            side_login=Login("user", "secret-3"),
            environ={"IMGPKG_PASSWORD": "secret-4"},
            retry_count=3,
        )
        public = public_settings(settings)
        assert b"secret" not in pickle.dumps(public)
        assert public.retry_count == 3

    def test_files_with_secrets_and_anonymous_access_stay_in_units(self):
        login = Login("user", password_file="/run/secrets/password")
        settings = Settings(login=login, side_login=Login(anonymous=True))
        assert public_settings(settings) == settings

    def test_a_credential_of_a_unit_is_not_shown(self):
        unit = a_unit(credential=Credential("user", "secret"))
        assert "secret" not in repr(unit)
        assert pickle.loads(pickle.dumps(unit)) == unit

    def test_threads_use_those_of_the_session(self, threads, bundle, embedded_login, open_session):
        copy_to_repository(
            bundle,
            f"{embedded_login.address}/threads/b",
            session=open_session(username=USERNAME, password=PASSWORD),
            source_session=open_session(),
            executor=threads,
        )

    def test_processes_get_those_that_are_sent(self, processes, bundle, embedded_token, open_session):
        session = open_session(username=USERNAME, password=PASSWORD)
        copied = copy_to_repository(
            bundle,
            f"{embedded_token.address}/processes/b",
            session=session,
            source_session=open_session(),
            executor=processes,
            options=CopyOptions(send_credentials=True),
        )
        assert session.client.exists(copied.bundle.destination)

    def test_processes_find_their_own(self, bundle, embedded_login, open_session, monkeypatch):
        monkeypatch.setenv("IMGPKG_USERNAME", USERNAME)
        monkeypatch.setenv("IMGPKG_PASSWORD", PASSWORD)
        with ProcessPoolExecutor(1, SPAWN) as processes:
            copy_to_repository(
                bundle,
                f"{embedded_login.address}/own/b",
                session=open_session(username=USERNAME, password=PASSWORD),
                source_session=open_session(),
                executor=processes,
            )

    def test_a_refusal_says_whose_credential_it_was(self, processes, bundle, embedded_login, open_session):
        with pytest.raises(errors.Unauthorized, match="worker process") as raised:
            copy_to_repository(
                bundle,
                f"{embedded_login.address}/refused/b",
                session=open_session(username=USERNAME, password=PASSWORD),
                source_session=open_session(),
                executor=processes,
            )
        assert any("own environment" in hint for hint in raised.value.hints)


class Uncancellable(ThreadPoolExecutor):
    """Its futures cannot be cancelled, as those of Parsl."""

    def submit(self, fn, /, *args, **kwargs):
        def cancel():
            raise NotImplementedError

        future = super().submit(fn, *args, **kwargs)
        future.cancel = cancel
        return future


class TaskError(Exception):
    """The error of a task, as Ray has it."""

    def __init__(self, cause):
        super().__init__("the task failed")
        self.cause = cause


class Wrapping(ThreadPoolExecutor):
    """Its errors have those of tasks inside."""

    def submit(self, fn, /, *args, **kwargs):
        def wrapped():
            try:
                return fn(*args, **kwargs)
            except errors.ImgpkgError as error:
                raise TaskError(error) from None

        return super().submit(wrapped)


class TestTrouble:
    def test_a_source_or_destination_that_is_a_file(self, threads, bundle, session, tmp_path):
        with pytest.raises(errors.UsageError, match="from registries"):
            copy(bundle, to_tar=tmp_path / "f.tar", session=session, executor=threads)
        with pytest.raises(errors.UsageError, match="from registries"):
            copy_to_repository(
                CopySource(tar=tmp_path / "f.tar"), "127.0.0.1:1/a", session=session, executor=threads
            )

    def test_an_executor_that_was_shut_down(self, bundle, another_registry, session):
        executor = ThreadPoolExecutor(1)
        executor.shutdown()
        with pytest.raises(errors.ExecutorError, match="shutdown") as raised:
            copy_to_repository(
                bundle, f"{another_registry.address}/down/b", session=session, executor=executor
            )
        assert "Begin the same copy again" in raised.value.hints[0]

    def test_an_executor_that_drops_what_it_has(self, bundle, open_session):
        with serve(faults=always(Fault(delay=1), method="POST")) as there, ThreadPoolExecutor(1) as executor:
            threading.Timer(0.3, executor.shutdown, kwargs={"wait": False, "cancel_futures": True}).start()
            with pytest.raises(errors.ExecutorError, match="it has dropped blob sha256:") as raised:
                copy_to_repository(
                    bundle,
                    f"{there.address}/dropped/b",
                    session=open_session(),
                    executor=executor,
                    options=CopyOptions(in_flight=4),
                )
        assert "Begin the same copy again" in raised.value.hints[0]

    def test_a_process_that_is_killed_ends_the_copy_and_the_next_one_goes_on(
        self, bundle, open_session, another_registry
    ):
        to = f"{another_registry.address}/killed/b"
        with ProcessPoolExecutor(1, SPAWN) as dying:
            os.kill(dying.submit(os.getpid).result(), signal.SIGKILL)
            with pytest.raises(errors.ExecutorError, match="BrokenProcessPool"):
                copy_to_repository(bundle, to, session=open_session(), executor=dying)
        assert copy_to_repository(bundle, to, session=open_session()).bundle is not None

    def test_stopping_the_session_ends_the_units(self, threads, bundle, session):
        with serve(faults=always(Fault(delay=20), method="PUT")) as there:
            threading.Timer(0.3, session.stop).start()
            started = time.monotonic()
            with pytest.raises(errors.Cancelled):
                copy_to_repository(bundle, f"{there.address}/stopped/b", session=session, executor=threads)
            assert time.monotonic() - started < 5

    def test_a_failure_ends_the_copy_before_a_manifest_is_written(self, executor, bundle, open_session):
        with serve(faults=always(refusing(500), method="POST")) as there:
            with pytest.raises(errors.RegistryError):
                copy_to_repository(
                    bundle,
                    f"{there.address}/failing/b",
                    session=open_session(retry_count=1),
                    executor=executor,
                )
            assert not [one for one in there.requests if one.method == "PUT"]

    @pytest.mark.parametrize("kind", [Uncancellable, Wrapping])
    def test_an_executor_with_habits_of_its_own_raises_what_its_worker_raised(
        self, kind, bundle, open_session
    ):
        with (
            kind(2) as executor,
            serve(faults=always(refusing(500), method="POST")) as there,
            pytest.raises(errors.RegistryError, match="injected"),
        ):
            copy_to_repository(
                bundle,
                f"{there.address}/habits/b",
                session=open_session(retry_count=1),
                executor=executor,
                options=CopyOptions(in_flight=4),
            )

    def test_units_that_cannot_be_taken_back_do_nothing_after_the_copy(self, bundle, open_session):
        broken = iter([refusing(500)])
        with serve(faults=lambda asked: next(broken, None) if asked.method == "POST" else None) as there:
            with Uncancellable(1) as executor, pytest.raises(errors.RegistryError, match="injected"):
                copy_to_repository(
                    bundle,
                    f"{there.address}/late/b",
                    session=open_session(retry_count=1),
                    executor=executor,
                    options=CopyOptions(in_flight=8),
                )
            assert not [one for one in there.requests if one.method == "PUT"]

    def test_another_version_at_the_worker(self):
        with pytest.raises(errors.UsageError, match=r"begun with 0\.1"):
            transfer(a_unit(version="0.1"))


def a_unit(**more):
    place = Repository.parse("registry.example.com/a/b")
    blob = Descriptor("application/octet-stream", Digest.of(b"blob"), 4)
    return TransferUnit("run", blob, place, place, Settings(), Settings(), **more)
