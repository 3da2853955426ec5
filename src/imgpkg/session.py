"""The composition root: the only place that wires settings, keychain, transport and client together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from imgpkg.auth.activation import active_sources
from imgpkg.auth.address import Address
from imgpkg.auth.docker import DockerConfigSource
from imgpkg.auth.environment import EnvironmentSource
from imgpkg.auth.explicit import ExplicitSource
from imgpkg.auth.helper import Helpers
from imgpkg.auth.keychain import CredentialSource, Decision, Keychain
from imgpkg.auth.program import Programs
from imgpkg.cancellation import Cancellation
from imgpkg.errors import InvalidReference, UsageError
from imgpkg.events import Hook, Warned, silent
from imgpkg.oci.reference import Repository, parse_any
from imgpkg.registry.client import RegistryClient
from imgpkg.settings import Settings
from imgpkg.transport.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.transport.trace import Tracer

# No repository is called so: sets for a part of a registry do not match where nobody says which part it is.
_ANY_REPOSITORY = "-/-"


class Session:
    """One run: a keychain and a registry client that share what they learn; close it when done.

    `Session()` looks at nothing but its settings and is anonymous; `Session(Settings.from_environment())` is
    what the command uses. `sources` are asked for credentials before all others. `on_event` hears the
    warnings of the credential chain and the client, each once, and `trace` a text for each request and answer
    without their secrets. Safe from many threads. Raises InvalidSettings.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        sources: Iterable[CredentialSource] = (),
        on_event: Hook = silent,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self._settings = settings or Settings()
        self._is_closed = False
        self._warn = partial(_warn_once, set(), on_event)
        self.cancellation = Cancellation()
        self._pool = self._open_pool(trace)
        self._programs = Programs(self.cancellation, self._warn)
        self._keychain = Keychain([*sources, *self._sources()])
        self._client = RegistryClient(
            self._pool,
            self._keychain,
            insecure=self.settings.insecure,
            retry_count=self.settings.retry_count,
            warn=self._warn,
        )

    @property
    def settings(self) -> Settings:
        """What the session was opened with; UsageError when it is closed, as for the other two."""
        self._check_open()
        return self._settings

    @property
    def keychain(self) -> Keychain:
        """What decides who is logged in where."""
        self._check_open()
        return self._keychain

    @property
    def client(self) -> RegistryClient:
        """What speaks with registries."""
        self._check_open()
        return self._client

    def _check_open(self) -> None:
        if self._is_closed:
            raise UsageError("The session is closed: open another one for more work")

    def _sources(self) -> Iterator[CredentialSource]:
        environ = self.settings.environ
        yield EnvironmentSource(environ, self._warn)
        yield from active_sources(environ, self._pool, self._warn, programs=self._programs)
        yield ExplicitSource(self.settings.login, environ)
        yield DockerConfigSource(environ, self._warn, helpers=Helpers(environ, programs=self._programs))

    def _open_pool(self, trace: Callable[[str], None] | None) -> Pool:
        return Pool(
            ca_cert_paths=self.settings.authorities,
            verify_certs=self.settings.verify_certs,
            header_timeout=self.settings.response_header_timeout,
            idle_timeout=self.settings.idle_timeout,
            environ=self.settings.environ,
            max_connections=max(2 * self.settings.concurrency, 10),
            tracer=_tracer(trace),
            on_wait=self._warn,
            cancellation=self.cancellation,
        )

    def stop(self) -> None:
        """End for good whatever the threads of this session wait for, which raises Cancelled in them.

        Signal handlers may call it.
        """
        self.cancellation.cancel()

    def close(self) -> None:
        """Close every connection; the session does no more work."""
        self._is_closed = True
        self._pool.close()

    def __enter__(self) -> Session:  # noqa: PYI034 - a name that a program can look up
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _tracer(trace: Callable[[str], None] | None) -> Tracer | None:
    if trace is None:
        return None
    from imgpkg.transport.trace import TextTracer  # noqa: PLC0415 - only for --debug

    return TextTracer(trace)


def _warn_once(said: set[str], on_event: Hook, text: str) -> None:
    if text not in said:
        said.add(text)
        on_event(Warned(text))


def explain(reference: str, *, session: Session) -> Decision:
    """Decide for the repository of `reference`; the decision holds the whole trail and prints no secret.

    Sources may run programs and ask their cloud. Raises InvalidReference or CredentialError.
    """
    return session.keychain.resolve(parse_any(reference).repository)


def offer(server: str, *, session: Session) -> Decision:
    """Decide for `server`, a host with or without `https://` and a path, as docker names what it asks for.

    Environment sets and keychains are asked. Logins given by hand are not, for they name no registry, nor is
    the docker config: it is where whoever asks has looked already. Raises CredentialError, and
    InvalidReference for a server that is no registry.
    """
    repository = _repository(Address.read(server).canonical())
    sources = session.keychain.sources
    named = [source for source in sources if not isinstance(source, (ExplicitSource, DockerConfigSource))]
    return Keychain(named).resolve(repository)


def _repository(address: Address) -> Repository:
    # Without a dot or a port, the name of a registry would be read as a part of a path.
    port = address.port or ("" if "." in address.host else "443")
    registry = f"{address.host}:{port}" if port else address.host
    try:
        return Repository(registry, address.path)
    except InvalidReference:
        return Repository(registry, _ANY_REPOSITORY)
