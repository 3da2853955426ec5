"""Mirrors through the command: the flag, its variable, and the variable of podman; skopeo reads the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.operations.making import make_image

import imgpkg


@pytest.fixture
def image(docker_registry, session):
    """An image in docker-registry; its reference in a registry that does not answer."""
    there = make_image(session, f"{docker_registry.address}/mirrored/app", tag="v1")
    return f"127.0.0.1:1/team/app@{there.digest}"


@pytest.fixture
def conf(docker_registry, tmp_path):
    """A file that says where the images of that registry are."""
    path = tmp_path / "registries.conf"
    path.write_text(
        '[[registry]]\nlocation = "127.0.0.1:1/team"\n'
        f'[[registry.mirror]]\nlocation = "{docker_registry.address}/mirrored"\ninsecure = true\n'
    )
    return str(path)


def run(*words, **variables):
    return subprocess.run(
        [sys.executable, "-m", "imgpkg", *words],
        env={"HOME": os.environ["HOME"], **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("way", ["flag", "IMGPKG_REGISTRIES_CONF", "CONTAINERS_REGISTRIES_CONF"])
def test_a_file_that_is_named_gives_the_way_and_not_the_name(image, conf, way):
    words = ["tag", "resolve", "-i", image.replace(image[image.index("@") :], ":v1")]
    done = run(*words, f"--registries-conf={conf}") if way == "flag" else run(*words, **{way: conf})
    assert (done.returncode, done.stdout) == (0, image), done.stderr


def test_no_file_is_read_that_was_not_named(image, conf, empty_environment):
    folder = empty_environment / ".config/containers"
    folder.mkdir(parents=True)
    os.rename(conf, folder / "registries.conf")
    words = ("tag", "resolve", "-i", image.partition("@")[0] + ":v1", "--registry-retry-count=1")
    assert run(*words).returncode == 5
    done = run(*words, IMGPKG_REGISTRIES_CONF="auto")
    assert (done.returncode, done.stdout) == (0, image), done.stderr


def test_skopeo_reads_the_same_file_in_the_same_way(image, conf):
    done = subprocess.run(
        ["skopeo", "--registries-conf", conf, "inspect", "--raw", f"docker://{image.partition('@')[0]}:v1"],
        env={"HOME": os.environ["HOME"], "PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
        timeout=60,
    )
    from imgpkg.oci.descriptor import Digest

    assert str(Digest.of(done.stdout)) == image.partition("@")[2]


def test_a_bad_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "registries.conf"
    path.write_text("[[registry]")
    done = run("tag", "resolve", "-i", "r.example/team/app:v1", f"--registries-conf={path}")
    assert done.returncode == 2
    assert f"Reading {path}: it is no TOML" in " ".join(done.stderr.split())


def test_settings_without_an_environment_read_no_file(empty_environment):
    folder = empty_environment / ".config/containers"
    folder.mkdir(parents=True)
    (folder / "registries.conf").write_text("[[registry]")
    with imgpkg.Session(imgpkg.Settings(environ={"HOME": str(empty_environment)})) as session:
        assert session.client.primary is session.client
    with pytest.raises(imgpkg.errors.InvalidSettings):
        imgpkg.Session(imgpkg.Settings(environ={"HOME": str(empty_environment)}, registries_conf="auto"))
