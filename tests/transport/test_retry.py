"""Which failures are temporary, and the pause that a server asks for."""

from __future__ import annotations

import pytest

from imgpkg.errors import (
    CertificateRejected,
    ConnectionFailed,
    ConnectionTimedOut,
    Diagnostic,
    NotTLS,
    RegistryError,
    TransportError,
    VerificationError,
)
from imgpkg.transport.retry import (
    is_temporary,
    is_temporary_answer,
    parse_retry_after,
)

NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110


def answer(status, *codes, retry_after=None):
    diagnostics = tuple(Diagnostic(code, "text") for code in codes)
    return RegistryError(
        "x", method="GET", url="u", status=status, diagnostics=diagnostics, retry_after=retry_after
    )


class TestWhatIsRepeated:
    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_a_temporary_status(self, status):
        assert is_temporary(answer(status))
        assert is_temporary(answer(status, "DENIED"))

    @pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 405, 409, 413, 416, 501, 505])
    def test_not_any_other_status(self, status):
        assert not is_temporary(answer(status))

    @pytest.mark.parametrize("code", ["BLOB_UPLOAD_INVALID", "TOOMANYREQUESTS", "UNKNOWN", "UNAVAILABLE"])
    def test_an_answer_whose_codes_are_all_temporary(self, code):
        assert is_temporary(answer(400, code))
        assert is_temporary(answer(400, code, "UNKNOWN"))
        assert not is_temporary(answer(400, code, "DENIED"))

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_never_a_question_of_rights_or_existence(self, status):
        assert not is_temporary_answer(status, frozenset({"UNKNOWN"}))

    @pytest.mark.parametrize("kind", [ConnectionFailed, ConnectionTimedOut])
    def test_a_connection_without_answer(self, kind):
        assert is_temporary(kind("GET", "u", "r"))

    @pytest.mark.parametrize("kind", [CertificateRejected, NotTLS, TransportError])
    def test_not_what_stays_as_it_is(self, kind):
        assert not is_temporary(kind("GET", "u", "r"))

    def test_no_other_error(self):
        assert not is_temporary(VerificationError("x"))


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (None, None),
            ("", None),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
            ("٣", None),
            ("0", 0.0),
            (" 7 ", 7.0),
            ("61", 61.0),
            ("9" * 5000, 1e10),
            ("Sun, 06 Nov 1994 08:49:47 GMT", 10.0),
            ("Sun, 06 Nov 1994 08:49:47 -0000", 10.0),
            ("Sunday, 06-Nov-94 08:49:47 GMT", 10.0),
            ("Sun, 06 Nov 1994 09:49:37 GMT", 3600.0),
            ("Sun, 06 Nov 1994 08:49:07 GMT", 0.0),
            ("Sun, 06 Nov 99999 08:49:07 GMT", None),
        ],
    )
    def test_seconds_and_dates_are_read(self, value, expected):
        assert parse_retry_after(value, NOW) == expected
