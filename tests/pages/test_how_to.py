"""The how-to pages work: against registries with their real names, on loopback, with the logins they show."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
from tests.auth.cloud.azure_access import AcrAccess
from tests.auth.cloud.commands import ECR_HOST, KEYS, SECRET
from tests.pages.shell import ROOT, play, steps_of_consoles
from tests.servers.cloud import AzureRegistry, Ecr, EntraId, GoogleMetadata

from imgpkg.embedded.access import Account, LoginAccess, OpenAccess
from imgpkg.embedded.tokens import TokenAccess

FOLDER = ROOT / "docs" / "how-to"
PAGES = sorted(FOLDER.glob("*.md"))
SOURCE, BUNDLE = "registry.example.com", "team/bundle:v1"
# The page about authentication shows errors as they are printed, as tests of its own prove.
TEXTS = "".join(
    path.read_text() for path in (ROOT / "docs/authentication.md", *(ROOT / "src/imgpkg").rglob("*.py"))
)
READING = frozenset({"pull"})


@dataclass
class Setting:
    """A registry that stands for the one of a page, with what its readers have."""

    host: str
    access: object
    bundles: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


def one_account(host, username, secret, file, access=TokenAccess):
    """A registry with one account, whose password is in a file with a line end."""
    return Setting(host, access([Account(username, secret)]), files={file: f"{secret}\n"})


def reader_and_writer(host, names, files):
    """A registry with an account that may read `team` and one that may write `apps`."""
    reader = Account(names[0], "r3ader", "team/*", READING)
    access = TokenAccess([reader, Account(names[1], "wr1ter", "apps/*")])
    return Setting(host, access, (BUNDLE,), dict(zip(files, ("r3ader\n", "wr1ter\n"), strict=True)))


def ecr(_, here):
    variables = {**KEYS, "AWS_ENDPOINT_URL_ECR": here(Ecr()).url}
    return Setting(ECR_HOST, LoginAccess([Account("AWS", "ecr-password")]), variables=variables)


def google(_, here):
    access = LoginAccess([Account("_token", "ya29.metadata")])
    variables = {"GCE_METADATA_HOST": here(GoogleMetadata()).address}
    files = {"key.json": '{\n "type": "service_account"\n}\n'}
    return Setting("europe-west3-docker.pkg.dev", access, files=files, variables=variables)


def acr(internet, _):
    internet.host("login.microsoftonline.com", EntraId())
    access = AcrAccess(AzureRegistry(), accounts=[Account("relocate", "s3cret-of-acr")])
    return Setting("team.azurecr.io", access, files={"password.txt": "s3cret-of-acr"}, variables=SECRET)


def docker_hub(*_):
    setting = one_account("index.docker.io", "octo", "dckr_secret", "token.txt")
    setting.files["old-token.txt"] = "dckr_deleted"
    return setting


def gitlab(*_):
    names = ("gitlab+deploy-token-1", "gitlab+deploy-token-2")
    return reader_and_writer("registry.gitlab.com", names, ("team-token.txt", "apps-token.txt"))


def harbor(*_):
    names = ("robot$team+reader", "robot$apps+writer")
    return reader_and_writer("harbor.example.com", names, ("reader.txt", "writer.txt"))


def kubernetes(*_):
    accounts = [Account("reader", "r3ader", "apps/*", READING), Account("writer", "wr1ter", "apps/*")]
    files = {"secrets/push/username": "writer", "secrets/push/password": "wr1ter", "password.txt": "r3ader\n"}
    files["secrets/pull/.dockerconfigjson"] = '{"auths": {"registry.inside.example": {"auth": "eDp5"}}}'
    return Setting("registry.inside.example", TokenAccess(accounts), ("apps/bundle:v1",), files)


SETTINGS = {
    "index": lambda *_: Setting(SOURCE, OpenAccess(), (BUNDLE, "team/app:v1")),
    "ecr": ecr,
    "google": google,
    "acr": acr,
    "ghcr": lambda *_: one_account("ghcr.io", "octocat", "ghp_secret", "token.txt"),
    "docker-hub": docker_hub,
    "gitlab": gitlab,
    "harbor": harbor,
    "artifactory": lambda *_: one_account("example.jfrog.io", "ci", "jfrog-secret", "token.txt"),
    "quay": lambda *_: one_account("quay.io", "team+ci", "quay-secret", "token.txt"),
    "nexus": lambda *_: one_account("docker.example.com", "ci", "nexus-s3cret", "password.txt", LoginAccess),
    "kubernetes": kubernetes,
}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_work_and_print_what_it_shows(page, stocked, internet, here, tmp_path):
    setting = SETTINGS[page.stem](internet, here)
    stocked(setting.host, setting.access, *setting.bundles)
    if setting.host != SOURCE:
        stocked(SOURCE, OpenAccess(), BUNDLE)
    work = tmp_path / "work"
    work.mkdir()
    for name, text in setting.files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    for one in play(steps_of_consoles(page), work, **internet.environ, **setting.variables):
        assert one.missing == [], one.step.typed + one.printed
        shown = "\n".join(one.step.shown)
        assert (one.status != 0) == ("FAILED" in shown), one.step.typed + one.printed
        assert "warning" in shown or "warning" not in one.printed or "auth login" in one.step.typed
    assert f"{setting.host}:443" in internet.asked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_says_that_imgpkg_prints_is_in_its_texts(page):
    table = page.read_text().partition("\n## When it fails\n")[2]
    seen = [row.split("|")[1] for row in table.splitlines() if row.startswith("| ")][1:]
    shown = [text for cell in seen for text in re.findall(r"`([^`]+)`", cell)]
    assert len(seen) > 2 or page.stem == "index"
    assert [text for text in shown if text not in TEXTS] == []


def test_every_page_is_in_the_list_of_how_to_pages():
    listed = set(re.findall(r"\]\((\S+\.md)\)", (FOLDER / "index.md").read_text()))
    assert {page.name for page in PAGES} - {"index.md"} <= listed


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "index"], ids=lambda page: page.stem)
def test_a_page_has_the_parts_that_its_readers_look_for(page):
    headings = re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE)
    assert {"Least permissions", "When it fails"} <= set(headings)
