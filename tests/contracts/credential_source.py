"""What every source promises: subclass `CredentialSourceContract`, fill in `knowing` and `clueless`.

The subclass goes into any test module, with a name that starts with `Test`:

    class TestGithub(CredentialSourceContract):
        usernames = ("octocat",)

        def knowing(self, folder, login): ...
        def clueless(self, folder): ...
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imgpkg.auth.keychain import ANONYMOUS, Decision, Keychain, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgpkg.auth.keychain import CredentialSource
    from imgpkg.oci.reference import Repository

THREADS = 12
DIFFICULT_SECRETS = (
    "plain",
    "colons:in:it:",
    "k=v==",
    " spaces around ",
    "ünïcødé-密码-😀",
    "quotes\"'`and\\backslash",
    "$HOME $(x) %41 {} {0} &<>",
    "tab\tand\nnewline\n",
    "x" * 5000,
)
DIFFICULT_USERNAMES = (
    "user",
    "robot$team+ci",
    "me@example.com",
    "ü ser",
    "a/b",
    "_json_key",
    "k=v",
    "quote\"'\\",
)


@dataclass(frozen=True)
class Login:
    username: str
    secret: str


@dataclass(frozen=True)
class Known:
    """A source that knows a credential for `repository`.

    `calls` counts how often the source has asked or read what is outside of it, None when nothing is.
    `warnings` is what it has said to its hook.
    """

    source: CredentialSource
    repository: Repository
    calls: Callable[[], int] | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Clueless:
    """A source that has nothing for `repository`, and why that is so."""

    source: CredentialSource
    repository: Repository
    why: str


class CredentialSourceContract:
    """The promises of `imgpkg.auth.keychain.CredentialSource`."""

    secrets = DIFFICULT_SECRETS
    usernames = DIFFICULT_USERNAMES

    def knowing(self, folder, login: Login) -> Known:
        raise NotImplementedError

    def clueless(self, folder) -> list[Clueless]:
        raise NotImplementedError

    def secret_of(self, credential):
        """Say where the login's secret is in the credential."""
        return credential.password

    def test_a_difficult_secret_arrives_unchanged(self, tmp_path):
        for number, secret in enumerate(self.secrets):
            known = self.knowing(tmp_path / str(number), Login(self.usernames[0], secret))
            credential = known.source.lookup(known.repository).credential
            assert self.secret_of(credential) == secret
            assert credential.username == self.usernames[0]

    def test_a_difficult_username_arrives_unchanged(self, tmp_path):
        for number, username in enumerate(self.usernames):
            known = self.knowing(tmp_path / str(number), Login(username, "secret"))
            assert known.source.lookup(known.repository).credential.username == username

    def test_a_match_says_who_answered_from_where_and_why(self, tmp_path):
        known = self.knowing(tmp_path, Login(self.usernames[0], "secret"))
        finding = known.source.lookup(known.repository)
        assert finding.outcome is Outcome.MATCHED
        assert finding.source == known.source.name
        assert finding.origin
        assert finding.detail
        assert not finding.credential.is_anonymous

    def test_a_source_that_has_nothing_says_so_with_a_reason_and_never_raises(self, tmp_path):
        cases = self.clueless(tmp_path)
        assert cases
        for case in cases:
            finding = case.source.lookup(case.repository)
            assert finding.outcome is not Outcome.MATCHED, case.why
            assert finding.credential is None, case.why
            assert finding.source == case.source.name
            assert finding.detail, case.why

    def test_no_secret_is_in_anything_that_can_be_printed(self, tmp_path):
        secret = "hunter2-never-shown\n"
        known = self.knowing(tmp_path, Login(self.usernames[0], secret))
        finding = known.source.lookup(known.repository)
        keychain = Keychain([known.source])
        decision = keychain.resolve(known.repository)
        misses = (
            *keychain.near_misses(decision),
            *keychain.near_misses(Decision(known.repository, ANONYMOUS)),
        )
        things = (finding, decision, known.source, finding.credential, *misses)
        printed = [
            *map(repr, things),
            *map(str, things),
            decision.explain(),
            decision.summary(),
            *known.warnings,
        ]
        assert self.secret_of(finding.credential) == secret
        assert "hunter2" not in "\n".join(printed)

    def test_many_threads_get_one_answer_and_what_is_outside_is_asked_once(self, tmp_path):
        known = self.knowing(tmp_path, Login(self.usernames[0], "secret"))
        gate = threading.Barrier(THREADS)
        findings = []

        def look_up():
            gate.wait()
            findings.append(known.source.lookup(known.repository))

        threads = [threading.Thread(target=look_up) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert findings == [known.source.lookup(known.repository)] * THREADS
        if known.calls is not None:
            assert known.calls() == 1

    def test_nothing_outside_is_asked_before_the_first_lookup(self, tmp_path):
        known = self.knowing(tmp_path, Login(self.usernames[0], "secret"))
        if known.calls is not None:
            assert known.calls() == 0
        assert known.source.name == known.source.name.strip().lower()
