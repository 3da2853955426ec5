"""Registries and token services that demand client certificates, through the command."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import sys

import pytest
import trustme
from tests.servers.docker import docker_registry_process, token_section
from tests.servers.raw import RawServer, answering
from tests.servers.token_service import TokenService, User

PASSWORD = "pass:w/ord+é $1"
HOST = "127.0.0.1"


class Files:
    """An authority, a server's pair and a client's pair of it, as files below `folder`."""

    def __init__(self, folder):
        self.authority = trustme.CA()
        self.folder = folder
        self.ca = self._write("ca.pem", self.authority.cert_pem)
        server, client = self.authority.issue_cert(HOST), self.authority.issue_cert("ci@example.com")
        self.server = (
            self._write("server.pem", *server.cert_chain_pems),
            self._write("server-key.pem", server.private_key_pem),
        )
        self.client = (
            self._write("client.pem", *client.cert_chain_pems),
            self._write("client-key.pem", client.private_key_pem),
        )

    def _write(self, name, *pems):
        path = self.folder / name
        path.write_bytes(b"".join(pem.bytes() for pem in pems))
        path.chmod(0o600)
        return str(path)

    def install(self, folder):
        """Write the files of a client in the form of certs.d."""
        folder.mkdir(parents=True)
        for path, name in zip((self.ca, *self.client), ("ca.crt", "ci.cert", "ci.key"), strict=True):
            (folder / name).write_bytes(open_bytes(path))
            (folder / name).chmod(0o600)


def open_bytes(path):
    with open(path, "rb") as file:
        return file.read()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def registry(files, tmp_path_factory):
    """The address of a docker-registry that accepts only clients with a certificate."""
    folder = tmp_path_factory.mktemp("registry")
    with docker_registry_process(folder, tls=(*files.server, files.ca)) as address:
        yield address


@pytest.fixture
def run(empty_environment, tmp_path):
    """Run the command with these variables."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("x")

    def run(*words, code=0, **variables):
        done = subprocess.run(
            [sys.executable, "-m", "imgpkg", *words],
            env={"HOME": str(empty_environment), **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, done.stderr
        assert "PRIVATE KEY" not in done.stdout + done.stderr
        return done

    return run


def push_and_pull(run, address, *flags, **variables):
    run("push", "-i", f"{address}/team/app:v1", "-f", "in", *flags, **variables)
    run("pull", "-i", f"{address}/team/app:v1", "-o", "out", *flags, **variables)


def test_flags_give_a_certificate(run, registry, files):
    certificate, key = files.client
    push_and_pull(
        run,
        registry,
        f"--registry-ca-cert-path={files.ca}",
        f"--registry-client-cert={certificate}",
        f"--registry-client-key={key}",
    )


def test_variables_replace_the_flags(run, registry, files):
    variables = dict(zip(("IMGPKG_CLIENT_CERT", "IMGPKG_CLIENT_KEY"), files.client, strict=True))
    push_and_pull(run, registry, f"--registry-ca-cert-path={files.ca}", **variables)


def test_a_set_gives_a_certificate_and_leaves_the_login_alone(run, registry, files):
    push_and_pull(
        run,
        registry,
        IMGPKG_REGISTRY_HOSTNAME_0=registry,
        IMGPKG_REGISTRY_CA_CERT_0=files.ca,
        IMGPKG_REGISTRY_CLIENT_CERT_0=files.client[0],
        IMGPKG_REGISTRY_CLIENT_KEY_0=files.client[1],
    )


def test_certs_d_of_the_home_folder_gives_a_certificate(run, registry, files, empty_environment):
    files.install(empty_environment / ".config/containers/certs.d" / registry)
    push_and_pull(run, registry)


def test_each_side_of_a_copy_has_its_own(run, registry, files, embedded_registry):
    push_and_pull(run, embedded_registry.address)
    certificate, key = files.client
    run(
        "copy",
        *("-i", f"{embedded_registry.address}/team/app:v1", "--to-repo", f"{registry}/team/copy"),
        *(f"--to-registry-ca-cert-path={files.ca}", f"--to-registry-client-cert={certificate}"),
        IMGPKG_TO_CLIENT_KEY=key,
    )


def test_without_one_the_first_line_says_what_the_registry_wants_and_the_next_how(run, registry, files):
    done = run("tag", "list", "-i", f"{registry}/team/app", "--registry-ca-cert-path", files.ca, code=5)
    text = " ".join(done.stderr.split())
    # The alert is `certificate required`, and of older servers `bad certificate`.
    assert f"certificate: {registry} wants a client certificate, and none was given for it" in text.replace(
        " required", ""
    )
    assert "--registry-client-cert FILE and --registry-client-key FILE" in text


def test_an_encrypted_key_ends_the_command_at_once(run, registry, files, tmp_path):
    encrypted = tmp_path / "encrypted.pem"
    command = ["openssl", "pkcs8", "-topk8", "-in", files.client[1], "-passout", "pass:w0rd"]
    encrypted.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    done = run(
        *("tag", "list", "-i", f"{registry}/team/app"),
        *(f"--registry-client-cert={files.client[0]}", f"--registry-client-key={encrypted}"),
        code=2,
    )
    assert f"the private key '{encrypted}' is encrypted" in done.stderr
    assert "pass phrase" in done.stderr


def test_a_key_that_everybody_can_read_is_warned_about(run, registry, files, tmp_path):
    key = tmp_path / "key.pem"
    key.write_bytes(open_bytes(files.client[1]))
    key.chmod(0o644)
    done = run(
        *("push", "-i", f"{registry}/team/app:v1", "-f", "in", f"--registry-ca-cert-path={files.ca}"),
        *(f"--registry-client-cert={files.client[0]}", f"--registry-client-key={key}"),
    )
    assert f"the private key '{key}' can be read by every user of this machine" in done.stderr


@contextlib.contextmanager
def demanding_token_service(files, folder):
    """Run a docker-registry whose token service stands behind TLS that demands a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files.server)
    context.load_verify_locations(files.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    with TokenService({"testuser": User(PASSWORD)}) as service:

        def talk(conversation):
            request = conversation.receive()
            if request is not None:
                conversation.respond(*forwarded(service, request))

        with RawServer(talk, context=context) as front:
            auth = token_section(folder, service)
            auth["token"]["realm"] = f"{front.url}/token"
            tls = (*files.server, files.ca)
            with docker_registry_process(folder, auth=auth, tls=tls, secrets=(PASSWORD,)) as address:
                yield address, front


def forwarded(service, request):
    from urllib.request import Request, urlopen

    query = request.target.partition("?")[2]
    headers = {"Authorization": request.header("Authorization")}
    with urlopen(Request(f"{service.realm}?{query}", headers=headers), timeout=10) as response:
        return (response.read(),)


def test_a_token_service_on_the_registry_s_own_host_gets_the_certificate_of_the_flags(run, files, tmp_path):
    folder = tmp_path / "registry"
    folder.mkdir()
    with demanding_token_service(files, folder) as (address, front):
        variables = {"IMGPKG_USERNAME": "testuser", "IMGPKG_PASSWORD": PASSWORD}
        certificate, key = files.client
        push_and_pull(
            run,
            address,
            f"--registry-ca-cert-path={files.ca}",
            f"--registry-client-cert={certificate}",
            f"--registry-client-key={key}",
            **variables,
        )
        assert front.requests


def test_a_token_service_elsewhere_gets_what_is_named_for_its_own_host_alone(run, files, tmp_path):
    """`localhost` is another host than 127.0.0.1."""
    issued = files.authority.issue_cert("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    context.load_verify_locations(files.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    token = json.dumps({"token": "t0ken"}).encode()
    with RawServer(answering(token), context=context) as service:
        elsewhere = f"localhost:{service.port}"
        challenge = ("WWW-Authenticate", f'Bearer realm="https://{elsewhere}/token",service="s"')

        def talk(conversation):
            while (request := conversation.receive()) is not None:
                is_signed = request.header("Authorization") == "Bearer t0ken"
                body = b'{"tags":["v1"]}' if is_signed else b""
                status = "200 OK" if is_signed else "401 Unauthorized"
                conversation.respond(body, status=status, headers=[challenge])

        demanding = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        demanding.load_cert_chain(*files.server)
        demanding.load_verify_locations(files.ca)
        demanding.verify_mode = ssl.CERT_REQUIRED
        with RawServer(talk, context=demanding) as registry:
            words = (
                *("tag", "list", "-i", f"{registry.address}/team/app"),
                f"--registry-ca-cert-path={files.ca}",
                f"--registry-client-cert={files.client[0]}",
                f"--registry-client-key={files.client[1]}",
            )
            done = run(*words, code=5)
            assert f"{elsewhere} wants a client certificate, and none was given for it" in done.stderr
            assert "the flags are for registries alone" in done.stderr
            run(
                *words,
                IMGPKG_REGISTRY_HOSTNAME_t=elsewhere,
                IMGPKG_REGISTRY_CLIENT_CERT_t=files.client[0],
                IMGPKG_REGISTRY_CLIENT_KEY_t=files.client[1],
            )
