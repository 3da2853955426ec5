"""Secrets in files that are replaced while a copy runs: the copy goes on with the new ones."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.auth.mounts import Mount
from tests.operations.making import thirty
from tests.servers.docker import docker_registry_process, token_section, write_htpasswd
from tests.servers.token_service import TokenService, User

from imgpkg.embedded.access import Account, LoginAccess
from imgpkg.embedded.server import serve
from imgpkg.errors import NotFound, Unauthorized
from imgpkg.oci.reference import Reference
from imgpkg.session import Session
from imgpkg.settings import Login, Settings

USER, FIRST, SECOND = "robot", "first-passw0rd", "second-passw0rd"
SECRETS = [FIRST, SECOND]
IMAGES = 8


def basic(password):
    return base64.b64encode(f"{USER}:{password}".encode()).decode()


def pull_secret(address, password):
    return json.dumps({"auths": {address: {"auth": basic(password)}}})


class Changing:
    """An access of one user, whose password changes."""

    def __init__(self, password):
        self.change(password)

    def change(self, password):
        self._access = LoginAccess([Account(USER, password)])

    def check(self, request, needs):
        self._access.check(request, needs)

    def endpoint(self, request):
        return None


class Halfway:
    """Do something once, when so many blobs were requested; until then nothing can have gone wrong."""

    def __init__(self, change, method="GET", requests=IMAGES):
        self._change, self._method, self._left = change, method, requests
        self._lock = threading.Lock()
        self.is_on = self.is_done = False

    def __call__(self, request):
        if self.is_on and request.method == self._method and "/blobs/" in request.path:
            with self._lock:
                self._left -= 1
                if not self._left:
                    self._change()
                    self.is_done = True


def ways(mount, address):
    """Return the arguments and variables of each way to name a file with the password or the login."""
    path = str(mount.folder / "password")
    yield (
        (),
        {
            "IMGPKG_REGISTRY_HOSTNAME_0": address,
            "IMGPKG_REGISTRY_USERNAME_0": USER,
            "IMGPKG_REGISTRY_PASSWORD_FILE_0": path,
        },
    )
    yield ("--registry-username", USER, "--registry-password-file", path), {}
    yield (), {"IMGPKG_USERNAME": USER, "IMGPKG_PASSWORD_FILE": path}
    yield (), {"IMGPKG_PULL_SECRETS": str(mount.folder)}
    yield (), {"DOCKER_CONFIG": str(mount.folder)}


@pytest.mark.parametrize("way", range(5))
def test_a_copy_goes_on_with_the_new_password(imgpkg, tmp_path, way):
    access = Changing(FIRST)

    def rotate():
        mount.update(password=f"{SECOND}\n", _dockerconfigjson=pull_secret(server.address, SECOND))
        access.change(SECOND)

    halfway = Halfway(rotate)
    with serve(access=access, faults=halfway) as server:
        mount = Mount(
            tmp_path / "mount", password=f"{FIRST}\n", _dockerconfigjson=pull_secret(server.address, FIRST)
        )
        with Session(Settings(login=Login(USER, FIRST))) as session:
            bundle = thirty(session, server.address, tmp_path / "bundle", count=IMAGES)
        before, halfway.is_on = len(server.requests), True
        words, variables = tuple(ways(mount, server.address))[way]
        copy = ("copy", "-b", bundle, "--to-tar", "b.tar", *words)
        done = imgpkg(*copy, secrets=[*SECRETS, basic(FIRST), basic(SECOND)], **variables)
        assert done.returncode == 0, done.stderr
        assert halfway.is_done
        sent = [
            (request.status, dict(request.headers).get("authorization", ""))
            for request in server.requests[before:]
        ]
    refused = [header for status, header in sent if status == 401 and header]
    assert set(refused) == {f"Basic {basic(FIRST)}"}
    assert sent[-1] == (200, f"Basic {basic(SECOND)}")


def test_the_old_password_is_sent_once_more_for_all_repositories_together(tmp_path):
    """A wrong password for each of them would lock the account."""
    access = Changing(FIRST)
    mount = Mount(tmp_path / "mount", password=FIRST)
    with serve(access=access) as server:
        variables = next(ways(mount, server.address))[1]
        with Session(Settings(environ=variables)) as session:
            bundle = thirty(session, server.address, tmp_path / "bundle", count=3)
            images = [Reference.parse(f"{server.address}/app/image{n}:latest") for n in range(3)]
            before = len(server.requests)
            mount.update(password=SECOND)
            access.change(SECOND)
            session.client.resolve(bundle)
            for image in images:
                with pytest.raises(NotFound):
                    session.client.resolve(image)
        statuses = [request.status for request in server.requests[before:]]
    assert statuses[:2] == [401, 200]
    assert set(statuses[2:]) == {404}


def copy_from(imgpkg, tmp_path, address, mount, rotate):
    """Copy a bundle from a registry whose password changes halfway into another registry."""
    with Session(Settings(login=Login(USER, FIRST))) as session:
        bundle = thirty(session, address, tmp_path / "bundle", count=IMAGES)
    halfway = Halfway(rotate, "PUT")
    halfway.is_on = True
    with serve(faults=halfway) as there:
        done = imgpkg(
            "copy",
            "-b",
            bundle,
            "--to-repo",
            f"{there.address}/copy/bundle",
            secrets=SECRETS,
            IMGPKG_REGISTRY_HOSTNAME_0=address,
            IMGPKG_REGISTRY_USERNAME_0=USER,
            IMGPKG_REGISTRY_PASSWORD_FILE_0=str(mount.folder / "password"),
        )
        assert done.returncode == 0, done.stderr
        assert halfway.is_done
    with Session(Settings(login=Login(USER, FIRST))) as session, pytest.raises(Unauthorized):
        session.client.resolve(Reference.parse(str(bundle)))


def test_of_docker_registry_with_passwords(imgpkg, tmp_path):
    folder = tmp_path / "registry"
    folder.mkdir()
    auth = write_htpasswd(folder, USER, FIRST)
    mount = Mount(tmp_path / "mount", password=FIRST)

    def rotate():
        mount.update(password=SECOND)
        write_htpasswd(folder, USER, SECOND)
        # docker-registry reads the file again when it is younger.
        os.utime(folder / "htpasswd", (2_000_000_000, 2_000_000_000))

    with docker_registry_process(folder, auth=auth, secrets=SECRETS) as address:
        copy_from(imgpkg, tmp_path, address, mount, rotate)


def test_of_docker_registry_with_a_token_service(imgpkg, tmp_path):
    folder = tmp_path / "registry"
    folder.mkdir()
    mount = Mount(tmp_path / "mount", password=FIRST)
    with TokenService({USER: User(FIRST)}) as service:

        def rotate():
            mount.update(password=SECOND)
            service.users[USER] = User(SECOND)

        auth = token_section(folder, service)
        with docker_registry_process(folder, auth=auth, secrets=SECRETS) as address:
            copy_from(imgpkg, tmp_path, address, mount, rotate)
        assert [request.status for request in service.requests][-2:] == [200, 401]


@pytest.mark.parametrize("given", ["<(printf '%s\\n' \"$SECRET\")", '/dev/stdin <<<"$SECRET"'])
def test_a_password_of_a_process_or_of_standard_input_is_read(embedded_login, tmp_path, given):
    program = shlex.quote(str(Path(sys.executable).with_name("imgpkg")))
    image = f"{embedded_login.address}/team/app:v1"
    (tmp_path / "file").write_text("x")
    command = (
        f"{program} push -i {image} -f file --registry-username {embedded_login.username} "
        f"--registry-password-file {given}"
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", command],
        env={**os.environ, "SECRET": embedded_login.password},
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert embedded_login.password not in done.stdout + done.stderr


def test_explain_shows_the_variable_and_the_file_and_never_the_secret(imgpkg, tmp_path):
    mount = Mount(tmp_path / "mount", password=FIRST, _dockerconfigjson=pull_secret("r.example.com", FIRST))
    shown = []
    for words, variables in ways(mount, "r.example.com"):
        done = imgpkg("auth", "explain", "r.example.com/a/b", *words, secrets=[FIRST], **variables)
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout.splitlines()[0])
    path = f"{mount.folder}/password"
    secret = f'docker config: pull secret {mount.folder}/.dockerconfigjson: auths "r.example.com"'
    assert [line.partition(" from ")[2].partition(" (user")[0] for line in shown] == [
        f"environment: IMGPKG_REGISTRY_HOSTNAME_0=r.example.com, IMGPKG_REGISTRY_PASSWORD_FILE_0={path}",
        f"flags: --registry-username, --registry-password-file={path}",
        f"flags: $IMGPKG_USERNAME, $IMGPKG_PASSWORD_FILE={path}",
        secret,
        secret,
    ]
