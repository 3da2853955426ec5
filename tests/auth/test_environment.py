"""Sets of `IMGPKG_REGISTRY_*` variables: reading, matching, mistakes."""

from __future__ import annotations

import pytest

from imgpkg.auth.environment import EnvironmentSource, read_sets
from imgpkg.auth.keychain import Credential, Keychain, Outcome
from imgpkg.errors import CredentialError
from imgpkg.oci.reference import Repository


def look_up(environ, repository):
    warnings = []
    finding = EnvironmentSource(environ, warnings.append).lookup(Repository.parse(repository))
    return finding, warnings


def two_sets(first, second, *, suffixes=("1", "2")):
    environ = {}
    for pattern, suffix, user in zip((first, second), suffixes, ("first", "second"), strict=True):
        tail = f"_{suffix}" if suffix is not None else ""
        environ[f"IMGPKG_REGISTRY_HOSTNAME{tail}"] = pattern
        environ[f"IMGPKG_REGISTRY_USERNAME{tail}"] = user
        environ[f"IMGPKG_REGISTRY_PASSWORD{tail}"] = f"{user}-secret"
    return environ


@pytest.mark.parametrize("suffix", ["", "_0", "_a_b-c.d", "_", "__", "_HOSTNAME"])
def test_any_suffix_makes_a_set_of_its_own(suffix):
    environ = {
        f"IMGPKG_REGISTRY_HOSTNAME{suffix}": "gcr.io",
        f"IMGPKG_REGISTRY_USERNAME{suffix}": "u",
        f"IMGPKG_REGISTRY_PASSWORD{suffix}": "a=b:c d",
    }
    finding, _ = look_up(environ, "gcr.io/p/i")
    assert finding.credential == Credential("u", "a=b:c d")
    assert finding.origin == f"IMGPKG_REGISTRY_HOSTNAME{suffix}=gcr.io"


def test_an_empty_suffix_is_warned_about():
    _, warnings = look_up({"IMGPKG_REGISTRY_HOSTNAME_": "gcr.io"}, "gcr.io/p/i")
    assert warnings == [
        (
            "the suffix of IMGPKG_REGISTRY_HOSTNAME_ is empty: it is a set of its own, "
            "apart from the one without suffix"
        )
    ]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("IMGPKG_REGISTRY_USERNAMEX", "Did you mean IMGPKG_REGISTRY_USERNAME instead"),
        ("IMGPKG_REGISTRY_HOSTNAME-1", "Did you mean IMGPKG_REGISTRY_HOSTNAME_1 instead"),
        ("IMGPKG_REGISTRY_PASSWRD_0", "Did you mean IMGPKG_REGISTRY_PASSWORD_0 instead"),
        (
            "IMGPKG_REGISTRY_TOKEN_0",
            "Did you mean IMGPKG_REGISTRY_IDENTITY_TOKEN_0 or IMGPKG_REGISTRY_REGISTRY_TOKEN_0 instead",
        ),
        ("IMGPKG_REGISTRY_hostname", "Did you mean IMGPKG_REGISTRY_HOSTNAME instead"),
        ("IMGPKG_REGISTRY_FOO", "is none of IMGPKG_REGISTRY_HOSTNAME, "),
        ("IMGPKG_REGISTRY_", "is none of IMGPKG_REGISTRY_HOSTNAME, "),
        ("IMGPKG_REGISTRY_AZURE_CR_CONFIG_1", "is none of"),
    ],
)
def test_an_unknown_name_is_an_error_that_suggests_the_closest_kind(name, hint):
    with pytest.raises(CredentialError) as caught:
        look_up({name: "hunter2"}, "gcr.io/p/i")
    assert str(caught.value) == f"Unknown env variable '{name}'"
    assert hint in caught.value.hints[0]
    assert "hunter2" not in " ".join((str(caught.value), *caught.value.hints))


