"""Policy files: what they say, and the line and column of what they do not."""

from __future__ import annotations

import textwrap

import pytest
from tests.servers import signatures as made

from imgpkg.bundle.policy_file import parse_policy, read_policy
from imgpkg.errors import InvalidSettings, LocalIOError
from imgpkg.trust.identity import SignerIdentity
from imgpkg.trust.key import PublicKey
from imgpkg.trust.policy import Match, Policy, PolicyRule, Requirement

HEAD = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: VerificationPolicy\n"
RELEASE, BUILD = (made.public_pem(made.MAKERS["p256"]()) for _ in range(2))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/release.pub").write_bytes(RELEASE)
    (tmp_path / "root.json").write_text("{}")
    return tmp_path


def read(folder, text, **environ):
    (folder / "policy.yml").write_text(HEAD + textwrap.dedent(text))
    return read_policy(folder / "policy.yml", environ=environ)


def test_a_policy_has_rules_with_requirements(folder):
    policy = read(
        folder,
        """\
        bundleImages: each
        trustedRoot: root.json
        rules:
        - repositories: [registry.example.com/team/**, "docker.io/library/*"]
          require:
          - signature:
              keys: [keys/release.pub, env://BUILD]
              match: all
              reference: registry.example.com/**
              annotations: {release: "1.2"}
          - attestation:
              predicateType: slsaprovenance1
              identities:
              - identity: me@example.com
                issuerPattern: https://.*\\.example\\.com
          - attestation:
              predicateType: https://example.com/tests/v1
              keys: [env://BUILD]
        - repositories: ["**"]
          require: []
        """,
        BUILD=BUILD.decode(),
    )
    release, build = PublicKey.parse(RELEASE, "r"), PublicKey.parse(BUILD, "b")
    signer = SignerIdentity(
        "me@example.com", r"https://.*\.example\.com", str(folder / "root.json"), is_issuer_pattern=True
    )
    named = {"reference": "registry.example.com/**", "annotations": {"release": "1.2"}}
    assert policy == Policy(
        (
            PolicyRule(
                ("registry.example.com/team/**", "docker.io/library/*"),
                (
                    Requirement((release, build), match=Match.ALL, **named),
                    Requirement(identities=(signer,), predicate_type="https://slsa.dev/provenance/v1"),
                    Requirement((build,), predicate_type="https://example.com/tests/v1"),
                ),
            ),
            PolicyRule(("**",)),
        ),
        checks_members=True,
    )
    assert str(policy.rules[0].requirements[0].keys[0]) == str(folder / "keys/release.pub")


RULE = "rules:\n- repositories: ['**']\n  require:\n"
SIGNATURE = f"{RULE}  - signature:\n      keys: [keys/release.pub]\n"


def test_images_of_a_bundle_are_covered_unless_the_policy_says_otherwise(folder):
    assert not read(folder, SIGNATURE).checks_members
    assert not read(folder, f"bundleImages: covered\n{SIGNATURE}").checks_members


@pytest.mark.parametrize(
    ("text", "why", "place"),
    [
        ("rules: []\n", "accepts nothing", "line 3, column 1"),
        ("", "rules are missing", "line 1, column 1"),
        ("rule: []\n", "rule: unknown field; known here: apiVersion, kind", "line 3, column 1"),
        ("rules: 5\n", "rules: expected a list", "line 3, column 8"),
        ("rules:\n- 5\n", "rules[0]: expected fields (repositories, require)", "line 4, column 3"),
        ("rules:\n- repositories: ['**']\n", "rules[0]: require is missing", "line 4"),
        ("rules:\n- require: []\n", "rules[0]: repositories is missing", "line 4"),
        ("rules:\n- repositories: []\n  require: []\n", "needs a pattern", "line 4"),
        ("rules:\n- repositories: [nginx]\n  require: []\n", "has no path", "line 4"),
        ("rules:\n- repositories: ['']\n  require: []\n", "expected a text", "line 4"),
        (f"{RULE}  - {{}}\n", "expected either signature or attestation", "line 6"),
        (f"{RULE}  - signature: {{}}\n", "no key and no identity is given", "line 6"),
        (f"{SIGNATURE}      match: some\n", "match: expected any or all, but was some", "line 8, column 14"),
        (f"{SIGNATURE}      predicateType: a:b\n", "predicateType: unknown field", "line 8, column 22"),
        (f"{SIGNATURE}      annotations: 5\n", "expected fields with a text each", "line 8"),
        (f"{SIGNATURE}      reference: nginx\n", "has no path", "line 7"),
        (f"{RULE}  - attestation:\n      keys: [keys/release.pub]\n", "predicateType is missing", "line 7"),
        (
            f"{RULE}  - attestation:\n      keys: [keys/release.pub]\n      predicateType: slsa\n",
            "slsa is neither a URI nor one of custom",
            "line 8, column 22",
        ),
        (f"{RULE}  - signature:\n      keys: [root.json]\n", "no block of PEM", "line 7"),
        (
            f"{RULE}  - signature:\n      keys: [env://NONE]\n",
            "env://NONE: the variable is not set",
            "line 7, column 14",
        ),
        (
            f"{RULE}  - signature:\n      keys:\n      - keys/release.pub\n      - ./keys/release.pub\n",
            "given twice",
            "line 7",
        ),
        (
            f"{RULE}  - signature:\n      identities:\n      - issuer: x\n",
            "either identity or identityPattern",
            "line 8",
        ),
        (
            f"{RULE}  - signature:\n      identities:\n      - {{identity: a, issuer: b}}\n",
            "needs the field trustedRoot at the top",
            "line 8",
        ),
        (
            (
                f"trustedRoot: r\n{RULE}  - signature:\n"
                "      identities: [{identityPattern: '(', issuer: b}]\n"
            ),
            "is no regular expression",
            "line 8",
        ),
        (f"kind: VerificationPolicy\n{SIGNATURE}", 'key "kind" already set', "line 3"),
        ("rules: [\n", "yaml:", "line 4, column 1"),
    ],
)
def test_a_mistake_is_reported_with_its_place(folder, text, why, place):
    with pytest.raises(InvalidSettings) as caught:
        read(folder, text)
    shown = " ".join([str(caught.value), *caught.value.lines])
    assert why in shown
    assert place in " ".join(caught.value.hints)
    assert str(folder / "policy.yml") in " ".join([shown, *caught.value.hints])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "expected fields"),
        (b"a: b\n", "unknown field"),
        (b"rules: []\n", "apiVersion is missing"),
        (b"apiVersion: v1\nkind: VerificationPolicy\n", "apiVersion: expected imgpkg.carvel.dev/v1alpha1"),
        (b"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n", "kind: expected VerificationPolicy"),
        (b"\xff\xfe\x00", "yaml"),
    ],
)
def test_another_document_is_no_policy(text, why):
    with pytest.raises(InvalidSettings, match=why):
        parse_policy(text, "policy.yml")


def test_a_key_that_is_missing_is_named_with_its_place(folder):
    with pytest.raises(LocalIOError, match=r"missing\.pub") as caught:
        read(folder, f"{RULE}  - signature:\n      keys: [missing.pub]\n")
    assert "line 7, column 14" in caught.value.hints[-1]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(LocalIOError, match=r"nosuch\.yml"):
        read_policy(tmp_path / "nosuch.yml")
