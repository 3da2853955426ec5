"""Both ends of a copy are checked before anything is moved."""

from __future__ import annotations

import json

import pytest
from tests.operations.making import make_bundle, make_image

from imgpkg.bundle.lock import ImagesLock, LockedImage
from imgpkg.bundle.placement import KeptNames, Placement
from imgpkg.embedded.server import serve
from imgpkg.errors import InvalidReference, UsageError
from imgpkg.operations.copy.access import check_copy
from imgpkg.operations.copy.copy import copy_to_layout, copy_to_repository, copy_to_tar
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.session import Session
from imgpkg.settings import Login, Settings


@pytest.fixture
def places():
    """Three registries: of the bundle, of its images, and the destination, which wants a login."""
    with serve() as bundle, serve() as images, serve(login=("user", "pass-word")) as inside:
        yield bundle, images, inside


def written(server):
    return [record for record in server.requests if record.method in ("PUT", "PATCH")]


def checked(reports):
    return [(str(report.repository), report.push, report.is_ok) for report in reports]


def test_of_a_bundle_each_repository_is_checked_once(places, session, tmp_path):
    bundle, images, inside = places
    app, other = f"{images.address}/team/app", f"{images.address}/team/other"
    named = {str(make_image(session, app, [text])): {} for text in ("a", "b")}
    named[str(make_image(session, other, ["c"]))] = {}
    made = make_bundle(session, f"{bundle.address}/team/bundle", named, tmp_path / "bundle")
    to = f"{inside.address}/team/bundle"
    with Session(Settings(login=Login("user", "pass-word"))) as writer:
        reports = check_copy(CopySource(bundle=str(made)), to, session=writer, source_session=session)
    assert checked(reports) == [
        (f"{bundle.address}/team/bundle", False, True),
        (app, False, True),
        (other, False, True),
        (to, True, True),
    ]
    assert written(inside) == []


def test_when_the_destination_fails_nothing_else_is_read(places, session, tmp_path):
    bundle, images, inside = places
    named = {str(make_image(session, f"{images.address}/team/app", ["a"])): {}}
    made = make_bundle(session, f"{bundle.address}/team/bundle", named, tmp_path / "bundle")
    before = len(images.requests)
    reports = check_copy(CopySource(bundle=str(made)), f"{inside.address}/team/bundle", session=session)
    assert [report.is_ok for report in reports] == [True, False]
    assert len(images.requests) == before


def test_of_a_lock_each_image_is_of_one_repository(places, session, tmp_path):
    _, images, _ = places
    first = make_image(session, f"{images.address}/team/app", ["a"])
    second = make_image(session, f"{images.address}/team/other", ["b"])
    lock = tmp_path / "images.yml"
    lock.write_text(
        "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n"
        f"- image: {first}\n- image: {second}\n"
    )
    reports = check_copy(CopySource(lock=lock), session=session)
    assert checked(reports) == [
        (f"{images.address}/team/app", False, True),
        (f"{images.address}/team/other", False, True),
    ]


def test_of_a_lock_of_a_bundle_its_repository_is_first(places, session, tmp_path):
    bundle, _, _ = places
    made = make_bundle(session, f"{bundle.address}/team/bundle", {}, tmp_path / "bundle")
    lock = tmp_path / "bundle.yml"
    lock.write_text(
        f"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: BundleLock\nbundle:\n  image: {made}\n  tag: v1\n"
    )
    assert checked(check_copy(CopySource(lock=lock), session=session)) == [
        (f"{bundle.address}/team/bundle", False, True)
    ]


def test_of_a_lock_a_warning_comes_before_a_login_of_flags(places, session, tmp_path):
    bundle, images, _ = places
    first = make_image(session, f"{images.address}/team/app", ["a"])
    second = make_image(session, f"{bundle.address}/team/other", ["b"])
    lock = tmp_path / "images.yml"
    lock.write_text(
        "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n"
        f"- image: {first}\n- image: {second}\n"
    )
    warnings = []
    with Session(Settings(login=Login("user", "pass-word")), on_event=warnings.append) as writer:
        check_copy(CopySource(lock=lock), session=writer)
    (warning,) = warnings
    assert "is for any registry and is also used for" in warning.text


def test_a_login_for_each_side_is_warned_of_as_by_the_copy(places, session, tmp_path):
    bundle, images, _ = places
    found = [make_image(session, f"{each.address}/team/app", ["a"]) for each in (bundle, images)]
    lock = ImagesLock(tuple(map(LockedImage, found)))
    lock.write(tmp_path / "images.yml")
    source, to = CopySource(lock=tmp_path / "images.yml"), f"{images.address}/team/copy"

    def warned(act):
        texts = []
        own = Settings(login=Login("user", "pass-word"))
        with Session(own, on_event=lambda event: texts.append(event.text)) as reader:
            act(source, to, session=session, source_session=reader)
        return texts

    assert warned(check_copy) == warned(copy_to_repository)
    assert len(warned(check_copy)) == 1


def test_a_layout_of_another_tool_is_placed_as_by_the_copy(places, session, tmp_path):
    _, images, inside = places
    copy_to_layout(
        CopySource(image=str(make_image(session, f"{images.address}/a/b", ["a"]))), tmp_path, session=session
    )
    index = json.loads((tmp_path / "index.json").read_text())
    for entry in index["manifests"]:
        del entry["annotations"]
    (tmp_path / "index.json").write_text(json.dumps(index))
    source = CopySource(layout=tmp_path)
    options = CopyOptions(placement=Placement(keep=KeptNames.PATHS))
    with Session(Settings(login=Login("user", "pass-word"))) as own:
        reports = check_copy(source, f"{inside.address}/team/home", session=own, options=options)
        copied = copy_to_repository(source, f"{inside.address}/team/home", session=own, options=options)
    assert [report.repository for report in reports] == [copied.images[0].destination.repository]


def test_of_a_tar_file_only_the_destination_is_checked(places, session, tmp_path):
    bundle, _, inside = places
    made = make_image(session, f"{bundle.address}/team/app", ["a"])
    copy_to_tar(CopySource(image=str(made)), tmp_path / "x.tar", session=session)
    before = len(bundle.requests)
    to = f"{inside.address}/team/app"
    reports = check_copy(CopySource(tar=tmp_path / "x.tar"), to, session=session)
    assert checked(reports) == [(to, True, False)]
    assert len(bundle.requests) == before


def test_what_names_no_copy_is_an_error(session):
    with pytest.raises(UsageError):
        check_copy(CopySource(), session=session)
    with pytest.raises(InvalidReference):
        check_copy(CopySource(image="host.example/a/b"), "UPPER/x", session=session)
