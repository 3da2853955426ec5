"""From a Deployment with tags to documents that name the images inside, by the installed command."""

from __future__ import annotations

import json

import pytest
import yaml
from tests.operations.making import make_image, make_index
from tests.servers.docker import docker_registry_process

DEPLOYMENT = """\
# The shop, as its developers deploy it.
apiVersion: apps/v1
kind: Deployment
metadata: {{name: shop}}
spec:
  template:
    spec:
      initContainers:
      - name: migrate
        image: &tool "{home}/apps/tool:v1"  # the same tool
      containers:
        - name: web
          image: {home}/apps/web:v1   # many platforms
        - name: sidecar
          image: *tool
---
apiVersion: batch/v1
kind: CronJob
spec:
  jobTemplate: {{spec: {{template: {{spec: {{containers: [{{name: c, image: '{home}/apps/tool:v1'}}]}}}}}}}}
"""
VALUES = "image:\n  registry: {home}\n  repository: apps/web\n  tag: v1\n  digest: ''  # set by the release\n"
KUSTOMIZATION = "images:\n- name: web\n  newName: {home}/apps/web\n  newTag: v1\n"


@pytest.fixture
def home(docker_registry_htpasswd):
    return docker_registry_htpasswd.address


@pytest.fixture
def login(docker_registry_htpasswd):
    """The variables by which the registry of the developers is reached; the one inside needs none."""
    return {
        "IMGPKG_REGISTRY_HOSTNAME_HOME": docker_registry_htpasswd.address,
        "IMGPKG_REGISTRY_USERNAME_HOME": docker_registry_htpasswd.username,
        "IMGPKG_REGISTRY_PASSWORD_HOME": docker_registry_htpasswd.password,
        "secrets": [docker_registry_htpasswd.password],
    }


@pytest.fixture
def images(home, docker_registry_htpasswd, logged_in):
    """The digests of the two images, one of which is an index."""
    session = logged_in(docker_registry_htpasswd)
    amd, arm = (make_image(session, f"{home}/apps/web", [name]) for name in ("amd64", "arm64"))
    web = make_index(session, f"{home}/apps/web", {"linux/amd64": amd, "linux/arm64": arm}, tag="v1")
    tool = make_image(session, f"{home}/apps/tool", ["tool"], tag="v1")
    return {"web": web.digest, "tool": tool.digest}


@pytest.fixture
def bundle(home, tmp_path):
    """A folder of configuration that is no bundle yet."""
    config = tmp_path / "bundle" / "config"
    config.mkdir(parents=True)
    (config / "deployment.yml").write_text(DEPLOYMENT.format(home=home))
    (config / "values.yaml").write_text(VALUES.format(home=home))
    (config / "kustomization.yaml").write_text(KUSTOMIZATION.format(home=home))
    return tmp_path / "bundle"


def test_a_deployment_arrives_with_its_images(imgpkg, home, login, images, bundle, tmp_path):
    locked = imgpkg("lock", "-f", "bundle/config", "-o", "bundle/.imgpkg/images.yml", "--strict", **login)
    assert (locked.returncode, locked.stdout, locked.stderr) == (0, "", "")
    lock = yaml.safe_load((bundle / ".imgpkg/images.yml").read_text())
    assert [(one["image"], one["annotations"]) for one in lock["images"]] == [
        (f"{home}/apps/{name}@{images[name]}", {"kbld.carvel.dev/id": f"{home}/apps/{name}:v1"})
        for name in ("tool", "web")
    ]
    pushed = imgpkg("push", "-b", f"{home}/bundles/shop:v1", "-f", "bundle", "--strict", **login)
    assert (pushed.returncode, pushed.stderr) == (0, "")
    saved = imgpkg("copy", "-b", f"{home}/bundles/shop:v1", "--to-tar", "shop.tar", **login)
    assert (saved.returncode, saved.stderr) == (0, "")
    (tmp_path / "inner").mkdir()
    with docker_registry_process(tmp_path / "inner") as inside:
        there = f"{inside}/apps/shop"
        assert imgpkg("copy", "--tar", "shop.tar", "--to-repo", there).returncode == 0
        assert imgpkg("pull", "-b", f"{there}:v1", "-o", "out").returncode == 0
    # Now no registry is left that could be asked.
    words = ("lock", "--rewrite", "--images-lock", "out/.imgpkg/images.yml", "--strict")
    web, tool = (f"{there}@{images[name]}" for name in ("web", "tool"))
    done = imgpkg(*words, "-f", "out/config/deployment.yml")
    expected = DEPLOYMENT.format(home=home).replace(f"{home}/apps/tool:v1", tool)
    expected = expected.replace(f"{home}/apps/web:v1", web).replace("*tool", tool)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", expected)
    values = yaml.safe_load(imgpkg(*words, "-f", "out/config/values.yaml").stdout)
    assert values == {
        "image": {"registry": inside, "repository": "apps/shop", "tag": "v1", "digest": str(images["web"])}
    }
    kustomized = yaml.safe_load(imgpkg(*words, "-f", "out/config/kustomization.yaml").stdout)
    assert kustomized == {"images": [{"name": "web", "newName": there, "digest": str(images["web"])}]}
    stream = imgpkg(*words, "-f", "out/config", "--json")
    assert [one["file"] for one in json.loads(stream.stdout)["documents"]] == [
        f"out/config/{name}" for name in ("deployment.yml", "kustomization.yaml", "values.yaml")
    ]


def test_an_image_under_two_names_is_copied_once(imgpkg, home, login, images, docker_registry, tmp_path):
    """The lock has an entry for each text, and a copy one for each digest."""
    (tmp_path / "a.yml").write_text(
        f"- image: {home}/apps/tool:v1\n- image: {home}/apps/tool@{images['tool']}\n"
    )
    assert imgpkg("lock", "-f", "a.yml", "-o", "images.yml", **login).returncode == 0
    there = f"{docker_registry.address}/mirror/twice"
    words = ("copy", "--lock", "images.yml", "--to-repo", there, "--lock-output", "inside.yml")
    done = imgpkg(*words, **login)
    assert (done.returncode, done.stderr) == (0, "")
    rewritten = imgpkg("lock", "--rewrite", "-f", "a.yml", "--images-lock", "inside.yml", "--strict")
    assert rewritten.stdout == f"- image: {there}@{images['tool']}\n" * 2


def test_of_two_registries_one_refuses(imgpkg, home, login, images, docker_registry_token, tmp_path):
    other = f"{docker_registry_token.address}/private/app:v1"
    (tmp_path / "a.yml").write_text(
        f"- image: {home}/apps/tool:v1\n- image: {other}\n- image: {home}/apps/x:nosuch\n"
    )
    done = imgpkg("lock", "-f", "a.yml", "-o", "images.yml", **login)
    assert (done.returncode, done.stdout) == (1, "")
    first, second, *lines = done.stderr.splitlines()
    assert first.startswith("imgpkg: Error: ")
    assert docker_registry_token.address in first
    assert second.startswith("hint: ")
    assert lines[0] == "  2 of 3 image references were not resolved"
    assert sorted(line for line in lines if "(a.yml:" in line) == sorted(
        [f"  {home}/apps/x:nosuch (a.yml:3:10)", f"  {other} (a.yml:2:10)"]
    )
    assert not (tmp_path / "images.yml").exists()