def test_all_unknown_names_are_reported_at_once_also_beside_good_ones():
    environ = {
        "IMGPKG_REGISTRY_HOSTNAME": "gcr.io",
        "IMGPKG_REGISTRY_FOO": "",
        "IMGPKG_REGISTRY_USERNAM_1": "",
    }
    with pytest.raises(CredentialError) as caught:
        look_up(environ, "gcr.io/p/i")
    assert str(caught.value) == "Unknown env variable 'IMGPKG_REGISTRY_FOO', 'IMGPKG_REGISTRY_USERNAM_1'"
    assert len(caught.value.hints) == 2


@pytest.mark.parametrize(
    "name", ["IMGPKG_REGISTRY_AZURE_CR_CONFIG", "imgpkg_registry_foo", "IMGPKG_REGISTRYX", "IMGPKG_USERNAME"]
)
def test_names_that_are_none_of_our_business_are_left_alone(name):
    finding, warnings = look_up({name: "x"}, "gcr.io/p/i")
    assert (finding.outcome, finding.detail) == (
        Outcome.NO_MATCH,
        "no IMGPKG_REGISTRY_HOSTNAME variable is set",
    )
    assert warnings == []


def test_the_error_is_remembered_and_reads_the_same_each_time():
    chain = Keychain([EnvironmentSource({"IMGPKG_REGISTRY_FOO": ""}, print)])
    texts = set()
    for _ in range(3):
        with pytest.raises(CredentialError) as caught:
            chain.resolve(Repository.parse("gcr.io/p/i"))
        texts.add(str(caught.value))
    assert texts == {
        "Unable retrieve credentials for registry: Unknown env variable 'IMGPKG_REGISTRY_FOO'",
    }


def test_every_bad_hostname_is_named_and_no_value_shown():
    environ = {
        "IMGPKG_REGISTRY_HOSTNAME": "localhost:hunter2",
        "IMGPKG_REGISTRY_HOSTNAME_a": "https://me:hunter2@gcr.io",
        "IMGPKG_REGISTRY_HOSTNAME_b": "quay.io",
    }
    with pytest.raises(CredentialError) as caught:
        look_up(environ, "quay.io/p/i")
    text = str(caught.value)
    assert text.startswith("Parsing registry hostname: IMGPKG_REGISTRY_HOSTNAME: the port")
    assert "; IMGPKG_REGISTRY_HOSTNAME_a: a login belongs" in text
    assert text.endswith("(e.g. gcr.io, index.docker.io)")
    assert "hunter2" not in text
    assert "HOSTNAME_b" not in text


@pytest.mark.parametrize("hostname", ["a..b", "gcr.io,quay.io", "x" * 64 + ".example", "bü*.example"])
def test_a_set_whose_host_there_cannot_be_is_warned_about_and_harms_no_other(hostname):
    environ = {
        "IMGPKG_REGISTRY_HOSTNAME_x": hostname,
        "IMGPKG_REGISTRY_USERNAME_x": "somebody",
        "IMGPKG_REGISTRY_PASSWORD_x": "hunter2",
        "IMGPKG_REGISTRY_HOSTNAME_y": "quay.io",
        "IMGPKG_REGISTRY_USERNAME_y": "me",
        "IMGPKG_REGISTRY_PASSWORD_y": "s3cret",
    }
    warnings = []
    source = EnvironmentSource(environ, warnings.append)
    assert source.lookup(Repository.parse("quay.io/p/i")).credential.username == "me"
    other = source.lookup(Repository.parse("host.io/p/i"))
    assert other.outcome is Outcome.NO_MATCH
    assert "IMGPKG_REGISTRY_HOSTNAME_x: no host can be called so: " in other.detail
    (warning,) = warnings
    assert warning.startswith("IMGPKG_REGISTRY_HOSTNAME_x: no host can be called so: ")
    assert warning.endswith("; the set matches nothing")
    assert "hunter2" not in warning + other.detail


