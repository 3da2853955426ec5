"""Bundles carried from one docker-registry to another by the command, through a tar file between them."""

from __future__ import annotations

import json
import subprocess

import pytest
from tests.operations.conftest import read_tree
from tests.operations.making import make_bundle, make_image, make_index

from imgpkg.oci.reference import Reference


@pytest.fixture
def login(docker_registry_htpasswd):
    """The variables by which the first registry is reached; the second one needs none."""
    return {
        "IMGPKG_REGISTRY_HOSTNAME_HOME": docker_registry_htpasswd.address,
        "IMGPKG_REGISTRY_USERNAME_HOME": docker_registry_htpasswd.username,
        "IMGPKG_REGISTRY_PASSWORD_HOME": docker_registry_htpasswd.password,
        "secrets": [docker_registry_htpasswd.password],
    }


@pytest.fixture
def nested(docker_registry_htpasswd, logged_in, tmp_path):
    """Three bundles, one inside the other, that share an image; an index; a signature; an attestation."""
    session, address = logged_in(docker_registry_htpasswd), docker_registry_htpasswd.address
    shared = make_image(session, f"{address}/apps/shared", ["shared", "layers"])
    amd, arm = (make_image(session, f"{address}/apps/multi", [name]) for name in ("amd64", "arm64"))
    proof = make_image(session, f"{address}/apps/multi", ["attestation"])
    platforms = {"linux/amd64": amd, "linux/arm64": arm, "unknown/unknown": proof}
    index = make_index(session, f"{address}/apps/multi", platforms)
    make_image(session, f"{address}/apps/shared", ["sig"], tag=f"sha256-{shared.digest.hex}.sig")
    low = make_bundle(session, f"{address}/bundles/low:v1", {shared: {}}, tmp_path / "low", files={"l": "l"})
    middle = make_bundle(
        session,
        f"{address}/bundles/middle:v1",
        {low: {}, shared: {}, index: {"kind": "index"}},
        tmp_path / "middle",
        files={"m": "m"},
    )
    return make_bundle(
        session, f"{address}/bundles/top:v1", {middle: {}, shared: {}}, tmp_path / "top", files={"t": "t"}
    )


def test_a_bundle_travels_with_everything_it_names(imgpkg, nested, login, docker_registry, tmp_path):
    there = f"{docker_registry.address}/mirror/top"
    made = imgpkg(
        "copy", "-b", f"{nested.repository}:v1", "--to-tar", "top.tar", "--cosign-signatures", **login
    )
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    moved = imgpkg("copy", "--tar", "top.tar", "--to-repo", there, "--lock-output", "lock.yml")
    assert (moved.returncode, moved.stdout, moved.stderr) == (0, "", "")
    pulled = imgpkg("pull", "--lock", "lock.yml", "-o", "out", "--recursive")
    assert (pulled.returncode, pulled.stdout, pulled.stderr) == (0, "", "")
    out = read_tree(tmp_path / "out")
    assert out["t"] == b"t"
    locks = {name: text.decode() for name, text in out.items() if name.endswith("images.yml")}
    assert len(locks) == 3
    assert all(f"image: {there}@sha256:" in text for text in locks.values())
    assert not any("/apps/" in text for text in locks.values())
    assert sorted(name[-1] for name in out if name[-2:] in ("/l", "/m")) == ["l", "m"]
    described = imgpkg("describe", "-b", f"{there}:v1", "-o", "json")
    document = json.loads(described.stdout)
    assert document["sha"] == str(nested.digest)
    assert "Signature" in described.stdout


def test_what_was_moved_can_be_read_by_others(imgpkg, nested, login, docker_registry, logged_in, tmp_path):
    there = f"{docker_registry.address}/mirror/others"
    copied = imgpkg("copy", "-b", str(nested), "--to-repo", there, **login)
    assert copied.returncode == 0, copied.stderr
    described = json.loads(imgpkg("describe", "-b", f"{there}@{nested.digest}", "-o", "json").stdout)
    (middle,) = described["content"]["bundles"].values()
    (index,) = [i["image"] for i in middle["content"]["images"].values() if "annotations" in i]
    done = subprocess.run(
        [
            "skopeo",
            "copy",
            "--all",
            "--src-tls-verify=false",
            f"docker://{index}",
            f"dir:{tmp_path / 'multi'}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    children = json.loads((tmp_path / "multi" / "manifest.json").read_text())["manifests"]
    assert [child["platform"]["architecture"] for child in children] == ["amd64", "arm64", "unknown"]


def test_a_layout_serves_as_well_as_a_tar_file(imgpkg, nested, login, docker_registry, tmp_path):
    there = f"{docker_registry.address}/mirror/layout"
    assert imgpkg("copy", "-b", str(nested), "--to-oci-layout", "oci", **login).returncode == 0
    assert (tmp_path / "oci" / "oci-layout").is_file()
    moved = imgpkg("copy", "--from-oci-layout", "oci", "--to-repo", there)
    assert (moved.returncode, moved.stderr) == (0, "")
    assert imgpkg("pull", "-b", f"{there}@{nested.digest}", "-o", "out", "--recursive").returncode == 0
    assert read_tree(tmp_path / "out")["t"] == b"t"


@pytest.mark.parametrize("jobs", [1, 50])
def test_concurrency_changes_nothing_but_the_speed(imgpkg, nested, login, docker_registry, jobs, logged_in):
    there = f"{docker_registry.address}/mirror/jobs{jobs}"
    done = imgpkg("copy", "-b", str(nested), "--to-repo", there, "--concurrency", jobs, **login)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    session = logged_in(docker_registry)
    tags = set(session.client.tags(Reference.parse(f"{there}:x").repository))
    assert f"sha256-{nested.digest.hex}.image-locations.imgpkg" in tags
    assert len([tag for tag in tags if tag.endswith(".image-locations.imgpkg")]) == 3
