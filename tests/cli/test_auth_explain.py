"""`auth explain`: which credential, and why, without a request to the registry."""

from __future__ import annotations

import json
import re

import pytest

REPOSITORY = "registry.example.com/team/app"


def test_the_winner_comes_first_and_then_each_source(run, monkeypatch):
    monkeypatch.setenv("IMGPKG_REGISTRY_HOSTNAME_0", "registry.example.com/team")
    monkeypatch.setenv("IMGPKG_REGISTRY_USERNAME_0", "robot")
    monkeypatch.setenv("IMGPKG_REGISTRY_PASSWORD_0", "s3cret")
    done = run("auth", "explain", REPOSITORY)
    first, *trail = done.out.splitlines()
    variable = "IMGPKG_REGISTRY_HOSTNAME_0=registry.example.com/team"
    assert first == f"credential for {REPOSITORY} from environment: {variable} (user 'robot')"
    assert re.fullmatch(r"  fingerprint: [a-z2-7]{8}", trail[0])
    assert trail[1].startswith("  environment: matched: ")
    assert (done.code, done.err) == (0, "")


def test_nothing_found_is_no_error(run):
    done = run("auth", "explain", REPOSITORY)
    first, *trail = done.out.splitlines()
    assert first == f"no credential found for {REPOSITORY}; requests are anonymous"
    assert [line.split(":")[0] for line in trail[:3]] == ["  environment", "  flags", "  docker config"]
    assert trail[3:] == [
        "what would help:",
        (
            "  To log in: imgpkg auth login registry.example.com, or set IMGPKG_REGISTRY_HOSTNAME_0="
            "registry.example.com with IMGPKG_REGISTRY_USERNAME_0 and IMGPKG_REGISTRY_PASSWORD_0."
        ),
    ]
    assert done.code == 0


@pytest.mark.parametrize("part", ["", ":v1", f"@sha256:{'0' * 64}"])
def test_tag_and_digest_do_not_matter(run, part):
    assert run("auth", "explain", REPOSITORY + part).out == run("auth", "explain", REPOSITORY).out


def test_flags_count(run):
    words = ["--registry-username", "me", "--registry-password", "s3cret"]
    done = run("auth", "explain", REPOSITORY, *words)
    assert done.out.startswith(f"credential for {REPOSITORY} from flags: --registry-username, ")
    assert "s3cret" not in done.out


def test_people_see_the_end(run):
    assert run("auth", "explain", REPOSITORY, "--tty").out.endswith("\n\nSucceeded\n")


def test_programs_get_a_document(run, monkeypatch):
    monkeypatch.setenv("IMGPKG_TOKEN", "s3cret")
    document = json.loads(run("auth", "explain", REPOSITORY, "--json").out)
    assert document["repository"] == REPOSITORY
    assert document["source"] == "flags"
    assert document["origin"] == "$IMGPKG_TOKEN"
    assert [finding["source"] for finding in document["trail"]] == ["environment", "flags"]
    assert set(document["trail"][0]) == {"source", "outcome", "detail"}
    assert "s3cret" not in json.dumps(document)


def test_the_document_of_nothing_found_has_no_source(run):
    document = json.loads(run("auth", "explain", REPOSITORY, "--json").out)
    assert (document["source"], document["origin"]) == (None, None)
    assert document["credential"]["username"] is None


def test_nothing_is_asked_of_the_registry(run, embedded_login):
    before = len(embedded_login.requests)
    assert run("auth", "explain", f"{embedded_login.address}/team/app").code == 0
    assert len(embedded_login.requests) == before


def test_what_is_no_repository_is_refused(refused):
    assert "could not parse reference" in refused("auth", "explain", "UPPER/x")


def test_variables_that_mean_nothing_are_an_error(refused, monkeypatch):
    monkeypatch.setenv("IMGPKG_REGISTRY_PASWORD_0", "s3cret")
    text = refused("auth", "explain", REPOSITORY)
    assert "IMGPKG_REGISTRY_PASWORD_0" in text
    assert "s3cret" not in text


def test_a_host_in_letters_of_the_world_is_one_registry_in_variables_and_arguments(run, monkeypatch):
    monkeypatch.setenv("IMGPKG_REGISTRY_HOSTNAME_x", "bücher.example")
    monkeypatch.setenv("IMGPKG_REGISTRY_USERNAME_x", "robot")
    monkeypatch.setenv("IMGPKG_REGISTRY_PASSWORD_x", "s3cret")
    for name in ("bücher.example", "xn--bcher-kva.example"):
        done = run("auth", "explain", f"{name}/team/app")
        assert done.out.startswith("credential for xn--bcher-kva.example/team/app from environment: ")
    done = run("auth", "explain", REPOSITORY)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("no credential found")


