"""When a credential is asked for, kept, renewed and given up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.auth.cloud.renewal import NoCredential, Renewal, TemporaryCredential, renew_at
from imgpkg.auth.keychain import Credential, Outcome
from imgpkg.errors import CredentialError
from imgpkg.oci.reference import Repository

HERE = Repository("registry.example.com", "team/app")


class Cloud:
    """Gives numbered passwords for `lifetime` seconds, or fails while `down` says why."""

    def __init__(self, clock, lifetime=3600.0):
        self.clock = clock
        self.lifetime = lifetime
        self.down = ""
        self.asked = 0
        self.warnings = []
        self.renewal = Renewal("cloud", self.acquire, warn=self.warnings.append, clock=clock)

    def acquire(self, key):
        self.asked += 1
        if self.down:
            raise CredentialError(self.down)
        password = f"{key}-{self.asked}"
        return TemporaryCredential(Credential("user", password), "the cloud", self.clock() + self.lifetime)

    def password(self, key="key", repository=HERE):
        finding = self.renewal.finding(key, repository)
        return finding.credential and finding.credential.password


@pytest.fixture
def cloud(clock):
    return Cloud(clock)


def test_a_grant_is_kept_per_key_until_five_minutes_before_its_end(cloud, clock):
    assert [cloud.password("a"), cloud.password("b"), cloud.password("a")] == ["a-1", "b-2", "a-1"]
    clock.now += 3299
    assert cloud.password("a") == "a-1"
    clock.now += 1
    assert cloud.password("a") == "a-3"


def test_a_short_lived_grant_is_kept_for_half_of_its_life(clock):
    cloud = Cloud(clock, lifetime=100.0)
    cloud.password()
    clock.now += 49
    assert cloud.password() == "key-1"
    clock.now += 1
    assert cloud.password() == "key-2"


def test_the_credential_says_when_a_lookup_gives_a_new_one(cloud, clock):
    credential = cloud.renewal.finding("key", HERE).credential
    assert credential.expires_at == clock.now + 3300


def test_a_grant_that_has_ended_on_arrival_is_used_once(clock):
    cloud = Cloud(clock, lifetime=-1000.0)
    assert [cloud.password(), cloud.password()] == ["key-1", "key-2"]


def test_a_failure_is_remembered_for_a_minute(cloud, clock):
    cloud.down = "out of order"
    findings = [cloud.renewal.finding("key", Repository("registry.example.com", f"a{n}")) for n in range(5)]
    assert {(finding.outcome, finding.detail) for finding in findings} == {(Outcome.FAILED, "out of order")}
    assert cloud.asked == 1
    cloud.down = ""
    clock.now += 59
    assert cloud.password() is None
    clock.now += 1
    assert cloud.password() == "key-2"


def test_each_registry_is_warned_about_once(cloud, clock):
    cloud.down = "out of order"
    for _ in range(3):
        cloud.password()
        cloud.password("key", Repository("other.example.com", "aa"))
        clock.now += 60
    assert cloud.warnings == [
        f"keychain 'cloud' gave no credential for {host}: out of order"
        for host in ("registry.example.com", "other.example.com")
    ]


def test_a_grant_that_cannot_be_renewed_goes_on_until_its_end(cloud, clock):
    cloud.password()
    cloud.down = "out of order"
    clock.now += 3300
    finding = cloud.renewal.finding("key", HERE)
    assert finding.credential.password == "key-1"
    assert finding.detail == "gives the login that it had; a new one was refused: out of order"
    assert finding.credential.expires_at == clock.now + 60
    assert cloud.warnings == []
    clock.now += 250
    assert cloud.renewal.finding("key", HERE).credential.expires_at == clock.now + 50
    clock.now += 50
    assert cloud.renewal.finding("key", HERE).outcome is Outcome.FAILED
    assert len(cloud.warnings) == 1


def test_nothing_to_give_is_no_failure_and_is_asked_again_after_a_minute(clock):
    asked, warnings = [], []
    renewal = Renewal(
        "cloud", lambda key: (asked.append(key), NoCredential("public"))[1], warn=warnings.append, clock=clock
    )
    finding = renewal.finding("key", HERE)
    assert (finding.outcome, finding.detail, warnings) == (Outcome.NOT_APPLICABLE, "public", [])
    renewal.finding("key", HERE)
    assert len(asked) == 1
    clock.now += 60
    renewal.finding("key", HERE)
    assert len(asked) == 2


def test_an_interruption_is_not_remembered(clock):
    attempts = []

    def interrupted(key):
        attempts.append(key)
        if len(attempts) == 1:
            raise KeyboardInterrupt
        return NoCredential("fine")

    renewal = Renewal("cloud", interrupted, warn=print, clock=clock)
    with pytest.raises(KeyboardInterrupt):
        renewal.finding("key", HERE)
    assert renewal.finding("key", HERE).detail == "fine"


@given(now=st.floats(0, 4e9), lifetime=st.floats(-1e6, 1e6))
def test_the_time_of_renewal(now, lifetime):
    """At the end less five minutes, or half of a shorter lifetime; never after the end or before `now`."""
    expires_at = now + lifetime
    due = renew_at(expires_at, now)
    assert due <= expires_at
    assert expires_at - due <= 300.0001
    if lifetime > 0:
        assert due >= now
    else:
        assert due == expires_at
