"""The examples for containers, CI, clusters and commits are valid, and do what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.operations.making import make_image
from tests.servers.fixtures import PASSWORD, USERNAME

from imgpkg.bundle.lock import ImagesLock, LockedImage
from imgpkg.operations.tag import list_tags

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
BIN = Path(sys.executable).parent


def documents(path):
    return list(yaml.safe_load_all((ROOT / path).read_text()))


def make_bundle(folder, image):
    """Write a bundle with a Deployment and the lock of its image."""
    (folder / ".imgpkg").mkdir(parents=True)
    (folder / "config").mkdir()
    (folder / "config/app.yml").write_text(f"kind: Deployment\nspec:\n  image: {image}\n")
    (folder / ".imgpkg/images.yml").write_bytes(ImagesLock((LockedImage(image),)).to_bytes())


@pytest.fixture
def image(embedded_login, open_session):
    """An image behind a password."""
    with_login = open_session(username=USERNAME, password=PASSWORD)
    return make_image(with_login, f"{embedded_login.address}/examples/app", tag="v1")


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.github-workflows", ".github/workflows/release.yml"),
        ("vendor.github-actions", "examples/github-action/action.yml"),
        ("vendor.gitlab-ci", "examples/gitlab-ci/imgpkg.gitlab-ci.yml"),
        ("vendor.gitlab-ci", "examples/gitlab-ci/shards.gitlab-ci.yml"),
    ],
)
def test_have_the_form_that_their_forge_reads(schema, path, run_shell):
    run_shell(f"check-jsonschema --builtin-schema {schema} {ROOT / path}", path=BIN)


def test_objects_have_the_fields_of_kubernetes(run_shell):
    run_shell(f"kubernetes-validate --strict {EXAMPLES / 'kubernetes/job.yaml'}", path=BIN)


class TestTheAction:
    def steps(self):
        return documents("examples/github-action/action.yml")[0]["runs"]["steps"]

    def test_pastes_no_input_into_a_script(self):
        assert [step["run"] for step in self.steps() if "${{" in step["run"]] == []

    def run_steps(self, inputs, runner, run_shell):
        """Run the steps as a runner does; return the variables and folders for later steps."""
        files = {name: runner / name.lower() for name in ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT")}
        for path in files.values():
            path.touch()
        told = {
            **{f"inputs.{name}": value for name, value in inputs.items()},
            "runner.temp": str(runner),
        }
        for step in self.steps():
            condition = re.fullmatch(r"(\S+) != ''", step.get("if", ""))
            if condition and not told[condition[1]]:
                continue
            variables = {
                name: re.sub(r"\$\{\{ (\S+) \}\}", lambda found: told[found[1]], text)
                for name, text in step.get("env", {}).items()
            }
            given = {**variables, **{name: str(path) for name, path in files.items()}}
            run_shell(step["run"], path=BIN, RUNNER_TEMP=str(runner), **given)
        return {name: path.read_text() for name, path in files.items()}

    @pytest.fixture
    def inputs(self):
        """The inputs with their defaults, and a Python and a package that are here."""
        declared = documents("examples/github-action/action.yml")[0]["inputs"]
        # The environment of the session has the wheel already, so that pip fetches nothing.
        return {**{name: one["default"] for name, one in declared.items()}, "python": sys.executable}

    def test_installs_the_command_and_logs_in_for_later_steps(
        self, installed, inputs, embedded_login, run_shell, tmp_path
    ):
        inputs |= {"registry": embedded_login.address, "username": USERNAME, "password": PASSWORD}
        said = self.run_steps({**inputs, "keychains": "github"}, installed, run_shell)
        assert re.fullmatch(r"version=\d+\.\d+\.\d+\n", said["GITHUB_OUTPUT"])
        assert said["GITHUB_PATH"] == f"{installed / 'imgpkg/bin'}\n"
        variables = dict(line.split("=", 1) for line in said["GITHUB_ENV"].splitlines())
        assert variables["IMGPKG_ACTIVE_KEYCHAINS"] == "github"
        (tmp_path / "content").mkdir()
        script = f"imgpkg push -i {embedded_login.address}/examples/action:v1 -f content"
        run_shell(script, path=said["GITHUB_PATH"].strip(), **variables)
        assert PASSWORD not in str(said)

    def test_fails_where_the_login_is_refused(self, installed, inputs, embedded_login, run_shell):
        inputs |= {"registry": embedded_login.address, "username": USERNAME, "password": "wrong"}
        with pytest.raises(AssertionError, match="refused user"):
            self.run_steps(inputs, installed, run_shell)


class TestTheTemplateOfGitlab:
    def variables_of(self, template, given):
        """Expand the variables of the template, which may name each other."""
        known = dict(given)
        for name, text in template["variables"].items():
            known[name] = re.sub(r"\$(\w+)", lambda found: known[found[1]], text)
        return known

    def test_pushes_the_bundle_of_a_tag_and_writes_its_file(
        self, installed, embedded_login, image, run_shell, tmp_path
    ):
        (template,) = documents("examples/gitlab-ci/imgpkg.gitlab-ci.yml")
        make_bundle(tmp_path / "bundle", image)
        variables = self.variables_of(
            template,
            {
                "CI_REGISTRY": embedded_login.address,
                "CI_REGISTRY_IMAGE": f"{embedded_login.address}/group/project",
                "CI_REGISTRY_USER": USERNAME,
                "CI_REGISTRY_PASSWORD": PASSWORD,
                "CI_PROJECT_DIR": str(tmp_path),
                "CI_COMMIT_TAG": "v1.2.3",
            },
        )
        for name in ("imgpkg push", "imgpkg tar"):
            job = template[name]
            lines = [*template[job["extends"]]["before_script"], *job["script"]]
            run_shell("\n".join(lines), path=installed / "imgpkg/bin", **variables)
            # What a job does not name is not there for the next one.
            assert all((tmp_path / path).exists() for path in job["artifacts"]["paths"])
        assert "v1.2.3" in (tmp_path / "bundle.lock.yml").read_text()


class TestTheJobOfKubernetes:
    def test_copies_with_the_two_mounted_secrets(
        self, embedded_login, another_registry, image, open_session, run_shell, tmp_path
    ):
        _, job = documents("examples/kubernetes/job.yaml")
        pod = job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        make_bundle(tmp_path / "bundle", image)
        login = {"IMGPKG_USERNAME": USERNAME, "IMGPKG_PASSWORD": PASSWORD}
        run_shell(f"imgpkg push -b {embedded_login.address}/team/bundle:v1 -f bundle", path=BIN, **login)
        mounted = self.mount(pod, container, embedded_login, tmp_path)
        places = {
            "registry.example.com": embedded_login.address,
            "registry.inside.example": another_registry.address,
            **mounted,
        }

        names = re.compile("|".join(map(re.escape, places)))

        def placed(text):
            return names.sub(lambda found: places[found[0]], text)

        variables = {one["name"]: placed(one["value"]) for one in container["env"]}
        words = ["imgpkg", *map(placed, container["args"])]
        done = subprocess.run(
            words,
            env={**variables, "PATH": f"{BIN}:{os.defpath}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        inside = list_tags(f"{another_registry.address}/team/bundle", session=open_session())
        assert "v1" in [tag.name for tag in inside.tags]

    def mount(self, pod, container, registry, tmp_path):
        """Write the files that the projected volume has; return what replaces the paths of the pod."""
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        places = {}
        for mount in container["volumeMounts"]:
            folder = tmp_path / mount["name"]
            folder.mkdir()
            places[mount["mountPath"]] = str(folder)
            for source in volumes[mount["name"]].get("projected", {}).get("sources", ()):
                (item,) = source["secret"]["items"]
                path = folder / item["path"]
                path.parent.mkdir(exist_ok=True)
                logins = {registry.address: {"username": USERNAME, "password": PASSWORD}}
                is_outside = source["secret"]["name"] == "pull-outside"
                path.write_text(json.dumps({"auths": logins if is_outside else {}}))
        return places

    def test_runs_as_nobody_and_writes_nowhere_else(self):
        account, job = documents("examples/kubernetes/job.yaml")
        pod = job["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] == account["metadata"]["name"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
        user = re.search(r"^USER (\d+):(\d+)$", (EXAMPLES / "container/Dockerfile").read_text(), re.MULTILINE)
        assert user[1] == str(pod["securityContext"]["runAsUser"])


class TestTheHooks:
    @pytest.fixture
    def repository(self, tmp_path, image, embedded_login):
        """A repository whose documents name an image by its tag, with the hooks of this one."""
        folder = tmp_path / "repository"
        make_bundle(folder / "bundle", image)
        tagged = f"{embedded_login.address}/examples/app:v1"
        (folder / "bundle/config/app.yml").write_text(f"kind: Deployment\nspec:\n  image: {tagged}\n")
        manifest = {hook["id"]: hook for hook in documents(".pre-commit-hooks.yaml")[0]}
        (configured,) = documents("examples/pre-commit/.pre-commit-config.yaml")
        # The command is installed here already; pre-commit would install it with what it requires.
        hooks = [
            {**manifest[hook["id"]], **hook, "language": "system"} for hook in configured["repos"][0]["hooks"]
        ]
        written = {"repos": [{"repo": "local", "hooks": hooks}]}
        (folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump(written))
        return folder

    def test_have_the_form_that_pre_commit_reads(self, run_shell):
        run_shell(f"pre-commit validate-manifest {ROOT / '.pre-commit-hooks.yaml'}", path=BIN)
        run_shell(f"pre-commit validate-config {EXAMPLES / 'pre-commit/.pre-commit-config.yaml'}", path=BIN)

    def test_refuse_a_lock_without_an_image_and_write_one_with_it(self, repository, run_shell):
        login = {"IMGPKG_USERNAME": USERNAME, "IMGPKG_PASSWORD": PASSWORD}
        start = f"cd {repository}; git init -q .; git add -A;"
        refused = run_shell(f"{start} pre-commit run -a", path=BIN, check=False)
        assert refused.returncode == 1
        assert "check that the images lock has every image" in refused.stdout
        updated = run_shell(
            f"{start} pre-commit run -a --hook-stage manual imgpkg-lock", path=BIN, check=False, **login
        )
        assert "files were modified by this hook" in updated.stdout
        run_shell(f"{start} pre-commit run -a", path=BIN)


class TestTheDockerfile:
    text = (EXAMPLES / "container/Dockerfile").read_text()

    def stages(self):
        """Return the instructions of each stage as pairs."""
        lines = re.sub(r"^#.*\n", "", self.text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
        instructions = [tuple(line.split(" ", 1)) for line in lines if line]
        starts = [number for number, (word, _) in enumerate(instructions) if word == "FROM"]
        ends = [*starts[1:], len(instructions)]
        return [instructions[start:end] for start, end in zip(starts, ends, strict=True)]

    def test_builds_from_what_the_context_has(self, tmp_path, run_shell):
        """The files that .dockerignore lets through are enough for pip, as in the first RUN."""
        context = tmp_path / "context"
        context.mkdir()
        ignored = (ROOT / ".dockerignore").read_text().splitlines()
        for name in (line.removeprefix("!") for line in ignored if line.startswith("!")):
            if (ROOT / name).is_dir():
                shutil.copytree(
                    ROOT / name, context / name, ignore=shutil.ignore_patterns("*.so", "*.egg-info")
                )
            else:
                shutil.copy(ROOT / name, context / name)
        assert "pip --python /opt/imgpkg/bin/python install" in self.text
        options = "--quiet --no-deps --no-index --no-build-isolation --no-cache-dir"
        run_shell(f"python -m pip install {options} --target installed {context}", path=BIN)
        shown = run_shell(
            "python -m imgpkg version --verbose --tty", path=BIN, PYTHONPATH=str(tmp_path / "installed")
        )
        assert "deflate encoder: C" in shown.stdout

    def test_ends_as_nobody_with_the_command(self):
        last = dict(self.stages()[-1])
        assert last["USER"] == "65532:65532"
        assert json.loads(last["ENTRYPOINT"]) == ["imgpkg"]
        assert "RUN" not in last

    def test_keeps_what_the_keychain_of_aws_calls(self, installed, tmp_path, run_shell):
        """The second RUN of the build, on a copy of botocore: its client and all its providers still work."""
        script = [text for word, text in self.stages()[0] if word == "RUN"][1]
        packages = tmp_path / "lib/python3/site-packages"
        for name in ("botocore", "jmespath", "dateutil", "urllib3"):
            shutil.copytree(self.package(name), packages / name)
        run_shell(script.replace("/opt/imgpkg", str(tmp_path)), path="/bin")
        kept = {path.name for path in (packages / "botocore/data").iterdir() if path.is_dir()}
        assert kept == {"ecr", "ecr-public", "signin", "sso", "sso-oidc", "sts"}
        assert (
            sum(path.stat().st_size for path in packages.glob("botocore/**/*") if path.is_file()) < 12_000_000
        )
        program = (
            "import botocore, botocore.session\n"
            f"assert botocore.__file__.startswith({str(packages)!r})\n"
            "session = botocore.session.get_session()\n"
            "session.set_credentials('key', 'secret')\n"
            f"for name in {sorted(kept)}:\n"
            "    session.create_client(name, region_name='eu-central-1')\n"
        )
        run_shell(f"{sys.executable} - <<'END'\n{program}END", path=BIN, PYTHONPATH=str(packages))

    def package(self, name):
        (path,) = __import__(name).__path__
        return path
