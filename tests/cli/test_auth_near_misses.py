"""Near misses as people and programs get them: for each its sentence, and a remedy that can be typed."""

from __future__ import annotations

import base64
import json

import pytest

HOST = "registry.example.com"
REPOSITORY = f"{HOST}/team/app"
SET = "IMGPKG_REGISTRY_HOSTNAME_0"
LOGIN = {"IMGPKG_REGISTRY_USERNAME_0": "ci", "IMGPKG_REGISTRY_PASSWORD_0": "s3cret"}
PLAIN = {"IMGPKG_USERNAME": "me", "IMGPKG_PASSWORD": "an0ther"}
ENDED = ".".join(["e30", base64.urlsafe_b64encode(b'{"exp": 1700000000}').decode().rstrip("="), "signature"])
OVER = f"not used, because environment comes first ({SET}={HOST})"


def entry(auth="dXNlcjpwYXNzd29yZA=="):
    return {"auth": auth} if auth else {}


# What is in the environment, the docker config and the arguments; then source, sentence and remedy.
TABLE = {
    "a page of Docker Hub": (
        {},
        {},
        ["https://hub.docker.com/r/team/app"],
        (
            "reference",
            "hub.docker.com is the web site of Docker Hub and not its registry",
            "imgpkg auth explain docker.io/team/app",
        ),
    ),
    "the web site of Docker Hub": (
        {},
        {},
        ["hub.docker.com"],
        (
            "reference",
            "hub.docker.com is the web site of Docker Hub and not its registry",
            "imgpkg auth explain docker.io/library/NAME",
        ),
    ),
    "a word that may be an image": (
        {},
        {},
        ["postgres:16"],
        (
            "reference",
            "postgres:16 was read as a registry and its port, and not as an image of Docker Hub",
            "imgpkg auth explain docker.io/library/postgres:16",
        ),
    ),
    "a keychain that is not active": (
        {},
        {},
        ["ghcr.io/team/app"],
        ("github", "keychain 'github' handles ghcr.io and is not active", "IMGPKG_ACTIVE_KEYCHAINS=github"),
    ),
    "the old variable with another value": (
        {"IMGPKG_ENABLE_IAAS_AUTH": "1"},
        {},
        ["gcr.io/team/app"],
        (
            "gke",
            "IMGPKG_ENABLE_IAAS_AUTH activates keychains only with the value true",
            "IMGPKG_ACTIVE_KEYCHAINS=gke",
        ),
    ),
    "the token of gh": (
        {"IMGPKG_ACTIVE_KEYCHAINS": "github", "GH_TOKEN": "s3cret"},
        {},
        ["ghcr.io/team/app"],
        ("github", "GH_TOKEN is set and not used, because GITHUB_TOKEN is meant", 'GITHUB_TOKEN="$GH_TOKEN"'),
    ),
    "no user of a workflow": (
        {"IMGPKG_ACTIVE_KEYCHAINS": "github", "GITHUB_TOKEN": "s3cret"},
        {},
        ["ghcr.io/team/app"],
        ("github", "user 'unset' because GITHUB_ACTOR is not set", "GITHUB_ACTOR=NAME"),
    ),
    "a set with one letter too many": (
        {SET: "regisstry.example.com", **LOGIN},
        {},
        [REPOSITORY],
        (
            "environment",
            f"{SET}=regisstry.example.com: its host is one letter away; if the reference is right",
            f"{SET}={HOST}",
        ),
    ),
    "a set for another port": (
        {SET: f"https://{HOST}:5000", **LOGIN},
        {},
        [REPOSITORY],
        ("environment", f"{SET}=https://{HOST}:5000: its port is 5000, not 443", f"{SET}={HOST}"),
    ),
    "a set without the port": (
        {SET: HOST, **LOGIN},
        {},
        [f"{HOST}:5000/team/app"],
        ("environment", f"{SET}={HOST}: its port is 443, not 5000", f"{SET}={HOST}:5000"),
    ),
    "a set for another path": (
        {SET: f"{HOST}/teams", **LOGIN},
        {},
        [REPOSITORY],
        (
            "environment",
            f"{SET}={HOST}/teams: its path is 'teams', and 'team/app' is not below it",
            f"{SET}={HOST}/team",
        ),
    ),
    "a set with wildcard for another path": (
        {SET: "*.example.com/teams", **LOGIN},
        {},
        [REPOSITORY],
        (
            "environment",
            f"{SET}=*.example.com/teams: its path is 'teams', and 'team/app' is not below it",
            f"{SET}={HOST}/team",
        ),
    ),
    "a set with too few wildcards": (
        {SET: "*.com", **LOGIN},
        {},
        [REPOSITORY],
        (
            "environment",
            (
                f"{SET}=*.com: a wildcard stands for one label of an environment set's host, "
                "and for nothing else"
            ),
            f"{SET}={HOST}",
        ),
    ),
    "a set for the host above": (
        {SET: "example.com", **LOGIN},
        {},
        [REPOSITORY],
        (
            "environment",
            f"{SET}=example.com: it names the host above, and not those below it",
            f"{SET}={HOST}",
        ),
    ),
    "a set for a host below": (
        {SET: f"eu.{HOST}", **LOGIN},
        {},
        [REPOSITORY],
        ("environment", f"{SET}=eu.{HOST}: it names a host below, and not the one above it", f"{SET}={HOST}"),
    ),
    "a set for the web site of Docker Hub": (
        {SET: "hub.docker.com", **LOGIN},
        {},
        ["team/app"],
        (
            "environment",
            f"{SET}=hub.docker.com: that is the web site of Docker Hub and not its registry",
            f"{SET}=index.docker.io",
        ),
    ),
    "a set for another name of this machine": (
        {SET: "localhost:5000", **LOGIN},
        {},
        ["127.0.0.1:5000/app"],
        (
            "environment",
            f"{SET}=localhost:5000: it is another name of this machine, which is another registry",
            f"{SET}=127.0.0.1:5000",
        ),
    ),
    "a set for a path of a whole registry": (
        {SET: f"{HOST}/team", **LOGIN},
        {},
        [HOST],
        (
            "environment",
            f"{SET}={HOST}/team is for a path, and was left out for the registry as a whole",
            f"imgpkg auth explain {HOST}/team",
        ),
    ),
    "a set without suffix before one with": (
        {
            SET: HOST,
            **LOGIN,
            "IMGPKG_REGISTRY_HOSTNAME": HOST,
            "IMGPKG_REGISTRY_REGISTRY_TOKEN": "t0ken",
        },
        {},
        [REPOSITORY],
        (
            "environment",
            f"{SET}={HOST} names the same place, and the set without a suffix comes first",
            "unset IMGPKG_REGISTRY_HOSTNAME",
        ),
    ),
    "two sets with suffixes": (
        {
            SET: HOST,
            **LOGIN,
            "IMGPKG_REGISTRY_HOSTNAME_1": HOST,
            "IMGPKG_REGISTRY_REGISTRY_TOKEN_1": "t0ken",
        },
        {},
        [REPOSITORY],
        (
            "environment",
            f"IMGPKG_REGISTRY_HOSTNAME_1={HOST} names the same place and comes later",
            f"unset {SET}",
        ),
    ),
    "a set without hostname": (
        LOGIN,
        {},
        [REPOSITORY],
        (
            "environment",
            (
                "IMGPKG_REGISTRY_USERNAME_0, IMGPKG_REGISTRY_PASSWORD_0: there is no "
                f"{SET}, so this set is ignored"
            ),
            f"{SET}={HOST}",
        ),
    ),
    "a misspelt variable of a set": (
        {"IMGPKG_REGISRTY_HOSTNAME_0": HOST},
        {},
        [REPOSITORY],
        (
            "environment",
            f"IMGPKG_REGISRTY_HOSTNAME_0 is no variable of imgpkg, {SET} is",
            "unset IMGPKG_REGISRTY_HOSTNAME_0",
        ),
    ),
    "a variable in small letters": (
        {"imgpkg_username": "me"},
        {},
        [REPOSITORY],
        (
            "environment",
            "imgpkg_username is no variable of imgpkg, IMGPKG_USERNAME is",
            "unset imgpkg_username",
        ),
    ),
    "a variable by another word": (
        {"IMGPKG_PASS": "s3cret"},
        {},
        [REPOSITORY],
        ("environment", "IMGPKG_PASS is no variable of imgpkg, IMGPKG_PASSWORD is", "unset IMGPKG_PASS"),
    ),
    "a token beside a user": (
        {**PLAIN, "IMGPKG_TOKEN": "s3cret"},
        {},
        [REPOSITORY],
        ("flags", "$IMGPKG_TOKEN is given too, and $IMGPKG_USERNAME comes first", "unset IMGPKG_USERNAME"),
    ),
    "flags that a set overrules": (
        {SET: HOST, **LOGIN},
        {},
        [REPOSITORY, "--registry-username=me", "--registry-password=an0ther"],
        ("flags", f"--registry-username, --registry-password: {OVER}", f"unset {SET}"),
    ),
    "variables that a set without credential overrules": (
        {SET: HOST, **PLAIN},
        {},
        [REPOSITORY],
        ("flags", f"$IMGPKG_USERNAME, $IMGPKG_PASSWORD: {OVER}", f"unset {SET}"),
    ),
    "flags that a keychain overrules": (
        {"IMGPKG_ACTIVE_KEYCHAINS": "github", "GITHUB_TOKEN": "s3cret", "GITHUB_ACTOR": "me", **PLAIN},
        {},
        ["ghcr.io/team/app"],
        (
            "flags",
            "$IMGPKG_USERNAME, $IMGPKG_PASSWORD: not used, because github comes first ($GITHUB_TOKEN)",
            "take github out of IMGPKG_ACTIVE_KEYCHAINS",
        ),
    ),
    "a password flag without a user": (
        {},
        {},
        [REPOSITORY, "--registry-password=s3cret"],
        ("flags", "--registry-password counts only with a username", "--registry-username NAME"),
    ),
    "a password variable without a user": (
        {"IMGPKG_PASSWORD": "s3cret"},
        {},
        [REPOSITORY],
        ("flags", "$IMGPKG_PASSWORD counts only with a username", "IMGPKG_USERNAME=NAME"),
    ),
    "no boolean": (
        {"IMGPKG_ANON": "yes"},
        {},
        [REPOSITORY],
        ("flags", "$IMGPKG_ANON is no boolean and counts for nothing", "IMGPKG_ANON=true"),
    ),
    "an entry that flags overrule": (
        PLAIN,
        {"auths": {HOST: entry()}},
        [REPOSITORY],
        (
            "docker config",
            f'FILE: auths "{HOST}": not used, because flags comes first ($IMGPKG_USERNAME, $IMGPKG_PASSWORD)',
            "unset IMGPKG_USERNAME",
        ),
    ),
    "an entry that typed flags overrule": (
        {},
        {"auths": {HOST: entry()}},
        [REPOSITORY, "--registry-anon"],
        (
            "docker config",
            f'FILE: auths "{HOST}": not used, because flags comes first (--registry-anon)',
            "leave out --registry-anon",
        ),
    ),
    "an entry for another port": (
        {},
        {"auths": {f"http://{HOST}:5000": entry()}},
        [REPOSITORY],
        (
            "docker config",
            f'FILE: auths "http://{HOST}:5000": its port is 5000, not 443',
            f"imgpkg auth login {HOST}",
        ),
    ),
    "an entry with a wildcard": (
        {},
        {"auths": {"*.example.com": entry()}},
        [REPOSITORY],
        (
            "docker config",
            (
                'FILE: auths "*.example.com": a wildcard stands for one label of an environment set\'s host, '
                "and for nothing else"
            ),
            f"imgpkg auth login {HOST}",
        ),
    ),
    "a helper for a look-alike": (
        {},
        {"credHelpers": {"registry.exmaple.com": "vault"}},
        [REPOSITORY],
        (
            "docker config",
            (
                'FILE: credHelpers "registry.exmaple.com": its host is one letter away; '
                "if the reference is right"
            ),
            f"imgpkg auth login {HOST}",
        ),
    ),
    "an empty entry": (
        {},
        {"auths": {HOST: entry("")}},
        [REPOSITORY],
        ("docker config", f'FILE: auths "{HOST}" is empty', f"imgpkg auth login {HOST}"),
    ),
    "an entry for a path of a whole registry": (
        {},
        {"auths": {f"{HOST}/team": entry()}},
        [HOST],
        (
            "docker config",
            f'FILE: auths "{HOST}/team" is for a path, and was left out for the registry as a whole',
            f"imgpkg auth explain {HOST}/team",
        ),
    ),
    "an entry that DOCKER_CONFIG hides": (
        {"DOCKER_CONFIG": "/nowhere"},
        {"auths": {HOST: entry()}},
        [REPOSITORY],
        (
            "docker config",
            f"FILE has an entry for {REPOSITORY}, and DOCKER_CONFIG names /nowhere",
            "unset DOCKER_CONFIG",
        ),
    ),
    "DOCKER_CONFIG that names a file": (
        {"DOCKER_CONFIG": "FILE"},
        {"auths": {"other.example": entry()}},
        [REPOSITORY],
        (
            "docker config",
            "DOCKER_CONFIG=FILE names a file, and the folder of config.json is meant",
            "DOCKER_CONFIG=FOLDER",
        ),
    ),
    "a newline in a decoded auth": (
        {},
        {"auths": {HOST: entry(base64.b64encode(b"user:pa55word\n").decode())}},
        [REPOSITORY],
        (
            "docker config",
            f'the password of FILE: auths "{HOST}" ends in a newline, which is sent as a part of it',
            f"imgpkg auth login {HOST}",
        ),
    ),
    "a newline in a variable": (
        {SET: HOST, **LOGIN, "IMGPKG_REGISTRY_PASSWORD_0": "s3cret\n"},
        {},
        [REPOSITORY],
        (
            "environment",
            f"the password of {SET}={HOST} ends in a newline, which is sent as a part of it",
            'IMGPKG_REGISTRY_PASSWORD_0="$(cat FILE)"',
        ),
    ),
    "a space in a flag": (
        {},
        {},
        [REPOSITORY, "--registry-username=me", "--registry-password= s3cret"],
        (
            "flags",
            (
                "the password of --registry-username, --registry-password begins or ends with a space, "
                "which is sent as a part of it"
            ),
            "--registry-password-stdin < FILE",
        ),
    ),
    "quotes in a variable": (
        {"IMGPKG_TOKEN": '"s3cret"'},
        {},
        [REPOSITORY],
        (
            "flags",
            "the registry token of $IMGPKG_TOKEN stands in quotes, which are sent as a part of it",
            'IMGPKG_TOKEN="$(cat FILE)"',
        ),
    ),
    "a variable that nothing has replaced": (
        {},
        {},
        [REPOSITORY, "--registry-token=${{ secrets.TOKEN }}"],
        (
            "flags",
            "the registry token of --registry-token is the name of a variable and not its value",
            '--registry-token "$(cat FILE)"',
        ),
    ),
    "a space in a user name": (
        {SET: HOST, **LOGIN, "IMGPKG_REGISTRY_USERNAME_0": "ci "},
        {},
        [REPOSITORY],
        (
            "environment",
            f"the user name of {SET}={HOST} begins or ends with a space, which is sent as a part of it",
            "",
        ),
    ),
    "a token that has ended": (
        {SET: HOST, "IMGPKG_REGISTRY_IDENTITY_TOKEN_0": ENDED},
        {},
        [REPOSITORY],
        (
            "environment",
            f"the identity token of {SET}={HOST} has ended at 2023-11-14T22:13:20Z",
            'IMGPKG_REGISTRY_IDENTITY_TOKEN_0="$(cat FILE)"',
        ),
    ),
}


