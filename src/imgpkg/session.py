"""The session: it builds the credential sources, the transport and the registry client from the settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

import imgpkg
from imgpkg.auth.activation import AskedAndSent, InactiveKeychains, active_sources
from imgpkg.auth.certificates import named_certificates
from imgpkg.auth.docker import DockerConfigSource
from imgpkg.auth.environment import EnvironmentSource
from imgpkg.auth.flags import ExplicitSource
from imgpkg.auth.helper import Helpers
from imgpkg.auth.keychain import Authorization, CredentialSource, Decision, Keychain
from imgpkg.auth.pattern import Address
from imgpkg.auth.program import Programs
from imgpkg.cancellation import Cancellation, current, limit_of
from imgpkg.errors import InvalidReference, UsageError
from imgpkg.events import Event, Hook, Warned, has_logging, has_tracing, silent
from imgpkg.locks import Once
from imgpkg.oci.reference import Repository, WholeRegistry, parse_any, parse_place
from imgpkg.settings import Settings

if TYPE_CHECKING:
    from imgpkg.registry.exchange import Repetition
    from imgpkg.registry.mirrors import MirroredReads
    from imgpkg.registry.repetition import RepetitionWarnings
    from imgpkg.transport.pool import Pool
    from imgpkg.transport.trace import Tracer

P = ParamSpec("P")
R = TypeVar("R")

_LIMITS = (
    "\n\n`timeout` limits it, in seconds, in the place of the session's; infinity is none. `cancel`\n"
    "ends it. Raises TimedOut or Cancelled then; see `imgpkg.limits`.\n"
)
_MIRROR_VARIABLES = ("IMGPKG_REGISTRIES_CONF", "CONTAINERS_REGISTRIES_CONF", "REGISTRIES_CONFIG_PATH")


class Session:
    """The connections, tokens and credentials that operations share; a context manager that closes itself.

    `Session()` uses no environment and no credentials; the command uses
    `Session(Settings.from_environment())`. `sources` come before all other credential sources. `on_event`
    receives the warnings of credential sources and registries, each once. `trace` receives each request and
    response as text, without secrets. A session may be used by several threads. Raises InvalidSettings.

    Where the program has handlers of `logging` below `imgpkg`, operations, warnings and heads of HTTP are
    records; where it uses the API of OpenTelemetry, operations and requests are spans. With `trace_context`,
    registries that the user named are sent the `traceparent` of these (W3C Trace Context); nobody else is.

    `timeout` limits each operation on the session, in seconds; an operation may have another one, and
    infinity is none. Calls of `client` have the limits of `imgpkg.limits` alone.

    The pool of connections and the client on it are made at their first use: whoever asks for credentials
    alone loads neither.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        sources: Iterable[CredentialSource] = (),
        on_event: Hook = silent,
        trace: Callable[[str], None] | None = None,
        timeout: float | None = None,
        trace_context: bool = False,
    ) -> None:
        self._settings = settings or Settings()
        self._trace = trace
        self._sends_context = trace_context
        self._is_closed = False
        # One source may warn for every repository, about one and the same file.
        self._warn = partial(_warn_once, set(), on_event)
        self._repetitions = Once(self._make_repetitions)
        self.cancellation = Cancellation()
        self.timeout = timeout
        # All programs end with the session: `stop` must not leave a helper that waits.
        self._programs = Programs(self.cancellation, self._warn)
        self._pool = Once(self._open_pool)
        self._insecure = Once(self._open_insecure)
        self._client = Once(lambda: self._make_client(self._keychain, self._mirrors))
        # They explain decisions; neither has a credential.
        unasked = (AskedAndSent(), InactiveKeychains(self.settings.environ))
        # What settings name is read now: a mistake in it must not look like a failure of the first registry.
        self._certificates = named_certificates(self._settings)
        self._keychain = Keychain([*sources, *self._sources()], unasked=unasked)
        self._mirrors = self._find_mirrors()
        if self._settings.authorities:
            self._pool()

    @property
    def settings(self) -> Settings:
        """The settings of the session; raises UsageError once the session is closed."""
        self._check_open()
        return self._settings

    @property
    def keychain(self) -> Keychain:
        """The credential sources, in their order; raises UsageError once the session is closed."""
        self._check_open()
        return self._keychain

    @property
    def client(self) -> imgpkg.RegistryClient:
        """The registry client; raises UsageError once the session is closed."""
        self._check_open()
        client = self._client()
        # Once more: whoever closed the session meanwhile has not seen the pool of this client.
        self._check_open()
        return client

    @property
    def has_mirrors(self) -> bool:
        """True if images are read from the mirrors of a registries.conf; see `RegistryClient.sources`."""
        self._check_open()
        return self._mirrors is not None

    # The type has its public name here: looking up the types of this class loads it, importing it does not.
    def client_for(self, keychain: Keychain) -> imgpkg.RegistryClient:
        """Return another client on the same connections, with credentials of `keychain` and no mirrors."""
        return self._make_client(keychain)

    def _make_client(self, keychain: Keychain, mirrors: MirroredReads | None = None) -> imgpkg.RegistryClient:
        from imgpkg.registry.client import RegistryClient

        return RegistryClient(
            self._pool(),
            keychain,
            insecure=self.settings.insecure,
            retry_count=self.settings.retry_count,
            sleep=self._sleep,
            warn=self._warn,
            on_repeat=self._on_repeat,
            mirrors=mirrors,
            concurrency=self.settings.concurrency,
            chunk_size=self.settings.upload_chunk_size,
        )

    def _sleep(self, seconds: float) -> None:
        waited_for = f"a pause of {seconds:.1f} s before the next attempt"
        current(self.cancellation).sleep(seconds, lambda: waited_for)

    def _on_repeat(self, repetition: Repetition) -> None:
        self._repetitions()(repetition)

    def _make_repetitions(self) -> RepetitionWarnings:
        from imgpkg.registry.repetition import RepetitionWarnings

        return RepetitionWarnings(self._warn)

    def _find_mirrors(self) -> MirroredReads | None:
        chosen = self.settings.registries_conf
        # Without them the module is not even loaded.
        if chosen is None and not any(map(self.settings.environ.get, _MIRROR_VARIABLES)):
            return None
        from imgpkg.registry.mirrors import MirroredReads
        from imgpkg.registry.registriesconf import find_mirrors

        # Read when the session opens, so that a mistake ends the command before any request.
        mirrors = find_mirrors(None if chosen is None else os.fspath(chosen), self.settings.environ)
        return MirroredReads(mirrors, insecure=lambda: self._insecure()[1], warn=self._warn)

    def _open_insecure(self) -> tuple[Pool, imgpkg.RegistryClient]:
        from imgpkg.registry.client import RegistryClient

        # Connections of their own: what a mirror may do without TLS, no other registry may.
        pool = self._open_pool(verify=False)
        attempts = self.settings.retry_count
        return pool, RegistryClient(
            pool,
            self._keychain,
            insecure=True,
            retry_count=attempts,
            sleep=self._sleep,
            warn=self._warn,
            concurrency=self.settings.concurrency,
        )

    def _check_open(self) -> None:
        if self._is_closed:
            raise UsageError("The session is closed: open another one for more work")

    def _sources(self) -> Iterator[CredentialSource]:
        environ = self.settings.environ
        # The order in which the sources are asked: the first that has a credential for a repository wins.
        yield EnvironmentSource(environ, self._warn)
        yield from active_sources(environ, self._pool, self._warn, programs=self._programs)
        yield ExplicitSource(
            self.settings.login, environ, side=self.settings.side, side_login=self.settings.side_login
        )
        yield DockerConfigSource(environ, self._warn, helpers=Helpers(environ, programs=self._programs))

    def _open_pool(self, *, verify: bool = True) -> Pool:
        from imgpkg.transport.pool import Pool

        return Pool(
            ca_cert_paths=self.settings.authorities,
            verify_certs=self.settings.verify_certs and verify,
            header_timeout=self.settings.response_header_timeout,
            idle_timeout=self.settings.idle_timeout,
            environ=self.settings.environ,
            max_connections=self.settings.concurrency,
            tracer=_tracer(self._trace, sends_context=self._sends_context),
            on_wait=self._warn,
            cancellation=self.cancellation,
            certs_dirs=self.settings.certs_folders,
            named_files=self._certificates,
        )

    def authorization(
        self,
        repository: Repository | str,
        actions: Iterable[str] | str = ("pull",),
        *,
        refused: Authorization | None = None,
    ) -> Authorization:
        """Return the Authorization header that a registry requires now for `actions` on `repository`.

        `actions` are `pull`, `push`, which includes `pull`, `delete` or `*`. A token is fetched when none is
        kept, or none that lives for ten more seconds. A login is sent to the registry once before it is
        returned. An authorization that was answered with 401 is given back as `refused`, to get another one.

        Raises Unauthorized for a refused credential, InvalidReference, UsageError, and whatever an operation
        raises that cannot reach the registry or its token service.
        """
        from imgpkg.registry.signing import Signer, access_to

        place = repository if isinstance(repository, Repository) else parse_any(repository).repository
        signer = Signer(self.client.exchange, access_to(place, actions))
        if refused is not None:
            # Otherwise the kept token would be returned once more.
            signer.take_back(refused)
        return signer.sign()

    def expect(self, registry: str, requests: int) -> None:
        """Prepare for this many requests to `registry`, `host[:port]`; nothing is sent before the first one.

        Other connections are opened along with that of the first request, no more than the settings allow.
        """
        self._pool().expect(registry, requests)

    def warn(self, text: str) -> None:
        """Report `text` to `on_event` as a warning, unless it has been reported before."""
        self._warn(text)

    @contextmanager
    def limits(
        self, what: str, timeout: float | None, cancel: imgpkg.CancelToken | None = None
    ) -> Iterator[None]:
        """Return a context in which an operation, named `what`, has these limits, or that of the session.

        An operation within another one has the limits of that one already. Raises TimedOut when the time is
        over, Cancelled, and UsageError.
        """
        timeout = limit_of(timeout, self.timeout)
        if timeout is None and cancel is None:
            yield
            return
        from imgpkg.deadline import limited

        with limited(self.cancellation, timeout, cancel, what=what):
            yield

    def stop(self) -> None:
        """End all operations of this session for good: they raise Cancelled.

        Safe to call from a signal handler and from any thread.
        """
        self.cancellation.cancel()

    def close(self) -> None:
        """Close all connections; every later use of the session raises UsageError."""
        # First, so that no thread opens a connection in a pool that is being closed.
        self._is_closed = True
        pool, insecure = self._pool.peek(), self._insecure.peek()
        # Neither exists before a request; the second only if a mirror without TLS was read from.
        for opened in (pool, insecure and insecure[0]):
            if opened is not None:
                opened.close()
        if (repetitions := self._repetitions.peek()) is not None:
            repetitions.close()

    def __enter__(self) -> Session:  # noqa: PYI034 - a name that a program can look up
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _checked(scope: Cancellation, hook: Hook, event: Event) -> None:
    scope.check()
    hook(event)


