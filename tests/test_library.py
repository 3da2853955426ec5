"""The library as a program meets it: one name for each thing, nothing loaded before it is used."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
import pickle
import pkgutil
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from tests.operations.making import make_bundle, make_image

import imgpkg
import imgpkg.aio
from imgpkg.settings import Options
from imgpkg.transport.message import Request


def test_every_name_is_there():
    assert [name for name in imgpkg.__all__ if getattr(imgpkg, name) is None] == []
    assert set(imgpkg.__all__) <= set(dir(imgpkg))


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="has no attribute 'nosuch'"):
        _ = imgpkg.nosuch


@pytest.mark.parametrize("name", ["adaptors", "aio", "oci", "testing"])
def test_a_package_that_is_not_imported_is_said_to_need_that(name):
    code = (
        f"import imgpkg\ntry: imgpkg.{name}\nexcept AttributeError as error: print(error)\n"
        f"from imgpkg import {name}\nprint(imgpkg.{name} is {name})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"module 'imgpkg' has no attribute '{name}': import imgpkg.{name} first\nTrue\n"


def test_importing_it_loads_nothing_else():
    code = "import sys, imgpkg, json; print(json.dumps(sorted(m for m in sys.modules if 'imgpkg' in m)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["imgpkg"]


def test_a_session_is_anonymous_and_deaf_to_the_environment_unless_told(monkeypatch):
    monkeypatch.setenv("IMGPKG_USERNAME", "somebody")
    monkeypatch.setenv("IMGPKG_PASSWORD", "s3cret-word")
    with imgpkg.Session() as session:
        assert imgpkg.explain("host/a/b", session=session).credential.is_anonymous
    with imgpkg.Session(imgpkg.Settings.from_environment()) as session:
        decision = imgpkg.explain("host/a/b", session=session)
    assert decision.credential.username == "somebody"
    assert "s3cret-word" not in repr(decision) + decision.explain()


def test_every_setting_is_an_option_of_from_environment():
    fields = {field.name for field in dataclasses.fields(imgpkg.Settings)}
    assert set(Options.__annotations__) == fields - {"environ"}


@pytest.mark.parametrize("name", ["login", "side_login"])
@pytest.mark.parametrize("given", [imgpkg.Credential("ci", "s3cret-word"), ("ci", "s3cret-word"), None])
def test_only_a_login_is_one(name, given):
    with pytest.raises(TypeError) as caught:
        imgpkg.Settings(**{name: given})
    assert str(caught.value) == f"Expected an imgpkg.Login as {name}, and not {type(given).__name__}"


@pytest.mark.parametrize("home", [None, ""])
def test_without_a_home_the_one_of_the_user_database_counts(home, monkeypatch):
    monkeypatch.delenv("HOME")
    if home is not None:
        monkeypatch.setenv("HOME", home)
    assert imgpkg.Settings.from_environment().environ["HOME"] == pwd.getpwuid(os.getuid()).pw_dir


def test_a_user_whom_no_database_knows_has_no_home():
    program = (
        "import os, pwd; from imgpkg import Settings; os.setuid(54321); "
        "print(Settings.from_environment().environ['HOME'])"
    )
    if os.getuid():
        pytest.skip("only root can become another user")
    done = subprocess.run([sys.executable, "-c", program], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_warnings_come_once_each_through_the_hook():
    seen = []
    environ = {"IMGPKG_ENABLE_IAAS_AUTH": "true"}
    with imgpkg.Session(imgpkg.Settings(environ=environ), on_event=seen.append) as session:
        for name in ("host/a/b", "host/c/d"):
            imgpkg.explain(name, session=session)
    assert [type(event) for event in seen] == [imgpkg.Warned]
    assert "IMGPKG_ENABLE_IAAS_AUTH" in seen[0].text


def test_a_trace_shows_every_request(embedded_registry):
    lines = []
    with imgpkg.Session(trace=lines.append) as session:
        session._pool().send(Request("GET", f"{embedded_registry.url}/v2/")).close()
    assert any("GET" in line and "/v2/" in line for line in lines)


def test_a_bundle_is_read_with_all_it_names(embedded_registry, session, tmp_path):
    address = embedded_registry.address
    image = make_image(session, f"{address}/lib/app")
    inner = make_bundle(session, f"{address}/lib/inner:v1", {image: {"k": "v"}}, tmp_path / "inner")
    make_bundle(session, f"{address}/lib/outer:v1", {inner: {}, image: {}}, tmp_path / "outer")
    bundle = imgpkg.read_bundle(f"{address}/lib/outer:v1", session=session)
    assert [member.bundle is not None for member in bundle.members] == [True, False]
    (below,) = bundle.members[0].bundle.members
    assert dict(below.locked.annotations) == {"k": "v"}
    assert [len(found.members) for found in bundle.bundles()] == [2, 1]


def test_an_error_comes_whole_from_a_worker_in_another_process(embedded_registry, session):
    with pytest.raises(imgpkg.errors.NotFound) as caught:
        imgpkg.pull("out", image=f"{embedded_registry.address}/lib/nosuch", session=session)
    error = pickle.loads(pickle.dumps(caught.value))
    assert type(error) is imgpkg.errors.NotFound
    assert (str(error), error.status) == (str(caught.value), 404)
    assert (error.codes, error.hints) == (caught.value.codes, caught.value.hints)


class Named(os.PathLike):
    """A path that is neither a string nor a pathlib.Path."""

    def __init__(self, path):
        self._path = str(path)

    def __fspath__(self):
        return self._path


@pytest.mark.parametrize("kind", [str, Path, Named])
def test_files_are_named_by_paths_everywhere(kind, embedded_registry, session, tmp_path):
    host = f"{embedded_registry.address}/paths-{kind.__name__.lower()}"
    image = make_image(session, f"{host}/app")
    make_bundle(session, f"{host}/bundle", {image: {}}, tmp_path / "in")
    bundle, lock = f"{host}/bundle:v1", kind(tmp_path / "lock.yml")
    imgpkg.push([kind(tmp_path / "in")], bundle=bundle, lock_output=lock, session=session)
    imgpkg.pull(kind(tmp_path / "out"), lock=lock, session=session)
    tar, layout = kind(tmp_path / "bundle.tar"), kind(tmp_path / "layout")
    imgpkg.copy(imgpkg.CopySource(lock=lock), to_tar=tar, session=session)
    imgpkg.copy_to_tar(imgpkg.CopySource(lock=lock), tar, session=session)
    imgpkg.copy(imgpkg.CopySource(lock=lock), to_layout=layout, session=session)
    imgpkg.copy_to_layout(imgpkg.CopySource(lock=lock), layout, session=session)
    for number, source in enumerate([imgpkg.CopySource(tar=tar), imgpkg.CopySource(layout=layout)]):
        to, written = f"{host}/copy{number}", kind(tmp_path / f"lock{number}.yml")
        imgpkg.preview_copy(source, to, session=session)
        imgpkg.copy_to_repository(source, to, lock_output=written, session=session)
        imgpkg.copy(source, to_repo=to, lock_output=written, session=session)
        assert str(imgpkg.BundleLock.from_path(written).reference).startswith(f"{to}@")


@pytest.mark.parametrize("kind", [str, Path, Named])
def test_lock_files_are_named_by_paths(kind, tmp_path):
    reference = imgpkg.Reference.parse(f"r.example/team/a@sha256:{'0' * 64}")
    bundle, images = imgpkg.BundleLock(reference, "v1"), imgpkg.ImagesLock(())
    for lock, path in ((bundle, kind(tmp_path / "bundle.yml")), (images, kind(tmp_path / "images.yml"))):
        lock.write(path)
        assert imgpkg.read_lock(path) == type(lock).from_path(path) == lock


def test_no_module_calls_something_else_a_path():
    for found in pkgutil.walk_packages(imgpkg.__path__, "imgpkg."):
        if found.name != "imgpkg.__main__" and not found.name.startswith("imgpkg.auth.cloud"):
            assert getattr(importlib.import_module(found.name), "Path", Path) is Path, found.name


def test_one_path_is_as_good_as_a_list_of_one(embedded_registry, session, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "kept").write_text("kept")
    (tmp_path / "in" / "left").write_text("left")
    image = f"{embedded_registry.address}/paths/one"
    for files in (tmp_path / "in", iter([tmp_path / "in"])):
        imgpkg.push(files, image=image, exclusions=[Path("left")], session=session)
        imgpkg.pull(tmp_path / "out", image=image, session=session)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["kept"]


def test_authorities_are_named_by_paths(tmp_path):
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(authority))
    for paths in (authority, str(authority), (authority,), [str(authority)]):
        settings = imgpkg.Settings(ca_cert_paths=paths)
        assert settings.authorities == settings.ca_cert_paths == (str(authority),)
        imgpkg.Session(settings).close()
    with pytest.raises(imgpkg.errors.InvalidSettings):
        imgpkg.Session(imgpkg.Settings(ca_cert_paths=tmp_path / "missing.pem"))


VALUES = ("Cut", "Descriptor", "Digest", "ImageConfig", "Manifest", "Platform", "Reference", "Repository")


def test_values_of_the_specifications_load_no_module_of_a_network():
    program = f"""
