"""Why a request was not allowed: one sentence about its credential, and a remedy."""

from __future__ import annotations

from datetime import datetime, timezone
from enum import Enum
from itertools import chain
from typing import TYPE_CHECKING

from imgpkg.auth.activation import AVAILABLE, keychain_of
from imgpkg.auth.keychain import Finding, Outcome, claims_of, payload_of
from imgpkg.auth.pattern import Address
from imgpkg.dataclass import dataclass, field
from imgpkg.errors import printable
from imgpkg.errors.details import Refusal, RefusalKind
from imgpkg.registry.auth.challenge import is_insufficient
from imgpkg.registry.auth.token import REFUSALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.auth.keychain import Credential, Decision, NearMiss
    from imgpkg.registry.auth.challenge import Challenge, Scope
    from imgpkg.registry.endpoint import Endpoint

FLAGS = "flags"
_ENVIRONMENT, _DOCKER = "environment", "docker config"

_FORBIDDEN, _NOT_FOUND = 403, 404
# Registries answer 404 for private repositories to clients without access.
_REFUSED_BY_A_REGISTRY = frozenset({401, 403, 404})
# The words of Amazon ECR, whose passwords end after twelve hours, and of its relatives.
_EXPIRED = ("token has expired", "token expired", "credentials have expired")
# RFC 6750 section 3.1: the token itself is wrong, and not what it allows.
_INVALID_TOKEN = "invalid_token"  # noqa: S105 - an error code
_NOBODY = Finding("", Outcome.NO_MATCH, "")


class Sent(Enum):
    """What was sent with a request, in words; `TOKEN` is the token of a token service."""

    NOTHING = "nothing"
    LOGIN = "login"
    IDENTITY_TOKEN = "identity token"  # noqa: S105 - the name of a kind
    REGISTRY_TOKEN = "registry token"  # noqa: S105 - likewise
    TOKEN = "token"  # noqa: S105 - likewise


@dataclass(frozen=True, slots=True)
class Evidence:
    """A request that was not allowed: the `status` of the answer, its challenges and its text.

    `secret` is what was sent: the Authorization header, or `Refresh ` and an identity token. `service` is the
    host of the token service, empty for a request to the registry.
    """

    status: int
    secret: str = field(default="", repr=False)
    challenges: tuple[Challenge, ...] = ()
    text: str = ""
    service: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """The credential of a repository, what it was used for at which registry, and what was almost used.

    `now` is a Unix time.
    """

    decision: Decision
    scopes: tuple[Scope, ...]
    endpoint: Endpoint
    now: float
    near_misses: tuple[NearMiss, ...] = ()

    @property
    def credential(self) -> Credential:
        """The credential of the repository."""
        return self.decision.credential

    @property
    def winner(self) -> Finding:
        """The finding that has the credential; one without a source where there is none."""
        return self.decision.winner or _NOBODY

    @property
    def origin(self) -> str:
        """The variable, flag, file and key, helper or keychain that holds the secret."""
        winner = self.winner
        place = winner.kept_in or winner.origin
        return f"keychain {winner.source}: {place}" if winner.source in AVAILABLE else place

    @property
    def remedies(self) -> tuple[str, ...]:
        """What gives the registry a credential, the most useful first; at least one."""
        from imgpkg.auth.diagnosis.remedies import remedies_for

        return remedies_for(self.decision)

    @property
    def verb(self) -> str:
        """What was tried with the repository, in words."""
        actions = {action for scope in self.scopes for action in scope.actions}
        if "delete" in actions:
            return "delete from"
        return "push to" if "push" in actions else "pull from"


def refusal_of(case: Case, evidence: Evidence) -> Refusal | None:
    """Return the refusal of a request; None for an answer that is not about the credential.

    That is one with another status, and a 404, unless the registry has seen no credential.
    """
    # Token services also answer 400 (RFC 6749 section 5.2).
    statuses = REFUSALS if evidence.service else _REFUSED_BY_A_REGISTRY
    if evidence.status not in statuses:
        return None
    sent = _sent(case.credential, evidence.secret)
    kind = _kind(case, evidence, sent)
    if evidence.status == _NOT_FOUND and kind is not RefusalKind.ANONYMOUS:
        return None
    match kind:
        case RefusalKind.ANONYMOUS:
            sentence, remedy = _anonymous(case, evidence), _where_to_get_one(case)
        case RefusalKind.ENDED:
            sentence, remedy = _ended(case, evidence, sent), _sentence(_renew(case))
        case RefusalKind.UNUSABLE:
            return unusable_here(case, "which asks for a login (Basic)")
        case RefusalKind.NOT_ENOUGH:
            sentence, remedy = _not_enough(case, evidence, sent), _how_to_get_more(case)
        case _:
            sentence, remedy = _refused(case, evidence, sent), _what_to_correct(case, sent)
    return Refusal(kind, printable(sentence), printable(remedy))


