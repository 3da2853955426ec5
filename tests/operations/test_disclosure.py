"""One warning where a login of flags goes to a registry that only a bundle or lock file names."""

from __future__ import annotations

import urllib.request

import pytest
from tests.operations.making import make_bundle, make_image

import imgpkg
from imgpkg.embedded.server import serve
from imgpkg.errors import Unauthorized
from imgpkg.session import Session
from imgpkg.settings import Login, Settings, Side

pytestmark = pytest.mark.unmeasured

LOGIN = Login("somebody", "a-secret-of-tests")
TOKEN = Login(token="a-token-of-tests")


@pytest.fixture
def places(tmp_path):
    """Three open registries: of the bundle, of its images, and another one; and the bundle."""
    with serve() as own, serve() as strange, serve() as third, Session() as session:
        images = [make_image(session, f"{strange.address}/team/app{n}", [f"{n}"]) for n in range(8)]
        inner = make_bundle(session, f"{strange.address}/team/inner", {}, tmp_path / "inner")
        listed = {image: {} for image in (*images, inner)}
        bundle = make_bundle(session, f"{own.address}/team/bundle:v1", listed, tmp_path / "bundle")
        yield own, strange, third, str(bundle)


@pytest.fixture
def warned(open_session):
    """Run work with a session of these settings, return its warnings."""

    def run(work, login=LOGIN, **options):
        seen = []
        with Session(Settings(login=login, **options), on_event=seen.append) as session:
            work(session)
        return [event.text for event in seen if isinstance(event, imgpkg.Warned)]

    return run


def copying(place, to, **source):
    def work(session):
        imgpkg.copy_to_repository(imgpkg.CopySource(**source), f"{to.address}/{place}", session=session)

    return work


SETS = (
    "sets of IMGPKG_REGISTRY_HOSTNAME_0, IMGPKG_REGISTRY_USERNAME_0 and IMGPKG_REGISTRY_PASSWORD_0 are for "
    "one registry each, and a set with only the hostname makes its registry anonymous"
)
SIDES = "--from-registry-username and --to-registry-username are for one side of a copy; "


@pytest.mark.parametrize(
    ("login", "words"),
    [
        (LOGIN, "the login from --registry-username, --registry-password"),
        (TOKEN, "the registry token from --registry-token"),
    ],
)
def test_a_copy_warns_once_about_the_registry_of_the_images(places, warned, login, words):
    _, strange, third, bundle = places
    (text,) = warned(copying("x/y", third, bundle=bundle), login)
    assert text == (
        f"{words} is for any registry and is also used for {strange.address}, where only {bundle} names "
        f"images; to limit it: {SIDES}{SETS}"
    )


def test_a_password_in_a_file_is_announced_by_the_name_of_the_file(places, warned, tmp_path):
    _, strange, third, bundle = places
    path = tmp_path / "password"
    path.write_text(f"{LOGIN.password}\n")
    (text,) = warned(copying("x/y", third, bundle=bundle), Login(LOGIN.username, password_file=path))
    origin = f"--registry-username, --registry-password-file={path}"
    assert text.startswith(
        f"the login from {origin} is for any registry and is also used for {strange.address}"
    )


def test_the_warning_comes_before_the_first_request(places):
    _, strange, _, bundle = places
    before, counts = len(strange.requests), []

    def note(event):
        if isinstance(event, imgpkg.Warned):
            counts.append(len(strange.requests))

    with Session(Settings(login=LOGIN), on_event=note) as session:
        imgpkg.describe(bundle, session=session)
    assert counts == [before]
    assert len(strange.requests) > before


@pytest.mark.parametrize(
    "work",
    [
        lambda bundle, folder, session: imgpkg.describe(bundle, session=session),
        lambda bundle, folder, session: imgpkg.read_bundle(bundle, session=session),
        lambda bundle, folder, session: imgpkg.pull(folder, bundle=bundle, recursive=True, session=session),
        lambda bundle, folder, session: imgpkg.copy_to_tar(
            imgpkg.CopySource(bundle=bundle), folder / "b.tar", session=session
        ),
    ],
    ids=["describe", "read_bundle", "pull", "copy_to_tar"],
)
def test_every_operation_that_follows_a_bundle_warns(places, warned, tmp_path, work):
    _, strange, _, bundle = places
    folder = tmp_path / "out"
    folder.mkdir()
    (text,) = warned(lambda session: work(bundle, folder, session))
    assert f"also used for {strange.address}, where only {bundle} names images" in text
    # Flags for one side would not help: there is one side only.
    assert text.endswith(f"to limit it: {SETS}")


