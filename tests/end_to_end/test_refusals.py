"""The five first sentences of a 401 or 403, from real servers, as docs/authentication.md shows them.

Each block of its section on troubleshooting is the whole output of one command. The same words are in the
JSON document and in the error of the library.
"""

from __future__ import annotations

import base64
import json
import os
import re
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import pytest
from tests.servers.docker import docker_registry_process, token_section
from tests.servers.token_service import TokenService, User

import imgpkg as package

PAGE = Path(__file__).parents[2] / "docs" / "authentication.md"
SECRET = "s3cret-of-the-refused"
ENDED = jwt.encode({"iss": "https://id.example.com", "exp": 1_767_225_600}, SECRET * 2, algorithm="HS256")
SECRETS = (SECRET, ENDED, base64.b64encode(f"ci:{SECRET}".encode()).decode())
PREFIX = "IMGPKG_REGISTRY_"


@dataclass(frozen=True)
class Refused:
    """A command that is refused; the words stand for the address of the registry and for files."""

    kind: str
    at: str
    variables: dict[str, str] = field(default_factory=dict)
    is_push: bool = False


CASES = [
    Refused("refused", "basic", {"USERNAME": "ci", "PASSWORD": SECRET}),
    Refused("not enough", "tokens", {"USERNAME": "ci", "PASSWORD": "right-one"}, is_push=True),
    Refused("anonymous", "basic"),
    Refused("ended", "tokens", {"REGISTRY_TOKEN": ENDED}),
    Refused("cannot be used here", "basic", {"IDENTITY_TOKEN": SECRET}),
]


@pytest.fixture(scope="module")
def addresses(tmp_path_factory, docker_registry_htpasswd):
    """The addresses of a registry with a login, of one with a token service, and of that service."""
    folder = tmp_path_factory.mktemp("tokens")
    with ExitStack() as running:
        service = running.enter_context(TokenService({"ci": User("right-one", {"*": "pull"})}))
        auth = token_section(folder, service)
        tokens = running.enter_context(docker_registry_process(folder, auth=auth))
        yield {"basic": docker_registry_htpasswd.address, "tokens": tokens, "service": service.address}


@pytest.fixture(params=CASES, ids=lambda case: case.kind)
def refused(request, addresses, tmp_path):
    """The words and the variables of a case."""
    case, address = request.param, addresses[request.param.at]
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "file").write_text("x")
    words = ("push", "-i", f"{address}/team/app", "-f", str(tmp_path / "app"))
    if not case.is_push:
        words = ("pull", "-i", f"{address}/team/app", "-o", str(tmp_path / "out"))
    environ = {f"{PREFIX}{name}_0": value for name, value in case.variables.items()}
    if environ:
        environ[f"{PREFIX}HOSTNAME_0"] = address
    return case, words, {**environ, "HOME": os.environ["HOME"]}


@pytest.fixture
def published(addresses):
    """Write a text as the page has it, with the names of servers in place of addresses."""

    def renamed(text):
        for name, address in addresses.items():
            host = "auth.example.com" if name == "service" else "registry.example.com"
            text = text.replace(f"http://{address}", f"https://{host}").replace(address, host)
        text = text.replace(os.environ["HOME"], "/home/me").replace(
            f"/containers/{os.getuid()}/", "/containers/1000/"
        )
        return re.sub(r"sha256-[0-9a-f]{64}", "sha256-0123…", text)

    return renamed


def blocks():
    """Return the blocks of plain text in the section on troubleshooting."""
    section = PAGE.read_text().partition("\n## Troubleshooting\n")[2].partition("\n## ")[0]
    return [block.strip("\n").split("\n") for block in re.findall(r"```text\n(.*?)```", section, re.DOTALL)]


def block_of(case):
    """Return the sentence, the remedy, what the registry said, and further hints."""
    named = {"refused": " refused user ", "not enough": " may not push ", "anonymous": " none was found "}
    named |= {"ended": " ended at ", "cannot be used here": " cannot be used at "}
    (block,) = [block for block in blocks() if named[case.kind] in block[0]]
    return (
        block[0].removeprefix("imgpkg: Error: "),
        block[1].removeprefix("hint: "),
        block[2].strip(),
        [line.removeprefix("hint: ") for line in block[3:]],
    )


def test_the_page_shows_what_the_command_prints(refused, imgpkg, published):
    case, words, environ = refused
    done = imgpkg(*words, secrets=SECRETS, **environ)
    sentence, remedy, said, hints = block_of(case)
    assert (done.returncode, done.stdout) == (4, "")
    assert published(done.stderr).splitlines() == [
        f"imgpkg: Error: {sentence}",
        f"hint: {remedy}",
        f"  {said}",
        *(f"hint: {hint}" for hint in hints),
    ]


def test_programs_get_the_same_words_as_json(refused, imgpkg, published):
    case, words, environ = refused
    done = imgpkg(*words, "--json", secrets=SECRETS, **environ)
    sentence, remedy, said, hints = block_of(case)
    assert json.loads(published(done.stdout)) == {
        "error": f"{sentence}: {said}",
        "refusal": {"kind": case.kind, "sentence": sentence, "remedy": remedy},
        "hints": [remedy, *hints],
    }


def test_the_library_raises_the_same_words(refused, published):
    case, words, environ = refused
    sentence, remedy, said, hints = block_of(case)
    with package.Session(package.Settings(environ=environ)) as session:
        verb, folder = (package.push, [words[-1]]) if case.is_push else (package.pull, words[-1])
        with pytest.raises(package.ImgpkgError) as caught:
            verb(folder, image=words[2], session=session)
    error = caught.value
    assert published(str(error)) == f"{sentence}: {said}"
    assert error.refusal.kind.value == case.kind
    assert (published(error.refusal.sentence), published(error.refusal.remedy)) == (sentence, remedy)
    assert [published(hint) for hint in error.hints] == [remedy, *hints]
    assert not [secret for secret in SECRETS if secret in f"{error}{error!r}{error.hints}{error.refusal}"]


def test_the_page_shows_each_of_the_five():
    assert len(blocks()) == len({case.kind for case in CASES}) == len(package.errors.RefusalKind)
    for case in CASES:
        assert block_of(case)