def unusable_here(case: Case, why: str = "") -> Refusal:
    """Return the refusal of a credential that the registry has no use for; `why` follows its name."""
    name = case.endpoint.name
    sentence = f"the {case.credential.kind} from {case.origin} cannot be used at the registry {name}"
    remedy = f"Give a username and a password for {name} in place of it."
    if _blemish(case.credential.registry_token):
        remedy = _CLEAN
    text = f"{sentence}, {why}" if why else sentence
    return Refusal(RefusalKind.UNUSABLE, printable(text), printable(remedy))


def _sent(credential: Credential, secret: str) -> Sent:
    scheme, _, value = secret.partition(" ")
    if not secret:
        return Sent.NOTHING
    if scheme == "Basic":
        return Sent.LOGIN
    if scheme == "Refresh":
        return Sent.IDENTITY_TOKEN
    return Sent.REGISTRY_TOKEN if value == credential.registry_token else Sent.TOKEN


def _kind(case: Case, evidence: Evidence, sent: Sent) -> RefusalKind:
    # Token services issue anonymous tokens, too.
    if sent is Sent.NOTHING or case.credential.is_anonymous:
        return RefusalKind.ANONYMOUS
    # Before the other kinds: an ended token is also refused, and its end is the better reason.
    if _has_ended(case, evidence, sent):
        return RefusalKind.ENDED
    if evidence.service:
        return RefusalKind.REFUSED
    if _is_too_little(evidence, sent):
        return RefusalKind.NOT_ENOUGH
    # A registry with Basic only cannot use a token at all.
    schemes = {challenge.scheme for challenge in evidence.challenges}
    is_no_use = sent is Sent.REGISTRY_TOKEN and schemes == {"basic"}
    return RefusalKind.UNUSABLE if is_no_use else RefusalKind.REFUSED


def _is_too_little(evidence: Evidence, sent: Sent) -> bool:
    if evidence.status == _FORBIDDEN or is_insufficient(evidence.challenges):
        return True
    # Many registries answer a token that allows too little without an error code.
    return sent is Sent.TOKEN and not any(each.error == _INVALID_TOKEN for each in evidence.challenges)


def _has_ended(case: Case, evidence: Evidence, sent: Sent) -> bool:
    if sent is Sent.TOKEN:
        return False
    ends_at = claims_of(_secret(case.credential, sent)).ends_at
    # The claim is trusted for a message only; the registry has decided already.
    is_past = ends_at is not None and ends_at <= case.now
    return is_past or any(words in evidence.text.lower() for words in _EXPIRED)


def _secret(credential: Credential, sent: Sent) -> str:
    match sent:
        case Sent.REGISTRY_TOKEN:
            return credential.registry_token
        case Sent.IDENTITY_TOKEN:
            return credential.identity_token
        case _:
            return credential.password


def _place(case: Case, evidence: Evidence) -> str:
    name = case.endpoint.name
    if not evidence.service:
        return f"the registry {name}"
    return f"the token service {'of ' if evidence.service == name else ''}{evidence.service}"


def _holder(case: Case, sent: Sent) -> str:
    """Return whose secret it is and where it is from."""
    credential = case.credential
    kind = credential.kind if sent is Sent.TOKEN else sent.value
    if kind != "login":
        return f"the {kind} from {case.origin}"
    blemish = _blemish(credential.password)
    user = case.decision.user or f"user {credential.username!r}"
    holder = f"{user}, whose password is from {case.origin}"
    return f"{holder} and {blemish}" if blemish else holder


_CLEAN = "Store it without blanks and line breaks around it: use `printf %s` in place of `echo`."


def _blemish(secret: str) -> str:
    if secret.endswith(("\n", "\r")):
        return "ends in a newline"
    return "begins or ends with a blank" if secret != secret.strip() else ""


def _refused(case: Case, evidence: Evidence, sent: Sent) -> str:
    place = _place(case, evidence)
    if sent is Sent.TOKEN:
        return f"{place} refused the token that its own token service had issued for {_holder(case, sent)}"
    return f"{place} refused {_holder(case, sent)}"


def _not_enough(case: Case, evidence: Evidence, sent: Sent) -> str:
    sentence = f"{_holder(case, sent)}, may not {case.verb} {case.decision.repository}"
    # The name of a kind needs no comma after it.
    if not sentence.startswith("user "):
        sentence = sentence.replace(", may not", " may not", 1)
    if sent is not Sent.TOKEN:
        return sentence
    granted = granted_actions(evidence.secret.removeprefix("Bearer "), case.decision.repository.path)
    what = "is not enough" if granted is None else f"grants {_listed(granted)}"
    return f"{sentence}: the {case.credential.kind} was accepted, but the token that it got {what}"


