"""The command `lock`: what it prints and writes, with and without a registry."""

from __future__ import annotations

import json

import pytest

from imgpkg.bundle.lock import ID_ANNOTATION, ImagesLock


@pytest.fixture
def digest(run, image):
    return run("tag", "resolve", "-i", image).out.partition("@")[2]


@pytest.fixture
def documents(image, tmp_path):
    """A folder with two documents that name one image."""
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "pod.yml").write_text(f"# one\nspec:\n  containers:\n  - image: {image}:latest  # two\n")
    (folder / "values.yaml").write_text(f'image:\n  repository: {image}\n  tag: "latest"\n')
    return folder


@pytest.fixture
def lock(image, digest):
    """What is written for them."""
    return (
        "---\napiVersion: imgpkg.carvel.dev/v1alpha1\nimages:\n- annotations:\n"
        f"    {ID_ANNOTATION}: {image}:latest\n  image: {image}@{digest}\nkind: ImagesLock\n"
    )


@pytest.mark.parametrize("words", [[], ["-o", "-"]])
def test_prints_the_lock(run, documents, lock, words):
    done = run("lock", "-f", documents, *words)
    assert (done.code, done.out, done.err) == (0, lock, "")


def test_writes_the_lock(run, documents, lock, tmp_path):
    done = run("lock", "-f", documents, "-o", tmp_path / "images.yml")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert (tmp_path / "images.yml").read_text() == lock


def test_tells_a_terminal_what_it_wrote(terminal, documents, tmp_path):
    done = terminal("lock", "-f", documents, "-o", tmp_path / "images.yml")
    assert (done.code, done.out) == (0, f"Locked 1 image in '{tmp_path}/images.yml'\nSucceeded\n")


def test_locks_images_that_are_named(run, image, lock):
    assert run("lock", "-i", f"{image}:latest").out == lock


def test_reads_standard_input(run, image, lock):
    assert run("lock", "-f", "-", stdin=f"image: {image}:latest").out == lock


def test_reports_in_json(run, documents, image, digest, tmp_path):
    (documents / "more.yml").write_text("image: $(IMAGE)\n")
    done = run("lock", "-f", documents, "-o", tmp_path / "images.yml", "--json")
    assert done.code == 0
    assert json.loads(done.out) == {
        "images": [
            {
                "reference": f"{image}:latest",
                "image": f"{image}@{digest}",
                "digest": digest,
                "places": [
                    {"file": f"{documents}/pod.yml", "line": 4, "column": 12},
                    {"file": f"{documents}/values.yaml", "line": 2, "column": 15},
                ],
            }
        ],
        "output": f"{tmp_path}/images.yml",
        "removed": [],
        "skipped": [
            {
                "file": f"{documents}/more.yml",
                "line": 1,
                "column": 8,
                "text": "$(IMAGE)",
                "reason": "has a variable in it",
            }
        ],
    }
    assert (tmp_path / "images.yml").exists()
    again = json.loads(run("lock", "-f", documents / "more.yml", "-o", tmp_path / "images.yml", "--json").out)
    assert again["removed"] == [
        {"image": f"{image}@{digest}", "annotations": {ID_ANNOTATION: f"{image}:latest"}}
    ]


class TestRewrite:
    def test_prints_documents_with_digests(self, run, documents, image, digest):
        done = run("lock", "-f", documents, "--rewrite")
        assert (done.code, done.err) == (0, "")
        assert done.out == (
            f"# one\nspec:\n  containers:\n  - image: {image}@{digest}  # two\n"
            f'---\nimage:\n  repository: {image}\n  tag: "latest@{digest}"\n'
        )

    def test_also_writes_the_lock(self, run, documents, lock, tmp_path):
        done = run("lock", "-f", documents, "--rewrite", "-o", tmp_path / "images.yml")
        assert (done.code, done.out[:6]) == (0, "# one\n")
        assert (tmp_path / "images.yml").read_text() == lock

    def test_takes_the_images_of_a_lock(self, run, documents, image, digest, tmp_path, monkeypatch):
        run("lock", "-f", documents, "-o", tmp_path / "images.yml")
        text = (tmp_path / "images.yml").read_text().replace(f"image: {image}@", "image: inside.example/b/c@")
        (tmp_path / "images.yml").write_text(text)
        # Whatever would be sent cannot get anywhere.
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        done = run("lock", "-f", documents / "pod.yml", "--rewrite", "--images-lock", tmp_path / "images.yml")
        assert (done.code, done.err) == (0, "")
        assert done.out == (documents / "pod.yml").read_text().replace(
            f"{image}:latest", f"inside.example/b/c@{digest}"
        )

    def test_loads_nothing_that_talks_to_a_registry(self, program, documents, lock, tmp_path):
        (tmp_path / "images.yml").write_text(lock)
        words = ("lock", "-f", documents, "--rewrite", "--images-lock", tmp_path / "images.yml")
        done = program(*words, environ={"PYTHONVERBOSE": "1"})
        assert done.code == 0
        assert "imgpkg.bundle.kubernetes" in done.err
        for name in ("imgpkg.session", "imgpkg.auth.docker", "ssl"):
            assert f"import '{name}'" not in done.err

    def test_keeps_line_ends_and_the_mark_of_utf_8(self, run, image, digest, tmp_path):
        path = tmp_path / "pod.yml"
        path.write_bytes(b"\xef\xbb\xbfa: \xc3\xa9\r\nimage: " + f"{image}:latest\r\n".encode())
        done = run("lock", "-f", path, "--rewrite")
        assert done.out.encode() == path.read_bytes().replace(b":latest", f"@{digest}".encode())

    def test_reports_in_json(self, run, documents, image, digest, lock, tmp_path):
        value = json.loads(run("lock", "-f", documents / "pod.yml", "--rewrite", "--json").out)
        assert [one["text"] for one in value["documents"]] == [
            f"# one\nspec:\n  containers:\n  - image: {image}@{digest}  # two\n"
        ]
        assert [one["image"] for one in value["images"]] == [f"{image}@{digest}"]
        assert (value["skipped"], value["removed"]) == ([], [])
        (tmp_path / "images.yml").write_text(lock)
        words = ("--rewrite", "--images-lock", tmp_path / "images.yml", "--json")
        value = json.loads(run("lock", "-f", documents, *words).out)
        assert sorted(value) == ["documents", "images", "skipped"]


