"""The logins that pages type are stored and used: on the page about authentication, and the home page."""

from __future__ import annotations

import pytest
from tests.pages.shell import ROOT, play, steps_of_consoles

from imgpkg.embedded.access import Account, OpenAccess
from imgpkg.embedded.tokens import TokenAccess

PAGE = ROOT / "docs/authentication.md"
OUTSIDE, INSIDE = "registry.example.com", "registry.inside.example"
# A test has no terminal at which a password could be typed.
FROM_A_FILE = ("-u me\n", "-u me --password-stdin < me\n")


@pytest.mark.slow
def test_logins_are_stored_listed_and_removed(stocked, internet, tmp_path):
    access = TokenAccess([Account("me", "s3cret"), Account("team-robot", "r0bot", "team/*")])
    stocked(OUTSIDE, access, "team/app:v1")
    work = tmp_path / "work"
    work.mkdir()
    for name, secret in {"me": "s3cret", "password": "r0bot", "token": access.issue_refresh("me")}.items():
        (work / name).write_text(f"{secret}\n")
    words = ("imgpkg auth log", "imgpkg auth list", "imgpkg auth token")
    steps = [step for step in steps_of_consoles(PAGE) if step.typed.startswith(words)]
    played = play(steps, work, replaced=[FROM_A_FILE], **internet.environ)
    assert [one.status for one in played] == [0] * 6, [one.printed for one in played]
    listed = played[3].printed
    assert f"{OUTSIDE}/team" in listed
    assert "team-robot" in listed
    assert '"token"' in played[5].printed


@pytest.mark.slow
def test_the_first_commands_of_the_home_page_work(stocked, internet, tmp_path):
    access = TokenAccess([Account("me", "s3cret")])
    stocked(OUTSIDE, access)
    stocked(INSIDE, OpenAccess())
    work = tmp_path / "work"
    (work / "bundle/.imgpkg").mkdir(parents=True)
    (work / "me").write_text("s3cret\n")
    lock = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n"
    (work / "bundle/.imgpkg/images.yml").write_text(lock)
    install, *steps = steps_of_consoles(ROOT / "docs/index.md")
    assert install.typed == "pipx install imgpkg-py\n"
    played = play(steps, work, replaced=[FROM_A_FILE], **internet.environ)
    assert [one.status for one in played] == [0] * 5, [one.printed for one in played]
    assert (work / "bundle-inside/.imgpkg/images.yml").exists()