@pytest.mark.parametrize("repository", ["bücher.example/p/i", "xn--bcher-kva.example/p/i"])
def test_a_set_in_letters_of_the_world_is_for_the_registry_that_dns_knows(repository):
    environ = {
        "IMGPKG_REGISTRY_HOSTNAME_x": "bücher.example",
        "IMGPKG_REGISTRY_USERNAME_x": "me",
        "IMGPKG_REGISTRY_PASSWORD_x": "s3cret",
    }
    source = EnvironmentSource(environ, pytest.fail)
    assert source.lookup(Repository.parse(repository)).credential.username == "me"
    assert source.lookup(Repository.parse("quay.io/p/i")).outcome is Outcome.NO_MATCH


def test_nothing_is_parsed_before_the_first_lookup_and_the_variables_are_read_once():
    class Counting(dict):
        reads = 0

        def items(self):
            self.reads += 1
            return super().items()

    environ = Counting(two_sets("gcr.io", "gcr.io"))
    warnings = []
    source = EnvironmentSource(environ, warnings.append)
    assert environ.reads == 0
    for repository in ("gcr.io/a", "gcr.io/b", "quay.io/cc"):
        source.lookup(Repository.parse(f"{repository}/x"))
    assert environ.reads == 1
    assert len(warnings) == 1


@pytest.mark.parametrize(
    ("first", "second", "repository", "winner"),
    [
        ("host.io", "host.io/foo", "host.io/foo/bar", "second"),
        ("host.io/foo", "host.io/foo/bar", "host.io/foo/bar", "second"),
        ("*.gcr.io/p/i", "us.gcr.io", "us.gcr.io/p/i", "second"),
        ("gcr*.io", "gcr.io", "gcr.io/p/i", "second"),
        ("r[0-9].io", "r1.io", "r1.io/p/i", "second"),
        ("l*:5000", "*ocalhost:5000", "localhost:5000/p/i", "second"),
        ("*.docker.io", "foo.docker.io", "foo.docker.io/image", "second"),
        ("*.io", "*.io", "gcr.io/p/i", "first"),
        ("docker.io", "index.docker.io", "ubuntu", "second"),
        ("docker.io/library/ubuntu", "*.docker.io", "ubuntu", "first"),
        ("*.docker.io", "docker.io", "ubuntu", "second"),
        ("index.docker.io", "docker.io/team", "team/app", "second"),
        ("docker.io/library", "docker.io/ubuntu", "ubuntu", "second"),
        ("index.docker.io/library", "registry-1.docker.io/ubuntu", "ubuntu", "second"),
        ("docker.io", "docker.io/ubuntu", "ubuntu", "second"),
        ("docker.io", "registry-1.docker.io", "ubuntu", "first"),
    ],
)
def test_the_more_specific_set_wins(first, second, repository, winner):
    finding, _ = look_up(two_sets(first, second), repository)
    assert finding.credential.username == winner


@pytest.mark.parametrize(
    ("suffixes", "winner", "loser"),
    [
        (("b", "a"), "_a", "_b"),
        (("a", None), "", "_a"),
        (("10", "9"), "_10", "_9"),
        (("a", "A"), "_A", "_a"),
        (("", None), "", "_"),
    ],
)
def test_of_two_sets_for_one_place_the_first_suffix_wins_and_the_other_is_named(suffixes, winner, loser):
    finding, warnings = look_up(two_sets("gcr.io/p", "https://GCR.io/p/", suffixes=suffixes), "gcr.io/p/i")
    assert finding.origin.partition("=")[0] == f"IMGPKG_REGISTRY_HOSTNAME{winner}"
    assert f"IMGPKG_REGISTRY_HOSTNAME{loser}=" in finding.detail
    assert "names the same place and is not used" in finding.detail
    assert warnings[-1] == (
        f"IMGPKG_REGISTRY_HOSTNAME{winner} and IMGPKG_REGISTRY_HOSTNAME{loser} name the same place with "
        f"different credentials; IMGPKG_REGISTRY_HOSTNAME{winner} is used"
    )


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ("docker.io", "index.docker.io", 2),
        ("https://index.docker.io/v1/", "docker.io", 1),
        ("docker.io/team", "registry-1.docker.io/team", 1),
    ],
)
def test_two_names_of_docker_hub_are_one_place_to_warn_about(first, second, winner):
    finding, warnings = look_up(two_sets(first, second), "team/app")
    chosen, other = (f"IMGPKG_REGISTRY_HOSTNAME_{suffix}" for suffix in (winner, 3 - winner))
    assert finding.origin.startswith(f"{chosen}=")
    assert warnings == [
        f"{chosen} and {other} name the same place with different credentials; {chosen} is used"
    ]


