"""The registry for tests: what a program sends to it, what it is to answer, and how to reach it."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import os
import tempfile
import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

from imgpkg.dataclass import dataclass
from imgpkg.embedded.access import Account, LoginAccess, OpenAccess
from imgpkg.embedded.routes import ALL_FEATURES
from imgpkg.embedded.server import serve as serve_storage
from imgpkg.embedded.storage import RepositoryName, Storage, TagName
from imgpkg.embedded.tokens import TokenAccess
from imgpkg.errors import InvalidReference, UsageError, printable
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.manifest import Manifest
from imgpkg.testing.faults import any_of, first, matching

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self, Unpack

    from imgpkg.embedded.access import AccessController
    from imgpkg.embedded.message import Fault, Faults, RequestRecord, ServerRequest
    from imgpkg.embedded.routes import Features
    from imgpkg.embedded.storage import StoredContent
    from imgpkg.session import Session
    from imgpkg.settings import Options, Settings
    from imgpkg.testing.image import SampleImage

_HERE = ("localhost", "127.0.0.1", "::1")
# Where a registry that listens everywhere is found by a client of this machine.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - only as a name
_KEPT_REQUESTS = 100_000


@dataclass(frozen=True)
class ReceivedRequest:
    """A request that the registry has received; nothing of it is a secret.

    `path` is decoded, and `query` are the pairs behind it. `status` is that of the response, 0 if the
    connection ended before there was one. `authorization` is `basic`, `bearer` or `other`, and empty for a
    request without that header. `error` is the reason for a response with 500.
    """

    method: str
    path: str
    status: int
    authorization: str = ""
    query: tuple[tuple[str, str], ...] = ()
    error: str = ""

    def __str__(self) -> str:
        words = (self.method, self.path, str(self.status), self.authorization, self.error)
        return " ".join(filter(None, words))


class RegistryServer:
    """A registry that listens on this machine, and is made by `serve`; a context manager that stops it.

    `address` is its `host:port`, the first part of the names of its images, and `url` the same with its
    scheme. `username` and `password` are its login, empty without one. `ca_file` is the path of the authority
    to trust, empty without TLS. Any number of threads may use it.
    """

    address: str
    url: str
    username: str
    password: str
    ca_file: str

    def __init__(
        self,
        host: str,
        port: int,
        *,
        login: tuple[str, str] | None,
        access: AccessController,
        tls: bool,
        features: Features,
        faults: Faults | None,
    ) -> None:
        self.username, self.password = login or ("", "")
        self.ca_file = ""
        self._is_stopped = False
        self._rules: list[Faults] = [] if faults is None else [faults]
        self._given = tuple(self._rules)
        # The methods and paths of requests that have come, answered or not.
        self._arrived: deque[tuple[str, str]] = deque(maxlen=_KEPT_REQUESTS)
        self._changed = threading.Condition()
        with contextlib.ExitStack() as stack:
            # It goes at the end of the process too, if nobody stops the registry.
            temporary = tempfile.TemporaryDirectory(prefix="imgpkg-registry-", ignore_cleanup_errors=True)
            folder = stack.enter_context(temporary)
            self._content = Storage(os.path.join(folder, "content"), durable=False)
            pair = self._certified(folder, host) if tls else None
            self._server = stack.enter_context(
                serve_storage(
                    host,
                    port,
                    storage=self._content,
                    access=access,
                    tls=pair,
                    features=features,
                    faults=self._fault,
                    keep_requests=_KEPT_REQUESTS,
                )
            )
            self._resources = stack.pop_all()
        name, _, number = self._server.address.rpartition(":")
        self.address = f"{_EVERYWHERE.get(name, name)}:{number}"
        self.url = f"{'https' if tls else 'http'}://{self.address}"

    @property
    def requests(self) -> tuple[ReceivedRequest, ...]:
        """The requests so far, oldest first; each is here before its response is sent.

        Those of the token service are among them. The latest hundred thousand are kept.
        """
        return tuple(map(_received, self._server.requests))

    def forget_requests(self) -> None:
        """Empty the list of requests: those of the preparation of a test, for example."""
        self._server.forget_requests()
        with self._changed:
            self._arrived.clear()

    def wait_for_request(self, *, method: str | None = None, path: str = "", timeout: float = 10.0) -> None:
        """Wait until a request with this method and path has come since the list was empty.

        Such a request need not be answered yet: a stalled one is enough. Method and path are as for `fail`.
        Raise AssertionError, which fails a test, if there is none within `timeout` seconds.
        """
        is_wanted = matching(method, path)
        with self._changed:
            if not self._changed.wait_for(lambda: any(is_wanted(*each) for each in self._arrived), timeout):
                wanted = " ".join(filter(None, (method, path))) or "at all"
                raise AssertionError(f"{self.address} received no request {wanted} within {timeout:g} s")

    def fail(self, fault: Fault, *, times: int | None = 1, method: str | None = None, path: str = "") -> None:
        """Do this to the next requests with this method whose path has the pattern somewhere.

        `times` is the number of requests, None for all. The path is decoded, such as
        `/v2/team/app/manifests/v1`, and the pattern is a regular expression; a token service is at `/token`.
        Of several faults for one request the oldest is done, until its times are over. Raise UsageError for a
        pattern that is no regular expression.
        """
        count = math.inf if times is None else times
        rule = first(count, fault, method=method, path=path)
        with self._changed:
            self._rules.append(rule)

    def forget_faults(self) -> None:
        """Serve the next requests as they are; the function that `serve` was given stays."""
        with self._changed:
            self._rules[:] = self._given

    def add(self, name: str, image: SampleImage) -> str:
        """Put an image, with all that is in it, into a repository, and return its reference by digest.

        The name is that of a repository, `team/app`, or of a tag, `team/app:v1`, with or without the address.
        Nothing is requested. Raise InvalidReference for any other name, InvalidManifest for an image whose
        manifest is none.
        """
        repository, wanted = self._parsed(name)
        if isinstance(wanted, Digest):
            raise InvalidReference(f"an image is added by a tag, and not by a digest: {name}")
        self._put(repository, image, wanted)
        return f"{self.address}/{repository}@{image.digest}"

    def add_blob(self, repository: str, data: bytes) -> str:
        """Put a blob, which no manifest names yet, into a repository, and return its digest as text.

        Nothing is requested. Raise InvalidReference for a name that is none.
        """
        return str(self._put_blob(self._repository(repository), data))

    @property
    def repositories(self) -> tuple[str, ...]:
        """The repositories with manifests, in lexical order; nothing is requested."""
        return tuple(map(str, self._storage.repositories()))

    def tags(self, repository: str) -> tuple[str, ...]:
        """Return the tags of a repository in lexical order; nothing is requested.

        Raise InvalidReference for a name that is none.
        """
        return tuple(map(str, self._storage.tags(self._repository(repository)) or ()))

    def manifest(self, name: str) -> bytes | None:
        """Return the manifest of `team/app:v1` or `team/app@sha256:...`; None if there is none.

        Nothing is requested. Raise InvalidReference for any other name.
        """
        repository, wanted = self._parsed(name)
        if wanted is None:
            raise InvalidReference(f"a manifest has a tag or a digest: {name}")
        return _content(self._storage.manifest(repository, wanted))

    def blob(self, name: str) -> bytes | None:
        """Return the blob `team/app@sha256:...`; None if the repository has no such blob.

        Nothing is requested. Raise InvalidReference for any other name.
        """
        repository, wanted = self._parsed(name)
        if not isinstance(wanted, Digest):
            raise InvalidReference(f"a blob has a digest: {name}")
        return _content(self._storage.blob(repository, wanted))

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment with which imgpkg reaches this registry: its login, and its authority.

        Those of several registries can be put together. Without a login and TLS there are none.
        """
        values = {"USERNAME": self.username, "PASSWORD": self.password, "CA_CERT": self.ca_file}
        given = {name: value for name, value in values.items() if value}
        # Two registries have different ports, and so different sets.
        suffix = f"TEST{self.address.rpartition(':')[2]}"
        named = {"HOSTNAME": self.address, **given} if given else {}
        return {f"IMGPKG_REGISTRY_{name}_{suffix}": value for name, value in named.items()}

    def settings(self, **options: Unpack[Options]) -> Settings:
        """Return the settings with which imgpkg reaches this registry; they read nothing of the machine."""
        from imgpkg.settings import Settings

        return Settings(environ=self.variables, **options)

    def session(self, **options: Unpack[Options]) -> Session:
        """Open a session with these settings; close it, or use it as a context manager."""
        from imgpkg.session import Session

        return Session(self.settings(**options))

    def write_docker_config(self, folder: str | os.PathLike[str]) -> str:
        """Write the login to `config.json` in this folder, for DOCKER_CONFIG, and return the path.

        The folder is made where there is none. Docker, podman, skopeo, oras and the clients of most
        languages read it.
        """
        login = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        entries = {self.address: {"auth": login}} if self.username else {}
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "config.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"auths": entries}, file)
        return path

    def stop(self) -> None:
        """End all connections, and remove all content; stopping twice does nothing.

        The requests can still be read, while methods that need the content raise UsageError.
        """
        self._is_stopped = True
        self._resources.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _certified(self, folder: str, host: str) -> tuple[str, str]:
        from imgpkg.testing.certificate import issue_certificate

        files = issue_certificate(folder, dict.fromkeys((host, *_HERE)))
        self.ca_file = files.authority
        return files.certificate, files.key

    def _parsed(self, name: str) -> tuple[RepositoryName, TagName | Digest | None]:
        path, at, digest = name.removeprefix(f"{self.address}/").partition("@")
        path, colon, tag = path.partition(":")
        repository = RepositoryName.parse(path)
        if at:
            return repository, Digest.parse(digest)
        return repository, TagName.parse(tag) if colon else None

    def _repository(self, name: str) -> RepositoryName:
        repository, wanted = self._parsed(name)
        if wanted is not None:
            raise InvalidReference(f"a repository has neither tag nor digest: {name}")
        return repository

    def _fault(self, request: ServerRequest) -> Fault | None:
        with self._changed:
            self._arrived.append((request.method, request.path))
            self._changed.notify_all()
            rules = tuple(self._rules)
        return any_of(*rules)(request)

    def _put(self, repository: RepositoryName, image: SampleImage, tag: TagName | None) -> None:
        for child in image.images:
            self._put(repository, child, None)
        for blob in image.blobs:
            self._put_blob(repository, blob)
        self._storage.put_manifest(repository, Manifest.parse(image.manifest, image.media_type), tag)

    def _put_blob(self, repository: RepositoryName, data: bytes) -> Digest:
        digest = Digest.of(data)
        upload = self._storage.uploads.start(repository)
        upload.append(io.BytesIO(data))
        self._storage.finish(upload, digest)
        return digest

    @property
    def _storage(self) -> Storage:
        if self._is_stopped:
            # Without content every test that expects none would pass.
            raise UsageError(f"the registry {self.address} is stopped, and its content is removed")
        return self._content