def as_session(given: object, name: str) -> Session:
    """Return the session that an operation was given; raise TypeError for one of coroutines, say."""
    if isinstance(given, Session):
        return given
    kind = f"{type(given).__module__}.{type(given).__qualname__}"
    remedy = ", whose `blocking` is one" if hasattr(given, "blocking") else ""
    raise TypeError(f"{name}() expected an imgpkg.Session, but got {kind}{remedy}")


def operation(act: Callable[P, R]) -> Callable[P, R]:
    """Give a function on a `session` the limits that its parameters name, and let programs watch it."""
    has_hook = "on_event" in act.__annotations__

    @wraps(act)
    def within_limits(*args: P.args, **kwargs: P.kwargs) -> R:
        if "session" not in kwargs:
            # Python says best which arguments are wrong.
            return act(*args, **kwargs)
        session = as_session(kwargs["session"], act.__name__)
        as_session(kwargs.get("source_session") or session, act.__name__)
        timeout = cast("float | None", kwargs.get("timeout"))
        with session.limits(act.__name__, timeout, cast("imgpkg.CancelToken | None", kwargs.get("cancel"))):
            if has_hook and (scope := current()).can_end:
                # What waits for nothing, such as the packing of files, has events.
                kwargs["on_event"] = partial(_checked, scope, cast(Hook, kwargs.get("on_event", silent)))
            return act(*args, **kwargs)

    contract = (act.__doc__ or "").rstrip()
    # Since Python 3.13 docstrings have no indentation.
    margin = "    " if "\n    " in contract else ""
    within_limits.__doc__ = contract + _LIMITS.replace("\n", f"\n{margin}")

    @wraps(within_limits)
    def watched(*args: P.args, **kwargs: P.kwargs) -> R:
        if not (has_tracing() or has_logging(act.__name__)):
            return within_limits(*args, **kwargs)
        from imgpkg.observation.observer import observed

        return observed(within_limits, *args, **kwargs)

    return watched


