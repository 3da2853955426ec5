"""Images locks of what documents name, against registries."""

from __future__ import annotations

import dataclasses
import os
import pickle
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.operations.making import make_image, make_index

import imgpkg
from imgpkg import errors
from imgpkg.bundle.lock import ID_ANNOTATION
from imgpkg.embedded.server import serve


@pytest.fixture(params=["embedded_registry", "docker_registry"])
def registry(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def app(registry, session):
    """An image with two tags; the text without tag."""
    name = f"{registry.address}/locked/app"
    for tag in ("v1", "v2"):
        make_image(session, name, [tag], tag=tag)
    return name


@pytest.fixture
def warned():
    return []


@pytest.fixture
def lock(session, warned):
    """Lock the images of texts by their names, or of paths."""

    def hear(event):
        if isinstance(event, imgpkg.Warned):
            warned.append(event)

    def locked(*files, **options):
        listed = [
            imgpkg.DocumentFile(f"{n}.yml", one.encode()) if isinstance(one, str) else one
            for n, one in enumerate(files)
        ]
        return imgpkg.lock_images(listed, session=session, on_event=hear, **options)

    return locked


def pod(*images):
    containers = "".join(f"  - name: c{n}\n    image: {image}\n" for n, image in enumerate(images))
    return f"apiVersion: v1\nkind: Pod\nspec:\n  containers:\n{containers}"


def ids(lock):
    return [image.annotations[ID_ANNOTATION] for image in lock.images]


class TestALock:
    def test_has_the_digest_of_each_tag(self, lock, app, session):
        result = lock(pod(f"{app}:v2", f"{app}:v1"))
        expected = [imgpkg.resolve(f"{app}:{tag}", session=session) for tag in ("v1", "v2")]
        assert [image.reference for image in result.lock.images] == expected
        assert ids(result.lock) == [f"{app}:v1", f"{app}:v2"]
        assert imgpkg.ImagesLock.parse(result.lock.to_bytes()) == result.lock
        assert [str(place) for place in result.images[0].places] == ["0.yml:8:12"]

    def test_keeps_all_platforms(self, lock, app, session):
        repository = imgpkg.Repository.parse(app)
        children = {
            "linux/amd64": make_image(session, app, ["amd"]),
            "linux/arm64": make_image(session, app, ["arm"]),
        }
        index = make_index(session, app, children, tag="multi")
        result = lock(pod(f"{app}:multi"))
        assert result.lock.images[0].reference == repository.digest(index.digest)

    def test_has_an_entry_for_each_text(self, lock, app, session):
        digest = imgpkg.resolve(f"{app}:v1", session=session)
        named = [f"{app}:v1", f"{app}:v2"]
        result = lock(pod(f"{app}:v1", f"{app}:v1"), pod(f"{app}:v1", digest), images=named)
        assert ids(result.lock) == [f"{app}:v1", f"{app}:v2", str(digest)]
        assert [str(place) for place in result.images[0].places] == ["0.yml:6:12", "0.yml:8:12", "1.yml:6:12"]
        assert result.images[1].places == ()

    def test_is_a_value(self, lock, app):
        result = lock(pod(f"{app}:v1", "'{{ x }}'"))
        assert pickle.loads(pickle.dumps(result)) == result
        assert {result: 1}[result] == 1
        assert dataclasses.asdict(result)["skipped"][0]["reason"] == "is a template"

    def test_may_be_empty(self, lock):
        assert lock("a: b").lock == imgpkg.ImagesLock()


def test_each_reference_is_requested_once(lock, embedded_registry, session):
    name = f"{embedded_registry.address}/locked/once"
    digest = make_image(session, name, ["x"], tag="v1")
    before = len(embedded_registry.requests)
    lock(pod(f"{name}:v1", f"{name}:v1", digest), pod(f"{name}:v1"), images=[f"{name}:v1"])
    asked = [(one.method, one.path) for one in embedded_registry.requests[before:]]
    assert sorted(asked) == sorted(
        [
            ("HEAD", f"/v2/locked/once/manifests/{digest.digest}"),
            ("HEAD", "/v2/locked/once/manifests/v1"),
        ]
    )


def test_several_references_are_requested_at_the_same_time(open_session):
    """After the first, which finds out how the registry is reached, the server answers three at a time."""
    meeting, first = threading.Barrier(3), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            if not first.acquire(blocking=False):
                meeting.wait(timeout=20)
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
            self.send_header("Docker-Content-Digest", f"sha256:{'5' * 64}")
            self.send_header("Content-Length", "5")
            self.end_headers()

        def log_message(self, *_):
            """Nothing is logged."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        names = [f"127.0.0.1:{server.server_port}/a/app{n}" for n in range(7)]
        result = imgpkg.lock_images(images=names, session=open_session(concurrency=3))
        server.shutdown()
    assert {image.digest.hex for image in result.lock.images} == {"5" * 64}


class TestWhatIsNotResolved:
    def test_is_named_with_all_its_places(self, lock, app, session):
        gone = f"{app}@sha256:{'0' * 64}"
        with pytest.raises(errors.Unresolved) as caught:
            lock(pod(f"{app}:v1", f"{app}:nosuch", gone), pod(f"{app}:nosuch"), images=[f"{app}:never"])
        lines = str(caught.value).split("\n")
        assert lines[0] == "3 of 4 image references were not resolved"
        assert [line for line in lines[1:] if not line.startswith("    ")] == [
            f"  {app}:never",
            f"  {app}:nosuch (0.yml:8:12, 1.yml:6:12)",
            f"  {gone} (0.yml:10:12)",
        ]
        assert [type(error) for error in caught.value.errors] == [errors.NotFound] * 3
        assert str(caught.value.errors[0]) in str(caught.value)
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)

    def test_writes_nothing(self, lock, app, tmp_path):
        (tmp_path / "images.yml").write_text("")
        with pytest.raises(errors.Unresolved):
            lock(pod(f"{app}:nosuch"), output=tmp_path / "images.yml")
        assert (tmp_path / "images.yml").read_text() == ""

    def test_has_the_hint_of_the_refused_credential(self, app, embedded_login, open_session):
        there = f"{embedded_login.address}/locked/private:v1"
        session = open_session(username="testuser", password="wrong")
        text = pod(f"{app}:nosuch", there, f"{app}:v1").encode()
        with pytest.raises(errors.Unresolved) as caught:
            imgpkg.lock_images([imgpkg.DocumentFile("pod.yml", text)], session=session)
        kinds = {type(error) for error in caught.value.errors}
        assert kinds == {errors.NotFound, errors.Unauthorized}
        assert embedded_login.address in caught.value.cause
        assert caught.value.refusal.kind.name == "REFUSED"
        assert caught.value.hints[0] == caught.value.refusal.remedy
        assert f"{there} (pod.yml:8:12)" in str(caught.value)
        assert "wrong" not in str(caught.value) + "".join(caught.value.hints)

    def test_is_not_asked_for_again_where_nobody_answers(self, session):
        with socket.create_server(("127.0.0.1", 0)) as server:
            dead = f"127.0.0.1:{server.getsockname()[1]}"
        names = [f"{dead}/a/app{n}:v1" for n in range(20)]
        settings = imgpkg.Settings(retry_count=2, concurrency=1)
        repeated = []
        patient = imgpkg.Session(settings, on_event=repeated.append)
        with patient, pytest.raises(errors.Unresolved) as caught:
            imgpkg.lock_images(images=names, session=patient)
        assert len(caught.value.errors) == 20
        assert len(repeated) <= 1
        assert isinstance(caught.value.errors[0], errors.ConnectionFailed)

    def test_does_not_hide_that_the_session_was_stopped(self, app, open_session):
        stopped = open_session()
        stopped.stop()
        with pytest.raises(errors.Cancelled):
            imgpkg.lock_images(images=[f"{app}:v1", f"{app}:v2"], session=stopped)


class TestArguments:
    def test_are_checked_before_any_request(self, lock, embedded_registry, tmp_path):
        before = len(embedded_registry.requests)
        name = f"{embedded_registry.address}/locked/app:v1"
        (tmp_path / "other.yml").write_text(pod(name))
        for options in (
            {"images": ["UPPER"]},
            {"paths": ["a..b"]},
            {"output": tmp_path / "nosuch" / "images.yml"},
            {"output": tmp_path},
            {"output": tmp_path / "other.yml"},
        ):
            with pytest.raises(errors.ImgpkgError):
                lock(pod(name), **options)
        with pytest.raises(errors.InvalidDocument):
            lock(pod(name, "''"), strict=True)
        assert len(embedded_registry.requests) == before
        assert (tmp_path / "other.yml").read_text() == pod(name)

    def test_another_file_is_not_overwritten(self, lock, tmp_path):
        (tmp_path / "other.yml").write_text(pod("a/b"))
        with pytest.raises(errors.InvalidLock) as caught:
            lock("a: b", output=tmp_path / "other.yml")
        assert caught.value.hints[0] == f"{tmp_path}/other.yml is no images lock, and is not overwritten."

    def test_a_login_of_flags_is_not_sent_unseen(self, embedded_login, another_registry, open_session):
        warned = []
        session = open_session(username="testuser", password=embedded_login.password, on_event=warned.append)
        other = f"{another_registry.address}/locked/other"
        make_image(open_session(), other, ["x"], tag="v1")
        make_image(session, f"{embedded_login.address}/locked/own", ["x"], tag="v1")
        text = pod(f"{other}:v1").encode()
        imgpkg.lock_images(
            [imgpkg.DocumentFile("a.yml", text)],
            images=[f"{embedded_login.address}/locked/own:v1"],
            session=session,
        )
        (event,) = warned
        assert f"also used for {another_registry.address}, where only a document names images" in event.text


class TestAFile:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "bundle" / ".imgpkg" / "images.yml"

    def test_is_written_with_its_folder(self, lock, app, path):
        path.parent.parent.mkdir()
        result = lock(pod(f"{app}:v1"), output=path)
        assert path.read_bytes() == result.lock.to_bytes()
        assert os.listdir(path.parent) == ["images.yml"]

    def test_is_not_touched_where_nothing_is_new(self, lock, app, path):
        lock(pod(f"{app}:v1", f"{app}:v2"), output=path)
        os.utime(path, ns=(1, 1))
        lock(pod(f"{app}:v2"), pod(f"{app}:v1"), output=path)
        assert path.stat().st_mtime_ns == 1

    def test_keeps_what_people_have_added(self, lock, app, path, session, warned):
        lock(pod(f"{app}:v1", f"{app}:v2"), output=path)
        own = f"own.example/by/hand@sha256:{'1' * 64}"
        text = path.read_text().replace(f"id: {app}:v1\n", f"id: {app}:v1\n    team: a\n")
        path.write_text(
            text.replace("images:\n", f"images:\n- image: {own}\n  annotations: {{why: needed}}\n")
        )
        result = lock(pod(f"{app}:v1"), output=path)
        assert [dict(image.annotations) for image in result.lock.images] == [
            {"why": "needed"},
            {"team": "a", ID_ANNOTATION: f"{app}:v1"},
        ]
        assert imgpkg.ImagesLock.from_path(path) == result.lock
        assert [image.annotations[ID_ANNOTATION] for image in result.removed] == [f"{app}:v2"]
        assert warned == []

    def test_says_what_is_lost(self, lock, app, path, warned):
        lock(pod(f"{app}:v1"), output=path)
        path.write_text(
            path.read_text().replace("- annotations:\n", "- annotations:\n    team: a\n") + "# note\n"
        )
        lock(pod(f"{app}:v2"), output=path)
        assert [event.text for event in warned] == [
            f"{path}: no document names '{app}:v1' any more: left out with its annotations",
            f"{path}: comments are not kept in a lock file; annotations are",
        ]

    def test_may_be_the_one_whose_tags_are_resolved(self, lock, app, path, session):
        path.parent.mkdir(parents=True)
        kept = f"own.example/a/b@sha256:{'1' * 64}"
        path.write_text(
            "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n"
            f"- image: {app}:v1\n  annotations: {{team: a}}\n"
            f"- image: {kept}\n  annotations: {{{ID_ANNOTATION}: c}}\n"
        )
        result = lock(path, output=path)
        assert [(str(image.reference), dict(image.annotations)) for image in result.lock.images] == [
            (str(imgpkg.resolve(f"{app}:v1", session=session)), {"team": "a", ID_ANNOTATION: f"{app}:v1"}),
            (kept, {ID_ANNOTATION: "c"}),
        ]
        assert imgpkg.ImagesLock.from_path(path) == result.lock
        # What is locked stays so.
        assert lock(path, output=path).lock == result.lock

    def test_with_tags_is_not_replaced_without_them(self, lock, app, path):
        path.parent.mkdir(parents=True)
        text = f"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n- image: {app}:v1\n"
        path.write_text(text)
        with pytest.raises(errors.InvalidLock) as caught:
            lock(pod(f"{app}:v2"), output=path)
        assert caught.value.hints[-1].startswith("imgpkg lock resolves tags to digests: imgpkg lock -f FILE")
        assert path.read_text() == text


def test_references_of_one_registry_are_resolved_although_another_refuses(app, open_session):
    with serve(login=("somebody", "s3cret")) as server:
        text = pod(f"{app}:v1", f"{server.address}/a/b:v1").encode()
        with pytest.raises(errors.Unresolved) as caught:
            imgpkg.lock_images([imgpkg.DocumentFile("a.yml", text)], session=open_session())
    assert str(caught.value).split("\n")[0].endswith("1 of 2 image references were not resolved")
    assert [type(error) for error in caught.value.errors] == [errors.Unauthorized]