class ServeRegistry(Protocol):
    """The function in the fixture `serve_registry` of the pytest plugin: `serve` on any free port."""

    def __call__(
        self,
        *,
        login: tuple[str, str] | None = None,
        accounts: Sequence[Account] = (),
        token_service: bool = False,
        token_lifetime: int = 300,
        anonymous_pull: bool = False,
        tls: bool = False,
        features: Features = ALL_FEATURES,
        faults: Faults | None = None,
    ) -> RegistryServer:
        """Start a registry, which is stopped after the test."""
        ...


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    login: tuple[str, str] | None = None,
    accounts: Sequence[Account] = (),
    token_service: bool = False,
    token_lifetime: int = 300,
    anonymous_pull: bool = False,
    tls: bool = False,
    features: Features = ALL_FEATURES,
    faults: Faults | None = None,
) -> RegistryServer:
    """Start an empty registry on this machine and return at once; port 0 is any free port.

    `login` is a user name and password that may do everything, and `accounts` are others, with patterns of
    repositories and with actions. They are sent with each request or, with `token_service`, exchanged for
    tokens that live `token_lifetime` seconds; with `anonymous_pull`, and without any login, the service gives
    tokens to pull to everybody. With `tls` the registry has a new certificate for `localhost`, 127.0.0.1,
    ::1 and `host`. `features` leaves out optional parts of the specification. `faults` is asked for a fault
    for each request, before those of `fail`. Containers reach a registry with the `host` 0.0.0.0.

    Raise UsageError for options that exclude each other and for a user name that no login can have,
    LocalIOError for an address that cannot be used.
    """
    known = (*(() if login is None else (Account(*login),)), *accounts)
    for account in known:
        if not account.username or ":" in account.username:
            raise UsageError(f"a user name is not empty and has no colon: {printable(account.username)!r}")
    if anonymous_pull and not token_service:
        raise UsageError("anonymous_pull needs token_service")
    access: AccessController = LoginAccess(known) if known else OpenAccess()
    if token_service:
        # Without accounts the service could issue no other tokens than those.
        public = anonymous_pull or not known
        access = TokenAccess(known, lifetime=token_lifetime, anonymous_pull=public)
    return RegistryServer(host, port, login=login, access=access, tls=tls, features=features, faults=faults)


def _received(record: RequestRecord) -> ReceivedRequest:
    return ReceivedRequest(
        record.method, record.path, record.status, record.authorization_kind, record.query, record.error
    )


def _content(stored: StoredContent | None) -> bytes | None:
    if stored is None:
        return None
    with open(stored.path, "rb") as file:
        return file.read()
