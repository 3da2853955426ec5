"""Identities of certificates: texts, or expressions for the whole text."""

from __future__ import annotations

import pytest

from imgpkg.errors import InvalidSettings
from imgpkg.trust.identity import SignerIdentity

ISSUER = "https://token.actions.githubusercontent.com"
WORKFLOW = "https://github.com/team/app/.github/workflows/release.yml@refs/tags/v1"


@pytest.mark.parametrize(
    ("identity", "issuer", "is_accepted"),
    [
        (WORKFLOW, ISSUER, True),
        (WORKFLOW + "0", ISSUER, False),
        (WORKFLOW[:-1], ISSUER, False),
        (WORKFLOW, ISSUER + ".attacker.example", False),
        (WORKFLOW, "", False),
        ("", ISSUER, False),
    ],
)
def test_texts_are_compared_whole(identity, issuer, is_accepted):
    signer = SignerIdentity(WORKFLOW, ISSUER, "root.json")
    assert signer.accepts([identity], issuer) is is_accepted
    assert signer.accepts(["other", identity], issuer) is is_accepted


@pytest.mark.parametrize(
    ("identity", "is_accepted"),
    [
        (WORKFLOW, True),
        (WORKFLOW + "23", True),
        ("x" + WORKFLOW, False),
        (WORKFLOW + "\n", False),
        (WORKFLOW + "/x", False),
    ],
)
def test_expressions_match_the_whole_text(identity, is_accepted):
    pattern = r"https://github\.com/team/[a-z]+/\.github/workflows/.*@refs/tags/v[0-9]+"
    signer = SignerIdentity(pattern, r"https://.*\.githubusercontent\.com", "r", True, True)
    assert signer.accepts([identity], ISSUER) is is_accepted
    assert str(signer) == f"{pattern} of https://.*\\.githubusercontent\\.com"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (("", ISSUER, "r"), "needs its identity"),
        ((WORKFLOW, "", "r"), "needs its issuer"),
        ((WORKFLOW, ISSUER, ""), "the trusted root"),
        (("(", ISSUER, "r", True), r"the identity '\(' is no regular expression"),
        ((WORKFLOW, "[", "r", False, True), r"the issuer '\[' is no regular expression"),
    ],
)
def test_what_cannot_be_meant_is_refused(values, why):
    with pytest.raises(InvalidSettings, match=why):
        SignerIdentity(*values)
