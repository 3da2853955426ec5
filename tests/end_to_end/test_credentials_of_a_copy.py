"""Copies with more than one credential: for two registries, or for the repositories of one."""

from __future__ import annotations

import pytest
from tests.operations.making import make_bundle, make_image

from imgpkg.embedded.access import Account, LoginAccess
from imgpkg.embedded.server import serve
from imgpkg.session import Session
from imgpkg.settings import Login, Settings

READER = ("reader", "may-only-read-1")
WRITER = ("writer", "may-also-write-2")
PULL, BOTH = frozenset({"pull"}), frozenset({"pull", "push"})


def variables(**by_name):
    """Make the variables of one set for each `NAME=(where, (user, password))`."""
    made = {}
    for name, (where, (username, password)) in by_name.items():
        made |= {
            f"IMGPKG_REGISTRY_HOSTNAME_{name}": where,
            f"IMGPKG_REGISTRY_USERNAME_{name}": username,
            f"IMGPKG_REGISTRY_PASSWORD_{name}": password,
        }
    return made


def fill(address, folder, login):
    """Put a bundle with one image into the registry; return its reference."""
    with Session(Settings(login=Login(*login))) as session:
        image = make_image(session, f"{address}/src/app", ["one", "two"])
        return make_bundle(session, f"{address}/src/bundle:v1", {image: {}}, folder)


def test_two_registries_with_two_credentials(imgpkg, tmp_path):
    with serve(login=READER) as here, serve(login=WRITER) as there:
        bundle = fill(here.address, tmp_path / "b", READER)
        done = imgpkg(
            "copy",
            "-b",
            bundle,
            "--to-repo",
            f"{there.address}/copy/b",
            secrets=[READER[1], WRITER[1]],
            **variables(A=(here.address, READER), B=(there.address, WRITER)),
        )
        assert (done.returncode, done.stderr) == (0, "")
        shown = [str(request.headers) for request in here.requests]
        assert not any(WRITER[1] in headers for headers in shown)


@pytest.mark.parametrize(("writes_to", "mounts"), [("dst/*", False), ("*", True)])
def test_one_registry_with_a_credential_for_each_repository(imgpkg, tmp_path, writes_to, mounts):
    access = LoginAccess(
        [Account(*READER, "src/*", PULL), Account(*WRITER, writes_to, BOTH), Account("root", "filler")]
    )
    with serve(access=access) as server:
        bundle = fill(server.address, tmp_path / "b", ("root", "filler"))
        before = len(server.requests)
        done = imgpkg(
            "copy",
            "-b",
            bundle,
            "--to-repo",
            f"{server.address}/dst/bundle",
            secrets=[READER[1], WRITER[1]],
            **variables(
                SRC=(f"{server.address}/src", READER),
                DST=(f"{server.address}/dst", WRITER),
            ),
        )
        assert (done.returncode, done.stderr) == (0, "")
        mounted = [
            record
            for record in server.requests[before:]
            if "mount" in dict(record.query) and record.status == 201
        ]
        assert bool(mounted) is mounts
        pulled = imgpkg(
            "pull",
            "-b",
            f"{server.address}/dst/bundle@{bundle.digest}",
            "-o",
            "out",
            **variables(DST=(f"{server.address}/dst", WRITER)),
        )
        assert pulled.returncode == 0, pulled.stderr


def test_a_password_for_one_repository_is_shown_to_no_other(imgpkg, tmp_path):
    with serve() as server:
        with Session() as session:
            make_image(session, f"{server.address}/src/app", ["x"], tag="v1")
        done = imgpkg(
            "tag",
            "resolve",
            "-i",
            f"{server.address}/src/app:v1",
            **variables(DST=(f"{server.address}/dst", WRITER)),
        )
        assert done.returncode == 0
        assert not any("Authorization" in str(request.headers) for request in server.requests)