class TestWhatIsNoReference:
    def test_is_a_warning(self, run, documents, lock):
        (documents / "more.yml").write_text("image: '{{ .Values.image }}'\n")
        done = run("lock", "-f", documents)
        assert (done.code, done.out) == (0, lock)
        assert done.err == (
            f"imgpkg: warning: {documents}/more.yml:1:9: '{{{{ .Values.image }}}}' is a template; skipped\n"
        )

    @pytest.mark.parametrize("words", [[], ["--rewrite"]])
    def test_is_an_error_with_strict(self, refused, documents, words):
        (documents / "more.yml").write_text("image: '{{ .Values.image }}'\nother: {image: ''}\n")
        text = refused("lock", "-f", documents, "--strict", *words)
        assert text.split("\n")[:3] == [
            "2 image references cannot be used",
            f"  {documents}/more.yml:1:9: '{{{{ .Values.image }}}}' is a template",
            f"  {documents}/more.yml:2:16: '' is empty",
        ]

    def test_may_be_excluded(self, run, documents, lock):
        (documents / "more.yml").write_text("- image: '{{ .Values.image }}'\n- image: auto\n")
        assert run("lock", "-f", documents, "--strict", "--exclude", "auto", "--exclude", "*{{*").out == lock


def test_further_places_are_named_by_paths(run, image, lock):
    text = f"spec:\n  env:\n  - {{name: RELATED_IMAGE_A, value: '{image}:latest'}}\n"
    words = ("--path", "spec.env[name=RELATED_IMAGE_*].value")
    assert run("lock", "-f", "-", *words, stdin=text).out == lock
    assert "images:" not in run("lock", "-f", "-", stdin=text).out


def test_all_that_is_not_resolved_is_named(refused, documents, image):
    (documents / "more.yml").write_text(f"- image: {image}:nosuch\n- image: {image}:never\n")
    first, *lines = refused("lock", "-f", documents).split("\n")
    assert first == "2 of 3 image references were not resolved"
    assert f"  {image}:never ({documents}/more.yml:2:10)" in lines
    assert f"  {image}:nosuch ({documents}/more.yml:1:10)" in lines