@pytest.fixture
def explained(run, monkeypatch, tmp_path):
    """Explain a row of the table; return the text, and the list of near misses in the JSON."""

    def explains(environ, config, words):
        folder = tmp_path / ".docker"
        folder.mkdir()
        if config:
            (folder / "config.json").write_text(json.dumps(config))
        names = {"FILE": str(folder / "config.json"), "FOLDER": str(folder)}
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        for name, value in environ.items():
            monkeypatch.setenv(name, names.get(value, value))
        text = run("auth", "explain", *words).out
        document = json.loads(run("auth", "explain", *words, "--json").out)
        return text.replace(names["FILE"], "FILE").replace(names["FOLDER"], "FOLDER"), [
            {
                name: (value or "").replace(names["FILE"], "FILE").replace(names["FOLDER"], "FOLDER")
                for name, value in miss.items()
            }
            for miss in document["nearMisses"]
        ]

    return explains


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
def test_each_near_miss_has_its_sentence_and_its_remedy(explained, row):
    environ, config, words, (source, sentence, remedy) = row
    text, document = explained(environ, config, words)
    line = f"  near miss: {source}: {sentence}" + (f": {remedy}" if remedy else "")
    # Behind it may be a fingerprint.
    assert any(found.partition(" (fingerprint ")[0] == line for found in text.splitlines()), text
    found = [{name: miss[name] for name in ("source", "text", "remedy")} for miss in document]
    assert {"source": source, "text": sentence, "remedy": remedy} in found