def test_two_sets_with_the_same_credential_are_no_reason_to_warn():
    environ = {**two_sets("gcr.io", "gcr.io"), "IMGPKG_REGISTRY_USERNAME_2": "first"}
    environ["IMGPKG_REGISTRY_PASSWORD_2"] = environ["IMGPKG_REGISTRY_PASSWORD_1"]
    assert look_up(environ, "gcr.io/p/i")[1] == []


@pytest.mark.parametrize(
    "host", ["docker.io", "registry-1.docker.io", "index.docker.io", "https://docker.io/v2/"]
)
@pytest.mark.parametrize(
    "image", ["ubuntu", "docker.io/library/ubuntu", "registry-1.docker.io/library/ubuntu"]
)
def test_docker_hub_is_found_by_each_of_its_names(host, image):
    finding, _ = look_up({"IMGPKG_REGISTRY_HOSTNAME": host}, image)
    assert finding.outcome is Outcome.MATCHED


@pytest.mark.parametrize("host", ["docker.io", "registry-1.docker.io", "index.docker.io"])
@pytest.mark.parametrize("path", ["ubuntu", "library/ubuntu"])
def test_a_path_on_docker_hub_may_leave_out_library(host, path):
    assert look_up({"IMGPKG_REGISTRY_HOSTNAME": f"{host}/{path}"}, "ubuntu")[0].credential is not None
    assert look_up({"IMGPKG_REGISTRY_HOSTNAME": f"{host}/{path}"}, "debian")[0].credential is None


def test_a_match_by_another_name_of_docker_hub_is_called_one():
    assert (
        "another name of Docker Hub" in look_up({"IMGPKG_REGISTRY_HOSTNAME": "docker.io"}, "ubuntu")[0].detail
    )


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"USERNAME": "u", "PASSWORD": "p", "IDENTITY_TOKEN": "i", "REGISTRY_TOKEN": "r"}, "registry token"),
        ({"USERNAME": "u", "PASSWORD": "p", "IDENTITY_TOKEN": "i"}, "identity token"),
        ({"USERNAME": "u", "PASSWORD": "p", "REGISTRY_TOKEN": "r"}, "registry token"),
        ({"IDENTITY_TOKEN": "i", "REGISTRY_TOKEN": "r"}, "registry token"),
        ({"REGISTRY_TOKEN": "r"}, "registry token"),
        ({"USERNAME": "u", "IDENTITY_TOKEN": "i"}, "identity token"),
        ({"IDENTITY_TOKEN": "i"}, "identity token"),
        ({"USERNAME": "u", "PASSWORD": "p"}, "login"),
        ({"USERNAME": "u"}, "nothing"),
        ({"PASSWORD": "p"}, "nothing"),
        ({}, "nothing"),
    ],
)
def test_a_set_becomes_the_credential_of_the_table(values, kind):
    environ = {f"IMGPKG_REGISTRY_{name}_0": value for name, value in values.items()}
    finding, warnings = look_up({"IMGPKG_REGISTRY_HOSTNAME_0": "gcr.io", **environ}, "gcr.io/p/i")
    assert finding.outcome is Outcome.MATCHED
    assert bool(warnings) == (kind == "nothing" and bool(values))
    assert finding.credential.kind == kind
    assert ("anonymous" if kind == "nothing" else kind) in finding.detail