def _listed(granted: frozenset[str]) -> str:
    return f"{' and '.join(sorted(granted))} only" if granted else "nothing"


def granted_actions(token: str, path: str) -> frozenset[str] | None:
    """Return what a JSON web token allows on a repository, not verified; None for tokens without a list.

    The claim `access` is that of the distribution token specification.
    """
    access = payload_of(token).get("access")
    if not isinstance(access, list):
        return None
    granted: set[str] = set()
    for entry in access:
        # Only for a message, so anything of another form is left out.
        if isinstance(entry, dict) and (entry.get("type"), entry.get("name")) == ("repository", path):
            actions = entry.get("actions")
            granted.update(map(str, actions if isinstance(actions, list) else ()))
    return frozenset(granted)


def _ended(case: Case, evidence: Evidence, sent: Sent) -> str:
    credential = case.credential
    what = f"the {sent.value} from {case.origin}"
    if sent is Sent.LOGIN:
        what = f"the password of user {credential.username!r} from {case.origin}"
    claims = claims_of(_secret(credential, sent))
    by = f", issued by {claims.issuer}," if claims.issuer else ""
    end = date_of(claims.ends_at)
    return f"{what}{by} ended at {end}" if end else f"{what}{by} has ended, says {_place(case, evidence)}"


def date_of(seconds: float | None) -> str:
    """Return a Unix time for people, in UTC; empty for None and for times that no calendar has."""
    if seconds is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    # The time is from a token, and not ours to validate.
    except (ValueError, OverflowError, OSError):
        return ""


def _anonymous(case: Case, evidence: Evidence) -> str:
    place, winner, credential = _place(case, evidence), case.winner, case.credential
    if not winner.source:
        return f"no credential was sent to {place}: none was found for {case.decision.repository}"
    if not credential.is_anonymous:
        return f"no credential was sent to {place}, which asked for none; {_unused(case)} was not used"
    if credential.username or credential.password:
        there, missing = ("username", "password") if credential.username else ("password", "username")
        return f"no credential was sent to {place}: {winner.origin} has a {there} and no {missing}"
    return f"no credential was sent to {place}: {winner.origin} asks for anonymous access"


def _unused(case: Case) -> str:
    return f"the {case.credential.kind} from {case.origin}"


def _where_to_get_one(case: Case) -> str:
    winner, name = case.winner, case.endpoint.name
    if not winner.source:
        near = (str(miss) for miss in case.near_misses if miss.remedy)
        return next(chain(_keychain_remedies(case), near, case.remedies))
    if not case.credential.is_anonymous:
        return f"Check the address: {name} may be another service than the one that the credential is for."
    if winner.source == FLAGS:
        return f"Leave out {winner.origin}. {case.remedies[0]}"
    if winner.kept_in:
        return f"Set {winner.kept_in}, which is missing or empty."
    if winner.source == _ENVIRONMENT:
        names = (
            winner.origin.partition("=")[0].replace("HOSTNAME", kind) for kind in ("USERNAME", "PASSWORD")
        )
        return f"Set {' and '.join(names)} as well, or remove this set so that the next source is asked."
    return f"Complete or remove this entry. {case.remedies[0]}"


def _keychain_remedies(case: Case) -> Iterator[str]:
    """Yield what the keychain of the cloud lacks: most of these registries accept no other login for long."""
    keychain = keychain_of(Address.of(case.decision.repository).host)
    for finding in case.decision.trail:
        if finding.source == keychain:
            yield f"The keychain {keychain!r} is active and gave nothing: {finding.detail}"


def _what_to_correct(case: Case, sent: Sent) -> str:
    if sent is Sent.TOKEN:
        return (
            f"Check the clocks of this machine and of {case.endpoint.name}, and which token service the "
            "registry trusts."
        )
    if sent is Sent.LOGIN and _blemish(case.credential.password):
        return _CLEAN
    what = "the username and the password" if sent is Sent.LOGIN else f"the {sent.value}"
    return f"Check {what}: {_renew(case)}."


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _renew(case: Case) -> str:
    """Return where to store another secret, in words."""
    winner = case.winner
    if winner.source in AVAILABLE:
        return f"see which identity the keychain uses, {winner.origin}, and whether it may use this registry"
    if winner.source == _DOCKER and "(docker-credential-" not in winner.origin:
        return f"log in again (imgpkg auth login {case.endpoint.name}), which replaces {winner.origin}"
    return f"put a valid one into {case.origin}"


def _how_to_get_more(case: Case) -> str:
    return (
        f"Ask for the permission to {case.verb} {case.decision.repository}, or use a credential that has it; "
        "check the spelling of the repository, too."
    )
