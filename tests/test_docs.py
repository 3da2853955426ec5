"""The documentation does what it says: links lead somewhere, commands and programs run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import trustme
from tests.operations.conftest import read_tree
from tests.operations.making import make_bundle, make_image, make_index
from tests.servers.signatures import MAKERS, public_pem

import imgpkg
from imgpkg.bundle.lock import ImagesLock, LockedImage
from imgpkg.cli.arguments import Parser
from imgpkg.cli.commands import locate
from imgpkg.operations.tag import list_tags

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
OUTSIDE, INSIDE = "registry.example.com", "registry.inside.example"


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(text):
    """Yield the words of each `imgpkg` command in a console block, without redirections."""
    for line in text.replace("\\\n", " ").splitlines():
        # Other lines are what a command prints.
        if line.startswith("$ "):
            yield from commands_of_line(line.removeprefix("$ "))


def commands_of_line(line):
    """Yield the words of each `imgpkg` command in a line of a shell, also behind variables and pipes."""
    for part in re.split(r"\s(?:\||&&|;)\s|\$\(", line):
        found = re.search(r"(?:^|\s)imgpkg\s(?P<words>[^)]*)", part)
        if found and re.fullmatch(r"(?:\s*[A-Z_0-9]+=\S*\s)*", part[: found.start("words") - 7]):
            yield shlex.split(re.sub(r"[<>]\s*\S+|&$", "", found["words"]), comments=True)


def commands_of_scripts(page):
    """Yield the words of the commands in scripts, and in the steps of pipelines in YAML."""
    text = "".join(re.sub(r"^ +", "", text, flags=re.MULTILINE) for text in blocks(page, "(?:sh|yaml)"))
    for line in text.replace("\\\n", " ").splitlines():
        yield from commands_of_line(re.sub(r"^(?:- )?(?:run: |script: )?", "", line))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text()
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", text) + re.findall(r'\bsrc(?:set)?="([^"]+)"', text)
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_site_shows_every_page_and_no_other():
    # The nav of mkdocs.yml; the rest of the file has tags that only mkdocs reads.
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    named = re.findall(r"^ +- (?:[^:#\n]+: )?(\S+\.md)$", navigation, re.MULTILINE)
    pages = [str(page.relative_to(ROOT / "docs")) for page in PAGES if ROOT / "docs" in page.parents]
    assert sorted(name for name in named if not name.startswith("project/")) == sorted(pages)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_flags_that_are_shown(page):
    for text in blocks(page, "console"):
        for words in commands(text):
            command, rest = locate(words)
            assert command.handler or command.name == "imgpkg", words
            Parser(command.all_flags).parse(rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_and_pipelines_have_the_flags_that_are_shown(page):
    for words in commands_of_scripts(page):
        command, rest = locate(words)
        assert command.handler, words
        Parser(command.all_flags).parse(rest)


def test_commands_are_found_behind_variables_pipes_and_in_pipelines(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\nA=1 B=2 imgpkg version <in >out\nx=$(imgpkg tag resolve -i a/b)\n```\n"
        "```yaml\nrun:\n  - helm template . | imgpkg lock -f -\n  - run: imgpkg pull \\\n      -o out\n```\n"
        "```sh\n# like imgpkg\ncommand imgpkg lose\n```\n"
    )
    assert list(commands_of_scripts(page)) == [
        ["version"],
        ["tag", "resolve", "-i", "a/b"],
        ["lock", "-f", "-"],
        ["pull", "-o", "out"],
    ]


@pytest.fixture
def places(embedded_registry, another_registry):
    """Put real addresses where the documentation has the registries of its examples."""

    def placed(text):
        # The registries of the tests speak http.
        text = text.replace(f"https://{OUTSIDE}", f"http://{OUTSIDE}")
        return text.replace(OUTSIDE, embedded_registry.address).replace(INSIDE, another_registry.address)

    return placed


def test_the_first_commands_of_the_readme_work(places, session, tmp_path):
    text = blocks(ROOT / "README.md", "console")[0]
    install, login, *lines = [line.removeprefix("$ ") for line in text.splitlines()]
    # The one changes the machine, the other one asks at a terminal.
    assert (install.split()[:3], login.split()[:3]) == (
        ["pip", "install", "imgpkg-py"],
        ["imgpkg", "auth", "login"],
    )
    image = make_image(session, places(f"{OUTSIDE}/team/app"), ["first"], tag="first")
    (tmp_path / "config").mkdir()
    (tmp_path / "config/app.yml").write_text(places(f"image: {OUTSIDE}/team/app:first\n"))
    for line in lines:
        argv = [sys.executable, "-m", *shlex.split(places(line))]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line
    assert [line.split()[1] for line in lines] == ["lock", "push", "copy", "pull"]
    inside = (tmp_path / "config-inside/.imgpkg/images.yml").read_text()
    assert places(f"{INSIDE}/team/bundle@{image.digest}") in inside


def test_the_first_commands_of_the_home_page_work(places, session, tmp_path):
    image = make_image(session, places(f"{OUTSIDE}/team/app"), ["layer"])
    (tmp_path / "bundle/.imgpkg").mkdir(parents=True)
    ImagesLock((LockedImage(image),)).write(tmp_path / "bundle/.imgpkg/images.yml")
    (text,) = blocks(ROOT / "docs/index.md", "console")
    install, login, *lines = [line.removeprefix("$ ") for line in text.splitlines()]
    # As in the README: the one changes the machine, the other one asks at a terminal.
    assert (install, login.split()[:3]) == ("pipx install imgpkg-py", ["imgpkg", "auth", "login"])
    for line in lines:
        argv = [sys.executable, "-m", *shlex.split(places(line))]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line
    inside = ImagesLock.from_path(tmp_path / "bundle-inside/.imgpkg/images.yml")
    assert [str(each.reference) for each in inside.images] == [places(f"{INSIDE}/apps/bundle@{image.digest}")]


def test_the_way_into_an_air_gapped_network_works(places, session, tmp_path):
    section = (
        (ROOT / "README.md").read_text().partition("## Into an air-gapped network")[2].partition("\n## ")[0]
    )
    image = make_image(session, places(f"{OUTSIDE}/team/app"), ["layer"])
    lock = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)[1]
    (tmp_path / "bundle/.imgpkg").mkdir(parents=True)
    text = re.sub(r"sha256:[0-9a-f]{64}", str(image.digest), places(lock))
    (tmp_path / "bundle/.imgpkg/images.yml").write_text(text)
    lines = [
        line[2:]
        for text in re.findall(r"```console\n(.*?)```", section, re.DOTALL)
        for line in text.splitlines()
    ]
    assert len(lines) == 10
    served = [line for line in lines if "registry serve" in line]
    for line in [line for line in lines if line not in served]:
        argv = [sys.executable, "-m", *shlex.split(places(line))]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line
    inside = (tmp_path / "bundle-inside/.imgpkg/images.yml").read_text()
    assert places(f"{INSIDE}/apps/bundle@{image.digest}") in inside
    (line,) = served
    argv = [sys.executable, "-m", *shlex.split(line), "--address", "127.0.0.1:0"]
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        address = server.stdout.readline().split("http://")[1].strip()
        assert [tag.name for tag in list_tags(f"{address}/team/bundle", session=session).tags] == ["v1"]
        server.terminate()


@pytest.mark.slow
def test_the_commands_of_the_page_of_locks_run(places, session, tmp_path):
    image = make_image(session, places(f"{OUTSIDE}/team/app"), ["layer"], tag="v1")
    page = ROOT / "docs/lock.md"
    document, lock = (places(text) for text in blocks(page, "yaml"))
    (tmp_path / "bundle/config").mkdir(parents=True)
    (tmp_path / "bundle/config/deployment.yml").write_text(document)
    printed = []
    for line in (line[2:] for text in blocks(page, "console") for line in text.splitlines()):
        argv = [sys.executable, "-m", *shlex.split(places(line))]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line
        printed.append(done.stdout)
    written = (tmp_path / "bundle/.imgpkg/images.yml").read_text()
    assert written == re.sub(r"sha256:[0-9a-f]{64}", str(image.digest), lock)
    inside = places(f"{INSIDE}/apps/bundle@{image.digest}")
    assert "".join(printed) == document.replace(places(f"{OUTSIDE}/team/app:v1"), inside)


@pytest.mark.slow
def test_the_page_of_choosing_works(places, session, tmp_path):
    address = places(OUTSIDE)
    app, other = (make_image(session, f"{address}/team/{name}", [name], tag="v7") for name in ("app", "db"))
    third = make_image(session, f"{address}/team/third", ["third"])
    platforms = ("linux/amd64", "linux/arm64", "linux/s390x")
    parts = {name: make_image(session, f"{address}/team/index", [name]) for name in platforms}
    index = make_index(session, f"{address}/team/index", parts)
    make_bundle(session, f"{address}/team/bundle:v1", {other: {}, third: {}, index: {}}, tmp_path / "bundle")
    ImagesLock((LockedImage(other, {"tier": "test"}), LockedImage(third))).write(tmp_path / "images.yml")
    printed = []
    for text in blocks(ROOT / "docs/choosing.md", "console"):
        for words in commands(places(text)):
            argv = [sys.executable, "-m", "imgpkg", *words]
            done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), words
            printed.append(done.stdout)
    (described,) = (text for text in printed if "Cut From" in text)
    assert f"Cut From: {index.digest}\n" in described
    assert "Platforms: linux/amd64, linux/arm64\n" in described
    written = ImagesLock.from_path(tmp_path / "month.yml")
    assert [image.digest for image in written.images][1:] == [app.digest, other.digest, third.digest]
    place = places(f"{INSIDE}/apps/part")
    tags = [tag.name for tag in list_tags(place, imgpkg_internal_tags=True, session=session).tags]
    assert sum(tag.endswith(".image-places.imgpkg") for tag in tags) == 1
    with tarfile.open(tmp_path / "part.tar") as tar:
        (item,) = json.load(tar.extractfile("manifest.json"))
    assert item["Image"]["Refs"] == [str(third)]


def test_the_page_of_placement_says_where_images_go(places, session, tmp_path):
    page = ROOT / "docs/placement.md"
    rows = re.findall(r"^\| `(\S+)` \| `--(\S+)(?: (\S+))?` \| (.*) \|$", page.read_text(), re.MULTILINE)
    assert len(rows) == 8
    home = imgpkg.Repository.parse(f"{INSIDE}/mirror")
    for name, flag, rule, expected in rows:
        keep = {"keep-names": imgpkg.KeptNames.PATHS, "keep-hosts": imgpkg.KeptNames.HOSTS}.get(flag)
        rules = (imgpkg.MapRule.parse(rule),) if rule else ()
        placement = imgpkg.Placement(rules, keep or imgpkg.KeptNames.NONE)
        found = placement.place([imgpkg.Repository.parse(name)], home).repository
        assert expected.startswith("that of `--to-repo`") == (found == home)
        assert found == home or expected == f"`{found}`"
    exec("import imgpkg\n" + blocks(page, "python")[0], {})


@pytest.mark.slow
def test_the_commands_of_the_page_of_placement_run(places, session, tmp_path):
    image = make_image(session, places(f"{OUTSIDE}/team/app"), ["layer"], tag="v1")
    make_bundle(session, places(f"{OUTSIDE}/team/bundle:v1"), {image: {}}, tmp_path / "bundle")
    printed = []
    (rules,) = blocks(ROOT / "docs/placement.md", "yaml")
    (tmp_path / "rules.yml").write_text(places(rules))
    for line in (
        line[2:] for text in blocks(ROOT / "docs/placement.md", "console") for line in text.splitlines()
    ):
        argv = [sys.executable, "-m", *shlex.split(places(line))]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line
        printed.append(done.stdout)
    lock = (tmp_path / "bundle-inside/.imgpkg/images.yml").read_text()
    assert places(f"{INSIDE}/mirror/team/app@{image.digest}") in lock
    assert "stable" in "".join(printed)
    moved = [tag.name for tag in list_tags(places(f"{INSIDE}/products/bundle"), session=session).tags]
    assert moved == ["v1"]


@pytest.mark.slow
def test_the_commands_and_the_program_of_the_page_of_plans_run(
    places, session, tmp_path, monkeypatch, capsys
):
    page = ROOT / "docs/plans.md"
    image = make_image(session, places(f"{OUTSIDE}/team/app"), ["layer"], tag="v1")
    make_bundle(session, places(f"{OUTSIDE}/team/bundle:v1"), {image: {}}, tmp_path / "bundle")
    lines = [line[2:] for text in blocks(page, "console") for line in text.splitlines()]
    ran = [line for line in lines if line.startswith("imgpkg ")]
    for line in ran:
        argv = [sys.executable, "-m", *shlex.split(places(line))]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (line, done.stderr)
    assert len(ran) == 5
    assert places(f"{INSIDE}/team/bundle@") in (tmp_path / "bundle.lock.yml").read_text()
    tags = [tag.name for tag in list_tags(places(f"{INSIDE}/team/bundle"), session=session).tags]
    assert tags == ["v1"]
    monkeypatch.chdir(tmp_path)
    (program,) = blocks(page, "python")
    names = {}
    exec(compile(places(program), "plans.md", "exec"), names)
    assert names["result"].bundle.tag == "v1"
    assert int(capsys.readouterr().out) == names["plan"].end().blob_size


def test_the_programs_of_the_library_page_run(places, session, tmp_path, monkeypatch):
    make_image(session, places(f"{OUTSIDE}/team/app"), ["layer"], tag="v1")
    files = {"etc/os-release": b"ID=example\n", "etc/hostname": b"base\n", "etc/app.conf": b"a = b\n"}
    make_image(session, places(f"{OUTSIDE}/team/base"), [files], tag="v1")
    for name in ("config", "bundle"):
        (tmp_path / name / ".imgpkg").mkdir(parents=True)
        lock = tmp_path / name / ".imgpkg/images.yml"
        lock.write_text("apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n")
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.chdir(tmp_path)
    names = {}
    for text in blocks(ROOT / "docs/library.md", "python"):
        exec(compile(places(text), "library.md", "exec"), names)
    assert names["decision"].winner.source == "vault"
    assert sorted(os.listdir()) == [
        "bundle",
        "bundle.tar",
        "ca.pem",
        "config",
        "config.tar",
        "from-file",
        "home-of-robot",
        "images-inside.yml",
        "inventory.json",
        "layer.tar.gz",
        "new.tar",
        "out",
        "report",
    ]


@pytest.mark.slow
def test_the_page_of_signatures_works(places, tmp_path, monkeypatch, capsys):
    page = ROOT / "docs/trust.md"
    (tmp_path / "config").mkdir()
    (tmp_path / "config/app.yml").write_text("replicas: 1\n")
    for line in blocks(page, "console")[0].splitlines():
        # The program of this environment, in the place of the installed one.
        words = shlex.split(places(line.removeprefix("$ ")))
        argv = [sys.executable, "-m", *words] if words[0] == "imgpkg" else words
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (line, done.stderr)
    assert (tmp_path / "app/app.yml").read_text() == "replicas: 1\n"
    monkeypatch.chdir(tmp_path)
    (text,) = blocks(page, "python")
    exec(compile(places(text), "trust.md", "exec"), {})
    assert "is signed by release.pub" in capsys.readouterr().out
    (tmp_path / "second.pub").write_bytes(public_pem(MAKERS["p256"]()))
    (text,) = blocks(page, "yaml")
    (tmp_path / "policy.yml").write_text(text)
    key = (tmp_path / "release.pub").read_text()
    with pytest.raises(imgpkg.errors.InvalidSettings, match="given twice"):
        imgpkg.read_policy("policy.yml", environ={"NEXT_RELEASE_KEY": key})
    key = public_pem(MAKERS["ed25519"]()).decode()
    policy = imgpkg.read_policy("policy.yml", environ={"NEXT_RELEASE_KEY": key})
    assert [len(rule.requirements) for rule in policy.rules] == [2, 1, 0]


@pytest.mark.parametrize("kind", ["docker_registry_token", "docker_registry_htpasswd"])
def test_the_programs_with_other_clients_list_the_tags_of_a_private_repository(
    kind, request, open_session, capsys
):
    registry = request.getfixturevalue(kind)
    session = open_session(username=registry.username, password=registry.password)
    make_image(session, f"{registry.address}/team/app", ["layer"], tag="v1")
    page = (ROOT / "docs/library.md").read_text()
    section = page.partition("## Other HTTP clients")[2].partition("\n## ")[0]
    programs = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names = {"session": session, "imgpkg": imgpkg}
    for text in programs:
        at_registry = text.replace(f"https://{OUTSIDE}", registry.url).replace(OUTSIDE, registry.address)
        exec(compile(at_registry, "library.md", "exec"), names)
    assert len(programs) == 4
    assert capsys.readouterr().out == "['v1']\n" * len(programs)


def test_the_checks_of_the_authentication_page_succeed(places, session):
    make_image(session, places(f"{OUTSIDE}/team/app"), ["layer"], tag="v1")
    page = (ROOT / "docs/authentication.md").read_text().partition("## Checking access")[2]
    lines = re.search(r"```console\n(.*?)```", page, re.DOTALL)[1].splitlines()
    assert len(lines) == 3
    for line in lines:
        argv = [sys.executable, "-m", *shlex.split(places(line.removeprefix("$ ")))]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line


def test_the_program_of_the_readme_runs(places, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/app.yml").write_text("replicas: 1\n")
    (text,) = blocks(ROOT / "README.md", "python")
    exec(compile(places(text), "README.md", "exec"), {})
    assert read_tree(tmp_path / "config-copy") == read_tree(tmp_path / "config")
    assert "requests are anonymous" in capsys.readouterr().out


@pytest.mark.parametrize(("example", "flag"), [("hello", "-i"), ("bundle", "-b")])
def test_the_examples_come_back_as_they_were(example, flag, embedded_registry, tmp_path):
    image, folder = f"{embedded_registry.address}/examples/{example}:v1", ROOT / "examples" / example
    for arguments in (["push", flag, image, "-f", str(folder)], ["pull", flag, image, "-o", "out"]):
        argv = [sys.executable, "-m", "imgpkg", *arguments]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    back = read_tree(tmp_path / "out")
    assert back.keys() == read_tree(folder).keys()
    # The images lock is written anew, for all its images, none, are in the bundle's repository.
    assert {n: d for n, d in back.items() if n != ".imgpkg/images.yml"} == {
        n: d for n, d in read_tree(folder).items() if n != ".imgpkg/images.yml"
    }


@pytest.mark.slow
def test_the_commands_that_delete_do_so(places, session, tmp_path):
    for tag in ("candidate", "test", "v1", "nightly"):
        make_image(session, places(f"{OUTSIDE}/team/app"), [tag], tag=tag)
    # A registry keeps the images of other tests.
    inside = imgpkg.Repository.parse(places(f"{INSIDE}/apps/bundle").replace("apps", tmp_path.name.lower()))
    for number in range(5):
        make_image(session, str(inside), [f"{number}"], tag=f"v{number}")
    make_image(session, str(inside), ["latest"], tag="latest")
    running = make_image(session, places(f"{OUTSIDE}/team/app"), ["running"], tag="running")
    (tmp_path / "deployment.yml").write_text(
        f"apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: {running}\n"
    )
    text = "".join(blocks(ROOT / "docs/tidying.md", "console"))
    for line in places(text).replace(places(f"{INSIDE}/apps/bundle"), str(inside)).splitlines():
        command, _, output = line.removeprefix("$ ").partition(" > ")
        argv = [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line
        if output:
            (tmp_path / output).write_text(done.stdout)
    repository = imgpkg.Repository.parse(places(f"{OUTSIDE}/team/app"))
    assert not {"candidate", "test", "v1", "nightly"} & set(session.client.tags(repository))
    assert "running" in session.client.tags(repository)
    assert sorted(session.client.tags(inside)) == ["latest", "v4"]


@pytest.mark.slow
def test_the_commands_of_the_page_of_media_run(places, session, tmp_path):
    image = make_image(session, places(f"{OUTSIDE}/team/app"), ["layer"])
    make_bundle(session, places(f"{OUTSIDE}/team/bundle:v1"), {image: {}}, tmp_path / "bundle")
    for line in "".join(blocks(ROOT / "docs/media.md", "console")).splitlines():
        argv = [sys.executable, "-m", *shlex.split(places(line.removeprefix("$ ")))]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line


def test_the_page_of_what_is_attached_works(places, session, tmp_path):
    page = ROOT / "docs/attachments.md"
    image = make_image(session, places(f"{OUTSIDE}/team/app"), ["attached"], tag="v1")
    (tmp_path / "bundle/.imgpkg").mkdir(parents=True)
    lock = f"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n- image: {image}\n"
    (tmp_path / "bundle/.imgpkg/images.yml").write_text(lock)
    where = places(f"{OUTSIDE}/team/bundle:v1")
    bundle = imgpkg.push([tmp_path / "bundle"], bundle=where, session=session).reference
    for owner in (image, bundle):
        make_image(session, str(owner.repository), [str(owner)], tag=f"sha256-{owner.digest.hex}.att")
    printed = []
    for line in (line[2:] for text in blocks(page, "console") for line in text.splitlines()):
        argv = [sys.executable, "-m", *shlex.split(places(line))]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line
        printed.append(done.stdout)
    assert printed[-1].count("Attestation ") == 2
    (program,) = blocks(page, "python")
    done = subprocess.run(
        [sys.executable, "-c", places(program)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"attestation {image.digest} {places(INSIDE)}/team/app@")


@pytest.mark.slow
def test_the_commands_of_the_page_of_deltas_run(places, session, tmp_path):
    texts = ["the same in all releases"]
    for number in (1, 2, 3):
        texts.append(f"new in release {number}")
        image = make_image(session, places(f"{OUTSIDE}/team/app"), texts)
        lock = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n"
        folder = tmp_path / f"v{number}"
        (folder / ".imgpkg").mkdir(parents=True)
        (folder / ".imgpkg/images.yml").write_text(f"{lock}- image: {image}\n")
        imgpkg.push([folder], bundle=places(f"{OUTSIDE}/team/bundle:v{number}"), session=session)
    # A registry keeps the images of other tests.
    inside = places(f"{INSIDE}/deltas/{tmp_path.name.lower()}")
    text = "\n".join(blocks(ROOT / "docs/delta.md", "console")).replace(f"{INSIDE}/apps", inside)
    for line in filter(None, places(text).splitlines()):
        argv = [sys.executable, "-m", *shlex.split(line.removeprefix("$ "))]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line
    found = [imgpkg.inventory(tar=tmp_path / f"v{n}.tar", session=session) for n in (1, 2, 3)]
    assert [len(each.bases) for each in found] == [0, 1, 2]
    (example,) = blocks(ROOT / "docs/delta.md", "json")
    written = imgpkg.Inventory.parse(example.encode())
    assert written.to_bytes().decode() == example
    assert written.document().keys() == json.loads((tmp_path / "inside.json").read_text()).keys()


@pytest.mark.slow
def test_the_page_of_the_air_gap_leads_to_images_of_the_inner_registry(places, session, tmp_path):
    page = ROOT / "docs/air-gap.md"
    for tag in ("v1", "v2"):
        for name in ("app", "proxy"):
            # The lower layer is the same in both releases.
            make_image(session, places(f"{OUTSIDE}/team/{name}"), [name, f"{name} {tag}"], tag=tag)
    (document,) = (places(text) for text in blocks(page, "yaml"))
    deployment = tmp_path / "bundle/config/deployment.yml"
    deployment.parent.mkdir(parents=True)
    deployment.write_text(document)
    printed = []
    for line in (line[2:] for text in blocks(page, "console") for line in text.splitlines()):
        if "inventory" in line:
            deployment.write_text(document.replace(":v1", ":v2"))
        words = shlex.split(places(line))
        argv = [sys.executable, "-m", *words] if words[0] == "imgpkg" else words
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (line, done.stderr)
        printed.append(done.stdout)
    rewritten = [text for text in printed if text.startswith("apiVersion: apps/v1")]
    assert len(rewritten) == 2
    inside = places(f"{INSIDE}/apps/release")
    for text in rewritten:
        images = re.findall(r"image: (\S+)", text)
        assert len(images) == 2
        assert all(image.startswith(f"{inside}@sha256:") for image in images)
    # What the second release runs is still there after the first one was pruned.
    for image in re.findall(r"image: (\S+)", rewritten[1]):
        imgpkg.resolve(image, session=session)
    with pytest.raises(imgpkg.errors.NotFound):
        imgpkg.resolve(f"{inside}:v1", session=session)
