"""Set-ups that are broken in the ways in which users break them: the cause and the remedy are on top.

Each case is a set-up, a command, and what the first two lines of its error must say.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import jwt
import pytest
import trustme
from tests.registry.scripted import Said, Server, www
from tests.servers.docker import docker_registry_process, token_section, write_htpasswd
from tests.servers.helpers import write_helper
from tests.servers.raw import RawServer, proxying
from tests.servers.token_service import TokenService, User

from imgpkg.embedded.server import serve

PAGE = Path(__file__).parents[2] / "docs" / "authentication.md"
RIGHT, WRONG = "right-secret-1", "wrong-secret-2"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SECOND = 1_700_000_000
EXPIRED = jwt.encode({"iss": "https://id.example", "exp": SECOND}, WRONG * 3, algorithm="HS256")
SECRETS = (RIGHT, WRONG, EXPIRED, base64.b64encode(f"ci:{WRONG}".encode()).decode())
HTML = Said(200, b"<!DOCTYPE html><title>Sign in</title>", {"Content-Type": "text/html"})


@dataclass
class World:
    """Servers that run while the cases do."""

    folder: Path
    basic: str = ""
    tokens: str = ""
    service: str = ""
    stack: ExitStack = field(default_factory=ExitStack)
    names: dict = field(default_factory=dict)
    authority: trustme.CA = field(default_factory=trustme.CA)
    proxy: str = ""

    def scripted(self, handle):
        """Start a registry that answers as `handle` says."""
        return self.stack.enter_context(Server(handle)).address

    def tls(self, name, authority=None, **options):
        """Start a registry with a login under a name that the proxy knows; return its name."""
        issued = (authority or self.authority).issue_cert(name, **options)
        chain, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        server = self.stack.enter_context(serve(login=("ci", RIGHT), tls=(str(chain), str(key))))
        self.put(name, server.address)
        return name

    def put(self, name, address):
        """Let the proxy lead to `address` under the host `name`."""
        host, _, port = address.rpartition(":")
        self.names[f"{name}:443"] = (host, int(port))

    @property
    def internet(self):
        """The variables that lead to the hosts of the proxy."""
        path = self.folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(path))
        return {"HTTPS_PROXY": self.proxy, "SSL_CERT_FILE": str(path), "NO_PROXY": "127.0.0.1"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    with ExitStack() as stack:
        made = World(folder, stack=stack)
        htpasswd, signed = tmp_path_factory.mktemp("htpasswd"), tmp_path_factory.mktemp("signed")
        auth = write_htpasswd(htpasswd, "ci", RIGHT)
        made.basic = stack.enter_context(docker_registry_process(htpasswd, auth=auth))
        users = {"ci": User(RIGHT, {"*": "pull"}), "stranger": User(RIGHT, {"nothing": "pull"})}
        service = stack.enter_context(TokenService(users))
        made.service = service.address
        made.tokens = stack.enter_context(
            docker_registry_process(signed, auth=token_section(signed, service))
        )
        made.proxy = stack.enter_context(RawServer(proxying(names=made.names))).url
        yield made


@dataclass(frozen=True)
class Broken:
    """The command and its variables, and the cause and the remedy that it must name."""

    words: tuple[str, ...]
    cause: str
    remedy: str
    environ: dict[str, str] = field(default_factory=dict)


CASES: list[Callable[..., Broken]] = []


def case(set_up):
    CASES.append(set_up)
    return set_up


def login(host, password=WRONG, **more):
    names = ("HOSTNAME", "USERNAME", "PASSWORD")
    values = dict(zip((f"IMGPKG_REGISTRY_{name}_0" for name in names), (host, "ci", password), strict=True))
    return {**values, **more}


def read(address, *flags):
    return ("tag", "list", "-i", f"{address}/team/app", "--registry-retry-count=1", *flags)


def pushed(address, folder, *flags):
    (folder / "pushed").mkdir(exist_ok=True)
    (folder / "pushed" / "file").write_text("x")
    return ("push", "-i", f"{address}/team/app", "-f", str(folder / "pushed"), *flags)


def docker_config(folder, document):
    (folder / "docker").mkdir()
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "docker" / "config.json").write_text(text)
    return {"DOCKER_CONFIG": str(folder / "docker")}


@case
def a_wrong_password_in_a_set(world, folder):
    return Broken(
        read(world.basic),
        f"the registry {world.basic} refused user 'ci', whose password is from $IMGPKG_REGISTRY_PASSWORD_0",
        "Check the username and the password: put a valid one into $IMGPKG_REGISTRY_PASSWORD_0.",
        login(world.basic),
    )


@case
def a_wrong_password_of_a_flag(world, folder):
    return Broken(
        read(world.basic, "--registry-username=ci", f"--registry-password={WRONG}"),
        f"the registry {world.basic} refused user 'ci', whose password is from --registry-password",
        "put a valid one into --registry-password.",
    )


@case
def a_wrong_password_in_a_variable_for_all_registries(world, folder):
    return Broken(
        read(world.basic),
        f"the registry {world.basic} refused user 'ci', whose password is from $IMGPKG_PASSWORD",
        "put a valid one into $IMGPKG_PASSWORD.",
        {"IMGPKG_USERNAME": "ci", "IMGPKG_PASSWORD": WRONG},
    )


@case
def a_wrong_password_in_a_file(world, folder):
    (folder / "secret").write_text(WRONG)
    environ = login(world.basic)
    del environ["IMGPKG_REGISTRY_PASSWORD_0"]
    return Broken(
        read(world.basic),
        f"refused user 'ci', whose password is from {folder}/secret ($IMGPKG_REGISTRY_PASSWORD_FILE_0)",
        f"put a valid one into {folder}/secret",
        {**environ, "IMGPKG_REGISTRY_PASSWORD_FILE_0": str(folder / "secret")},
    )


@case
def a_wrong_password_in_the_docker_config(world, folder):
    auth = base64.b64encode(f"ci:{WRONG}".encode()).decode()
    return Broken(
        read(world.basic),
        f"refused user 'ci', whose password is from {folder}/docker/config.json: auths \"{world.basic}\"",
        f"log in again (imgpkg auth login {world.basic})",
        docker_config(folder, {"auths": {world.basic: {"auth": auth}}}),
    )


@case
def a_wrong_password_of_a_helper(world, folder):
    helper = write_helper(folder / "bin", "vault", {world.basic: ("ci", WRONG)})
    return Broken(
        read(world.basic),
        "refused user 'ci', whose password is from docker-credential-vault (credsStore in "
        f"{folder}/docker/config.json)",
        "put a valid one into docker-credential-vault",
        {**docker_config(folder, {"credsStore": "vault"}), "PATH": helper.path("/usr/bin", "/bin")},
    )


@case
def a_wrong_password_for_a_token_service(world, folder):
    return Broken(
        read(world.tokens),
        f"the token service {world.service} refused user 'ci', whose password is from "
        "$IMGPKG_REGISTRY_PASSWORD_0",
        "put a valid one into $IMGPKG_REGISTRY_PASSWORD_0.",
        login(world.tokens),
    )


@case
def a_password_with_a_newline(world, folder):
    return Broken(
        read(world.basic),
        "whose password is from $IMGPKG_REGISTRY_PASSWORD_0 and ends in a newline",
        "Store it without blanks and line breaks around it",
        login(world.basic, f"{RIGHT}\n"),
    )


@case
def a_password_with_a_blank(world, folder):
    return Broken(
        read(world.basic),
        "whose password is from $IMGPKG_REGISTRY_PASSWORD_0 and begins or ends with a blank",
        "Store it without blanks and line breaks around it",
        login(world.basic, f" {RIGHT}"),
    )


@case
def a_misspelt_host_in_a_set(world, folder):
    host = world.basic.replace("127.0.0.1", "127.0.0.2")
    return Broken(
        read(world.basic),
        f"no credential was sent to the registry {world.basic}: none was found for {world.basic}/team/app",
        f"its host is one letter away; if the reference is right: IMGPKG_REGISTRY_HOSTNAME_0={world.basic}",
        login(host, RIGHT),
    )


@case
def a_set_for_another_path(world, folder):
    return Broken(
        read(world.basic),
        f"no credential was sent to the registry {world.basic}: none was found for {world.basic}/team/app",
        f"'team/app' is not below it: IMGPKG_REGISTRY_HOSTNAME_0={world.basic}/team",
        login(f"{world.basic}/teams", RIGHT),
    )


@case
def a_set_without_a_password(world, folder):
    return Broken(
        read(world.basic),
        f"no credential was sent to the registry {world.basic}: IMGPKG_REGISTRY_HOSTNAME_0={world.basic} "
        "has a username and no password",
        "Set $IMGPKG_REGISTRY_PASSWORD_0, which is missing or empty.",
        login(world.basic, ""),
    )


@case
def a_set_with_only_a_hostname(world, folder):
    return Broken(
        read(world.basic),
        f"IMGPKG_REGISTRY_HOSTNAME_0={world.basic} asks for anonymous access",
        "Set IMGPKG_REGISTRY_USERNAME_0 and IMGPKG_REGISTRY_PASSWORD_0 as well, or remove this set",
        {"IMGPKG_REGISTRY_HOSTNAME_0": world.basic},
    )


@case
def a_flag_for_anonymous_access(world, folder):
    return Broken(
        read(world.basic, "--registry-anon"),
        f"no credential was sent to the registry {world.basic}: --registry-anon asks for anonymous access",
        "Leave out --registry-anon.",
    )


@case
def a_username_without_a_password(world, folder):
    return Broken(
        read(world.basic, "--registry-username=ci"),
        "password missing: --registry-username is given without one",
        "give --registry-password-stdin",
    )


@case
def a_variable_with_a_misspelt_name(world, folder):
    return Broken(
        read(world.basic),
        "Unknown env variable 'IMGPKG_REGISTRY_PASSWRD_0'",
        "Did you mean IMGPKG_REGISTRY_PASSWORD_0 instead of IMGPKG_REGISTRY_PASSWRD_0?",
        {"IMGPKG_REGISTRY_PASSWRD_0": RIGHT},
    )


@case
def flags_that_a_set_overrules(world, folder):
    return Broken(
        read(world.basic, "--registry-username=ci", f"--registry-password={RIGHT}"),
        "refused user 'ci', whose password is from $IMGPKG_REGISTRY_PASSWORD_0",
        "put a valid one into $IMGPKG_REGISTRY_PASSWORD_0.",
        login(world.basic),
    )


@case
def nothing_found_for_a_private_registry(world, folder):
    return Broken(
        ("pull", "-i", f"{world.basic}/team/app", "-o", str(folder / "out")),
        f"no credential was sent to the registry {world.basic}: none was found for {world.basic}/team/app",
        f"To log in: imgpkg auth login {world.basic}, or set IMGPKG_REGISTRY_HOSTNAME_0={world.basic}",
    )


@case
def nothing_found_for_a_token_service(world, folder):
    return Broken(
        read(world.tokens),
        f"no credential was sent to the token service {world.service}: none was found",
        f"To log in: imgpkg auth login {world.tokens}",
    )


@case
def a_registry_that_hides_what_is_private(world, folder):
    address = world.scripted(lambda asked: Said(404))
    return Broken(
        read(address),
        "unexpected status code 404 Not Found",
        f"If the repository is private: no credential was sent to the registry {address}: none was found for "
        f"{address}/team/app. To log in: imgpkg auth login {address}",
    )


@case
def a_keychain_that_is_not_active(world, folder):
    return Broken(
        read(world.tls("ghcr.io")),
        "no credential was sent to the registry ghcr.io: none was found for ghcr.io/team/app",
        "keychain 'github' handles ghcr.io and is not active: IMGPKG_ACTIVE_KEYCHAINS=github",
        {**world.internet, "GITHUB_TOKEN": RIGHT},
    )


@case
def a_keychain_of_another_cloud(world, folder):
    host = world.tls("123456789012.dkr.ecr.eu-west-1.amazonaws.com")
    return Broken(
        read(host),
        f"no credential was sent to the registry {host}: none was found",
        f"keychain 'ecr' handles {host} and is not active: IMGPKG_ACTIVE_KEYCHAINS=github,ecr",
        {**world.internet, "IMGPKG_ACTIVE_KEYCHAINS": "github"},
    )


@case
def a_keychain_that_does_not_exist(world, folder):
    return Broken(
        read(world.basic),
        "Unable to load keychain for gcp",
        "available keychains [aks, ecr, gke, github]",
        {"IMGPKG_ACTIVE_KEYCHAINS": "gcp"},
    )


@case
def a_registry_token_that_has_ended(world, folder):
    return Broken(
        read(world.tokens),
        "the registry token from $IMGPKG_REGISTRY_REGISTRY_TOKEN_0, issued by https://id.example, ended at "
        "2023-11-14 22:13:20 UTC",
        "Put a valid one into $IMGPKG_REGISTRY_REGISTRY_TOKEN_0.",
        {"IMGPKG_REGISTRY_HOSTNAME_0": world.tokens, "IMGPKG_REGISTRY_REGISTRY_TOKEN_0": EXPIRED},
    )


@case
def a_password_that_is_a_token_and_has_ended(world, folder):
    return Broken(
        read(world.basic),
        "the password of user 'ci' from $IMGPKG_REGISTRY_PASSWORD_0, issued by https://id.example, ended at "
        "2023-11-14 22:13:20 UTC",
        "Put a valid one into $IMGPKG_REGISTRY_PASSWORD_0.",
        login(world.basic, EXPIRED),
    )


@case
def a_password_of_which_the_registry_says_that_it_has_ended(world, folder):
    body = {"errors": [{"code": "DENIED", "message": "Your authorization token has expired. Reauthenticate"}]}

    def handle(asked):
        return Said(403, body) if asked.authorization else Said(401, headers=www('Basic realm="r"'))

    address = world.scripted(handle)
    return Broken(
        read(address),
        f"the password of user 'ci' from $IMGPKG_REGISTRY_PASSWORD_0 has ended, says the registry {address}",
        "Put a valid one into $IMGPKG_REGISTRY_PASSWORD_0.",
        login(address),
    )


@case
def an_identity_token_that_the_service_refuses(world, folder):
    environ = {"IMGPKG_REGISTRY_HOSTNAME_0": world.tokens, "IMGPKG_REGISTRY_IDENTITY_TOKEN_0": WRONG}
    return Broken(
        read(world.tokens),
        f"the token service {world.service} refused the identity token from "
        "$IMGPKG_REGISTRY_IDENTITY_TOKEN_0",
        "Check the identity token: put a valid one into $IMGPKG_REGISTRY_IDENTITY_TOKEN_0.",
        environ,
    )


@case
def an_identity_token_at_a_registry_without_a_token_service(world, folder):
    environ = {"IMGPKG_REGISTRY_HOSTNAME_0": world.basic, "IMGPKG_REGISTRY_IDENTITY_TOKEN_0": WRONG}
    return Broken(
        read(world.basic),
        f"the identity token from $IMGPKG_REGISTRY_IDENTITY_TOKEN_0 cannot be used at the registry "
        f"{world.basic}",
        f"Give a username and a password for {world.basic} in place of it.",
        environ,
    )


@case
def a_registry_token_at_a_registry_that_wants_a_login(world, folder):
    return Broken(
        read(world.basic),
        f"the registry token from $IMGPKG_TOKEN cannot be used at the registry {world.basic}, which asks for "
        "a login (Basic)",
        f"Give a username and a password for {world.basic} in place of it.",
        {"IMGPKG_TOKEN": WRONG},
    )


@case
def a_registry_token_with_a_newline(world, folder):
    return Broken(
        read(world.basic),
        f"the registry token from $IMGPKG_TOKEN cannot be used at the registry {world.basic}",
        "Store it without blanks and line breaks around it",
        {"IMGPKG_TOKEN": f"{WRONG}\n"},
    )


@case
def a_push_with_a_login_that_may_only_pull(world, folder):
    return Broken(
        pushed(world.tokens, folder),
        "user 'ci', whose password is from $IMGPKG_REGISTRY_PASSWORD_0, may not push to "
        f"{world.tokens}/team/app: the login was accepted, but the token that it got grants pull only",
        f"Ask for the permission to push to {world.tokens}/team/app",
        login(world.tokens, RIGHT),
    )


@case
def a_login_without_rights(world, folder):
    return Broken(
        read(world.tokens),
        "user 'stranger', whose password is from $IMGPKG_REGISTRY_PASSWORD_0, may not pull from "
        f"{world.tokens}/team/app: the login was accepted, but the token that it got grants nothing",
        f"Ask for the permission to pull from {world.tokens}/team/app",
        login(world.tokens, RIGHT, IMGPKG_REGISTRY_USERNAME_0="stranger"),
    )


@case
def a_login_that_is_forbidden_what_it_asks_for(world, folder):
    def handle(asked):
        return Said(403) if asked.authorization else Said(401, headers=www('Basic realm="r"'))

    address = world.scripted(handle)
    return Broken(
        pushed(address, folder),
        f"user 'ci', whose password is from $IMGPKG_REGISTRY_PASSWORD_0, may not push to {address}/team/app",
        f"Ask for the permission to push to {address}/team/app, or use a credential that has it",
        login(address, RIGHT),
    )


def challenging(world, service, content=None):
    """Start a registry that sends its clients to the path `/token` of itself, where `service` answers."""

    def handle(asked):
        if asked.path == "/token":
            return service(asked)
        if content is not None and asked.authorization:
            return content
        return Said(401, headers=www('Bearer realm="/token",service="s"'))

    return world.scripted(handle)


@case
def a_token_service_that_is_a_login_page(world, folder):
    address = challenging(world, lambda asked: HTML)
    return Broken(
        read(address),
        f"the token service http://{address}/token sent a web page in place of a token: the bearer response",
        "A web page came back: a proxy, a firewall or a login page may have answered",
        login(address, RIGHT),
    )


@case
def a_token_service_that_sends_no_token(world, folder):
    address = challenging(world, lambda asked: Said(200, {"message": "welcome"}))
    return Broken(
        read(address),
        f"the token service http://{address}/token sent no usable token: no token in bearer response",
        "The registry named this service (the realm of its challenge).",
        login(address, RIGHT),
    )


@case
def a_token_service_that_sends_nothing(world, folder):
    address = challenging(world, lambda asked: Said(200))
    return Broken(
        read(address),
        f"the token service http://{address}/token sent an empty answer in place of a token",
        "The registry named this service (the realm of its challenge).",
        login(address, RIGHT),
    )


@case
def a_token_that_the_registry_does_not_trust(world, folder):
    wrong = Said(401, headers=www('Bearer realm="/token",service="s",error="invalid_token"'))
    address = challenging(world, lambda asked: Said(200, {"token": "T"}), wrong)
    return Broken(
        read(address),
        f"the registry {address} refused the token that its own token service had issued for user 'ci'",
        f"Check the clocks of this machine and of {address}",
        login(address, RIGHT),
    )


@case
def a_realm_at_a_forbidden_address(world, folder):
    address = world.scripted(
        lambda asked: Said(401, headers=www('Bearer realm="http://169.254.169.254/token"'))
    )
    return Broken(
        read(address),
        f"Requesting a token for {address}: refusing the realm 'http://169.254.169.254/token' that the "
        "registry named: a registry has no business with that address",
        "The set-up of the registry has to name another address: ask its operator.",
        login(address, RIGHT),
    )


@case
def a_web_page_in_place_of_a_manifest(world, folder):
    address = world.scripted(lambda asked: HTML)
    return Broken(
        ("pull", "-i", f"{address}/team/app", "-o", str(folder / "out")),
        f"GET http://{address}/v2/team/app/manifests/latest: a web page came back in place of a manifest",
        "A web page came back: a proxy, a firewall or a login page may have answered",
    )


@case
def nothing_in_place_of_a_manifest(world, folder):
    address = world.scripted(lambda asked: Said(200, headers={"Content-Type": MANIFEST}))
    return Broken(
        ("pull", "-i", f"{address}/team/app", "-o", str(folder / "out")),
        f"http://{address}/v2/team/app/manifests/latest: an empty answer came back in place of a manifest",
        "A proxy or a registry with a fault answers so",
    )


@case
def a_web_page_in_place_of_a_list_of_tags(world, folder):
    address = world.scripted(lambda asked: HTML)
    return Broken(
        read(address),
        f"GET http://{address}/v2/team/app/tags/list?n=1000: a web page came back in place of the list",
        "A web page came back: a proxy, a firewall or a login page may have answered",
    )


@case
def a_helper_that_is_not_installed(world, folder):
    return Broken(
        read(world.basic),
        'exec: "docker-credential-vault": executable file not found in $PATH',
        "Install docker-credential-vault, or take 'vault' out of the docker config.",
        docker_config(folder, {"credsStore": "vault"}),
    )


@case
def a_helper_that_fails(world, folder):
    helper = write_helper(folder / "bin", "vault", output="no credentials username", status=1)
    return Broken(
        read(world.basic),
        "error getting credentials - err: exit status 1, out: `no credentials username`",
        f"{folder}/docker/config.json says to ask docker-credential-vault for {world.basic}: mend or remove",
        {**docker_config(folder, {"credsStore": "vault"}), "PATH": helper.path("/usr/bin", "/bin")},
    )


@case
def a_docker_config_that_is_no_json(world, folder):
    return Broken(
        read(world.basic),
        f"loading config file: {folder}/docker/config.json: line 1 column 12: Expecting value",
        f"Correct this place in {folder}/docker/config.json, or remove it and log in again.",
        docker_config(folder, '{"auths": [}'),
    )


@case
def http_where_https_is_spoken(world, folder):
    world.put("plain.example", world.basic)
    return Broken(
        read("plain.example"),
        "http: server gave HTTP response to HTTPS client",
        "--registry-insecure allows http",
        {**login("plain.example", RIGHT), **world.internet},
    )


@case
def a_certificate_of_an_unknown_authority(world, folder):
    return Broken(
        read(world.tls("unknown.example", trustme.CA())),
        "x509: certificate signed by unknown authority",
        "--registry-ca-cert-path FILE",
        world.internet,
    )


@case
def a_certificate_that_has_expired(world, folder):
    end = datetime.fromtimestamp(time.time() - 3600, timezone.utc)
    return Broken(
        read(world.tls("expired.example", not_after=end)),
        "x509: certificate has expired or is not yet valid",
        "Check this machine's clock; if it is right, the registry needs a new certificate.",
        world.internet,
    )


@case
def a_certificate_of_another_host(world, folder):
    world.tls("right.example")
    world.names["another.example:443"] = world.names["right.example:443"]
    return Broken(
        read("another.example"),
        "x509: ",
        "Use the name that the certificate was issued for",
        world.internet,
    )


@case
def a_host_that_does_not_exist(world, folder):
    return Broken(
        read("registry.invalid"),
        'Get "https://registry.invalid/v2/team/app/tags/list?n=1000": dial tcp: lookup registry.invalid',
        "There is no host registry.invalid: check its spelling",
    )


@case
def a_port_at_which_nobody_listens(world, folder):
    return Broken(
        read("127.0.0.1:1"),
        "dial tcp 127.0.0.1:1: connect: connection refused",
        "Nothing listens at 127.0.0.1:1: check the port, and that the registry runs.",
    )


@case
def a_proxy_that_is_not_there(world, folder):
    return Broken(
        read("registry.example"),
        "proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused",
        "Nothing listens at 127.0.0.1:1, which $HTTPS_PROXY names as the proxy: correct it",
        {"HTTPS_PROXY": "http://127.0.0.1:1"},
    )


@case
def a_proxy_that_wants_a_login(world, folder):
    proxy = world.stack.enter_context(RawServer(proxying(login="Basic x")))
    return Broken(read("registry.example"), "407", "HTTPS_PROXY", {"HTTPS_PROXY": proxy.url})


@pytest.mark.parametrize("set_up", CASES, ids=lambda set_up: set_up.__name__)
def test_the_cause_and_the_remedy_are_in_the_first_two_lines(set_up, world, imgpkg, tmp_path):
    broken = set_up(world, tmp_path)
    done = imgpkg(*broken.words, secrets=SECRETS, **broken.environ)
    assert (2 <= done.returncode <= 6, done.stdout) == (True, "")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("imgpkg: warning: ")]
    assert lines[0].startswith("imgpkg: Error: ")
    top = "\n".join(lines[:2])
    assert broken.cause in top
    assert broken.remedy in top


def test_there_are_thirty_of_them_at_least():
    assert len({set_up.__name__ for set_up in CASES}) >= 30


def test_the_page_explains_texts_that_these_set_ups_print(world, tmp_path):
    """Each text in the table of docs/authentication.md is in the first two lines of one of them."""
    section = PAGE.read_text().partition("\n## Troubleshooting\n")[2].partition("\n## ")[0]
    texts = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    seen = []
    for set_up in CASES:
        folder = tmp_path / set_up.__name__
        folder.mkdir()
        broken = set_up(world, folder)
        seen += [broken.cause, broken.remedy]
    assert len(texts) >= 20
    assert [text for text in texts if not any(text in said for said in seen)] == []
