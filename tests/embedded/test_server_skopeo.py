"""A client that knows nothing of us: skopeo copies images into the embedded registry and out of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.servers.client import ask
from tests.servers.images import make_image, sha256, tar_layer, upload

from imgpkg.embedded.server import serve


@pytest.fixture
def skopeo(tmp_path):
    program = shutil.which("skopeo")
    if program is None:
        raise RuntimeError("skopeo is not installed: the tests need Debian's package of that name")
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))

    def run(*arguments, expected=0):
        done = subprocess.run(
            [program, "--policy", policy, "--tmpdir", tmp_path, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path)},
        )
        assert (done.returncode == 0) == (expected == 0), done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def source():
    """A registry with an index of two images in `from/here:v1`."""
    images = [
        make_image([tar_layer({"a.txt": b"a"}), tar_layer({f"{name}.bin": bytes(300_000)})])
        for name in ("one", "two")
    ]
    index = make_image(index=images)
    with serve() as server:
        upload(index, server.address, "from/here", "v1")
        yield server, index


def copied(layout, index):
    """Tell whether every content of the index is in the layout."""
    contents = [index.manifest, *(image.manifest for image in index.images)]
    contents += [blob for image in index.images for blob in image.blobs]
    folder = Path(layout) / "blobs" / "sha256"
    return all((folder / sha256(data)[7:]).read_bytes() == data for data in contents)


FROM = ("copy", "--all", "--preserve-digests", "--src-tls-verify=false")


def test_copies_an_index_out_and_into_another_repository(skopeo, source, tmp_path):
    server, index = source
    skopeo(*FROM, f"docker://{server.address}/from/here:v1", f"oci:{tmp_path}/out:v1")
    assert copied(tmp_path / "out", index)
    image = f"docker://{server.address}/to/there:v1"
    skopeo(*FROM, "--dest-tls-verify=false", f"oci:{tmp_path}/out:v1", image)
    assert ask(server.address, "GET", "/v2/to/there/manifests/v1").body == index.manifest
    inspected = skopeo("inspect", "--tls-verify=false", "--raw", image)
    assert inspected.stdout.encode() == index.manifest
    listed = skopeo("list-tags", "--tls-verify=false", f"docker://{server.address}/to/there")
    assert json.loads(listed.stdout)["Tags"] == ["v1"]


def test_mounts_what_the_registry_has_in_another_repository(skopeo, source):
    server, index = source
    # skopeo mounts what it has once seen itself put somewhere.
    for path in ("from/first", "from/mounted"):
        here, there = (f"docker://{server.address}/{path}:v1" for path in ("from/here", path))
        skopeo(*FROM, "--dest-tls-verify=false", here, there)
        assert ask(server.address, "GET", f"/v2/{path}/manifests/v1").body == index.manifest
    posts = [r for r in server.requests if r.method == "POST" and r.path.startswith("/v2/from/mounted/")]
    mounts = [post for post in posts if ("from", "from/first") in post.query]
    assert mounts
    assert {post.status for post in mounts} == {201}


@pytest.mark.parametrize("kind", ["embedded_login", "embedded_token"])
def test_logs_in(skopeo, source, request, kind, tmp_path):
    here, index = source
    server = request.getfixturevalue(kind)
    image = f"docker://{server.address}/skopeo/{kind}:v1"
    options = ["--dest-tls-verify=false", f"--dest-creds={server.username}:{server.password}"]
    skopeo(*FROM, *options, f"docker://{here.address}/from/here:v1", image)
    options = [f"--src-creds={server.username}:{server.password}"]
    skopeo(*FROM, *options, image, f"oci:{tmp_path}/out:v1")
    assert copied(tmp_path / "out", index)


@pytest.mark.parametrize("kind", ["embedded_login", "embedded_token"])
def test_is_refused_with_a_wrong_password(skopeo, source, request, kind):
    here, _ = source
    server = request.getfixturevalue(kind)
    options = ["--dest-tls-verify=false", f"--dest-creds={server.username}:wrong"]
    image = f"docker://{server.address}/skopeo/refused:v1"
    done = skopeo(*FROM, *options, f"docker://{here.address}/from/here:v1", image, expected=1)
    assert re.search("unauthorized|authentication required", done.stderr.lower())


def test_deletes_an_image(skopeo, source):
    server, index = source
    upload(index, server.address, "from/deleted", "v1")
    skopeo("delete", "--tls-verify=false", f"docker://{server.address}/from/deleted:v1")
    assert ask(server.address, "GET", "/v2/from/deleted/manifests/v1").status == 404
