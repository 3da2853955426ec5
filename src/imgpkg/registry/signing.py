"""Signing of requests that another HTTP client sends; the session asks for challenges and tokens itself."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from imgpkg.auth.keychain import Authorization
from imgpkg.dataclass import dataclass
from imgpkg.errors import ChallengeError, InvalidReference, UsageError
from imgpkg.oci.reference import Repository
from imgpkg.registry.auth.cache import Holder, LoginAttempt, Signature
from imgpkg.registry.auth.challenge import CATALOG, Access, Scope
from imgpkg.registry.auth.token import header_of
from imgpkg.registry.endpoint import Answer
from imgpkg.transport.message import Headers, Origin, Request, redact_url
from imgpkg.transport.retry import is_temporary_answer

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from imgpkg.registry.auth.authorizer import Conversation
    from imgpkg.registry.exchange import Exchange
    from imgpkg.transport.message import Response

_UNAUTHORIZED = 401
_REFUSALS = frozenset({_UNAUTHORIZED, 403, 404})
_ACTIONS = frozenset({"pull", "push", "delete", "*"})
_READING = frozenset({"GET", "HEAD"})
# The repository of requests about a whole registry; environment sets for a part of it do not match this name.
_ANY_REPOSITORY = "-/-"
_OUTSIDE = frozenset({"", ".", ".."})


@dataclass(frozen=True, slots=True)
class Reply:
    """What another client was answered: the URL, the status, and the lines of WWW-Authenticate."""

    method: str
    url: str
    status: int
    challenges: tuple[str, ...] = ()

    @property
    def is_refusal(self) -> bool:
        """True when another credential might help, or any at all: some registries hide behind a 404."""
        return self.status in _REFUSALS

    @property
    def headers(self) -> Headers:
        """The headers that matter here."""
        return Headers(("WWW-Authenticate", line) for line in self.challenges)

    def header_list(self, name: str) -> list[str]:
        """Return every line of the header `name`."""
        return self.headers.lines(name)

    def read(self, size: int = -1, /) -> bytes:  # noqa: ARG002 - the protocol of responses
        """Return nothing: the body stays with the other client."""
        return b""

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # noqa: ARG002 - the protocol of responses
        """Write nothing."""
        return 0

    def close(self) -> None:
        """Do nothing: the other client closes it."""

    def __enter__(self) -> Reply:  # noqa: PYI034 - nothing inherits from it
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Signer:
    """The authorization of one request that another client sends; for one thread at a time.

    The session sends the requests for challenges and tokens, and shows a login to the registry, with
    `GET /v2/`, before it is handed out: however many requests the other client sends at once, a wrong
    password is sent once. Every method may wait for the registry, its token service and credential helpers;
    `sign_again` does so for a refusal only.
    """

    def __init__(self, exchange: Exchange, access: Access) -> None:
        self._exchange = exchange
        self._access = access
        self._authorizer = exchange.authorizer
        self._endpoint = self._authorizer.endpoint(access.repository.registry)
        self._conversation: Conversation | None = None
        self._signature = Signature()

    def sign(self) -> Authorization:
        """Return how to sign the request; raise Unauthorized, ChallengeError, TransportError and others."""
        return self._exchange.repeat(lambda: self._exchange.drive(self._sign()))

    def sign_for(self, url: str) -> Authorization:
        """Return how to sign a request to `url`; raise UsageError where the registry has another scheme."""
        authorization = self.sign()
        # An http URL would send in clear what the session sends over TLS.
        if Origin.of(url) != self._endpoint.origin:
            raise UsageError(
                f"{self._endpoint.name} is reached at {self._endpoint.origin.url}: no credential is sent to "
                f"{redact_url(url)}"
            )
        return authorization

    def sign_again(self, reply: Reply) -> Authorization | None:
        """Learn from the answer to the request, and return how to send it again; None when that is useless.

        The answer of another origin, after a redirect, is not about the credential.
        """
        # After a redirect another host has answered, which never saw the credential.
        if self._conversation is None or Origin.of(reply.url) != self._endpoint.origin:
            return None
        is_final = self._exchange.drive(self._learn(self._conversation, self._signature, reply))
        return None if is_final else self.sign()

    def take_back(self, authorization: Authorization) -> None:
        """Learn that an earlier authorization was answered with 401; one of another registry is ignored."""
        if authorization.registry_url != self._endpoint.origin.url:
            return
        decision = self._authorizer.decision(self._access.repository)
        value = authorization.header.removeprefix("Bearer ")
        token = self._authorizer.tokens.held(Holder.of_decision(decision), value)
        if token is not None or authorization.header == header_of(decision.credential) != "":
            reply = Reply("GET", f"{self._endpoint.origin.url}/v2/", _UNAUTHORIZED)
            signature = Signature(authorization.header, token)
            self._exchange.drive(self._learn(self._begin(), signature, reply))

    def _begin(self) -> Conversation:
        return self._authorizer.conversation(Request("GET", "/v2/"), self._access)

    def _sign(self) -> Generator[Request, Response, Authorization]:
        # A copy, so that an attempt that fails temporarily uses up no round of the conversation.
        conversation = copy(self._conversation) or self._begin()
        with self._endpoint.first_contact():
            try:
                signature = yield from self._accepted(conversation)
            except ChallengeError as error:
                self._authorizer.explain.again(error, self._access)
                raise
        self._conversation, self._signature = conversation, signature
        if signature.token is not None:
            ends_at: float | None = signature.token.ends_at
        else:
            ends_at = self._authorizer.decision(self._access.repository).credential.expires_at
        return Authorization(self._endpoint.origin.url, signature.header, ends_at)

    def _accepted(self, conversation: Conversation) -> Generator[Request, Response, Signature]:
        """Return a signature whose login, if it has one, was accepted."""
        # The scheme and the challenge must be known before the other client sends anything.
        if self._endpoint.challenges is None:
            yield from conversation.probe()
        signature = yield from conversation.sign()
        while signature.header and signature.token is None:
            if (yield from self._shows(conversation, signature)):
                break
            signature = yield from conversation.sign()
        return signature

    def _shows(self, conversation: Conversation, signature: Signature) -> Generator[Request, Response, bool]:
        """Show a new login to the registry; return False when the keychain has another one instead."""
        attempt, logins = self._attempt(signature), self._authorizer.logins
        request = self._endpoint.addressed(conversation.signed(signature))
        with logins.sending(attempt, request, conversation.explain_withheld) as refusal:
            if refusal is not None:
                if conversation.renew():
                    return False
                raise refusal
            if logins.is_accepted(attempt):
                return True
            answer = yield from self._endpoint.send(request)
            logins.record(attempt, answer)
        response = answer.response
        if response.status != _UNAUTHORIZED and not is_temporary_answer(response.status):
            response.close()
            return True
        if is_temporary_answer(response.status) or (yield from conversation.is_final(signature, response)):
            raise self._exchange.failure(answer, self._access)
        response.close()
        return False

    def _learn(
        self, conversation: Conversation, signature: Signature, reply: Reply
    ) -> Generator[Request, Response, bool]:
        if reply.status == _UNAUTHORIZED and signature.header and signature.token is None:
            answer = Answer(Request(reply.method, reply.url), reply)
            self._authorizer.logins.record(self._attempt(signature), answer)
        return (yield from conversation.is_final(signature, reply))

    def _attempt(self, signature: Signature) -> LoginAttempt:
        return LoginAttempt(signature.header, self._endpoint.origin, self._access.scopes)


def access_to(repository: Repository, actions: Iterable[str] | str) -> Access:
    """Return the access for `actions`; raise UsageError for others than pull, push, delete and `*`."""
    wanted = frozenset(actions.split(",") if isinstance(actions, str) else actions)
    if not wanted or wanted - _ACTIONS:
        shown = ", ".join(sorted(map(repr, wanted - _ACTIONS))) or "none"
        raise UsageError(f"Expected the actions pull, push, delete or *, got {shown}")
    # Registries require both for a write.
    both = wanted | {"pull"} if "push" in wanted else wanted
    return Access(repository, (Scope("repository", repository.path, both),))


def registry_name(text: str) -> str:
    """Return the canonical name of a registry, `host[:port]`; raise InvalidReference."""
    if not text:
        raise InvalidReference("a registry must be specified")
    # Refuses a URL and a login, without showing it.
    Repository.parse(f"{text}/{_ANY_REPOSITORY}")
    return Repository(text, _ANY_REPOSITORY).registry


def access_of(registry: str, method: str, url: str) -> Access | None:
    """Return what a request of the distribution API asks of `registry`; None for any other request.

    Only the host and the port of `url` are compared here: the scheme is known after the first contact.
    """
    if not _is_at(registry, url):
        return None
    parts = urlsplit(url)
    # Neither is about a repository, so that any name will do.
    if parts.path in ("/v2", "/v2/", "/v2/_catalog"):
        scopes = (CATALOG,) if parts.path.endswith("_catalog") else ()
        return Access(Repository(registry, _ANY_REPOSITORY), scopes)
    repository = _repository(registry, _name(parts.path))
    if repository is None:
        return None
    if method == "DELETE":
        return access_to(repository, "delete")
    if method in _READING:
        return Access.read(repository)
    # A mount reads from another repository, for which the token must be valid, too.
    named = parse_qs(parts.query).get("from", ())
    return Access.write(repository, *filter(None, (_repository(registry, name) for name in named)))


def _is_at(registry: str, url: str) -> bool:
    try:
        origin = Origin.of(url)
    except ValueError:
        # Without a host: the other client knows best what to say.
        return False
    return origin == Origin.of(f"{origin.scheme}://{registry}")


def _name(path: str) -> str:
    """Return the name of the repository in a path of the distribution API; empty for another path."""
    match path.split("/"):
        case ["", "v2", *name, "blobs", "uploads", _]:
            return "/".join(name)
        case ["", "v2", *name, "manifests" | "blobs" | "tags" | "referrers", _]:
            return "/".join(name)
        case _:
            return ""


def _repository(registry: str, name: str) -> Repository | None:
    # Servers and clients resolve dots: the repository meant would be another one.
    if _OUTSIDE & set(name.split("/")):
        return None
    try:
        return Repository(registry, name)
    except InvalidReference:
        return None
