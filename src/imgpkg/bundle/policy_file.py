"""Policy files: which signatures and attestations images need, in YAML."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgpkg.bundle.document import API_VERSION
from imgpkg.bundle.lock import read_file
from imgpkg.bundle.yaml_reader import look_at, read_document
from imgpkg.bundle.yaml_value import Value, ValueKind
from imgpkg.dataclass import dataclass
from imgpkg.errors import ImgpkgError, InvalidLock, InvalidSettings
from imgpkg.trust.identity import SignerIdentity
from imgpkg.trust.key import NO_ENVIRONMENT, VARIABLE, PublicKey
from imgpkg.trust.policy import PREDICATE_TYPES, Match, Policy, PolicyRule, Requirement
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Iterator

KIND = "VerificationPolicy"
# What a signed bundle names is covered by its digest, or needs signatures of its own.
_COVERED, _EACH = "covered", "each"


def read_policy(path: StrPath, *, environ: Mapping[str, str] = NO_ENVIRONMENT) -> Policy:
    """Read a policy file; the files of its keys are relative to its folder.

    `environ` has the keys that the file names by `env://NAME`. Raises LocalIOError, or InvalidSettings whose
    hint names the line and the column.
    """
    return parse_policy(read_file(path), os.fspath(path), environ=environ)


def parse_policy(data: bytes, name: str, *, environ: Mapping[str, str] = NO_ENVIRONMENT) -> Policy:
    """Parse a policy in YAML that was read from the file `name`; see `read_policy`."""
    try:
        value = read_document(data, name, strict=True)
    except InvalidLock as error:
        raise InvalidSettings(error.message, hints=error.hints, lines=error.lines) from error
    lines = tuple(data.decode(errors="replace").splitlines())
    return _Reading(name, environ).policy(_PolicyValue(value, name, lines))


@dataclass(frozen=True, slots=True)
class _PolicyValue:
    """A value of the file `name`, and its `path` from the top, for errors."""

    value: Value
    name: str
    lines: tuple[str, ...]
    path: str = ""

    def error(self, text: str) -> InvalidSettings:
        where = f"{self.name}: {self.path}: " if self.path else f"{self.name}: "
        return InvalidSettings(f"{where}{text}", hints=(self.hint,))

    @property
    def hint(self) -> str:
        line = self.lines[self.value.line - 1] if self.value.line <= len(self.lines) else ""
        text = self.value.content
        at = line.find(text) if isinstance(text, str) and text else -1
        # Of a mapping or list, and of a text that is written in another way, the line begins there.
        column = at if at >= 0 else len(line) - len(line.lstrip())
        return look_at(self.name, self.value.line, column + 1)

    def fields(self, *known: str) -> Mapping[str, _PolicyValue]:
        """Return the fields of a mapping; another one than the `known` is an error."""
        content = self.value.content
        if not isinstance(content, dict):
            raise self.error(f"expected fields ({', '.join(known)})")
        below = {key: self._below(value, key) for key, value in content.items()}
        for key in below.keys() - {*known}:
            raise below[key].error(f"unknown field; known here: {', '.join(known)}")
        return below

    def items(self) -> Iterator[_PolicyValue]:
        """Yield the items of a list."""
        if not isinstance(self.value.content, tuple):
            raise self.error("expected a list")
        for position, item in enumerate(self.value.content):
            yield _PolicyValue(item, self.name, self.lines, f"{self.path}[{position}]")

    def text(self) -> str:
        """Return a text that is not empty."""
        content = self.value.content
        if not isinstance(content, str) or not content or self.value.kind is ValueKind.NULL:
            raise self.error("expected a text")
        return content

    def choice(self, *words: str) -> str:
        """Return one of `words`."""
        text = self.text()
        if text not in words:
            raise self.error(f"expected {' or '.join(words)}, but was {text}")
        return text

    def texts(self) -> Mapping[str, str]:
        """Return a mapping of texts."""
        if not isinstance(self.value.content, dict):
            raise self.error("expected fields with a text each")
        return {key: self._below(value, key).text() for key, value in self.value.content.items()}

    def _below(self, value: Value, key: str) -> _PolicyValue:
        path = f"{self.path}.{key}" if self.path else key
        return _PolicyValue(value, self.name, self.lines, path)


@contextmanager
def _at(node: _PolicyValue) -> Iterator[None]:
    """Return a context whose errors of values name the place of `node`."""
    try:
        yield
    except ImgpkgError as error:
        # The innermost place is the one to look at.
        if not any(node.name in hint for hint in error.hints):
            error.add_context(node.name, node.path)
            error.hints = (*error.hints, node.hint)
        raise


class _Reading:
    """Reads one policy file; keys and trusted roots are files beside it."""

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        self._folder = os.path.dirname(name)
        self._environ = environ
        self._root = ""

    def policy(self, top: _PolicyValue) -> Policy:
        fields = top.fields("apiVersion", "kind", "bundleImages", "trustedRoot", "rules")
        for name, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
            if name not in fields:
                raise top.error(f"{name} is missing: {wanted}")
            fields[name].choice(wanted)
        members = fields["bundleImages"].choice(_COVERED, _EACH) if "bundleImages" in fields else _COVERED
        if "trustedRoot" in fields:
            self._root = self._path(fields["trustedRoot"].text())
        if "rules" not in fields:
            raise top.error("rules are missing")
        rules = tuple(self._rule(item) for item in fields["rules"].items())
        if not rules:
            raise fields["rules"].error("a policy without rules accepts nothing")
        return Policy(rules, checks_members=members == _EACH)

    def _rule(self, node: _PolicyValue) -> PolicyRule:
        fields = node.fields("repositories", "require")
        # Both are written out: a word left out by mistake must not accept everything.
        for name in ("repositories", "require"):
            if name not in fields:
                raise node.error(f"{name} is missing")
        patterns = tuple(item.text() for item in fields["repositories"].items())
        if not patterns:
            raise fields["repositories"].error("a rule needs a pattern; ** matches every repository")
        with _at(fields["repositories"]):
            PolicyRule(patterns)
        return PolicyRule(patterns, tuple(self._requirement(item) for item in fields["require"].items()))

    def _requirement(self, node: _PolicyValue) -> Requirement:
        fields = node.fields("signature", "attestation")
        if len(fields) != 1:
            raise node.error("expected either signature or attestation")
        (kind,) = fields
        signed = ("keys", "identities", "match")
        more = ("reference", "annotations") if kind == "signature" else ("predicateType",)
        found = fields[kind].fields(*signed, *more)
        if kind == "attestation" and "predicateType" not in found:
            raise fields[kind].error("predicateType is missing")
        predicate = self._predicate(found["predicateType"]) if "predicateType" in found else ""
        with _at(fields[kind]):
            return Requirement(
                tuple(self._key(item) for item in found["keys"].items()) if "keys" in found else (),
                tuple(self._identity(item) for item in found["identities"].items())
                if "identities" in found
                else (),
                Match(found["match"].choice("any", "all")) if "match" in found else Match.ANY,
                predicate,
                found["reference"].text() if "reference" in found else "",
                found["annotations"].texts() if "annotations" in found else {},
            )

    @staticmethod
    def _predicate(node: _PolicyValue) -> str:
        text = PREDICATE_TYPES.get(node.text(), node.text())
        if ":" not in text:
            raise node.error(f"{text} is neither a URI nor one of {', '.join(PREDICATE_TYPES)}")
        return text

    def _key(self, node: _PolicyValue) -> PublicKey:
        source = node.text()
        with _at(node):
            return PublicKey.read(
                source if source.startswith(VARIABLE) else self._path(source), self._environ
            )

    def _identity(self, node: _PolicyValue) -> SignerIdentity:
        names = ("identity", "identityPattern", "issuer", "issuerPattern")
        fields = node.fields(*names)
        for plain, pattern in (names[:2], names[2:]):
            if (plain in fields) == (pattern in fields):
                raise node.error(f"expected either {plain} or {pattern}")
        if not self._root:
            raise node.error("an identity needs the field trustedRoot at the top of the policy")
        identity, issuer = (
            fields[plain if plain in fields else pattern].text() for plain, pattern in (names[:2], names[2:])
        )
        with _at(node):
            return SignerIdentity(
                identity,
                issuer,
                self._root,
                is_identity_pattern="identityPattern" in fields,
                is_issuer_pattern="issuerPattern" in fields,
            )

    def _path(self, text: str) -> str:
        return os.path.join(self._folder, text)
