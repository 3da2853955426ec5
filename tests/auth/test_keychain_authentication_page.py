"""Every example of docs/authentication.md is true: the trails on the page are the trails that people get."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tests.auth.programs import answering

from imgpkg.auth.activation import active_sources
from imgpkg.auth.docker import DockerConfigSource
from imgpkg.auth.environment import EnvironmentSource
from imgpkg.auth.flags import ExplicitSource
from imgpkg.auth.keychain import Keychain
from imgpkg.oci.reference import Repository
from imgpkg.settings import Login, Side
from imgpkg.transport.pool import Pool

PAGE = Path(__file__).parents[2] / "docs" / "authentication.md"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
FLAG_FIELDS = {
    "--registry-username": "username",
    "--registry-password": "password",
    "--registry-token": "token",
}
FROM_FIELDS = {flag.replace("--", "--from-"): name for flag, name in FLAG_FIELDS.items()}


def examples():
    """Pair each trail with the shell lines or the file that stand before it."""
    given = ""
    # The errors are in the last sections, of which the end-to-end tests take care.
    page = PAGE.read_text(encoding="utf-8").partition("\n## Troubleshooting\n")[0]
    for language, text in BLOCK.findall(page):
        # What `auth explain` prints, and not the trail alone, is tested as output of the command.
        if language == "text" and "imgpkg auth explain" not in given:
            yield given, text
        elif language == "text":
            continue
        else:
            given = text


def environment_and_flags(given, home):
    if given.startswith("{"):
        (home / ".docker").mkdir()
        (home / ".docker/config.json").write_text(given)
        program = answering(home / "bin", "vault", "from-vault", "s3cret")
        return {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), **program.environ}, flags_of([])
    environ, flags = {}, flags_of([])
    for line in given.splitlines():
        words = shlex.split(line)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            environ[name] = value
        else:
            flags = flags_of(words)
    return environ, flags


def flags_of(words):
    """Return the flags as the options of a source: for one side of a copy where one of its flags is given."""
    plain = Login(**fields_of(words, FLAG_FIELDS), anonymous="--registry-anon" in words or None)
    side = fields_of(words, FROM_FIELDS)
    return {"login": plain, **({"side": Side.FROM, "side_login": Login(**side)} if side else {})}


def fields_of(words, fields):
    return {field: words[words.index(flag) + 1] for flag, field in fields.items() if flag in words}


@pytest.mark.parametrize(("given", "trail"), tuple(examples()))
def test_a_trail_on_the_page_is_what_its_example_gives(given, trail, tmp_path):
    environ, flags = environment_and_flags(given, tmp_path)
    warnings = []
    repository = re.search(r"(?:credential|found) for ([^ ;,]+)", trail)[1]
    with Pool() as pool:
        # Without a home the SDKs would look into that of whoever runs the tests.
        keychains = active_sources({"HOME": str(tmp_path), **environ}, lambda: pool, lambda _: None)
        sources = (
            EnvironmentSource(environ, warnings.append),
            *keychains,
            ExplicitSource(environ=environ, **flags),
            DockerConfigSource(environ, warnings.append),
        )
        decision = Keychain(sources).resolve(Repository.parse(repository))
    assert decision.explain().replace(str(tmp_path), "/home/me") == trail.rstrip("\n")
    assert warnings == []


def test_the_page_has_an_example_per_source():
    winners = {re.search(r" from ([a-z ]+):|no credential", trail)[1] for _, trail in examples()}
    assert winners == {"environment", "github", "flags", "docker config", None}
