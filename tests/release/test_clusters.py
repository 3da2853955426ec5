"""The examples for many machines: their objects are valid, and their commands work together on this machine.

Nothing here is Kubernetes: processes are started with the commands, variables and files of the manifests.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from tests.operations.making import make_bundle, make_image
from tests.pages.shell import blocks
from tests.servers.fixtures import PASSWORD, USERNAME

from imgpkg.errors import NotFound
from imgpkg.operations.tag import list_tags

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
BIN = Path(sys.executable).parent
OUTSIDE, INSIDE = "registry.example.com", "registry.inside.example"
SECONDS = 60


def documents(path):
    return list(yaml.safe_load_all((EXAMPLES / path).read_text()))


def by_name(path):
    return {(each["kind"], each["metadata"]["name"]): each for each in documents(path)}


def validate(found):
    """Compare an object with the schema of its kind; the package comes with the extra `release`."""
    import kubernetes_validate

    kubernetes_validate.validate(found, kubernetes_validate.latest_version(), strict=True)


def validate_spec(kind, spec, api="v1", name="example"):
    validate({"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec})


@pytest.fixture
def stocked(embedded_login, another_registry, open_session, tmp_path):
    """Put a bundle of some images behind a password; return what replaces the names of the examples."""
    session = open_session(username=USERNAME, password=PASSWORD)
    home = embedded_login.address
    images = [
        make_image(session, f"{home}/team/app{number}", [f"clusters {number}", "shared"])
        for number in range(4)
    ]
    make_bundle(session, f"{home}/team/bundle:v1", {image: {} for image in images}, tmp_path / "made")
    return {OUTSIDE: home, INSIDE: another_registry.address}


@pytest.fixture
def tags_inside(another_registry, open_session):
    """Return the tags of a repository in the registry inside."""

    def tags(repository):
        try:
            found = list_tags(f"{another_registry.address}/{repository}", session=open_session())
        except NotFound:
            return []
        return [tag.name for tag in found.tags]

    return tags


def put_logins(folder, registry):
    """Write the files of the two secrets, as their volume has them."""
    logins = {registry: {"username": USERNAME, "password": PASSWORD}}
    for name, auths in (("outside", logins), ("inside", {})):
        (folder / name).mkdir(parents=True)
        (folder / name / ".dockerconfigjson").write_text(json.dumps({"auths": auths}))
    return folder


def replaced(text, places):
    names = re.compile("|".join(sorted(map(re.escape, places), key=len, reverse=True)))
    return names.sub(lambda found: places[found[0]], text)


def words_of(container, places, **given):
    """Return what a container runs, and its variables, where `places` has the names of this machine."""
    variables = {**given, **{one["name"]: replaced(one["value"], places) for one in container["env"]}}
    words = [replaced(word, places) for word in (*container.get("command", ["imgpkg"]), *container["args"])]
    return [re.sub(r"\$\((\w+)\)", lambda found: variables[found[1]], word) for word in words], variables


def run(words, variables, folder, code=0):
    done = subprocess.run(
        [BIN / words[0], *words[1:]],
        env={**variables, "PATH": f"{BIN}:{os.defpath}"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def free_ports(number):
    with contextlib.ExitStack() as opened:
        probes = [opened.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class TestTheDaskCluster:
    objects = by_name("kubernetes/dask.yaml")
    cluster = objects["DaskCluster", "imgpkg"]["spec"]

    def container(self, part):
        (container,) = self.cluster[part]["spec"]["containers"]
        assert container["name"] == part
        return container

    def test_objects_have_the_fields_of_kubernetes(self):
        for (kind, _), each in self.objects.items():
            if kind != "DaskCluster":
                validate(each)

    def test_the_cluster_has_the_fields_that_the_operator_documents(self):
        assert self.objects["DaskCluster", "imgpkg"]["apiVersion"] == "kubernetes.dask.org/v1"
        assert self.cluster.keys() == {"worker", "scheduler"}
        assert self.cluster["worker"].keys() == {"replicas", "spec"}
        assert self.cluster["scheduler"].keys() == {"spec", "service"}
        for part in ("worker", "scheduler"):
            validate_spec("Pod", self.cluster[part]["spec"])
        validate_spec("Service", self.cluster["scheduler"]["service"])

    def test_the_service_and_the_policies_select_the_pods_of_the_operator(self):
        labels = {
            part: {"dask.org/cluster-name": "imgpkg", "dask.org/component": part}
            for part in ("worker", "scheduler")
        }
        assert self.cluster["scheduler"]["service"]["selector"] == labels["scheduler"]
        ports = {port["name"]: port["containerPort"] for port in self.container("scheduler")["ports"]}
        assert ports == {"tcp-comm": 8786, "http-dashboard": 8787}
        scheduler = self.objects["NetworkPolicy", "imgpkg-scheduler"]["spec"]
        workers = self.objects["NetworkPolicy", "imgpkg-workers"]["spec"]
        assert scheduler["podSelector"]["matchLabels"] == labels["scheduler"]
        assert workers["podSelector"]["matchLabels"] == labels["worker"]
        client = self.objects["Job", "imgpkg-copy"]["spec"]["template"]["metadata"]["labels"]
        reaching = [each["podSelector"]["matchLabels"] for each in scheduler["ingress"][0]["from"]]
        assert reaching == [labels["worker"], client]
        assert scheduler["ingress"][0]["ports"] == [{"port": 8786}]
        (worker,) = self.container("worker")["ports"]
        assert workers["ingress"] == [
            {"from": [{"podSelector": {"matchLabels": labels["scheduler"]}}], "ports": [{"port": 8788}]}
        ]
        assert f"--worker-port={worker['containerPort']}" in self.container("worker")["args"]

    def test_all_run_as_nobody_and_have_the_certificates(self):
        job = self.objects["Job", "imgpkg-copy"]["spec"]["template"]["spec"]
        for pod in (job, self.cluster["worker"]["spec"], self.cluster["scheduler"]["spec"]):
            (container,) = pod["containers"]
            assert pod["securityContext"]["runAsNonRoot"]
            assert container["securityContext"]["readOnlyRootFilesystem"]
            secrets = [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
            certificate = by_name("kubernetes/dask-certificates.yaml")["Certificate", "imgpkg-dask"]["spec"]
            assert secrets == [certificate["secretName"]]
        # The scheduler moves nothing, and needs no login.
        assert "logins" not in {volume["name"] for volume in self.cluster["scheduler"]["spec"]["volumes"]}

    def test_the_authority_is_that_of_the_cluster_alone(self):
        objects = by_name("kubernetes/dask-certificates.yaml")
        certificate = objects["Certificate", "imgpkg-dask"]["spec"]
        issuer = objects["Issuer", certificate["issuerRef"]["name"]]["spec"]
        authority = objects["Certificate", issuer["ca"]["secretName"]]["spec"]
        assert authority["isCA"]
        assert objects["Issuer", authority["issuerRef"]["name"]]["spec"] == {"selfSigned": {}}
        # Each side of a connection shows it.
        assert {"server auth", "client auth"} <= set(certificate["usages"])

    @pytest.fixture
    def certificates(self, tmp_path):
        """The files that the commands of the page make."""
        folder = tmp_path / "certificates"
        folder.mkdir()
        (text,) = (text for _, text in blocks(ROOT / "docs/many-machines.md", "sh") if "openssl" in text)
        script = "".join(line for line in text.splitlines(keepends=True) if "kubectl" not in line)
        subprocess.run(["sh", "-e", "-c", script], cwd=folder, check=True, capture_output=True)
        assert not (folder / "ca.key").exists()
        return folder

    @pytest.fixture
    def places(self, stocked, certificates, tmp_path):
        comm, http, worker = free_ports(3)
        (tmp_path / "temporary").mkdir()
        return {
            **stocked,
            "/var/run/secrets/dask": str(certificates),
            "/var/run/secrets/imgpkg": str(put_logins(tmp_path / "logins", stocked[OUTSIDE])),
            "imgpkg-scheduler:8786": f"127.0.0.1:{comm}",
            "=/tmp": f"={tmp_path / 'temporary'}",
            ":8787": f"127.0.0.1:{http}",
            "=8786": f"={comm}",
            "=8788": f"={worker}",
        }

    @contextlib.contextmanager
    def started(self, part, places, folder, **given):
        """Run a container until the end of the context."""
        words, variables = words_of(self.container(part), places, **given)
        # On a cluster it listens on all addresses.
        words = [BIN / words[0], *words[1:], "--host=127.0.0.1"]
        with open(folder / f"{part}.log", "wb") as log:
            process = subprocess.Popen(
                words, stdout=log, stderr=log, env={**variables, "PATH": os.defpath, "HOME": str(folder)}
            )
        try:
            yield folder / f"{part}.log"
        finally:
            process.terminate()
            process.wait()

    def test_scheduler_workers_and_the_job_work_together(self, places, tags_inside, tmp_path):
        health = f"http://{places[':8787']}"
        names = {"DASK_WORKER_NAME": "imgpkg-default-worker-1"}
        (client,) = self.objects["Job", "imgpkg-copy"]["spec"]["template"]["spec"]["containers"]
        words, variables = words_of(client, places)
        variables["HOME"] = str(tmp_path / "temporary")
        with (
            self.started("scheduler", places, tmp_path) as scheduler,
            self.started("worker", places, tmp_path, **names),
        ):
            wait_until(lambda: names["DASK_WORKER_NAME"] in scheduler.read_text(), scheduler)
            done = run([*words, "--format=json"], variables, tmp_path)
            with urllib.request.urlopen(f"{health}/health") as response:
                assert response.read() == b"ok"
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{health}/info/main/workers.html")
            without = {name: text for name, text in variables.items() if "CLIENT" not in name}
            refused = run([*words, "--dask-timeout=2s"], without, tmp_path, code=2)
        assert json.loads(done.stdout)["blobs"]["moved"]
        assert "v1" in tags_inside("team/bundle")
        assert "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT" in refused.stderr


def wait_until(is_so, log):
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


class TestShards:
    """A plan, its shards and the end of the copy, by each of three kinds of jobs."""

    @pytest.fixture
    def login(self):
        return {"IMGPKG_USERNAME": USERNAME, "IMGPKG_PASSWORD": PASSWORD}

    def test_the_indexed_job_moves_everything_but_manifests(
        self, stocked, tags_inside, login, open_session, tmp_path
    ):
        (job,) = documents("kubernetes/shards.yaml")
        validate(job)
        pod = job["spec"]["template"]["spec"]
        (first,), (container,) = pod["initContainers"], pod["containers"]
        assert f"--shard=auto/{job['spec']['completions']}" in container["args"]
        places = {
            **stocked,
            "/var/run/secrets/imgpkg": str(put_logins(tmp_path / "logins", stocked[OUTSIDE])),
            "/work": str(tmp_path / "work"),
            "auto/16": "auto/3",
        }
        *making, waiting, finishing = commands_above(EXAMPLES / "kubernetes/shards.yaml")
        assert waiting.startswith("kubectl")
        source = f"-b {stocked[OUTSIDE]}/team/bundle:v1"
        target = f"--to-repo {stocked[INSIDE]}/apps/indexed"
        (tmp_path / "plan").mkdir()
        for text in making:
            if text.startswith("imgpkg"):
                line = replaced(text, stocked).replace("-b …", source).replace("--to-repo …", target)
                run(line.split(), login, tmp_path)
        for index in "012":
            (tmp_path / "work").mkdir(exist_ok=True)
            for each in (first, container):
                words, variables = words_of(each, places, JOB_COMPLETION_INDEX=index)
                run(words, variables, tmp_path)
        assert tags_inside("apps/indexed") == []
        done = run([*finishing.split(), "--format=json"], login, tmp_path)
        assert json.loads(done.stdout)["blobs"]["moved"] == 0
        assert "v1" in tags_inside("apps/indexed")

    def test_the_jobs_of_gitlab_copy_what_a_lock_names(self, stocked, tags_inside, login, tmp_path):
        (template,) = documents("gitlab-ci/shards.gitlab-ci.yml")
        lock = tmp_path / "images.yml"
        lock.write_bytes((tmp_path / "made/.imgpkg/images.yml").read_bytes())
        variables = {name: replaced(text, stocked) for name, text in template["variables"].items()}

        def played(name, **given):
            for line in template[name]["script"]:
                words = re.sub(r'"\$(\w+)"', lambda found: variables[found[1]], line).split()
                run(words, {**login, **given}, tmp_path)

        played("imgpkg plan")
        for number in "12":
            played("imgpkg shard", CI_NODE_INDEX=number, CI_NODE_TOTAL="2")
        assert tags_inside("apps/all") == []
        played("imgpkg finish")
        assert stocked[INSIDE] in (tmp_path / "inside.lock.yml").read_text()

    def test_the_tasks_of_slurm_move_all_blobs(self, stocked, tags_inside, login, tmp_path):
        path = EXAMPLES / "scale/shards.sbatch"
        planning, _, finishing = commands_above(path)
        target = f"--to-repo {stocked[INSIDE]}/apps/tasks"
        line = planning.replace("-b …", f"-b {stocked[OUTSIDE]}/team/bundle:v1").replace(
            "--to-repo …", target
        )
        run(line.split(), login, tmp_path)
        variables = {**login, "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "1"}
        for number in "12":
            environ = {**variables, "SLURM_ARRAY_TASK_ID": number, "PATH": f"{BIN}:{os.defpath}"}
            subprocess.run(["sh", path], env=environ, cwd=tmp_path, check=True, capture_output=True)
        (wrapped,) = re.findall(r"--wrap '(.*)'", finishing)
        run(wrapped.split(), login, tmp_path)
        assert "v1" in tags_inside("apps/tasks")


def commands_above(path):
    """Return the commands in the comment that a file begins with."""
    lines = re.findall(r"^#   (\S.*?)(?: +#.*)?$", path.read_text(), re.MULTILINE)
    return [line for line in lines if not line.startswith("kubectl apply")]