@pytest.mark.parametrize(
    ("environ", "config", "words"),
    [
        ({SET: HOST, **LOGIN}, {}, [REPOSITORY]),
        ({SET: HOST, **LOGIN, "IMGPKG_REGISTRY_HOSTNAME_1": "*.example.com"}, {}, [REPOSITORY]),
        ({SET: HOST, **LOGIN, "IMGPKG_REGISTRY_HOSTNAME_1": "a..b"}, {}, [REPOSITORY]),
        ({SET: HOST, **LOGIN}, {"auths": {HOST: {}}}, [REPOSITORY]),
        ({SET: "quay.io", **LOGIN}, {"auths": {"quay.io": entry()}}, [REPOSITORY]),
        ({"IMGPKG_FROM_USERNAME": "me", "IMGPKG_TO_TOKEN": "t", "IMGPKG_ACTIVE_KEYCHAINS": ""}, {}, [HOST]),
        ({"DOCKER_CONFIG": "/nowhere"}, {"auths": {"quay.io": entry()}}, [REPOSITORY]),
        ({}, {"auths": {HOST: entry()}}, [REPOSITORY]),
        ({"IMGPKG_ACTIVE_KEYCHAINS": "github"}, {}, [REPOSITORY]),
        (
            {"IMGPKG_ACTIVE_KEYCHAINS": "github", "GITHUB_TOKEN": "t0ken", "GITHUB_ACTOR": "me"},
            {},
            ["ghcr.io"],
        ),
    ],
)
def test_what_is_right_or_for_quite_another_registry_is_no_near_miss(explained, environ, config, words):
    assert explained(environ, config, words)[1] == []


def test_the_fingerprints_of_two_sets_differ(explained):
    environ = {"IMGPKG_REGISTRY_HOSTNAME": HOST, "IMGPKG_REGISTRY_REGISTRY_TOKEN": "t0ken"}
    text, (miss,) = explained({SET: HOST, **LOGIN, **environ}, {}, [REPOSITORY])
    assert f"(fingerprint {miss['fingerprint']})" in text
    (used,) = (line.split()[-1] for line in text.splitlines() if line.startswith("  fingerprint: "))
    assert used != miss["fingerprint"] != ""


def test_a_docker_config_that_is_broken_and_not_used_says_nothing(run, monkeypatch, tmp_path):
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text("{")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IMGPKG_TOKEN", "s3cret")
    done = run("auth", "explain", REPOSITORY)
    assert (done.code, done.err) == (0, "")
    assert "near miss" not in done.out