@pytest.mark.parametrize(("there", "missing"), [("USERNAME", "PASSWORD"), ("PASSWORD", "USERNAME")])
def test_half_a_set_is_anonymous_and_warned_about_by_name(there, missing):
    environ = {"IMGPKG_REGISTRY_HOSTNAME_0": "gcr.io", f"IMGPKG_REGISTRY_{there}_0": "hunter2"}
    finding, warnings = look_up(environ, "gcr.io/p/i")
    assert finding.credential.is_anonymous
    assert f"there is no IMGPKG_REGISTRY_{missing}_0, so the access is anonymous" in finding.detail
    assert warnings == [
        (
            f"IMGPKG_REGISTRY_{there}_0 is set without IMGPKG_REGISTRY_{missing}_0: the registry of "
            "IMGPKG_REGISTRY_HOSTNAME_0 is accessed anonymously"
        )
    ]


@pytest.mark.parametrize(
    "hostname", [{}, {"IMGPKG_REGISTRY_HOSTNAME": ""}, {"IMGPKG_REGISTRY_HOSTNAME": " "}]
)
def test_a_set_without_hostname_matches_nothing_and_is_warned_about(hostname):
    environ = {"IMGPKG_REGISTRY_USERNAME": "u", "IMGPKG_REGISTRY_PASSWORD": "hunter2", **hostname}
    finding, warnings = look_up(environ, "gcr.io/p/i")
    assert finding.credential is None
    assert warnings == [
        (
            "IMGPKG_REGISTRY_USERNAME, IMGPKG_REGISTRY_PASSWORD: there is no IMGPKG_REGISTRY_HOSTNAME, so "
            "this set is ignored; for all registries use IMGPKG_USERNAME/IMGPKG_PASSWORD"
        )
    ]


def test_a_set_without_hostname_is_in_the_trail_of_a_miss():
    environ = {"IMGPKG_REGISTRY_HOSTNAME_1": "quay.io", "IMGPKG_REGISTRY_PASSWORD_2": "hunter2"}
    assert look_up(environ, "gcr.io/p/i")[0].detail == (
        "IMGPKG_REGISTRY_HOSTNAME_1=quay.io: another host; "
        "IMGPKG_REGISTRY_PASSWORD_2: there is no IMGPKG_REGISTRY_HOSTNAME_2, so this set is ignored"
    )


def test_a_set_of_empty_variables_is_ignored_in_silence():
    assert (
        look_up(dict.fromkeys(("IMGPKG_REGISTRY_HOSTNAME", "IMGPKG_REGISTRY_USERNAME"), ""), "a.io/b/c")[1]
        == []
    )


@pytest.mark.parametrize("kind", ["USERNAME", "PASSWORD", "IDENTITY_TOKEN", "REGISTRY_TOKEN"])
def test_a_secret_that_ends_in_a_newline_is_sent_as_it_is_and_warned_about(kind):
    environ = {f"IMGPKG_REGISTRY_{name}": "x" for name in ("USERNAME", "PASSWORD")}
    environ |= {"IMGPKG_REGISTRY_HOSTNAME": "gcr.io", f"IMGPKG_REGISTRY_{kind}": "hunter2\n"}
    finding, warnings = look_up(environ, "gcr.io/p/i")
    assert "hunter2\n" in (finding.credential.username, *finding.credential.secrets())
    assert warnings == [f"IMGPKG_REGISTRY_{kind} ends in a newline, which is sent as a part of it"]


def test_a_miss_shows_which_patterns_were_looked_at_and_why_they_did_not_match():
    environ = {
        "IMGPKG_REGISTRY_HOSTNAME": "gcr.io/team",
        "IMGPKG_REGISTRY_HOSTNAME_1": "gcr.io:5000",
        "IMGPKG_REGISTRY_HOSTNAME_2": "quay.io",
    }
    finding, _ = look_up(environ, "gcr.io/teammate/x")
    assert finding.outcome is Outcome.NO_MATCH
    assert finding.detail == (
        "IMGPKG_REGISTRY_HOSTNAME=gcr.io/team: 'teammate/x' is not below 'team', compared by whole segments; "
        "IMGPKG_REGISTRY_HOSTNAME_1=gcr.io:5000: its port is 5000, not 443; "
        "IMGPKG_REGISTRY_HOSTNAME_2=quay.io: another host"
    )


