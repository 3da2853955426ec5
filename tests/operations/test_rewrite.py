"""Documents with the digests of an images lock."""

from __future__ import annotations

import pickle

import pytest

import imgpkg
from imgpkg import errors
from imgpkg.bundle.lock import ID_ANNOTATION
from imgpkg.operations.rewrite import joined

DIGESTS = [imgpkg.Digest.of(bytes([n])) for n in range(3)]


def locked(*entries):
    """Return a lock of (reference, text of the annotation)."""
    return imgpkg.ImagesLock(
        tuple(
            imgpkg.LockedImage(imgpkg.Reference.parse(image), {ID_ANNOTATION: text} if text else {})
            for image, text in entries
        )
    )


@pytest.fixture
def warned():
    return []


@pytest.fixture
def rewrite(warned):
    def rewritten(text, lock, **options):
        file = imgpkg.DocumentFile("some.yml", text.encode())
        result = imgpkg.rewrite_images([file], lock, on_event=warned.append, **options)
        (written,) = result.files
        return written.data.decode(), result

    return rewritten


INSIDE = f"inside.example/apps/bundle@{DIGESTS[0]}"


@pytest.mark.parametrize(
    ("written", "entry", "after"),
    [
        ("nginx:1", (f"nginx@{DIGESTS[0]}", "nginx:1"), f"nginx@{DIGESTS[0]}"),
        ("nginx:1", (INSIDE, "nginx:1"), INSIDE),
        ("docker.io/library/nginx:1", (INSIDE, "nginx:1"), INSIDE),
        ("nginx", (INSIDE, "nginx:latest"), INSIDE),
        (f"nginx@{DIGESTS[0]}", (INSIDE, ""), INSIDE),
        (f"nginx:1@{DIGESTS[0]}", (INSIDE, "nginx:1"), INSIDE),
        (f"nginx:1@{DIGESTS[0]}", (f"nginx@{DIGESTS[0]}", ""), f"nginx:1@{DIGESTS[0]}"),
        (f"nginx:1@{DIGESTS[1]}", (INSIDE, f"nginx:1@{DIGESTS[1]}"), INSIDE),
        (INSIDE, (INSIDE, "nginx:1"), INSIDE),
    ],
)
def test_a_reference_is_found_by_its_text_or_its_digest(rewrite, warned, written, entry, after):
    text, result = rewrite(f"a: b # c\nimage: {written}\n", locked(entry))
    assert text == f"a: b # c\nimage: {after}\n"
    (image,) = result.images
    assert (image.text, image.reference) == (written, imgpkg.Reference.parse(entry[0]))
    assert [str(place) for place in image.places] == ["some.yml:2:8"]
    assert (warned, result.skipped) == ([], ())


def test_of_several_repositories_with_a_digest_the_own_one_is_taken(rewrite):
    one, two = (f"r.example/a/{name}@{DIGESTS[0]}" for name in ("one", "two"))
    assert rewrite(f"image: {two}", locked((one, ""), (two, "")))[0] == f"image: {two}"
    assert rewrite(f"image: x.example/b/c@{DIGESTS[0]}", locked((one, ""), (two, "")))[0] == f"image: {one}"


class TestWhatIsNotInTheLock:
    TEXT = "- image: nginx:1\n- image: r.example/a/b:2\n- image: '{{ x }}'\n"

    def test_stays_and_is_reported(self, rewrite, warned):
        text, result = rewrite(self.TEXT, locked((INSIDE, "nginx:1")))
        assert text == self.TEXT.replace("nginx:1", INSIDE)
        assert [event.text for event in warned] == [
            "some.yml:3:11: '{{ x }}' is a template; skipped",
            "some.yml:2:10: 'r.example/a/b:2' is not in the images lock; skipped",
        ]
        assert [one.text for one in result.skipped] == ["{{ x }}", "r.example/a/b:2"]
        assert pickle.loads(pickle.dumps(result)) == result

    def test_is_an_error_when_that_is_asked_for(self, rewrite):
        with pytest.raises(errors.InvalidDocument, match=r"some\.yml:2:10: 'r\.example/a/b:2' is not in"):
            rewrite(self.TEXT, locked((INSIDE, "nginx:1")), strict=True, exclude=["*{{*"])


def test_two_digests_of_one_reference_are_an_error(rewrite):
    lock = locked((f"a/b@{DIGESTS[0]}", "a/b:1"), (f"a/b@{DIGESTS[1]}", "a/b:1"))
    with pytest.raises(errors.InvalidLock, match="two digests for 'a/b:1'"):
        rewrite("image: a/b:1", lock)
    # The same twice is none.
    twice = locked(
        (f"a/b@{DIGESTS[0]}", "a/b:1"), (f"a/c@{DIGESTS[0]}", "a/b:1"), (f"a/c@{DIGESTS[0]}", "no reference")
    )
    assert rewrite("image: a/b:1", twice)[0] == f"image: a/b@{DIGESTS[0]}"


def test_a_template_that_is_no_yaml_stays(rewrite):
    text = "{{- if x }}\nimage: nginx:1\n{{- end }}\n"
    assert rewrite(text, locked((INSIDE, "nginx:1")))[0] == text


@pytest.mark.parametrize(
    ("texts", "after"),
    [
        ([b"\xef\xbb\xbfa: b"], b"\xef\xbb\xbfa: b"),
        ([b"a: b"], b"a: b"),
        ([b"a: b", b"---\nc: d\n", b"e: f\n"], b"a: b\n---\nc: d\n---\ne: f\n"),
        ([b"a: b\n", b"\xef\xbb\xbf# c\n", "d: é".encode("utf-16")], "a: b\n---\n# c\n---\nd: é\n".encode()),
        ([b"a: b\n", b"%YAML 1.1\n---\nc: d\n"], b"a: b\n...\n%YAML 1.1\n---\nc: d\n"),
        ([b"", b"a: b"], b"a: b\n"),
        ([], b""),
    ],
)
def test_several_files_are_one_stream_of_documents(texts, after):
    assert joined([imgpkg.DocumentFile("x", text) for text in texts]) == after


def test_lists_of_objects_are_read_from_files_and_folders(write_tree):
    root = write_tree({"a.yml": "image: nginx:1", "b/c.json": '{"image": "nginx:1"}'})
    result = imgpkg.rewrite_images([root], locked((INSIDE, "nginx:1")))
    assert [file.data.decode() for file in result.files] == [f"image: {INSIDE}", f'{{"image": "{INSIDE}"}}']
    assert (root / "a.yml").read_text() == "image: nginx:1"
