"""Copies whose two sides have logins, tokens and certificates of their own."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

import pytest
import trustme
from tests.operations.making import make_bundle, make_image

from imgpkg.embedded.access import Account
from imgpkg.embedded.message import RequestRefused
from imgpkg.embedded.server import serve
from imgpkg.embedded.tokens import TokenAccess
from imgpkg.oci.reference import Reference
from imgpkg.session import Session
from imgpkg.settings import Login, Settings

READER = ("reader", "may-only-read-1")
WRITER = ("writer", "may-also-write-2")
SECRETS = [
    text
    for username, password in (READER, WRITER)
    for text in (password, base64.b64encode(f"{username}:{password}".encode()).decode())
]


@dataclass(frozen=True)
class Place:
    """A registry behind TLS, with the file of its private authority."""

    server: object
    ca: str

    @property
    def address(self):
        return self.server.address

    def heard(self, secret):
        """Tell whether a secret came in the headers of any request, as it is or in a login."""
        encoded = {base64.b64encode(f"{user}:{secret}".encode()).decode() for user, _ in (READER, WRITER)}
        headers = [str(request.headers) for request in self.server.requests]
        return any(text in shown for shown in headers for text in (secret, *encoded))


def start_with_tls(folder, **options):
    authority = trustme.CA()
    folder.mkdir()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for pem in issued.cert_chain_pems:
        pem.write_to_path(folder / "cert.pem", append=True)
    server = serve(tls=(str(folder / "cert.pem"), str(folder / "key.pem")), **options)
    return Place(server, str(folder / "ca.pem"))


@pytest.fixture
def here(tmp_path):
    """The source: a registry that wants READER's login with each request."""
    place = start_with_tls(tmp_path / "here", login=READER)
    with place.server:
        yield place


@pytest.fixture
def there(tmp_path):
    """The destination: a registry with a token service, which knows WRITER alone."""
    place = start_with_tls(tmp_path / "there", login=WRITER, token_service=True)
    with place.server:
        yield place


@pytest.fixture
def bundle(here, tmp_path):
    """A bundle with one image at the source."""
    with Session(Settings(login=Login(*READER), ca_cert_paths=here.ca)) as session:
        image = make_image(session, f"{here.address}/src/app", ["one", "two"])
        return make_bundle(session, f"{here.address}/src/bundle:v1", {image: {}}, tmp_path / "b")


def test_each_side_has_its_flags(imgpkg, here, there, bundle):
    done = imgpkg(
        *("copy", "-b", bundle, "--to-repo", f"{there.address}/copy/b", "--debug"),
        *("--from-registry-username", READER[0], "--from-registry-password-stdin"),
        *("--from-registry-ca-cert-path", here.ca),
        *("--to-registry-username", WRITER[0], "--to-registry-password", WRITER[1]),
        *("--to-registry-ca-cert-path", there.ca),
        stdin=f"{READER[1]}\n",
        secrets=SECRETS,
    )
    assert done.returncode == 0, done.stderr
    assert (here.heard(READER[1]), here.heard(WRITER[1])) == (True, False)
    assert (there.heard(WRITER[1]), there.heard(READER[1])) == (True, False)
    assert "warning" not in done.stderr


