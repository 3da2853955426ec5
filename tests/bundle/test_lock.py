"""Lock files: how they are read and written, and every error in the words of the original."""

from __future__ import annotations

import pytest

from imgpkg.bundle.lock import BundleLock, ImagesLock, LockedImage, read_lock
from imgpkg.errors import InvalidLock, LocalIOError
from imgpkg.oci.reference import Reference, Repository

H, J = "a" * 64, "b" * 64
ONE, TWO = f"localhost:5000/app/one@sha256:{H}", f"localhost:5000/app/two@sha256:{J}"
HEAD = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: {}\n"
IMAGES, BUNDLE = HEAD.format("ImagesLock"), HEAD.format("BundleLock")
CONVERTING = "error converting YAML to JSON: yaml: "
DECODING = "error unmarshaling JSON: while decoding JSON: json: "


def images_lock(text):
    return ImagesLock.parse(text.encode(), "images.yml")


def bundle_lock(text):
    return BundleLock.parse(text.encode(), "lock.yml")


def refusal(parse, text):
    with pytest.raises(InvalidLock) as caught:
        parse(text)
    return str(caught.value)


def notes(lock):
    return [(str(image.reference), dict(image.annotations)) for image in lock.images]


class TestAnImagesLock:
    def test_names_images_in_the_order_of_the_file(self):
        text = f"{IMAGES}images:\n- image: {TWO}\n  annotations: {{k: v}}\n- image: {ONE}\n- image: {TWO}\n"
        assert notes(images_lock(text)) == [(TWO, {"k": "v"}), (ONE, {}), (TWO, {})]

    @pytest.mark.parametrize(
        ("written", "canonical"),
        [
            (f"nginx@sha256:{H}", f"index.docker.io/library/nginx@sha256:{H}"),
            (f"localhost:5000/ab:v1@sha256:{H}", f"localhost:5000/ab@sha256:{H}"),
        ],
    )
    def test_has_canonical_references(self, written, canonical):
        lock = images_lock(f"{IMAGES}images:\n- image: {written}\n")
        assert notes(lock) == [(canonical, {})]
        assert str(lock.images[0].digest) == f"sha256:{H}"

    @pytest.mark.parametrize("more", ["", "images:\n", "images: []\n", "images: null\n"])
    def test_may_name_nothing(self, more):
        assert images_lock(IMAGES + more) == ImagesLock()

    def test_is_read_as_leniently_as_by_the_original(self):
        """Names of fields match in any case, scalars become strings, and only the first document counts."""
        text = (
            "--- \nAPIVERSION: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nImages:\n"
            f"- IMAGE: {ONE}\n"
            "  annotations: {a: yes, b: 1.10, c: 0x10, d: ~, e: 2001-1-1, 1: 1e20, n: .inf}\n"
            "---\n[\n"
        )
        assert notes(images_lock(text)) == [
            (
                ONE,
                {
                    "a": "true",
                    "b": "1.1",
                    "c": "16",
                    "d": "",
                    "e": "2001-1-1",
                    "1": "1e+20",
                    "false": "+Inf",
                },
            )
        ]

    def test_lets_the_last_spelling_of_a_field_in_order_win(self):
        text = f"{IMAGES}Kind: Other\nimages:\n- image: {ONE}\n"
        assert notes(images_lock(text)) == [(ONE, {})]

    def test_is_written_in_its_normal_form(self):
        lock = images_lock(
            f"# gone\nkind: ImagesLock\nimages:\n  - image: {TWO}\n"
            "    annotations: {b: 'yes', a10: x, a9: ''}\n"
            f"  - {{image: {ONE}, annotations: {{}}}}\napiVersion: imgpkg.carvel.dev/v1alpha1\n"
        )
        assert lock.to_bytes().decode() == (
            "---\n"
            "apiVersion: imgpkg.carvel.dev/v1alpha1\n"
            "images:\n"
            "- annotations:\n"
            '    a9: ""\n'
            "    a10: x\n"
            '    b: "yes"\n'
            f"  image: {TWO}\n"
            f"- image: {ONE}\n"
            "kind: ImagesLock\n"
        )
        assert images_lock(lock.to_bytes().decode()) == lock

    def test_that_names_nothing_is_written_without_images(self):
        text = b"---\napiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n"
        assert ImagesLock().to_bytes() == text

    def test_moves_to_another_repository_with_its_annotations(self):
        lock = images_lock(f"{IMAGES}images:\n- image: {ONE}\n  annotations: {{k: v}}\n- image: {ONE}\n")
        moved = lock.relocated(Repository.parse("gcr.io/here/it"))
        here = f"gcr.io/here/it@sha256:{H}"
        assert notes(moved) == [(here, {"k": "v"}), (here, {})]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a: b: c", f"{CONVERTING}mapping values are not allowed in this context"),
            ("x: y\na: b: c", f"{CONVERTING}line 2: mapping values are not allowed in this context"),
            (
                "kind: a\n\nkind: b",
                f'{CONVERTING}unmarshal errors:\n  line 3: key "kind" already set in map',
            ),
            ("foo", f"{DECODING}cannot unmarshal string into Go value of type lockconfig.ImagesLock"),
            ("5", f"{DECODING}cannot unmarshal number into Go value of type lockconfig.ImagesLock"),
            ("yes", f"{DECODING}cannot unmarshal bool into Go value of type lockconfig.ImagesLock"),
            ("<<", f"{DECODING}cannot unmarshal string into Go value of type lockconfig.ImagesLock"),
            ("[]", f"{DECODING}cannot unmarshal array into Go value of type lockconfig.ImagesLock"),
            (f'{IMAGES}foo: 1\n"b\\"r": 2', f'{DECODING}unknown field "b\\"r"'),
            ("images: [{foo: 1}]", f'{DECODING}unknown field "foo"'),
            (
                "images: foo",
                (
                    f"{DECODING}cannot unmarshal string into Go struct field ImagesLock.images "
                    "of type []lockconfig.ImageRef"
                ),
            ),
            (
                "images: {}",
                (
                    f"{DECODING}cannot unmarshal object into Go struct field ImagesLock.images "
                    "of type []lockconfig.ImageRef"
                ),
            ),
            (
                "images: [foo]",
                (
                    f"{DECODING}cannot unmarshal string into Go struct field ImagesLock.images "
                    "of type lockconfig.ImageRef"
                ),
            ),
            (
                "images: [{image: []}]",
                f"{DECODING}cannot unmarshal array into Go struct field ImageRef.images.image of type string",
            ),
            (
                "images: [{annotations: foo}]",
                (
                    f"{DECODING}cannot unmarshal string into Go struct field ImageRef.images.annotations "
                    "of type map[string]string"
                ),
            ),
            (
                "images: [{annotations: {a: [b]}}]",
                (
                    f"{DECODING}cannot unmarshal array into Go struct field ImageRef.images.annotations "
                    "of type string"
                ),
            ),
            (
                "kind: {}",
                f"{DECODING}cannot unmarshal object into Go struct field ImagesLock.kind of type string",
            ),
        ],
    )
    def test_that_does_not_fit_is_refused(self, text, message):
        assert refusal(images_lock, text) == f"Unmarshaling images lock: {message}"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "Validating apiVersion: Unknown version (known: imgpkg.carvel.dev/v1alpha1)"),
            (
                "apiVersion: v2\nkind: x",
                "Validating apiVersion: Unknown version (known: imgpkg.carvel.dev/v1alpha1)",
            ),
            (BUNDLE, "Validating kind: Unknown kind (known: ImagesLock)"),
            (
                "apiVersion: imgpkg.carvel.dev/v1alpha1",
                "Validating kind: Unknown kind (known: ImagesLock)",
            ),
            (f"{IMAGES}images: [{{image: nginx}}]", "Expected ref to be in digest form, got 'nginx'"),
            (f"{IMAGES}images: [{{}}]", "Expected ref to be in digest form, got ''"),
            (f"{IMAGES}images: [~]", "Expected ref to be in digest form, got ''"),
            (f"{IMAGES}images: [{{image: ~}}]", "Expected ref to be in digest form, got ''"),
        ],
    )
    def test_that_breaks_its_rules_is_refused(self, text, message):
        assert refusal(images_lock, text) == f"Validating images lock: {message}"

    def test_says_where_and_why(self):
        with pytest.raises(InvalidLock) as caught:
            images_lock(f"{IMAGES}images:\n- image: {ONE}\n- image: nginx@sha256:abc\n")
        assert caught.value.hints == (
            "invalid checksum digest length: sha256:abc.",
            "Look at line 5 of images.yml.",
        )
        with pytest.raises(InvalidLock) as caught:
            images_lock(f"{IMAGES}image: {ONE}\n")
        assert caught.value.hints == (
            "Look at line 3 of images.yml.",
            "Known here: apiVersion, kind, images.",
        )
        with pytest.raises(InvalidLock) as caught:
            images_lock(BUNDLE)
        assert caught.value.hints == (
            "It has apiVersion 'imgpkg.carvel.dev/v1alpha1' and kind 'BundleLock'.",
            "Look at line 2 of images.yml.",
        )