def _tracer(trace: Callable[[str], None] | None, *, sends_context: bool) -> Tracer | None:
    if has_tracing() or has_logging("transport"):
        from imgpkg.observation.observer import make_tracer

        return make_tracer(trace, sends_context=sends_context)
    if trace is None:
        return None
    from imgpkg.transport.trace import TextTracer

    return TextTracer(trace)


def _warn_once(reported: set[str], on_event: Hook, text: str) -> None:
    # Two threads may report the same warning at once: then it appears twice, which a lock is not worth.
    if text not in reported:
        reported.add(text)
        if has_logging("session"):
            on_event = imgpkg.EventLogger(on_event, logger="imgpkg.session")
        on_event(Warned(text))


@operation
def explain(
    reference: str,
    *,
    session: Session,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> Decision:
    """Return which credential the session would use for the repository of `reference`, and why.

    `reference` may be a URL, or a host alone: then the decision is for the whole registry, without
    credentials for a part of it. The decision lists what every source answered; its texts contain no secrets.
    Sources may run credential helpers and send requests to their cloud. Raises InvalidReference or
    CredentialError.
    """
    return session.keychain.resolve(parse_place(reference))


def offer(server: str, *, session: Session) -> Decision:
    """Return which credential to hand to another tool for `server`, `[https://]host[/path]`.

    Only environment sets, keychains and added sources are asked. A login of the settings is for any registry
    and is not handed out. The docker configuration is where the other tool found this credential helper:
    asking it could run the helper again. Raises CredentialError, or InvalidReference for an invalid server.
    """
    repository = _repository(Address.read(server).canonical())
    sources = session.keychain.sources
    named = [source for source in sources if not isinstance(source, (ExplicitSource, DockerConfigSource))]
    return Keychain(named).resolve(repository)


def _repository(address: Address) -> Repository:
    try:
        return Repository(address.registry, address.path)
    except InvalidReference:
        return WholeRegistry(address.registry)
