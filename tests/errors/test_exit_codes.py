"""The kind of each error decides the exit code, as docs/scripting.md lists them."""

from __future__ import annotations

import inspect

import pytest

from imgpkg import errors
from imgpkg.errors.exit_codes import EXIT_CODES, KINDS, FailureKind, exit_code, kind_of

CLASSES = [
    one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, errors.ImgpkgError)
]


def registry_error(kind=errors.RegistryError, status=500):
    return kind("text", method="GET", url="https://r.example/v2/", status=status)


def transport_error(kind):
    return kind("GET", "https://r.example/v2/", "reason")


def several(*found, kinds=()):
    error = errors.Several("text")
    error.errors, error.kinds = found, frozenset(kinds)
    return error


def made(kind):
    """Return an error of this class."""
    if issubclass(kind, errors.RegistryError):
        return registry_error(kind, 400)
    return transport_error(kind) if issubclass(kind, errors.TransportError) else kind("text")


@pytest.mark.parametrize(
    ("name", "code"),
    {
        "ImgpkgError": 1,
        "ImmutableTag": 1,
        "InUse": 1,
        "RegistryError": 1,
        "Unsupported": 1,
        "UsageError": 2,
        "InvalidReference": 2,
        "InvalidSettings": 2,
        "IsABundle": 2,
        "NotABundle": 2,
        "NotFound": 3,
        "NotInFile": 3,
        "NotInImage": 3,
        "MissingBase": 3,
        "Unauthorized": 4,
        "Forbidden": 4,
        "ChallengeError": 4,
        "CredentialError": 4,
        "ConnectionFailed": 5,
        "NotTLS": 5,
        "ConnectionTimedOut": 5,
        "CertificateRejected": 5,
        "VerificationError": 6,
        "Untrusted": 6,
        "UnpackError": 6,
        "InvalidManifest": 6,
        "LocalIOError": 7,
        "ArchiveError": 7,
        "InvalidDocument": 7,
        "InvalidLock": 7,
        "Cancelled": 130,
    }.items(),
)
def test_an_error_has_the_code_of_its_kind(name, code):
    assert exit_code(made(getattr(errors, name))) == code


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_a_kind(kind):
    assert kind_of(made(kind)) in FailureKind


@pytest.mark.parametrize(("status", "code"), [(500, 5), (503, 5), (429, 5), (408, 5), (400, 1), (200, 6)])
def test_a_server_that_cannot_answer_at_present_is_like_a_network_that_cannot(status, code):
    assert exit_code(registry_error(status=status)) == code
    assert exit_code(registry_error(errors.Forbidden, status)) == 4


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (several(), 1),
        (several(errors.UsageError("a"), errors.InvalidReference("b")), 2),
        (several(errors.UsageError("a"), errors.LocalIOError("b")), 1),
        (several(several(errors.LocalIOError("a")), errors.LocalIOError("b")), 7),
        (several(kinds=[FailureKind.REFUSED]), 4),
        (several(errors.UsageError("a"), kinds=[FailureKind.REFUSED]), 1),
        (errors.Unresolved("a"), 1),
    ],
)
def test_several_errors_have_the_code_that_all_of_them_have(error, code):
    assert exit_code(error) == code


def test_no_two_kinds_share_a_code_and_none_is_one_of_shells():
    codes = [EXIT_CODES[kind] for kind in FailureKind]
    assert len(set(codes)) == len(codes)
    assert all(0 < code < 126 or code == 130 for code in codes)
    assert set(KINDS.values()) == set(FailureKind)