def test_a_host_that_cannot_exist_is_warned_about_and_ends_no_command(run, monkeypatch):
    monkeypatch.setenv("IMGPKG_REGISTRY_HOSTNAME_x", "a..b")
    done = run("auth", "explain", REPOSITORY)
    assert done.code == 0
    assert done.err == (
        "imgpkg: warning: IMGPKG_REGISTRY_HOSTNAME_x: no host can be called so: "
        "a dot comes first, or follows another one; the set matches nothing\n"
    )


def test_an_inactive_keychain_is_a_near_miss_with_its_remedy(run):
    done = run("auth", "explain", "ghcr.io/team/app")
    assert done.out.splitlines()[1:2] == [
        (
            "  near miss: github: keychain 'github' handles ghcr.io and is not active: "
            "IMGPKG_ACTIVE_KEYCHAINS=github"
        )
    ]
    document = json.loads(run("auth", "explain", "ghcr.io/team/app", "--json").out)
    assert document["nearMisses"] == [
        {
            "source": "github",
            "text": "keychain 'github' handles ghcr.io and is not active",
            "remedy": "IMGPKG_ACTIVE_KEYCHAINS=github",
            "fingerprint": None,
        }
    ]


@pytest.mark.parametrize("word", ["ghcr.io", "https://ghcr.io/v2/"])
def test_a_host_alone_is_explained_as_a_registry_without_the_sets_of_paths(run, monkeypatch, word):
    monkeypatch.setenv("IMGPKG_REGISTRY_HOSTNAME_0", "ghcr.io/team")
    monkeypatch.setenv("IMGPKG_REGISTRY_HOSTNAME_1", "ghcr.io")
    monkeypatch.setenv("IMGPKG_REGISTRY_REGISTRY_TOKEN_1", "s3cret")
    done = run("auth", "explain", word)
    lines = done.out.splitlines()
    assert lines[0] == "credential for ghcr.io from environment: IMGPKG_REGISTRY_HOSTNAME_1=ghcr.io"
    assert lines[3] == (
        "  environment: matched: matches ghcr.io; gives the registry token; IMGPKG_REGISTRY_HOSTNAME_0="
        "ghcr.io/team: it is for 'team' and below, not for the whole registry"
    )
    assert "  this is for the registry as a whole: sets and entries with a path were left out" in lines
    document = json.loads(run("auth", "explain", word, "--json").out)
    assert (document["repository"], document["registry"]) == ("ghcr.io", "ghcr.io")
    assert document["wholeRegistry"] is True


def test_several_references_are_explained_in_their_order(run):
    words = ["ubuntu", "-i", "quay.io/team/app", "-b", "quay.io/team/bundle"]
    done = run("auth", "explain", *words)
    firsts = [line for line in done.out.splitlines() if line.startswith("no credential found")]
    assert [line.split()[4] for line in firsts] == [
        "index.docker.io/library/ubuntu;",
        "quay.io/team/app;",
        "quay.io/team/bundle;",
    ]
    documents = json.loads(run("auth", "explain", *words, "--json").out)
    assert [document["repository"] for document in documents] == [
        "index.docker.io/library/ubuntu",
        "quay.io/team/app",
        "quay.io/team/bundle",
    ]


@pytest.mark.parametrize(
    ("words", "environ", "error"),
    [
        (["UPPER/x"], {}, "could not parse reference: UPPER/x"),
        ([], {}, "requires at least 1 arg(s), only received 0: a reference or registry"),
        ([REPOSITORY, "--registry-username=me"], {}, "password missing: --registry-username is given"),
        ([REPOSITORY], {"IMGPKG_ACTIVE_KEYCHAINS": "x"}, "Creating registry keychain: Unable to load"),
        ([REPOSITORY], {"IMGPKG_REGISTRY_PASWORD": ""}, "Unable retrieve credentials for registry: Unknown"),
    ],
)
def test_a_failure_is_a_document_too(run, monkeypatch, words, environ, error):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    done = run("auth", "explain", *words, "--json")
    document = json.loads(done.out)
    assert document["error"].startswith(error)
    assert all(hint in done.err for hint in document["hints"])
    assert done.err.startswith("imgpkg: Error: ")
    assert done.code in (2, 4, 5)


