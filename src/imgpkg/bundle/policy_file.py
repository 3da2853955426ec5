"""Policy files: which signatures and attestations images need, in YAML."""

from __future__ import annotations

import os
from collections.abc import Mapping

from imgpkg.bundle.lock import read_file
from imgpkg.bundle.settings_file import SettingsValue, placed_at, read_settings
from imgpkg.trust.identity import SignerIdentity
from imgpkg.trust.key import NO_ENVIRONMENT, VARIABLE, PublicKey
from imgpkg.trust.policy import PREDICATE_TYPES, Match, Policy, PolicyRule, Requirement
from imgpkg.values import StrPath

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
    return _Reading(name, environ).policy(read_settings(data, name))


class _Reading:
    """Reads one policy file; keys and trusted roots are files beside it."""

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        self._folder = os.path.dirname(name)
        self._environ = environ
        self._root = ""

    def policy(self, top: SettingsValue) -> Policy:
        fields = top.fields("apiVersion", "kind", "bundleImages", "trustedRoot", "rules")
        top.check_header(fields, KIND)
        members = fields["bundleImages"].choice(_COVERED, _EACH) if "bundleImages" in fields else _COVERED
        if "trustedRoot" in fields:
            self._root = self._path(fields["trustedRoot"].text())
        if "rules" not in fields:
            raise top.error("rules are missing")
        rules = tuple(self._rule(item) for item in fields["rules"].items())
        if not rules:
            raise fields["rules"].error("a policy without rules accepts nothing")
        return Policy(rules, checks_members=members == _EACH)

    def _rule(self, node: SettingsValue) -> PolicyRule:
        fields = node.fields("repositories", "require")
        # Both are written out: a word left out by mistake must not accept everything.
        for name in ("repositories", "require"):
            if name not in fields:
                raise node.error(f"{name} is missing")
        patterns = tuple(item.text() for item in fields["repositories"].items())
        if not patterns:
            raise fields["repositories"].error("a rule needs a pattern; ** matches every repository")
        with placed_at(fields["repositories"]):
            PolicyRule(patterns)
        return PolicyRule(patterns, tuple(self._requirement(item) for item in fields["require"].items()))

    def _requirement(self, node: SettingsValue) -> Requirement:
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
        with placed_at(fields[kind]):
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
    def _predicate(node: SettingsValue) -> str:
        text = PREDICATE_TYPES.get(node.text(), node.text())
        if ":" not in text:
            raise node.error(f"{text} is neither a URI nor one of {', '.join(PREDICATE_TYPES)}")
        return text

    def _key(self, node: SettingsValue) -> PublicKey:
        source = node.text()
        with placed_at(node):
            return PublicKey.read(
                source if source.startswith(VARIABLE) else self._path(source), self._environ
            )

    def _identity(self, node: SettingsValue) -> SignerIdentity:
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
        with placed_at(node):
            return SignerIdentity(
                identity,
                issuer,
                self._root,
                is_identity_pattern="identityPattern" in fields,
                is_issuer_pattern="issuerPattern" in fields,
            )

    def _path(self, text: str) -> str:
        return os.path.join(self._folder, text)
