"""The programs of examples/library run as their first lines say, and are as short as they look."""

from __future__ import annotations

import ast
import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

import imgpkg
from imgpkg.testing import make_image, make_index, serve

FOLDER = Path(__file__).parent.parent / "examples/library"
PROGRAMS = sorted(FOLDER.glob("*.py"))
LOGIN = ("ci", "word-of-ci")
# A layer that does not become much smaller.
LAYER = 200_000
NOISE = random.Random(1).randbytes(LAYER)


@pytest.fixture
def private():
    """A registry whose token service knows the login, and that has an image for two platforms."""
    images = [
        make_image({"etc/os-release": f"ID={platform}\n".encode()}, {"noise": NOISE}, platform=platform)
        for platform in ("linux/amd64", "linux/arm64")
    ]
    with serve(login=LOGIN, token_service=True) as registry:
        registry.add("team/app:v1", make_index(*images))
        yield registry


@pytest.fixture
def run(private, tmp_path):
    """Run a program with the login in the environment, and return what it prints."""

    def started(name, *words, code=0, **variables):
        words = [str(word).replace("HOST", private.address) for word in words]
        environ = {"HOME": str(tmp_path), **private.variables, **variables}
        done = subprocess.run(
            [sys.executable, str(FOLDER / name), *words],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert LOGIN[1] not in done.stdout + done.stderr
        return done.stdout.replace(private.address, "HOST")

    return started


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_is_short_and_says_how_it_is_run(program):
    text = program.read_text()
    assert len(text.splitlines()) <= 30
    assert f"{program.name} " in ast.get_docstring(ast.parse(text)) or program.stem.startswith("test_")
    assert f"[{program.name}]({program.name})" in (FOLDER / "README.md").read_text()


def test_every_program_is_run_here():
    text = Path(__file__).read_text()
    assert [program.name for program in PROGRAMS if f'"{program.name}"' not in text] == []


def test_a_bundle_is_relocated_and_the_bar_never_goes_back(run, private, tmp_path):
    with private.session() as session:
        app = imgpkg.resolve(f"{private.address}/team/app:v1", session=session)
        (tmp_path / "bundle/.imgpkg").mkdir(parents=True)
        imgpkg.ImagesLock((imgpkg.LockedImage(app),)).write(tmp_path / "bundle/.imgpkg/images.yml")
        imgpkg.push([tmp_path / "bundle"], bundle=f"{private.address}/team/bundle:v1", session=session)
    with serve() as inside:
        words = [
            str(FOLDER / "relocate.py"),
            f"{private.address}/team/bundle:v1",
            f"{inside.address}/apps/bundle",
        ]
        environ = {"HOME": str(tmp_path), **private.variables}
        done = subprocess.run(
            [sys.executable, *words], env=environ, capture_output=True, text=True, check=True
        )
        assert set(inside.tags("apps/bundle")) >= {"v1"}
        assert inside.manifest(f"apps/bundle@{app.digest}") is not None
    bars = re.findall(r"\[(#*) *\] (\d+) of (\d+) bytes", done.stderr)
    assert [bar[:2] for bar in bars] == sorted((bar[:2] for bar in bars), key=lambda bar: int(bar[1]))
    assert bars[-1] == ("#" * 30, bars[-1][2], bars[-1][2])
    assert int(bars[-1][2]) > LAYER  # both platforms have the same one
    assert f"{inside.address}/apps/bundle@{app.digest}" in done.stdout


def test_requests_gets_the_tags(run, private):
    assert run("tags_with_requests.py", f"{private.url}/v2/team/app/tags/list") == "v1\n"


def test_httpx_gets_the_tags_of_several_repositories(run, private):
    private.add("team/database:v2", make_image())
    assert run("tags_with_httpx.py", private.url, "team/app", "team/database") == (
        "team/app v1\nteam/database v2\n"
    )


def test_one_file_is_read_and_no_layer_but_those_with_it(run):
    assert run("read_file.py", "HOST/team/app:v1", "etc/os-release") == "ID=linux/amd64\n"
    assert run("read_file.py", "HOST/team/app:v1", "/etc/os-release", "linux/arm64") == "ID=linux/arm64\n"
    assert run("read_file.py", "HOST/team/app:v1", "etc/motd", code=1) == ""


def test_files_are_stored_with_an_image_and_found_again(run, tmp_path):
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("notes")
    pushed = run("artifact.py", "push", "HOST/team/app:v1", "report.json", "notes.txt")
    assert re.fullmatch(r"HOST/team/app@sha256:[0-9a-f]{64}\n", pushed)
    printed = run("artifact.py", "pull", "HOST/team/app:v1", "back").split()
    assert [Path(path).name for path in printed] == ["report.json", "notes.txt"]
    assert (tmp_path / "back/notes.txt").read_text() == "notes"


def test_one_platform_becomes_an_image_of_its_own(run, private):
    printed = run("one_platform.py", "HOST/team/app:v1", "linux/arm64", "HOST/team/app-arm64").split()
    assert printed[0] == "linux/arm64"
    arm = json.loads(private.manifest("team/app:v1"))["manifests"][1]
    assert printed[-1] == f"HOST/team/app-arm64@{arm['digest']}"
    assert private.tags("team/app-arm64")
    assert "layers" in json.loads(private.manifest("team/app-arm64:latest"))


def test_tests_use_the_fixtures(tmp_path, monkeypatch):
    shutil.copy(FOLDER / "test_fixture.py", tmp_path)
    # That of imgpkg is named, so that it does not matter how this project is installed.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "imgpkg.testing.plugin", "test_fixture.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout


def test_a_source_of_its_own_logs_in(run, private, tmp_path):
    (tmp_path / "secrets.json").write_text(json.dumps({private.address: LOGIN}))
    printed = run("credential_source.py", "secrets.json", "HOST/team/app", IMGPKG_USERNAME="")
    assert printed == "credential for HOST/team/app from secrets file: HOST (user 'ci')\nv1\n"


def test_what_no_tag_needs_is_deleted(run, private):
    tags = ("v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0", "latest", "broken")
    digests = {tag: private.add(f"team/web:{tag}", make_image({"text": tag.encode()})) for tag in tags}
    digests = {tag: name.partition("@")[2] for tag, name in digests.items()}
    printed = run("clean_up.py", "HOST/team/web", "broken").splitlines()
    assert printed == [f"image deleted broken {digests['broken']}", f"not needed: v1.1.0 {digests['v1.1.0']}"]
    assert set(private.tags("team/web")) == {*tags} - {"broken", "v1.1.0"}
    assert private.manifest(f"team/web@{digests['v1.1.0']}") is None


def test_the_newest_version_is_named_if_it_is_not_used(run, private):
    for tag in ("v1.9.0", "v1.10.0", "v2.0.0", "v2.1.0-rc.1", "latest"):
        private.add(f"team/web:{tag}", make_image({"version": tag.encode()}))
    newest = hashlib.sha256(private.manifest("team/web:v2.0.0")).hexdigest()
    assert run("newest_tag.py", "HOST/team/web:v1.9.0") == f"HOST/team/web:v2.0.0@sha256:{newest}\n"
    assert run("newest_tag.py", "HOST/team/web:v1.10.0", "v1.*") == ""


def test_a_service_answers_many_requests_at_once(private, tmp_path):
    environ = {"HOME": str(tmp_path), **private.variables}
    words = [sys.executable, str(FOLDER / "service.py"), "0"]
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = f"http://127.0.0.1:{process.stdout.readline().split()[-1]}/{private.address}"
            with ThreadPoolExecutor(8) as threads:
                answers = threads.map(answer_of, [f"{address}/team/app:{tag}" for tag in ["v1"] * 8 + ["v2"]])
                *found, missing = answers
        finally:
            process.terminate()
    digest = hashlib.sha256(private.manifest("team/app:v1")).hexdigest()
    assert found == [(200, f"sha256:{digest}\n")] * 8
    assert missing[0] == 502
    assert "team/app" in missing[1]


def answer_of(url):
    try:
        with urlopen(url) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        with error:
            return error.status, error.read().decode()