def test_nothing_is_reported_where_no_login_goes_to_another_registry(places, warned, tmp_path):
    own, strange, third, bundle = places
    copy = copying("x/y", third, bundle=bundle)
    assert warned(copy, Login()) == []
    assert warned(copy, Login(anonymous=True)) == []
    # A set decides for that registry.
    assert warned(copy, environ={"IMGPKG_REGISTRY_HOSTNAME_0": strange.address}) == []
    # The user has named it, as the destination.
    assert warned(copying("x/z", strange, bundle=bundle)) == []
    # All images are where the bundle is: the strange registry is not asked.
    before = len(strange.requests)
    copied = f"{third.address}/x/y@{bundle.rpartition('@')[2]}"
    assert warned(lambda session: imgpkg.describe(copied, session=session)) == []
    assert warned(copying("again", own, bundle=copied)) == []
    # A pull that is not recursive asks only the repository of the bundle.
    assert warned(lambda session: imgpkg.pull(tmp_path / "o", bundle=bundle, session=session)) == []
    assert len(strange.requests) == before


def test_an_image_that_was_deleted_since_its_location_was_recorded_is_announced_too(places, warned):
    _, strange, third, bundle = places
    with Session() as session:
        copying("x/y", third, bundle=bundle)(session)
        copied = imgpkg.read_bundle(f"{third.address}/x/y@{bundle.rpartition('@')[2]}", session=session)
    gone = next(member.reference for member in copied.members if member.bundle is None)
    url = f"http://{third.address}/v2/{gone.repository.path}/manifests/{gone.digest}"
    urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=30).close()
    (text,) = warned(copying("again", third, bundle=str(copied.image.reference)))
    assert f"also used for {strange.address}" in text


def test_the_login_of_a_side_is_limited_by_sets_alone(places):
    _, strange, _, bundle = places
    seen = []
    settings = Settings(side=Side.FROM, side_login=LOGIN)
    with Session(settings, on_event=seen.append) as source, Session() as session:
        imgpkg.copy_to_repository(
            imgpkg.CopySource(bundle=bundle),
            # As the destination it has no part in where the login of the source may go.
            f"{strange.address}/x/y",
            session=session,
            source_session=source,
        )
    (text,) = [event.text for event in seen]
    assert text.startswith(
        f"the login from --from-registry-username, --from-registry-password is for any registry and is also "
        f"used for {strange.address}"
    )
    assert text.endswith(f"to limit it: {SETS}")


def write_images_lock(path, images):
    lines = ["apiVersion: imgpkg.carvel.dev/v1alpha1", "kind: ImagesLock", "images:"]
    path.write_text("\n".join([*lines, *(f"- image: {image}" for image in images)]) + "\n")
    return str(path)


def test_the_registries_of_a_lock_file_are_listed_before_any_is_asked(places, warned, tmp_path):
    own, strange, third, _ = places
    with Session() as session:
        images = [make_image(session, f"{server.address}/l/app", ["x"]) for server in (own, strange)]
    lock = write_images_lock(tmp_path / "images.yml", images)
    (text,) = warned(copying("x/y", third, lock=lock))
    names = " and ".join(sorted([own.address, strange.address]))
    assert f"also used for {names}, where only {lock} names images" in text


def test_the_only_registry_of_a_lock_file_is_the_one_that_is_meant(places, warned, tmp_path):
    own, strange, third, bundle = places
    with Session() as session:
        image = make_image(session, f"{strange.address}/l/app", ["x"])
    lock = write_images_lock(tmp_path / "images.yml", [image])

    def to_tar(session):
        imgpkg.copy_to_tar(imgpkg.CopySource(lock=lock), tmp_path / "l.tar", session=session)

    assert warned(to_tar) == []
    # With a destination that is named, the login may be meant for that one.
    assert len(warned(copying("x/y", third, lock=lock))) == 1
    of_bundle = tmp_path / "bundle.yml"
    imgpkg.BundleLock(imgpkg.Reference.parse(bundle), "v1").write(str(of_bundle))

    def pull(session):
        imgpkg.pull(tmp_path / "p", lock=of_bundle, session=session)

    assert warned(pull) == []
    (text,) = warned(copying("x/z", third, lock=of_bundle))
    assert f"also used for {own.address}, where only {of_bundle} names images" in text


def test_a_refusal_follows_the_warning(tmp_path):
    with serve() as own, serve(login=("other", "another-secret")) as strange:
        with Session(Settings(login=Login("other", "another-secret"))) as session:
            image = make_image(session, f"{strange.address}/team/app", ["x"])
            bundle = make_bundle(session, f"{own.address}/team/bundle", {image: {}}, tmp_path / "b")
        seen = []
        with (
            Session(Settings(login=LOGIN), on_event=seen.append) as session,
            pytest.raises(Unauthorized),
        ):
            imgpkg.describe(str(bundle), session=session)
        assert [strange.address in event.text for event in seen] == [True]
