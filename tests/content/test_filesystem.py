"""The files of an image: the topmost layer that names a path decides, and no layer below it is fetched."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.content.tars import file, folder, layer, link, tar
from tests.properties.test_unpack import changes, layer_tar, overlay

from imgpkg.content.filesystem import FileKind, Filesystem
from imgpkg.content.layer_files import LayerFiles
from imgpkg.errors import NotInImage, UnpackError, UsageError

HARD = tarfile.LNKTYPE
MADE = []


@pytest.fixture(autouse=True)
def _closed():
    """Close all images of a test."""
    yield
    while MADE:
        MADE.pop().close()


class Image(Filesystem):
    """A file system of these tars, base to top; `fetched` numbers the layers from the base."""

    def __init__(self, *tars):
        layers = [layer(data) for data in tars]
        self.fetched = []

        def fetch(descriptor, allowance):
            number = next(n for n, (found, _) in enumerate(layers) if found is descriptor)
            self.fetched.append(number)
            return LayerFiles(layers[number][1], descriptor, allowance)

        super().__init__([descriptor for descriptor, _ in layers], fetch)
        MADE.append(self)

    def text(self, path):
        with self.open(path) as stream:
            return stream.read().decode()

    def paths(self):
        return [found.path for found in self.walk()]


def image(*layers):
    return Image(*(tar(*members) for members in layers))


class TestOneFile:
    def test_is_that_of_the_topmost_layer_and_no_other_is_fetched(self):
        found = image([file("etc/a", b"old")], [file("etc/a", b"new")], [file("other", b"")])
        assert found.text("etc/a") == found.text("/etc//./a") == "new"
        assert found.fetched == [2, 1]

    @pytest.mark.parametrize(
        "upper",
        [
            [file("etc/.wh.a")],
            [file(".wh.etc")],
            [folder("etc"), file("etc/.wh..wh..opq")],
            [file(".wh..wh..opq")],
            [file("etc")],
            [file(".wh.etc"), folder("etc"), file("etc/b")],
        ],
    )
    def test_that_an_upper_layer_removes_is_gone_and_no_lower_one_is_fetched(self, upper):
        found = image([file("etc/a", b"x")], upper)
        with pytest.raises(NotInImage, match="'etc/a' is not in the image"):
            found.open("etc/a")
        assert found.fetched == [1]

    def test_that_a_layer_removes_and_makes_again_is_there(self):
        found = image([file("a/b", b"old"), file("a/c")], [file("a/.wh.b"), file("a/b", b"new")])
        assert (found.text("a/b"), found.text("a/c")) == ("new", "")
        again = image([file("a/b", b"old")], [file("a/.wh..wh..opq"), file("a/b", b"new")])
        assert again.text("a/b") == "new"

    @pytest.mark.parametrize(
        ("path", "kind"), [("d", "directory"), ("implied", "directory"), ("/", "directory"), ("p", "fifo")]
    )
    def test_is_a_file(self, path, kind):
        found = image([folder("d"), file("implied/x"), file("p", type=tarfile.FIFOTYPE)])
        with pytest.raises(UsageError, match=f"is a {kind} in the image, and not a file"):
            found.open(path)

    @pytest.mark.parametrize("path", ["a/b", "a/b/c", "nosuch", "a/", "../a/b"])
    def test_is_nothing_below_a_file(self, path):
        found = image([file("a", b"x")])
        if path == "a/":
            assert found.text(path) == "x"
        else:
            with pytest.raises(NotInImage):
                found.open(path)

    def test_of_an_image_without_layers_is_nowhere(self):
        for path in ("/", "a"):
            with pytest.raises(NotInImage):
                image().find(path)

    def test_is_described(self):
        member = file("bin/a", b"12345", mode=0o4755, uid=7, gid=8, mtime=1.5)
        found = image([member]).find("bin/a")
        assert (found.path, found.kind, found.size, found.target) == ("bin/a", FileKind.FILE, 5, "")
        assert (found.mode, found.uid, found.gid, found.modified_ns) == (0o4755, 7, 8, 1_500_000_000)

    def test_may_have_any_name(self):
        found = image([file("\udcff\\x2d", b"odd", pax_headers={})])
        assert found.paths() == ["\udcff\\x2d"]
        assert found.text("\udcff\\x2d") == "odd"


class TestASymbolicLink:
    @pytest.mark.parametrize(
        "target", ["../usr/lib/os", "/usr/lib/os", "./../../../usr//lib/os", "../usr/bin/../lib/os"]
    )
    def test_is_followed_inside_of_the_image(self, target):
        found = image([folder("usr/bin"), file("usr/lib/os", b"it"), link("etc/os", target)])
        assert found.text("etc/os") == "it"
        assert found.find("etc/os").path == "usr/lib/os"
        assert found.find("etc/os", follow=False).target == target

    def test_of_a_directory_is_followed_too(self):
        lower = [link("lib", "usr/lib"), file("usr/lib/x", b"x"), link("usr/lib/here", ".")]
        found = image(lower, [file("other")])
        assert found.text("lib/x") == found.text("lib/here/here/x") == "x"
        # The directory before `..` is where the link leads.
        assert found.text("lib/../lib/x") == "x"
        with pytest.raises(NotInImage):
            found.open("lib/../nosuch")

    def test_that_a_directory_has_replaced_is_not_followed(self):
        found = image([link("d", "e"), file("e/x", b"x")], [folder("d"), file("d/y", b"y")])
        assert found.text("d/y") == "y"
        with pytest.raises(NotInImage):
            found.open("d/x")

    def test_that_has_files_below_it_in_an_upper_layer_is_a_directory_there(self):
        """overlayfs merges directories by their names, and hides what is none below a directory."""
        found = image([link("lib", "usr/lib"), file("usr/lib/x", b"x")], [file("lib/new", b"new")])
        assert found.text("lib/new") == "new"
        assert found.find("lib", follow=False).kind is FileKind.DIRECTORY
        assert found.paths() == ["lib/new", "usr/lib/x"]
        for path in ("lib/x", "usr/lib/new"):
            with pytest.raises(NotInImage):
                found.open(path)

    @pytest.mark.parametrize("upper", [[folder("d"), file("d/new")], [file("d/new")]])
    @pytest.mark.parametrize("middle", [link("d", "e"), file("d")])
    def test_or_a_file_behind_a_directory_still_hides_the_directory_behind_it(self, upper, middle):
        found = image([file("d/old"), file("e/old")], [middle], upper)
        assert [path for path in found.paths() if path != "d"] == ["d/new", "e/old"]
        assert found.find("d").kind is FileKind.DIRECTORY
        with pytest.raises(NotInImage):
            found.open("d/old")

    def test_leads_the_later_entries_of_its_layer_to_where_it_leads(self):
        found = image(
            [file("usr/lib/gone"), file("usr/lib/kept", b"kept")],
            [
                link("a/lib", "../usr/./lib"),
                link("usr/lib/up", "/a/lib"),
                file("a/lib/up/new", b"new"),
                file("a/lib/.wh.gone"),
                link("hard", "a/lib/new", tarfile.LNKTYPE),
            ],
        )
        assert found.paths() == ["a/lib", "usr/lib/up", "usr/lib/new", "hard", "usr/lib/kept"]
        assert {found.text(path) for path in ("a/lib/new", "usr/lib/new", "hard")} == {"new"}
        assert found.text("a/lib/kept") == "kept"
        with found.open("a/lib/new") as stream:
            assert stream.name == "usr/lib/new"

    def test_replaces_what_its_layer_had_there_before(self):
        found = image([file("lib/old"), link("lib", "usr"), file("lib/b")])
        assert found.paths() == ["lib", "usr/b"]

    def test_that_its_layer_has_replaced_with_a_directory_leads_nowhere(self):
        found = image([link("lib", "usr"), folder("lib"), file("lib/a")])
        assert found.paths() == ["lib", "lib/a"]

    @pytest.mark.parametrize("target", ["a", "/a", "b/../a", "x/" * 600])
    def test_that_leads_to_itself_or_too_far_has_no_entries_of_its_layer(self, target):
        with pytest.raises(UnpackError, match="too many links or directories"):
            image([link("a", target), file("a/x")]).paths()

    def test_leads_to_what_upper_layers_have(self):
        found = image([file("t", b"old"), link("l", "t")], [file("t", b"new")])
        assert found.text("l") == "new"

    @pytest.mark.parametrize(
        "members",
        [
            [link("a", "a")],
            [link("a", "b"), link("b", "/a")],
            [link("a", "a/x")],
            [link("a", "nosuch")],
            [link("a", "f/../f"), file("f")],
            [link("a", "d/../a"), folder("d")],
            [link("a", "b/" + "x" * 4000), link("b", "y" * 4000)],
        ],
    )
    def test_that_leads_nowhere_ends(self, members):
        found = image(members)
        with pytest.raises(NotInImage, match=r"^'a' (is not in|leads)"):
            found.open("a")
        assert found.find("a", follow=False).kind is FileKind.SYMLINK

    def test_may_be_the_fortieth_and_not_the_next(self):
        links = [link(f"{n}", f"{n + 1}") for n in range(41)]
        found = image([*links, file("41", b"end")])
        assert found.text("1") == "end"
        with pytest.raises(NotInImage, match="too many links"):
            found.open("0")


class TestAHardLink:
    def test_has_the_content_of_the_other_name(self):
        found = image([file("a", b"both"), link("b", "./a", HARD), link("c", "b", HARD)])
        assert (found.text("b"), found.text("c")) == ("both", "both")
        assert [(each.path, each.size, each.target) for each in found.walk()] == [
            ("a", 4, ""),
            ("b", 4, "a"),
            ("c", 4, "b"),
        ]

    def test_keeps_it_when_an_upper_layer_replaces_that_name(self):
        found = image([file("a", b"old"), link("b", "a", HARD)], [file("a", b"new")])
        assert (found.text("a"), found.text("b")) == ("new", "old")

    def test_may_be_of_a_lower_layer(self):
        found = image([file("a", b"below")], [link("b", "a", HARD)])
        assert found.text("b") == "below"

    @pytest.mark.parametrize("members", [[link("b", "nosuch", HARD)], [link("b", "b", HARD)]])
    def test_of_nothing_is_an_error_when_it_is_opened(self, members):
        found = image(members)
        assert [each.size for each in found.walk()] == [0]
        with pytest.raises(NotInImage, match=r"^'b' (is a hard link to|leads through)"):
            found.open("b")

    def test_of_what_is_no_file_is_none(self):
        found = image([link("s", "x"), link("b", "s", HARD)])
        with pytest.raises(UsageError, match="'b' is a symlink"):
            found.open("b")


class TestAllFiles:
    def test_come_from_the_topmost_layer_on_and_each_once(self):
        found = image(
            [folder("d"), file("d/a"), file("d/b"), file("gone/x"), link("l", "d"), file("f")],
            [folder("d"), file("d/a"), file(".wh.gone"), file("l/c"), file("f/x")],
        )
        walk = found.walk()
        assert [next(walk).path for _ in range(4)] == ["d", "d/a", "l/c", "f/x"]
        assert found.fetched == [1]
        assert [each.path for each in walk] == ["d/b"]

    def test_of_a_layer_are_let_go_before_the_next_one(self):
        found = image([file("a", b"a")], [file("b", b"b")])
        walk = found.contents()
        for text in (b"b", b"a"):
            with next(walk)[1]() as content:
                assert content.read() == text
        with pytest.raises(ValueError, match="closed"):
            found.open("b")
        assert list(walk) == []

    def test_below_a_layer_that_hides_all_are_not_looked_for(self):
        found = image([file("a")], [file(".wh..wh..opq"), file("b")], [file("c")])
        assert found.paths() == ["c", "b"]
        assert [each.path for each, _ in found.contents()] == ["c", "b"]
        assert found.fetched == [2, 1]

    @given(st.lists(changes, max_size=4))
    def test_are_those_that_the_image_specification_says(self, layers):
        """OCI layer.md: whiteout files MUST only apply to resources in lower/parent layers."""
        expected = overlay(layers)
        assume(expected is not None)
        found = Image(*(layer_tar(each, number) for number, each in enumerate(layers)))
        wanted = {"/".join(path): data.decode() for path, data in expected.items()}
        assert {path: found.text(path) for path in found.paths()} == wanted
        for path in {"/".join(path) for each in layers for path, _ in each} - wanted.keys():
            with pytest.raises((NotInImage, UsageError)):
                found.open(path)
        found.close()