class TestABundleLock:
    @pytest.mark.parametrize(("more", "tag"), [("", ""), ("  tag: v1\n", "v1"), ("  tag: 1.10\n", "1.1")])
    def test_names_a_bundle(self, more, tag):
        lock = bundle_lock(f"{BUNDLE}bundle:\n  image: {ONE}\n{more}")
        assert (str(lock.reference), lock.tag, lock.text) == (ONE, tag, ONE)

    def test_remembers_the_reference_as_given(self):
        text = f"ab:v1@sha256:{H}"
        lock = bundle_lock(f"{BUNDLE}bundle: {{image: '{text}'}}")
        assert str(lock.reference) == f"index.docker.io/library/ab@sha256:{H}"
        assert lock.text == text

    @pytest.mark.parametrize(("tag", "line"), [("latest", "  tag: latest\n"), ("", "")])
    def test_is_written_in_its_normal_form(self, tag, line):
        lock = BundleLock(Reference.parse(ONE), tag)
        text = (
            f"---\napiVersion: imgpkg.carvel.dev/v1alpha1\nbundle:\n  image: {ONE}\n{line}kind: BundleLock\n"
        )
        assert lock.to_bytes().decode() == text
        assert bundle_lock(text) == lock

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("foo", "cannot unmarshal string into Go value of type lockconfig.BundleLock"),
            ("[]", "cannot unmarshal array into Go value of type lockconfig.BundleLock"),
            ("images: []", 'unknown field "images"'),
            (
                "bundle: []",
                "cannot unmarshal array into Go struct field BundleLock.bundle of type lockconfig.BundleRef",
            ),
            ("bundle: {foo: a}", 'unknown field "foo"'),
            (
                "bundle: {tag: {}}",
                "cannot unmarshal object into Go struct field BundleRef.bundle.tag of type string",
            ),
        ],
    )
    def test_that_does_not_fit_is_refused(self, text, message):
        assert refusal(bundle_lock, text) == f"Unmarshaling bundle lock: {DECODING}{message}"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "kind: BundleLock",
                "Validating apiVersion: Unknown version (known: imgpkg.carvel.dev/v1alpha1)",
            ),
            (IMAGES, "Validating kind: Unknown kind (known: BundleLock)"),
            (BUNDLE, "Expected ref to be in digest form, got ''"),
            (f"{BUNDLE}bundle:", "Expected ref to be in digest form, got ''"),
            (f"{BUNDLE}bundle: {{image: 'a b'}}", "Expected ref to be in digest form, got 'a b'"),
        ],
    )
    def test_that_breaks_its_rules_is_refused(self, text, message):
        assert refusal(bundle_lock, text) == f"Validating bundle lock: {message}"

    def test_with_a_syntax_error_is_refused(self):
        message = "mapping values are not allowed in this context"
        assert refusal(bundle_lock, "a: b: c") == f"Unmarshaling bundle lock: {CONVERTING}{message}"


