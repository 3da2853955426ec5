"""Registries that run while the tests do: the embedded one, and docker-registry in its four set-ups."""

from __future__ import annotations

import pytest
from tests.servers.docker import (
    RunningRegistry,
    docker_registry_process,
    token_section,
    write_htpasswd,
)
from tests.servers.logging_proxy import LoggingProxy
from tests.servers.token_service import TokenService, User

from imgpkg.embedded.server import serve
from imgpkg.session import Session
from imgpkg.settings import Login, Settings
from imgpkg.testing.certificate import issue_certificate

USERNAME = "testuser"
PASSWORD = "pass:w/ord+é $1"


@pytest.fixture(scope="session")
def embedded_registry():
    """The embedded registry, open to all."""
    with serve() as server:
        yield RunningRegistry(server.address, server=server)


@pytest.fixture(scope="session")
def embedded_login():
    """The embedded registry, with a login."""
    with serve(login=(USERNAME, PASSWORD)) as server:
        yield RunningRegistry(server.address, USERNAME, PASSWORD, server=server)


@pytest.fixture(scope="session")
def embedded_token():
    """The embedded registry, with its own token service."""
    with serve(login=(USERNAME, PASSWORD), token_service=True) as server:
        yield RunningRegistry(server.address, USERNAME, PASSWORD, server=server)


@pytest.fixture(scope="session")
def docker_registry(tmp_path_factory):
    """docker-registry, open to all."""
    with docker_registry_process(tmp_path_factory.mktemp("docker")) as address:
        yield RunningRegistry(address)


@pytest.fixture(scope="session")
def docker_registry_htpasswd(tmp_path_factory):
    """docker-registry with a login."""
    folder = tmp_path_factory.mktemp("docker_htpasswd")
    auth = write_htpasswd(folder, USERNAME, PASSWORD)
    with docker_registry_process(folder, auth=auth, secrets=(PASSWORD,)) as address:
        yield RunningRegistry(address, USERNAME, PASSWORD)


@pytest.fixture(scope="session")
def docker_registry_tls(tmp_path_factory):
    """docker-registry behind TLS with a private authority, open to all."""
    folder = tmp_path_factory.mktemp("docker_tls")
    files = issue_certificate(str(folder), ["127.0.0.1", "localhost"])
    with docker_registry_process(folder, tls=(files.certificate, files.key)) as address:
        yield RunningRegistry(address, ca_path=files.authority)


@pytest.fixture(scope="session")
def docker_registry_token(tmp_path_factory):
    """docker-registry with a token service, which is its `server`."""
    folder = tmp_path_factory.mktemp("docker_token")
    with TokenService({USERNAME: User(PASSWORD)}) as service:
        auth = token_section(folder, service)
        with docker_registry_process(folder, auth=auth, secrets=(PASSWORD,)) as address:
            yield RunningRegistry(address, USERNAME, PASSWORD, server=service)


@pytest.fixture(scope="session")
def docker_registry_without_deletion(tmp_path_factory):
    """docker-registry as it is by default, open to all."""
    with docker_registry_process(tmp_path_factory.mktemp("docker_kept"), deletes=False) as address:
        yield RunningRegistry(address)


@pytest.fixture
def reverse_proxy():
    """Put a logging proxy in front of an address: `reverse_proxy(address, latency=0.02)`."""
    proxies = []

    def started(upstream, *, latency=0.0, limit=None):
        proxy = LoggingProxy(upstream, latency=latency, limit=limit)
        proxies.append(proxy.__enter__())
        return proxy

    yield started
    for proxy in proxies:
        proxy.__exit__(None, None, None)


@pytest.fixture(scope="session")
def another_registry():
    """A second embedded registry."""
    with serve() as server:
        yield RunningRegistry(server.address, server=server)


@pytest.fixture
def open_session():
    """Open a session with these settings; `username` and `password` become flags."""
    sessions = []

    def opened(*, username=None, password=None, on_event=None, **options):
        settings = Settings(login=Login(username, password), **options)
        session = Session(settings, on_event=on_event) if on_event else Session(settings)
        sessions.append(session)
        return session

    yield opened
    for session in sessions:
        session.close()


@pytest.fixture
def session(open_session):
    """An anonymous session."""
    return open_session()
