"""Files in the form of registries.conf: which are read, their content, and their mistakes."""

from __future__ import annotations

import pytest

from imgpkg.errors import InvalidSettings
from imgpkg.registry.mirrors import Mirror, PullFrom, Rule
from imgpkg.registry.registriesconf import conf_files, find_mirrors, read_mirrors

BOTH = """
[[registry]]
location = "a.b"
mirror-by-digest-only = true
mirror = [{location = "m", pull-from-mirror = "all"}]
"""


@pytest.fixture
def rules(tmp_path):
    """Return the rules of this text, without the name of their file."""

    def read(text):
        path = tmp_path / "registries.conf"
        path.write_text(text)
        found = read_mirrors([str(path)]).rules
        assert {rule.path for rule in found} <= {str(path)}
        return [(r.prefix, r.location, r.insecure, r.blocked, r.mirrors) for r in found]

    return read


def refusal(tmp_path, text):
    path = tmp_path / "registries.conf"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidSettings) as caught:
        read_mirrors([str(path)])
    return str(caught.value).removeprefix(f"Reading {path}: ")


class TestRules:
    def test_a_registry_with_mirrors(self, rules):
        text = """
            unqualified-search-registries = ["docker.io"]
            [[registry]]
            prefix = "r.example/team/"
            location = "inside.example/team"
            insecure = true
            [[registry.mirror]]
            location = "m.example/team"
            [[registry.mirror]]
            location = "n.example:5000"
            insecure = true
            pull-from-mirror = "tag-only"
        """
        mirrors = (
            Mirror("m.example/team"),
            Mirror("n.example:5000", insecure=True, pull_from=PullFrom.TAG_ONLY),
        )
        assert rules(text) == [("r.example/team", "inside.example/team", True, False, mirrors)]

    @pytest.mark.parametrize(
        ("text", "prefix", "location"),
        [
            ('location = "r.example"', "r.example", "r.example"),
            ('prefix = "r.example"', "r.example", "r.example"),
            ('prefix = "*.example.com"', "*.example.com", ""),
            ('prefix = "*.example.com"\nlocation = "m.example"', "*.example.com", "m.example"),
        ],
    )
    def test_prefix_and_location_stand_for_each_other(self, rules, text, prefix, location):
        assert rules(f"[[registry]]\n{text}") == [(prefix, location, False, False, ())]

    def test_by_digest_only_is_reported_once_for_all_mirrors(self, rules):
        text = """
            [[registry]]
            location = "r.example"
            mirror-by-digest-only = true
            mirror = [{location = "m.example"}]
        """
        assert rules(text)[0][4] == (Mirror("m.example", pull_from=PullFrom.DIGEST_ONLY),)

    def test_the_older_form(self, rules):
        text = """
            [registries.search]
            registries = ["docker.io"]
            [registries.insecure]
            registries = ["r.example", "s.example/"]
            [registries.block]
            registries = ["s.example"]
        """
        assert rules(text) == [
            ("r.example", "r.example", True, False, ()),
            ("s.example", "s.example", True, True, ()),
        ]

    def test_an_empty_file(self, rules):
        assert rules("") == []

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("[[registry]", "it is no TOML: "),
            (b"\xff", "it is no TOML: "),
            ("registry = 1", "'registry' is no list of tables: write [[registry]]"),
            ("registry = [1]", "'registry' is no list of tables: write [[registry]]"),
            ("[[registry]]\ninsecure = true", "a [[registry]] has neither a prefix nor a location"),
            ('[[registry]]\nlocation = ["a"]', "'location' is no text"),
            ('[[registry]]\nlocation = "https://a.b"', "location 'https://a.b': leave out the scheme"),
            ('[[registry]]\nlocation = "a.b"\nblocked = "yes"', "'blocked' is neither true nor false"),
            ('[[registry]]\nprefix = "a.*.b"', "the prefix 'a.*.b': a wildcard is only *. before a host"),
            ('[[registry]]\nprefix = "*.b/c"', "the prefix '*.b/c': a wildcard is only *. before a host"),
            ('[[registry]]\nprefix = "*"', "the prefix '*': a wildcard is only *. before a host"),
            (
                '[[registry]]\nlocation = "a.b"\npull-from-mirror = "all"',
                "the [[registry]] 'a.b': pull-from-mirror is for mirrors alone",
            ),
            (
                '[[registry]]\nlocation = "a.b"\nmirror = [{insecure = true}]',
                "a [[registry.mirror]] has no location",
            ),
            (
                '[[registry]]\nlocation = "a.b"\nmirror = [{location = "m", pull-from-mirror = "x"}]',
                "mirror 'm': pull-from-mirror is none of 'all', 'digest-only', 'tag-only'",
            ),
            (
                BOTH,
                "mirror 'm' has pull-from-mirror beside mirror-by-digest-only",
            ),
            (
                '[[registry]]\nlocation = "a.b"\n[registries.search]\nregistries = []',
                "[[registry]] and the older [registries.…] exclude each other",
            ),
            ("[registries.block]\nregistries = 1", "[registries.block] has no list `registries` of names"),
            ("[registries]\nblock = 1", "[registries.block] has no list `registries` of names"),
            ("#" * (1 << 20) + "#", "it is larger than 1 MiB"),
        ],
    )
    def test_a_mistake_is_reported_with_the_name_of_the_file(self, tmp_path, text, reason):
        assert refusal(tmp_path, text).startswith(reason)

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(InvalidSettings) as caught:
            read_mirrors([f"{tmp_path}/absent.conf"])
        assert str(caught.value) == f"Reading {tmp_path}/absent.conf: no such file or directory"