def test_the_sets_that_were_less_specific_are_named():
    finding, _ = look_up(two_sets("gcr.io", "gcr.io/team"), "gcr.io/team/x")
    assert finding.detail == (
        "matches gcr.io/team/x; gives the login; IMGPKG_REGISTRY_HOSTNAME_1=gcr.io is less specific"
    )


@pytest.mark.parametrize(
    ("first", "second", "repository", "reason"),
    [
        ("*a.io", "a*.io", "aa.io/p/i", "_2=a*.io is as specific and comes later by its suffix"),
        ("docker.io", "registry-1.docker.io", "ubuntu", "_2=registry-1.docker.io names the same place"),
        ("docker.io", "*.docker.io", "ubuntu", "_2=*.docker.io is less specific"),
        ("gcr.io", "gcr.io/p/x", "gcr.io/p/i", "_2=gcr.io/p/x: 'p/i' is not below 'p/x', compared by whole"),
        ("gcr.io", "gcr.io:5000", "gcr.io/p/i", "_2=gcr.io:5000: its port is 5000, not 443"),
    ],
)
def test_a_set_that_nearly_won_is_named_with_the_reason_why_it_did_not(first, second, repository, reason):
    finding, _ = look_up(two_sets(first, second), repository)
    assert finding.credential.username == "first"
    assert reason in finding.detail


def test_a_set_for_a_far_away_host_is_not_worth_a_word_beside_a_winner():
    assert "quay.io" not in look_up(two_sets("gcr.io", "quay.io"), "gcr.io/p/i")[0].detail


@pytest.mark.parametrize(
    ("hostname", "image", "reason"),
    [
        ("docker.io/team", "ubuntu", "'library/ubuntu' is not below 'team', compared by whole segments"),
        ("registry-1.docker.io:5000", "team/app", "its port is 5000, not 443"),
        ("quay.io", "ubuntu", "another host"),
    ],
)
def test_a_miss_on_docker_hub_takes_its_names_for_one(hostname, image, reason):
    finding, _ = look_up({"IMGPKG_REGISTRY_HOSTNAME": hostname}, image)
    assert finding.detail == f"IMGPKG_REGISTRY_HOSTNAME={hostname}: {reason}"


def test_no_secret_is_in_any_representation_of_the_sets():
    sets = read_sets({**two_sets("gcr.io", "quay.io"), "IMGPKG_REGISTRY_REGISTRY_TOKEN_1": "first-secret"})
    assert "secret" not in repr(sets)


def test_many_sets_for_one_place_are_each_compared_with_the_one_that_is_used():
    environ = two_sets("gcr.io", "gcr.io", suffixes=("a", "b"))
    environ |= {"IMGPKG_REGISTRY_HOSTNAME_c": "gcr.io", "IMGPKG_REGISTRY_USERNAME_c": "third"}
    _, warnings = look_up(environ, "gcr.io/p/i")
    told = [text for text in warnings if "same place" in text]
    assert [text.partition(" name the same")[0] for text in told] == [
        "IMGPKG_REGISTRY_HOSTNAME_a and IMGPKG_REGISTRY_HOSTNAME_b",
        "IMGPKG_REGISTRY_HOSTNAME_a and IMGPKG_REGISTRY_HOSTNAME_c",
    ]


def test_a_port_of_many_digits_is_none():
    with pytest.raises(CredentialError, match="the port is not a number up to 65535"):
        look_up({"IMGPKG_REGISTRY_HOSTNAME": f"gcr.io:{'1' * 5000}"}, "gcr.io/p/i")


def test_a_very_long_name_is_distinguished_from_the_known_ones():
    with pytest.raises(CredentialError) as caught:
        look_up({f"IMGPKG_REGISTRY_{'a_' * 5000}": "x"}, "gcr.io/p/i")
    assert "is none of IMGPKG_REGISTRY_HOSTNAME" in caught.value.hints[0]