class TestAValue:
    @pytest.mark.parametrize("make", [LockedImage, BundleLock])
    def test_names_a_digest(self, make):
        message = "Expected ref to be in digest form, got 'index.docker.io/library/ab:latest'"
        assert refusal(make, Reference.parse("ab")) == message

    def test_can_be_a_member_of_a_set(self):
        assert len({LockedImage(Reference.parse(ONE)), LockedImage(Reference.parse(ONE))}) == 1


class TestAFile:
    @pytest.mark.parametrize("kind", [ImagesLock, BundleLock])
    def test_that_is_not_there_is_named(self, tmp_path, kind):
        path = tmp_path / "none.yml"
        with pytest.raises(LocalIOError) as caught:
            kind.from_path(path)
        assert str(caught.value) == f"Reading path {path}: open {path}: no such file or directory"

    def test_may_be_named_otherwise_in_errors(self, tmp_path):
        path = tmp_path / "images.yml"
        with pytest.raises(LocalIOError) as caught:
            ImagesLock.from_path(path, shown="out/images.yml")
        assert (
            str(caught.value) == "Reading path out/images.yml: open out/images.yml: no such file or directory"
        )
        path.write_text("images: foo")
        with pytest.raises(InvalidLock) as caught:
            ImagesLock.from_path(path, shown="out/images.yml")
        assert caught.value.hints == ("Look at line 1 of out/images.yml.",)

    def test_is_written_and_read_again(self, tmp_path):
        path = tmp_path / "x.yml"
        for lock in (
            ImagesLock((LockedImage(Reference.parse(ONE)),)),
            BundleLock(Reference.parse(ONE), "v1"),
        ):
            lock.write(path)
            assert type(lock).from_path(str(path)) == lock
            assert read_lock(path) == lock

    @pytest.mark.parametrize(
        ("lock", "what"),
        [
            (ImagesLock(), "Writing images config"),
            (BundleLock(Reference.parse(ONE)), "Writing bundle config"),
        ],
    )
    def test_that_cannot_be_written_is_named(self, tmp_path, lock, what):
        path = tmp_path / "nodir" / "x.yml"
        with pytest.raises(LocalIOError) as caught:
            lock.write(path)
        assert str(caught.value) == f"{what}: open {path}: no such file or directory"


class TestALockOfEitherKind:
    def test_that_is_not_there_is_named(self):
        with pytest.raises(LocalIOError) as caught:
            read_lock("nowhere.yml")
        assert str(caught.value) == "Reading path nowhere.yml: open nowhere.yml: no such file or directory"

    def test_that_is_neither_fails_as_an_images_lock(self, tmp_path):
        """The original shows only the error of the ImagesLock; that of the BundleLock is a hint."""
        path = tmp_path / "x.yml"
        path.write_text(f"{BUNDLE}bundle:\n  image: nginx\n")
        with pytest.raises(InvalidLock) as caught:
            read_lock(path)
        assert str(caught.value) == f'Unmarshaling images lock: {DECODING}unknown field "bundle"'
        assert caught.value.hints[-1] == (
            "It is no bundle lock either: Validating bundle lock: "
            "Expected ref to be in digest form, got 'nginx'."
        )

    def test_that_is_no_yaml_fails_as_an_images_lock(self, tmp_path):
        path = tmp_path / "x.yml"
        path.write_text("a: b: c")
        message = f"Unmarshaling images lock: {CONVERTING}mapping values are not allowed in this context"
        assert refusal(read_lock, path) == message