class TestFiles:
    @pytest.fixture
    def home(self, tmp_path):
        """A home folder with the user's file, a drop-in and what is none."""
        folder = tmp_path / ".config/containers"
        (folder / "registries.conf.d").mkdir(parents=True)
        (folder / "registries.conf").touch()
        for name in ("b.conf", "a.conf", "notes.txt", ".hidden.conf"):
            (folder / "registries.conf.d" / name).touch()
        return tmp_path

    def test_nothing_is_read_that_was_not_named(self, home):
        assert conf_files(None, {"HOME": str(home)}) == ()
        assert conf_files("", {"HOME": str(home), "CONTAINERS_REGISTRIES_CONF": "x"}) == ()

    def test_a_named_file_is_read_alone(self, home):
        environ = {"HOME": str(home), "CONTAINERS_REGISTRIES_CONF": "x"}
        assert conf_files("mine.conf", environ) == ("mine.conf",)
        assert conf_files(None, {**environ, "IMGPKG_REGISTRIES_CONF": "mine.conf"}) == ("mine.conf",)

    @pytest.mark.parametrize("name", ["CONTAINERS_REGISTRIES_CONF", "REGISTRIES_CONFIG_PATH"])
    @pytest.mark.parametrize("chosen", [None, "auto"])
    def test_a_variable_of_podman_names_the_main_file(self, home, name, chosen):
        folder = f"{home}/.config/containers/registries.conf.d"
        found = conf_files(chosen, {"HOME": str(home), name: "x.conf"})
        assert (found[0], found[-2:]) == ("x.conf", (f"{folder}/a.conf", f"{folder}/b.conf"))

    def test_the_places_of_podman_begin_with_the_user_s_file(self, home):
        main = f"{home}/.config/containers/registries.conf"
        assert conf_files("auto", {"HOME": str(home)}) == (main, f"{main}.d/a.conf", f"{main}.d/b.conf")

    def test_without_the_user_s_file_the_system_s_come_first(self, home):
        main = home / ".config/containers/registries.conf"
        main.unlink()
        found = conf_files("auto", {"HOME": str(home)})
        assert found[-2:] == (f"{main}.d/a.conf", f"{main}.d/b.conf")
        assert all(path.startswith("/etc/containers/") for path in found[:-2])
        assert all(path.startswith("/etc/containers/") for path in conf_files("auto", {}))

    def test_a_later_rule_replaces_an_earlier_one_of_the_same_prefix_as_a_whole(self, home):
        folder = home / ".config/containers/registries.conf.d"
        (folder / "a.conf").write_text('[[registry]]\nlocation = "r.example"\nblocked = true\n')
        (folder / "b.conf").write_text('[[registry]]\nlocation = "r.example"\ninsecure = true\n')
        (rule,) = find_mirrors("auto", {"HOME": str(home)}).rules
        assert rule == Rule("r.example", "r.example", insecure=True, path=str(folder / "b.conf"))