def test_each_side_has_its_variables(imgpkg, here, there, bundle):
    done = imgpkg(
        *("copy", "-b", bundle, "--to-repo", f"{there.address}/copy/b"),
        *("--registry-ca-cert-path", here.ca, "--registry-ca-cert-path", there.ca),
        IMGPKG_FROM_USERNAME=READER[0],
        IMGPKG_FROM_PASSWORD=READER[1],
        IMGPKG_TO_USERNAME=WRITER[0],
        IMGPKG_TO_PASSWORD=WRITER[1],
        secrets=SECRETS,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (here.heard(WRITER[1]), there.heard(READER[1])) == (False, False)


def test_each_side_has_its_files(imgpkg, tmp_path, here, there, bundle):
    for name, (_, password) in (("reader", READER), ("writer", WRITER)):
        (tmp_path / name).write_text(f"{password}\n")
    done = imgpkg(
        *("copy", "-b", bundle, "--to-repo", f"{there.address}/copy/b"),
        *("--registry-ca-cert-path", here.ca, "--registry-ca-cert-path", there.ca),
        *("--from-registry-username", READER[0], "--from-registry-password-file", tmp_path / "reader"),
        IMGPKG_TO_USERNAME=WRITER[0],
        IMGPKG_TO_PASSWORD_FILE=str(tmp_path / "writer"),
        secrets=SECRETS,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (here.heard(WRITER[1]), there.heard(READER[1])) == (False, False)


def test_a_side_without_flags_of_its_own_uses_the_plain_ones(imgpkg, here, there, bundle):
    done = imgpkg(
        *("copy", "-b", bundle, "--to-repo", f"{there.address}/copy/b"),
        *("--registry-username", READER[0], "--registry-password-stdin", "--registry-ca-cert-path", here.ca),
        *("--to-registry-username", WRITER[0], "--to-registry-ca-cert-path", there.ca),
        IMGPKG_TO_PASSWORD=WRITER[1],
        stdin=READER[1],
        secrets=SECRETS,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (here.heard(WRITER[1]), there.heard(READER[1])) == (False, False)


def test_a_certificate_that_one_side_trusts_is_not_trusted_by_the_other(imgpkg, here, there, bundle):
    done = imgpkg(
        *("copy", "-b", bundle, "--to-repo", f"{there.address}/copy/b"),
        *("--from-registry-ca-cert-path", here.ca, "--from-registry-ca-cert-path", there.ca),
        IMGPKG_FROM_USERNAME=READER[0],
        IMGPKG_FROM_PASSWORD=READER[1],
        IMGPKG_TO_TOKEN="never-sent-anywhere",
        secrets=[*SECRETS, "never-sent-anywhere"],
    )
    assert done.returncode == 5
    assert there.address in done.stderr
    assert "certificate" in done.stderr


def test_certificates_may_be_accepted_unverified_on_one_side(imgpkg, here, there, bundle):
    done = imgpkg(
        *("copy", "-b", bundle, "--to-tar", "b.tar", "--from-registry-verify-certs=false"),
        IMGPKG_FROM_USERNAME=READER[0],
        IMGPKG_FROM_PASSWORD=READER[1],
        # Of no concern for a copy to a file.
        IMGPKG_TO_USERNAME="half-a-login",
        secrets=SECRETS,
    )
    assert (done.returncode, done.stderr) == (0, "")
    done = imgpkg(
        *("copy", "--tar", "b.tar", "--to-repo", f"{there.address}/copy/b"),
        *("--to-registry-ca-cert-path", there.ca),
        IMGPKG_TO_USERNAME=WRITER[0],
        IMGPKG_TO_PASSWORD=WRITER[1],
        IMGPKG_FROM_USERNAME="half-a-login",
        secrets=SECRETS,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (here.heard(WRITER[1]), there.heard(READER[1])) == (False, False)


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_dry_run_shows_the_credential_of_each_side(imgpkg, here, there, bundle, form):
    to = f"{there.address}/copy/b"
    done = imgpkg(
        *("copy", "-b", bundle, "--to-repo", to, "--dry-run", *form),
        *("--from-registry-ca-cert-path", here.ca, "--from-registry-username", READER[0]),
        *("--to-registry-ca-cert-path", there.ca, "--registry-anon"),
        IMGPKG_FROM_PASSWORD=READER[1],
        IMGPKG_TO_USERNAME=WRITER[0],
        IMGPKG_TO_PASSWORD=WRITER[1],
        secrets=SECRETS,
    )
    assert done.returncode == 0, done.stderr
    read = "--from-registry-username, $IMGPKG_FROM_PASSWORD"
    written = "$IMGPKG_TO_USERNAME, $IMGPKG_TO_PASSWORD"
    if form:
        decisions = json.loads(done.stdout)["credentials"]
        assert [(found["repository"], found["origin"]) for found in decisions][1:] == [
            (f"{here.address}/src/bundle", read),
            (to, written),
        ]
    else:
        assert f"credential for {here.address}/src/bundle from flags: {read} (user 'reader')\n" in done.stdout
        assert f"credential for {to} from flags: {written} (user 'writer')\n" in done.stdout


class DenyingTokenAccess(TokenAccess):
    """A token service that gives no token at all where one of the scopes is denied, as ghcr.io does."""

    status = 403

    def _reply(self, account, scopes, refresh=""):
        asked = [f"{scope.rpartition(':')[0]}" for text in scopes for scope in text.split()]
        if account is not None and account.username == WRITER[0]:
            denied = [name for name in asked if not name.startswith("repository:dst/")]
            if denied:
                raise RequestRefused(self.status, "DENIED", "requested access to the resource is denied")
        return super()._reply(account, scopes, refresh)


class RefusingTokenAccess(DenyingTokenAccess):
    """A token service that answers a denied scope like a wrong password."""

    status = 401


@pytest.mark.parametrize("service", [TokenAccess, DenyingTokenAccess, RefusingTokenAccess])
def test_one_registry_with_a_user_for_each_side(imgpkg, tmp_path, service):
    pull, both = frozenset({"pull"}), frozenset({"pull", "push"})
    access = service(
        [
            Account(*READER, "src/*", pull),
            Account(*WRITER, "dst/*", both),
            Account("root", "filler-password"),
        ]
    )
    with serve(access=access) as server:
        with Session(Settings(login=Login("root", "filler-password"))) as session:
            images = {make_image(session, f"{server.address}/src/app{n}", [f"{n}"]): {} for n in range(2)}
            found = make_bundle(session, f"{server.address}/src/bundle:v1", images, tmp_path / "b")
        done = imgpkg(
            *("copy", "-b", found, "--to-repo", f"{server.address}/dst/bundle"),
            IMGPKG_FROM_USERNAME=READER[0],
            IMGPKG_FROM_PASSWORD=READER[1],
            IMGPKG_TO_USERNAME=WRITER[0],
            IMGPKG_TO_PASSWORD=WRITER[1],
            secrets=SECRETS,
        )
        assert (done.returncode, done.stderr) == (0, "")
        mounts = [record for record in server.requests if "mount" in dict(record.query)]
        assert not any(record.status == 201 for record in mounts)
        pulled = imgpkg(
            *("pull", "-b", f"{server.address}/dst/bundle@{found.digest}", "-o", "out"),
            IMGPKG_USERNAME=WRITER[0],
            IMGPKG_PASSWORD=WRITER[1],
        )
        assert (pulled.returncode, pulled.stderr) == (0, "")


def test_a_blob_is_mounted_where_the_user_of_the_destination_may_read_the_source(imgpkg, tmp_path):
    access = TokenAccess(
        [Account(*READER, "src/*", frozenset({"pull"})), Account(*WRITER), Account("root", "filler-password")]
    )
    with serve(access=access) as server:
        with Session(Settings(login=Login("root", "filler-password"))) as session:
            image = make_image(session, f"{server.address}/src/app", ["one"])
        before = len(server.requests)
        done = imgpkg(
            *("copy", "-i", image, "--to-repo", f"{server.address}/dst/app"),
            IMGPKG_FROM_USERNAME=READER[0],
            IMGPKG_FROM_PASSWORD=READER[1],
            IMGPKG_TO_USERNAME=WRITER[0],
            IMGPKG_TO_PASSWORD=WRITER[1],
        )
        assert (done.returncode, done.stderr) == (0, "")
        sent = [record for record in server.requests[before:] if record.method in ("PUT", "PATCH")]
        assert [record.path for record in sent if "/blobs/" in record.path] == []


@pytest.mark.parametrize("form", [(), ("--json",), ("--debug",)])
def test_one_warning_shows_that_the_plain_login_goes_to_a_registry_that_a_bundle_names(
    imgpkg, tmp_path, embedded_registry, another_registry, form
):
    with serve() as strange, Session() as session:
        images = {make_image(session, f"{strange.address}/app{n}/x", [f"{n}"]): {} for n in range(6)}
        place = f"{embedded_registry.address}/sides/bundle:v1"
        make_bundle(session, place, images, tmp_path / "strange")
        to = f"{another_registry.address}/sides/bundle"
        words = ("copy", "-b", place, "--to-repo", to, *form)
        plain = {"IMGPKG_USERNAME": READER[0], "IMGPKG_PASSWORD": READER[1]}
        done = imgpkg(*words, **plain, secrets=SECRETS)
        assert done.returncode == 0
        assert done.stderr.count("imgpkg: warning: ") == 1
        assert (
            f"imgpkg: warning: the login from $IMGPKG_USERNAME, $IMGPKG_PASSWORD is for any registry and is "
            f"also used for {strange.address}, where only {place} names images; to limit it: "
            "--from-registry-username and --to-registry-username are for one side of a copy"
        ) in done.stderr
        if form == ("--json",):
            json.loads(done.stdout)
        done = imgpkg(*words, **plain, IMGPKG_FROM_ANON="true", secrets=SECRETS)
        assert (done.returncode, "warning" in done.stderr) == (0, False)


def test_between_two_of_dockers_registries(
    imgpkg, tmp_path, docker_registry_htpasswd, docker_registry_token, open_session
):
    source, target = docker_registry_htpasswd, docker_registry_token
    session = open_session(username=source.username, password=source.password)
    image = make_image(session, f"{source.address}/sides/app", ["one"])
    found = make_bundle(session, f"{source.address}/sides/bundle:v1", {image: {}}, tmp_path / "docker")
    to = f"{target.address}/sides/copied"
    done = imgpkg(
        *("copy", "-b", found, "--to-repo", to),
        *("--from-registry-username", source.username, "--from-registry-password-stdin"),
        # Refused by the registry that it is not for.
        *("--registry-token", "a-plain-token-of-tests"),
        IMGPKG_TO_USERNAME=target.username,
        IMGPKG_TO_PASSWORD=target.password,
        stdin=source.password,
        secrets=[source.password, "a-plain-token-of-tests"],
    )
    assert (done.returncode, done.stderr) == (0, "")
    with Session(Settings(login=Login(target.username, target.password))) as session:
        place = Reference.parse(f"{to}@{found.digest}")
        assert session.client.manifest(place).digest == found.digest