import sys
import imgpkg
before = set(sys.modules)
for name in {VALUES!r}:
    getattr(imgpkg, name)
reference = imgpkg.Reference.parse("registry.example/team/app:v1")
imgpkg.Reference.parse_docker(str(reference))
imgpkg.Platform.parse("linux/arm64")
built = imgpkg.Manifest.build(artifact_type="a/b")
imgpkg.Cut.make([imgpkg.Manifest.build_index([built.descriptor])], [])
loaded = set(sys.modules) - before
print(sorted(name.split(".")[1] for name in loaded if name.startswith("imgpkg.") and name.count(".") == 1))
print(sorted({{"socket", "ssl", "http", "http.client", "urllib.request", "subprocess"}} & loaded))
print(len([name for name in loaded if name.startswith("imgpkg.")]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    rooms, network, count = done.stdout.splitlines()
    assert rooms == str(["dataclass", "errors", "expression", "oci", "values"])
    assert network == "[]"
    assert int(count) <= 20


def test_the_room_of_these_values_has_them_too():
    import imgpkg.oci

    assert set(VALUES) <= set(dir(imgpkg.oci))
    assert all(getattr(imgpkg.oci, name) is getattr(imgpkg, name) for name in dir(imgpkg.oci))
    with pytest.raises(AttributeError, match="has no attribute 'Nosuch'"):
        _ = imgpkg.oci.Nosuch


def test_the_page_of_the_library_names_every_method_of_the_client_that_is_stable():
    page = (Path(__file__).parent.parent / "docs" / "library.md").read_text()
    rows = page.partition("| `session.client.` | does |")[2].partition("\n\n")[0].splitlines()[2:]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    public = {name for name in vars(imgpkg.RegistryClient) if not name.startswith("_")}
    assert public - named == {"exchange", "watched", "accepts", "token", "claim"}
    assert named <= public


def test_a_session_for_credentials_opens_no_connections_and_loads_nothing_that_could():
    program = """
import sys
import imgpkg
from imgpkg.session import Session, explain
with Session(imgpkg.Settings(environ={"IMGPKG_REGISTRIES_CONF": ""})) as session:
    explain("registry.example/team/app", session=session)
    print(sorted({"imgpkg.registry.client", "imgpkg.transport.pool", "ssl"} & sys.modules.keys()))
    print(session.client is session.client, "imgpkg.transport.pool" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\nTrue True\n"


def test_a_closed_session_refuses_all_work(embedded_registry, session, tmp_path):
    where = f"{embedded_registry.address}/closed/app"
    image = str(make_image(session, where))
    tar = tmp_path / "image.tar"
    imgpkg.copy(imgpkg.CopySource(image=image), to_tar=tar, session=session)
    closed = imgpkg.Session()
    imgpkg.resolve(image, session=closed)
    closed.close()
    closed.close()
    (tmp_path / "in").write_text("x")
    before = len(embedded_registry.requests)
    for work in (
        lambda: imgpkg.resolve(image, session=closed),
        lambda: imgpkg.list_tags(where, session=closed),
        lambda: imgpkg.explain(image, session=closed),
        lambda: imgpkg.describe(image, session=closed),
        lambda: imgpkg.read_bundle(image, session=closed),
        lambda: imgpkg.push([tmp_path / "in"], image=where, session=closed),
        lambda: imgpkg.pull(tmp_path / "out", image=image, session=closed),
        lambda: imgpkg.copy(imgpkg.CopySource(tar=tar), to_layout=tmp_path / "layout", session=closed),
        lambda: imgpkg.copy(imgpkg.CopySource(image=image), to_tar=tmp_path / "b.tar", session=closed),
        lambda: imgpkg.preview_copy(imgpkg.CopySource(image=image), where, session=closed),
        lambda: closed.client,
    ):
        with pytest.raises(imgpkg.errors.UsageError, match="The session is closed"):
            work()
    assert len(embedded_registry.requests) == before
    assert not any((tmp_path / name).exists() for name in ("out", "layout", "b.tar"))


def test_one_name_is_no_list_of_files(session):
    with pytest.raises(imgpkg.errors.UsageError, match="list of files"):
        imgpkg.push("..", image="127.0.0.1:1/a/b", session=session)


LETTERS = {
    "CopyOptions(to_tags)": lambda _: imgpkg.CopyOptions(to_tags="stable"),
    "CopyOptions(platforms)": lambda _: imgpkg.CopyOptions(platforms="linux/amd64"),
    "CopyOptions(mount_from)": lambda _: imgpkg.CopyOptions(mount_from="a.io/bb"),
    "Selection(include)": lambda _: imgpkg.Selection(include="*/debug"),
    "copy(since)": lambda session: imgpkg.copy(
        imgpkg.CopySource(image=session.kept), to_tar="new.tar", since="old.tar", session=session
    ),
    "delete_image(together_with)": lambda session: imgpkg.delete_image(
        session.kept, together_with=session.kept, session=session
    ),
    "delete_tag(together_with)": lambda session: imgpkg.delete_tag(
        session.kept, with_image=True, together_with=session.kept, session=session
    ),
    "get_token(scopes)": lambda session: imgpkg.get_token(
        "a.io/bb", scopes="repository:b:pull", session=session
    ),
    "lock_images(images)": lambda session: imgpkg.lock_images(images="127.0.0.1:1/a/b", session=session),
    "lock_images(paths)": lambda session: imgpkg.lock_images(["x.yml"], paths="spec.image", session=session),
    "lock_images(exclude)": lambda session: imgpkg.lock_images(["x.yml"], exclude="*/debug", session=session),
    "rewrite_images(exclude)": lambda _: imgpkg.rewrite_images(
        ["x.yml"], imgpkg.ImagesLock(()), exclude="*/debug"
    ),
    "prune_plan(keep)": lambda session: imgpkg.prune_plan("127.0.0.1:1/a/b", keep="v*", session=session),
    "prune_plan(keep_locks)": lambda session: imgpkg.prune_plan(
        "127.0.0.1:1/a/b", keep_locks="bundle.lock.yml", session=session
    ),
    "push(exclusions)": lambda session: imgpkg.push(
        ["x"], image="127.0.0.1:1/a/b", exclusions=".git", session=session
    ),
}


@pytest.mark.parametrize("name", LETTERS)
def test_one_text_is_no_list_of_texts(name, embedded_registry, session):
    session.kept = f"{embedded_registry.address}/kept/app:v1"
    make_image(session, session.kept.removesuffix(":v1"), tag="v1")
    with pytest.raises(imgpkg.errors.UsageError, match=r"Expected a list of .*, and not the text") as caught:
        LETTERS[name](session)
    assert caught.value.hints == ("Put it into a list.",)
    assert imgpkg.resolve(session.kept, session=session)


def test_tags_and_platforms_of_a_copy_may_be_lists_and_stay_as_they_are():
    tags, platforms = ["stable"], [imgpkg.Platform.parse("linux/amd64")]
    options = imgpkg.CopyOptions(to_tags=tags, platforms=platforms)
    assert hash(options) == hash(imgpkg.CopyOptions(to_tags=("stable",), platforms=tuple(platforms)))
    tags.append("latest")
    assert options.to_tags == ("stable",)


def test_a_platform_that_is_none_sends_no_request(embedded_registry, session, tmp_path):
    image = str(make_image(session, f"{embedded_registry.address}/lib/for-all"))
    before = len(embedded_registry.requests)
    for work in (
        lambda: imgpkg.read_image(image, platform="linux", session=session),
        lambda: imgpkg.read_file(image, "a", platform="linux", session=session),
        lambda: next(imgpkg.iter_files(image, platform="linux", session=session)),
        lambda: imgpkg.pull_artifact(tmp_path / "out", image=image, platform="linux", session=session),
    ):
        with pytest.raises(imgpkg.errors.UsageError, match="Expected a platform such as linux/amd64"):
            work()
    assert len(embedded_registry.requests) == before


def test_the_reference_of_a_result_is_not_taken_for_an_image_or_a_repository(session):
    reference = imgpkg.Reference.parse("127.0.0.1:1/aa/bb")
    for work in (
        lambda: imgpkg.read_file(reference, "a", session=session),
        lambda: imgpkg.prune_plan(reference, keep_newest=1, session=session),
        lambda: session.authorization(reference),
    ):
        with pytest.raises(TypeError, match=r"not a Reference: str\(\) returns it"):
            work()


def test_arguments_that_are_missing_or_misspelt_are_named_as_python_names_them(session):
    for work, expected in (
        (lambda: imgpkg.resolve("a.io/bb"), "missing 1 required keyword-only argument: 'session'"),
        (lambda: imgpkg.resolve("a.io/bb", session), "takes 1 positional argument but 2 were given"),
        (lambda: imgpkg.pull("out", image="a.io/bb", sesion=session), "unexpected keyword argument 'sesion'"),
        (lambda: imgpkg.pull(image="a.io/bb", session=session), "missing 1 required positional argument"),
    ):
        with pytest.raises(TypeError, match=expected):
            work()


def test_what_is_no_session_is_said_to_be_none(session):
    source = imgpkg.CopySource(image="127.0.0.1:1/a/b")
    given = imgpkg.aio.Session()
    for work in (
        lambda: imgpkg.resolve("a.io/bb", session=given),
        lambda: imgpkg.explain("a.io/bb", session=given),
        lambda: imgpkg.copy(source, to_tar="x.tar", session=session, source_session=given),
        lambda: next(imgpkg.iter_files("a.io/bb", session=given)),
        lambda: imgpkg.open_files("a.io/bb", session=given).__enter__(),
    ):
        with pytest.raises(
            TypeError, match=r"but got imgpkg\.aio\.session\.Session, whose `blocking` is one"
        ):
            work()
    with pytest.raises(
        TypeError, match=r"resolve\(\) expected an imgpkg\.Session, but got builtins\.NoneType$"
    ):
        imgpkg.resolve("a.io/bb", session=None)


def test_a_limit_of_time_is_described_in_line_with_the_rest():
    lines = inspect.getdoc(imgpkg.pull).splitlines()
    assert lines[-2].startswith("`timeout` limits it")
    assert [line for line in lines if line.startswith(" ")] == []


def test_a_plain_image_is_no_bundle(embedded_registry, session):
    image = make_image(session, f"{embedded_registry.address}/lib/plain")
    with pytest.raises(imgpkg.errors.NotABundle):
        imgpkg.read_bundle(str(image), session=session)