def test_one_bad_reference_among_others_leaves_them_their_answers(run):
    done = run("auth", "explain", REPOSITORY, "UPPER/x")
    assert done.out.startswith(f"no credential found for {REPOSITORY}")
    assert done.err.startswith("imgpkg: Error: could not parse reference:\n  UPPER/x\nhint: ")
    assert done.code == 2
    good, bad = json.loads(run("auth", "explain", REPOSITORY, "UPPER/x", "--json").out)
    assert good["repository"] == REPOSITORY
    assert set(bad) == {"reference", "error", "refusal", "hints"}


def test_several_bad_references_are_one_error(refused):
    text = refused("auth", "explain", "UPPER/x", "UPPER/y")
    assert text.startswith(
        "No answer for 2 of 2 references\n"
        "- could not parse reference: UPPER/x\n- could not parse reference: UPPER/y\nhint: "
    )


@pytest.mark.parametrize(
    ("environ", "anonymous"),
    [
        ({}, "nothing found"),
        ({"IMGPKG_ANON": "1"}, "asked for"),
        ({"IMGPKG_REGISTRY_HOSTNAME": "registry.example.com"}, "asked for"),
        (
            {"IMGPKG_REGISTRY_HOSTNAME": "registry.example.com", "IMGPKG_REGISTRY_PASSWORD": "s3cret"},
            "incomplete credential",
        ),
        ({"IMGPKG_TOKEN": "s3cret"}, None),
    ],
)
def test_programs_learn_why_the_access_is_anonymous(run, monkeypatch, environ, anonymous):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert json.loads(run("auth", "explain", REPOSITORY, "--json").out)["anonymous"] == anonymous


def test_a_fingerprint_shows_whether_two_places_hold_one_secret(run, monkeypatch):
    monkeypatch.setenv("IMGPKG_REGISTRY_HOSTNAME_0", "one.example.com")
    monkeypatch.setenv("IMGPKG_REGISTRY_REGISTRY_TOKEN_0", "s3cret")
    monkeypatch.setenv("IMGPKG_REGISTRY_HOSTNAME_1", "two.example.com")
    monkeypatch.setenv("IMGPKG_REGISTRY_USERNAME_1", "me")
    monkeypatch.setenv("IMGPKG_REGISTRY_PASSWORD_1", "s3cret")
    monkeypatch.setenv("IMGPKG_TOKEN", "an0ther")
    words = ["one.example.com", "two.example.com", "three.example.com"]
    documents = json.loads(run("auth", "explain", *words, "--json").out)
    one, two, three = (document["fingerprint"] for document in documents)
    assert one == two != three
    assert documents[0]["fingerprintNote"] is None


def test_a_fingerprint_for_one_run_has_a_note(run, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/none")
    monkeypatch.setenv("IMGPKG_TOKEN", "s3cret")
    done = run("auth", "explain", REPOSITORY)
    assert re.search(
        r"^  fingerprint: [a-z2-7]{8} \(fingerprints are for this run only: /proc/none/",
        done.out,
        re.MULTILINE,
    )


def test_no_key_is_made_where_there_is_no_secret_to_compare(run, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert run("auth", "explain", REPOSITORY).code == 0
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("IMGPKG_TOKEN", "s3cret")
    assert run("auth", "explain", REPOSITORY).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["imgpkg"]


CONF = """
[[registry]]
location = "registry.example.com"
mirror = [{location = "mirror.example.com/r"}]

[[registry]]
location = "blocked.example.com"
blocked = true
"""


def test_mirrors_are_listed_in_their_order(run, tmp_path):
    path = tmp_path / "registries.conf"
    path.write_text(CONF)
    words = ("auth", "explain", f"--registries-conf={path}")
    places = ["mirror.example.com/r/team/app:v1", "registry.example.com/team/app:v1"]
    assert run(*words, f"{REPOSITORY}:v1").out.splitlines()[-3:] == [
        "read from the first of these that has it, each with the credential of its own host:",
        *(f"  {place}" for place in places),
    ]
    assert json.loads(run(*words, f"{REPOSITORY}:v1", "--json").out)["readFrom"] == places
    assert run(*words, "blocked.example.com/team/app").out.splitlines()[-1] == (
        "  nowhere: reading blocked.example.com/team/app:latest is blocked by the rule 'blocked.example.com' "
        f"of {path}"
    )


@pytest.mark.parametrize("reference", ["other.example.com/team/app", "registry.example.com"])
def test_without_a_mirror_none_is_listed(run, tmp_path, reference):
    path = tmp_path / "registries.conf"
    path.write_text(CONF)
    plain = run("auth", "explain", reference)
    assert run("auth", "explain", f"--registries-conf={path}", reference).out == plain.out
