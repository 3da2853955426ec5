"""Copies with a session for each side."""

from __future__ import annotations

import base64
import threading

import pytest
from tests.operations.making import make_bundle, make_image

import imgpkg
from imgpkg.bundle.image import locations_tag, signature_tag
from imgpkg.embedded.server import serve
from imgpkg.errors import Cancelled, Unauthorized, UsageError
from imgpkg.session import Session
from imgpkg.settings import Login, Settings, Side

pytestmark = pytest.mark.usefixtures("written_log")

READER, WRITER = ("reader", "reads-only-123"), ("writer", "writes-too-456")


@pytest.fixture
def registries(tmp_path):
    """Two registries with a login each, and a bundle in the first; anything else that is sent is refused."""
    with serve(login=READER, token_service=True) as here, serve(login=WRITER) as there:
        with Session(Settings(login=Login(*READER))) as session:
            image = make_image(session, f"{here.address}/a/app", ["one", "two"])
            bundle = make_bundle(session, f"{here.address}/a/bundle:v1", {image: {}}, tmp_path / "b")
        yield here, there, bundle


@pytest.fixture
def sides(open_session):
    """The session of the source and that of the destination."""
    return (
        open_session(username=READER[0], password=READER[1]),
        open_session(username=WRITER[0], password=WRITER[1]),
    )


def test_reads_with_one_session_and_writes_with_the_other(registries, sides, tmp_path):
    _, there, bundle = registries
    source, session = sides
    origin = imgpkg.CopySource(bundle=str(bundle))
    to = f"{there.address}/b/bundle"
    preview = imgpkg.preview_copy(origin, to, session=session, source_session=source)
    users = [decision.credential.username for decision in preview.credentials]
    assert users == ["reader", "reader", "writer"]
    result = imgpkg.copy(origin, to_repo=to, session=session, source_session=source)
    assert result.bundle.destination.digest == bundle.digest
    imgpkg.copy(origin, to_tar=tmp_path / "b.tar", session=session, source_session=source)
    imgpkg.copy(origin, to_layout=tmp_path / "layout", session=session, source_session=source)
    # A file is read without a session.
    back = imgpkg.CopySource(tar=tmp_path / "b.tar")
    copied = imgpkg.copy(back, to_repo=f"{there.address}/c/bundle", session=session, source_session=source)
    assert copied.bundle.destination.digest == bundle.digest


def test_signatures_referrers_and_locations_go_the_same_way(registries, sides):
    here, there, bundle = registries
    source, session = sides
    repository = bundle.repository
    make_image(source, str(repository), ["signature"], tag=signature_tag(bundle.digest))
    subject = source.client.manifest(bundle).descriptor
    about = {"mediaType": subject.media_type, "digest": str(subject.digest), "size": subject.size}
    referrer = make_image(source, str(repository), ["sbom"], subject=about)
    options = imgpkg.CopyOptions(cosign_signatures=True, referrers=True)
    to = f"{there.address}/signed/bundle"
    imgpkg.copy_to_repository(
        imgpkg.CopySource(bundle=str(bundle)), to, session=session, source_session=source, options=options
    )
    place = imgpkg.Repository.parse(to)
    assert [found.digest for found in session.client.referrers(place, bundle.digest)] == [referrer.digest]
    tags = set(session.client.tags(place))
    assert {signature_tag(bundle.digest), locations_tag(bundle.digest)} <= tags
    # Each registry was sent its own login alone.
    for server, password in ((here, WRITER[1]), (there, READER[1])):
        login = f"{READER[0] if server is there else WRITER[0]}:{password}".encode()
        shown = str([request.headers for request in server.requests])
        assert base64.b64encode(login).decode() not in shown


@pytest.mark.parametrize("swapped", [False, True])
def test_a_login_of_the_wrong_side_is_refused(registries, sides, swapped):
    _, there, bundle = registries
    source, session = reversed(sides) if swapped else (sides[1], sides[1])
    with pytest.raises(Unauthorized):
        imgpkg.copy_to_repository(
            imgpkg.CopySource(bundle=str(bundle)),
            f"{there.address}/b/bundle",
            session=session,
            source_session=source,
        )


@pytest.mark.parametrize("stopped", ["source", "destination"])
@pytest.mark.parametrize("hanging", ["source", "destination"])
def test_stopping_either_session_ends_a_copy_that_waits_for_either_registry(tmp_path, hanging, stopped):
    waits, goes_on = threading.Event(), threading.Event()

    def hold(record):
        wanted = "/blobs/sha256" if hanging == "source" else "/blobs/uploads"
        if is_copying.is_set() and wanted in record.path:
            waits.set()
            goes_on.wait(60)

    is_copying = threading.Event()
    held = {hanging: hold}
    with (
        serve(on_request=held.get("source", lambda _: None)) as here,
        serve(on_request=held.get("destination", lambda _: None)) as there,
        Session() as source,
        Session() as session,
    ):
        image = make_image(source, f"{here.address}/a/app", ["one", "two", "three"])
        is_copying.set()
        failures = []

        def work():
            try:
                imgpkg.copy_to_repository(
                    imgpkg.CopySource(image=str(image)),
                    f"{there.address}/b/app",
                    session=session,
                    source_session=source,
                )
            except Cancelled as error:
                failures.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        assert waits.wait(30)
        (source if stopped == "source" else session).stop()
        thread.join(10)
        ended = not thread.is_alive()
        goes_on.set()
        thread.join(30)
        assert ended
        assert len(failures) == 1


@pytest.mark.parametrize("session_jobs", [(0, 5), (5, 0)])
def test_both_sessions_need_a_worker(session_jobs):
    source, session = (Session(Settings(concurrency=jobs)) for jobs in session_jobs)
    with source, session, pytest.raises(UsageError, match="Expected --concurrency to be >= 1, but was 0"):
        imgpkg.copy_to_repository(
            imgpkg.CopySource(image="127.0.0.1:1/a/b"),
            "127.0.0.1:1/c/d",
            session=session,
            source_session=source,
        )


def test_a_program_may_read_the_variables_of_a_side(monkeypatch):
    monkeypatch.setenv("IMGPKG_FROM_TOKEN", "s3cret-token")
    monkeypatch.setenv("IMGPKG_USERNAME", "plain")
    monkeypatch.setenv("IMGPKG_PASSWORD", "s3cret-word")
    origins = {}
    for side in (None, *Side):
        with Session(Settings.from_environment(side=side)) as session:
            origins[side] = imgpkg.explain("host/a/b", session=session).winner.origin
    plain = "$IMGPKG_USERNAME, $IMGPKG_PASSWORD"
    assert origins == {None: plain, Side.FROM: "$IMGPKG_FROM_TOKEN", Side.TO: plain}