def test_the_error_begins_with_the_credential_that_was_refused(
    refused, documents, embedded_login, monkeypatch
):
    for key, value in {"HOSTNAME": embedded_login.address, "USERNAME": "me", "PASSWORD": "wrong"}.items():
        monkeypatch.setenv(f"IMGPKG_REGISTRY_{key}_0", value)
    name = f"{embedded_login.address}/private/app:v1"
    (documents / "more.yml").write_text(f"image: {name}\n")
    text = refused("lock", "-f", documents)
    first, second, *lines = text.split("\n")
    assert embedded_login.address in first
    assert "refused" in first
    assert second.startswith("hint: ")
    assert lines[0] == "  1 of 2 image references were not resolved"
    assert lines[1] == f"  {name} ({documents}/more.yml:1:8)"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Expected --file or --image"),
        (["--rewrite", "-i", "a/b"], "Expected --file with --rewrite: there is nothing to rewrite"),
        (["-f", "x", "--images-lock", "y"], "Expected --rewrite with --images-lock"),
        (
            ["-f", "x", "--rewrite", "--images-lock", "y", "-i", "a/b"],
            "Expected neither --image nor --output",
        ),
        (["-f", "x", "--rewrite", "--images-lock", "y", "-o", "z"], "Expected neither --image nor --output"),
        (["-f", "x", "--rewrite", "-o", "-"], "Expected a file for --output with --rewrite"),
        (
            ["-f", "-", "--registry-username", "u", "--registry-password-stdin"],
            "Expected only one of --file - and --registry-password-stdin",
        ),
        (["-i", "a/b", "--concurrency", "0"], "Expected --concurrency to be >= 1, but was 0"),
        (["-f", "nosuch"], "stat nosuch: no such file or directory"),
        (["-f", "-", "--path", "a..b"], "'a..b' is no path of a document"),
        (["-f", "-", "--rewrite", "--images-lock", "nosuch"], "Reading path nosuch"),
        (["-i", "UPPER"], "could not parse reference:"),
    ],
)
def test_what_cannot_work_is_refused(refused, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refused("lock", *words).startswith(said)


class TestPushOfABundle:
    @pytest.fixture
    def bundle(self, tmp_path, monkeypatch):
        """Write an images.yml; return the folder, relative to the working directory."""
        monkeypatch.chdir(tmp_path)

        def written(images, header="apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n"):
            (tmp_path / "bundle/.imgpkg").mkdir(parents=True)
            (tmp_path / "bundle/.imgpkg/images.yml").write_text(header + images)
            return "bundle"

        return written

    @pytest.mark.parametrize(
        ("images", "places"),
        [
            ("images: [{image: nginx:1.27}]", ["3:18: "]),
            ("images:\n- image: nginx:1.27\n- {}\n- image: a/b\n", ["4:10: ", "5:3: ", "6:10: "]),
            ("images:\n- image: nginx:1.27\n  note: x\n", ["5:9: "]),
            ("images: {}\n", ["3:9: "]),
            ("image: x\n", ["3:8: "]),
            ("a: b: c\n", ["3:5: "]),
            ("kind: ImagesLock\n", ["3: "]),
        ],
    )
    def test_warns_of_a_lock_that_cannot_be_used(self, run, refused, bundle, repository, images, places):
        words = ("push", "-b", repository, "-f", bundle(images))
        done = run(*words)
        assert (done.code, done.out) == (0, "")
        lines = done.err.splitlines()
        assert [
            line.startswith(f"imgpkg: warning: bundle/.imgpkg/images.yml:{place}")
            for place, line in zip(places, lines, strict=True)
        ] == [True] * len(places)
        assert all("; the bundle can be pushed, and not be pulled or copied" in line for line in lines)
        # An entry without any reference is nothing that could be resolved.
        assert [line.endswith("; imgpkg lock resolves it") for line in lines] == [
            "got '" in line and "got ''" not in line for line in lines
        ]
        assert "images.yml" in refused("pull", "-b", repository, "-o", "out")
        text = refused(*words, "--strict")
        assert text.split("\n")[0] == "bundle/.imgpkg/images.yml cannot be used later"
        assert [f"  bundle/.imgpkg/images.yml:{place}" in text for place in places] == [True] * len(places)
        assert ("hint: imgpkg lock resolves tags to digests" in text) == ("got 'nginx" in text)

    def test_sends_nothing_with_strict(self, refused, bundle, repository, embedded_registry):
        before = len(embedded_registry.requests)
        text = refused("push", "--strict", "-b", repository, "-f", bundle("images: [{image: nginx:1}]"))
        assert "imgpkg lock resolves tags to digests" in text
        assert len(embedded_registry.requests) == before

    def test_warns_of_another_kind(self, run, bundle, repository):
        done = run("push", "-b", repository, "-f", bundle("", "apiVersion: v1\nkind: Pod\n"))
        assert "images.yml:2:7: Validating images lock: Validating apiVersion" in done.err
        assert done.code == 0

    def test_warns_of_two_digests_for_one_reference(self, run, refused, bundle, repository):
        entries = "".join(
            f"- image: a/b@sha256:{digit * 64}\n  annotations: {{{ID_ANNOTATION}: a/b:1}}\n"
            for digit in "112"
        )
        words = ("push", "-b", repository, "-f", bundle(f"images:\n{entries}"))
        assert run(*words).err == (
            "imgpkg: warning: bundle/.imgpkg/images.yml:8:10: there are two digests for 'a/b:1'\n"
        )
        assert "there are two digests" in refused(*words, "--strict")

    def test_says_nothing_of_a_good_one(self, run, bundle, repository, lock):
        done = run("push", "--strict", "-b", repository, "-f", bundle(lock, ""))
        assert (done.code, done.err) == (0, "")

    def test_does_not_look_at_it_for_an_image(self, run, repository, tmp_path):
        (tmp_path / "x").mkdir()
        (tmp_path / "x/images.yml").write_text("a: b: c")
        assert run("push", "--strict", "-i", repository, "-f", tmp_path / "x").code == 0


def test_the_tags_of_a_lock_are_resolved_in_its_place(run, image, digest, tmp_path):
    path = tmp_path / "images.yml"
    path.write_text(f"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n- image: {image}\n")
    assert run("lock", "-f", path, "-o", path).code == 0
    (locked,) = ImagesLock.from_path(path).images
    assert str(locked.reference) == f"{image}@{digest}"
