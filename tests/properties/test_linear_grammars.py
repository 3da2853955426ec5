"""Whatever reads text from outside does work in proportion to its length.

The code runs on the counting engine of `engine`, on texts that charge for each character that is looked at or
copied; see there. Each grammar gets texts of the form `start pump pump … pump rest`, with 1, 2 and 3 times as
many pumps, and its work must grow along a straight line.
"""

from __future__ import annotations

import json

import pytest
from tests.properties.engine import CountedBytes, CountedText, Pattern, counting, growth, on_the_engine

pytestmark = pytest.mark.slow

PUMPS = 8
SINGLE = list("\"\\,;:=<>[]{}/@#?%&|-_.+*'!~ \t\r\n0a9Zé\x01\x85")
PAIRS = [
    *('\\"', "\\\\", ", ", " ,", '",', '="', '"=', '=""', ";a", ":a", "a:", "/a", "a ", " a", ".."),
    *("--", "__", "a,", "a=", "%4", "0,", "0.", ": A", '"a', 'a"', "[a", "a]", "[a]", "=a", "<>"),
    *("<a", '<"', '>"', "a-", "a_", "a.", "a@", "_0", "-0", "1h", ",}", ",]", "[,", "{,", " }"),
    *("\\,", "a:b:c ", '"a":', "a=b,", ";rel=", '; rel="', "a b=", "-y", "a\r\n", "a:b\r\n", "...|"),
    *("|...", "0:0", "\x1b[", "token=", "eyJaaaaa.", "&a=b", "/..", "/v2/"),
]
EVERY_PUMP = [
    *SINGLE,
    *PAIRS,
    "-----BEGIN CERTIFICATE-----",
    "-----END CERTIFICATE-----",
    "9" * 30,
    "5 a=b\n",
]
MODULES = (
    "imgpkg.errors",
    "imgpkg.auth.pattern",
    "imgpkg.auth.authfile",
    "imgpkg.auth.cloud.ecr",
    "imgpkg.auth.cloud.sdk",
    "imgpkg.auth.environment",
    "imgpkg.auth.helper",
    "imgpkg.auth.program",
    "imgpkg.auth.keychain",
    "imgpkg.bundle.image",
    "imgpkg.bundle.node_path",
    "imgpkg.bundle.yaml_block",
    "imgpkg.bundle.yaml_text",
    "imgpkg.bundle.yaml_value",
    "imgpkg.bundle.yaml_writer",
    "imgpkg.cli.arguments",
    "imgpkg.cli.commands",
    "imgpkg.cli.main",
    "imgpkg.cli.output",
    "imgpkg.content.tar.reader",
    "imgpkg.embedded.access",
    "imgpkg.embedded.blobs",
    "imgpkg.embedded.manifests",
    "imgpkg.embedded.storage",
    "imgpkg.embedded.handler",
    "imgpkg.oci.descriptor",
    "imgpkg.oci.encoding",
    "imgpkg.oci.grammar",
    "imgpkg.oci.reference",
    "imgpkg.registry.auth.challenge",
    "imgpkg.registry.auth.token",
    "imgpkg.registry.endpoint",
    "imgpkg.registry.listing",
    "imgpkg.transport.message",
    "imgpkg.transport.pem",
    "imgpkg.transport.proxy",
    "imgpkg.transport.retry",
)


@pytest.fixture(scope="module")
def on():
    return on_the_engine(*MODULES)


class Lines:
    """A file of a connection: lines that charge for themselves."""

    def __init__(self, data):
        self._data, self._at = data, 0

    def read1(self, limit):
        start, self._at = self._at, min(self._at + limit, len(self._data))
        return self._data[start : self._at]

    def readline(self, limit):
        end = self._data.find(b"\n", self._at, self._at + limit) + 1 or self._at + limit
        start, self._at = self._at, min(end, len(self._data))
        return self._data[start : self._at]


def head(on, text):
    handler = object.__new__(on.handler.RegistryHandler)
    handler.rfile, handler.send_error, handler._scheme = lines(text), refused, "http"
    handler.raw_requestline = handler.rfile.readline(1 << 16)
    if handler.parse_request():
        request, _ = handler.read_request()
        on.access.authenticate((on.access.Account("a", "b"),), request)


def refused(*_):
    raise ValueError


def body(on, text):
    on.handler.RequestBody(lines(text), None, None).read(1)


def lines(text):
    return Lines(CountedBytes(str.encode(text, "latin-1", "replace")))


def patterns(on, text):
    pattern = on.pattern.Pattern.parse(text)
    pattern.mismatch(on.pattern.Address.read("a.b.example/c"))
    return pattern.rank


def environment(on, text):
    """The text is cut into values, one for each pump."""
    values = str.split(text, "|")
    names = (
        f"IMGPKG_REGISTRY_{kind}_{number}"
        for number in range(len(values))
        for kind in ("HOSTNAME", "USERNAME")
    )
    texts = (value for number, host in enumerate(values) for value in (host, f"user{number}"))
    return on.environment.read_sets(dict(zip(names, texts, strict=True)))


def challenges(on, text):
    found = on.challenge.parse_challenges([text])
    on.challenge.named_scopes(found)
    on.challenge.must_choose(found, on.credential)


def realm(on, text):
    registry = on.message.Origin("https", "registry.example", 443)
    on.endpoint.check_realm(text, registry)
    return on.endpoint.token_url(text, (), "", "")


def written(on, text):
    return on.yaml_writer.dump({"a": text})


def document(text):
    return CountedBytes(str.encode(text, "utf-8", "surrogatepass"))


# Name: what reads, and the (start, rest) around the pumps.
GRAMMARS = {
    "request head": (
        head,
        [
            ("GET /v2/ HTTP/1.1\r\nHost: a\r\nX: a", "b\r\n\r\n"),
            ("GET /v2/ HTTP/1.1\r\nHost: a\r\n", "\r\n\r\n"),
            ("GET /v2/ HTTP/1.1\r\nHost: a\r\nAuthorization: Basic ", "\r\n\r\n"),
            ("GET /", " HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("GET /a?", " HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("", " HTTP/1.1\r\n\r\n"),
        ],
    ),
    "chunks": (body, [("1", "\r\nx\r\n0\r\n\r\n"), ("1;", "\r\nx"), ("0\r\n", "\r\n\r\n")]),
    "repository name": (lambda on, text: on.storage.RepositoryName.parse(text), [("", ""), ("a", "\n")]),
    "manifest reference": (lambda on, text: on.manifests.parse_reference(text), [("", ""), ("sha256:", "")]),
    "token scope": (lambda on, text: on.access.Permission.parse(text), [("", ""), ("a:b:", "")]),
    "docker config": (
        lambda on, text: on.authfile.AuthFile.parse(document(text), str),
        [("", ""), ('{"a', ""), ('{"auths": {"a": [', "]}}"), ('{"auths": {"', '": {}}}')],
    ),
    "helper": (
        lambda on, text: on.helper._parse(on.program.Ended(1, document(text)), 0.0),
        [("", ""), ('"secret"', "")],
    ),
    "hostname pattern": (patterns, [("", ""), ("a", ".example/a"), ("http://", ""), ("[", "]")]),
    "environment sets": (environment, [("a.example|", ""), ("a.b|", "|a.b")]),
    "environment names": (
        lambda on, text: on.environment.read_sets({f"IMGPKG_REGISTRY_{text}": ""}),
        [("HOSTNAM_" + "a_" * 20, "")],
    ),
    "JSON web token": (lambda on, text: on.keychain.claims_of(text), [("", ""), ("a.", ".b")]),
    "ECR host": (lambda on, text: on.ecr.EcrRegistry.of(text), [("0" * 12 + ".dkr.ecr.a", "")]),
    "SDK error": (lambda on, text: on.sdk.reason(OSError(text), {}), [("", ""), ("a_token", " ")]),
    "RFC 3339": (lambda on, text: on.token.parse_time(text), [("2030-01-02T03:04:05.", "Z")]),
    "challenge": (
        challenges,
        [
            ("", ""),
            ("Bearer ", ""),
            ('Bearer realm="', ""),
            ('Bearer scope="', '",realm="a"'),
            ("Negotiate ", "\x01"),
        ],
    ),
    "link": (lambda on, text: on.listing.next_link([text]), [("", ""), ("<a>", ""), ('<a>; rel="', "")]),
    "scopes": (lambda on, text: on.challenge.parse_scopes(text), [("", ""), ("a:b:c", "")]),
    "realm": (realm, [("", ""), ("https://a", ""), ("https://registry.example/a?", "")]),
    "local host": (
        lambda on, text: (on.endpoint.may_speak_http(text), on.endpoint.is_forbidden_host(text)),
        [("", ""), ("[", "]:5")],
    ),
    "token reply": (
        lambda on, text: on.token.read_token_reply(
            document(json.dumps({"token": "a", "issued_at": text})), (), 0
        ),
        [("", ""), ("2030-01-02T03:04:05.", "Z")],
    ),
    "NO_PROXY": (lambda on, text: on.proxy.is_bypassed("a.example", 443, text), [("", ""), ("[", "")]),
    "proxy": (lambda on, text: on.proxy.Proxy.parse(text), [("", ""), ("http://", "")]),
    "shown URL": (lambda on, text: on.message.redact_url(text), [("", ""), ("https://a/?", "")]),
    "shown link": (lambda on, text: on.message.redact_header("Link", text), [("", ""), ("<", "")]),
    "Retry-After": (lambda on, text: on.retry.parse_retry_after(text, 0.0), [("", ""), ("Wed, ", " GMT")]),
    "certificates": (
        lambda on, text: list(on.pem._blocks(text)),
        [("", ""), ("-----BEGIN CERTIFICATE-----", "")],
    ),
    "reference": (
        lambda on, text: on.reference.parse_any(text),
        [("", ""), ("a.example/a", ""), ("a/b@sha256:", "")],
    ),
    "YAML scalar": (
        lambda on, text: on.yaml_value.reads_as_itself(text),
        [("1", ""), ("-0x", ""), ("2030-01-02T", "Z")],
    ),
    "plain YAML": (
        lambda on, text: on.yaml_block.read_block(text.encode()),
        [("", "\n"), ("a: ", "\n"), ("a: |\n  ", "\n"), ("a:\n- ", "\n")],
    ),
    "JSON of documents": (
        lambda on, text: list(on.yaml_text._JSONScanner(text).documents()),
        [("", ""), ('{"a', '"}'), ("[", "]"), ('{"a": [', "]}")],
    ),
    "path in a document": (
        lambda on, text: on.node_path.NodePath.parse(text),
        [("", ""), ("a", ".b"), ('"', '"'), ("a[b=", "]")],
    ),
    "text of a scalar": (lambda on, text: on.yaml_text.scalar_text(text), [("", ""), ("a", "")]),
    "written YAML": (written, [("a" * 90, ""), ("a" * 90 + "\n", "\n")]),
    "order of keys": (
        lambda on, text: on.yaml_writer.natural_order([text + end for end in "a190"]),
        [("", ""), ("a0", "")],
    ),
    "tag of a repository": (
        lambda on, text: on.bundle_image.repository_based_tag(f"a/{text}", on.descriptor.Digest.of(b"")),
        [("", ""), ("a", "/b")],
    ),
    "records of PAX": (
        lambda on, text: on.reader.pax_records(CountedBytes(str.encode(text, "latin-1", "replace"))),
        [("", ""), ("9", " a=b\n")],
    ),
    "time of PAX": (
        lambda on, text: on.reader.pax_time({b"a": str.encode(text, "latin-1", "replace")}, b"a", b""),
        [("0.", "")],
    ),
    "duration": (lambda on, text: on.arguments.duration(text), [("1", ""), ("", "s")]),
    "integer": (lambda on, text: on.arguments.integer(text), [("", ""), ("0x", "")]),
    "list in a flag": (lambda on, text: on.arguments.csv_record(text), [("", ""), ('"', "")]),
    "labels": (lambda on, text: on.arguments.labels(text), [("a=", ""), ('"a=b",', "")]),
    "arguments": (
        lambda on, text: on.arguments.Parser(on.commands.ROOT.all_flags).parse([text]),
        [("-", ""), ("--", ""), ("-y", "y")],
    ),
    "error text": (lambda on, text: on.main.format_error(text), [("", ""), ("a: A", "")]),
    "text for people": (lambda on, text: on.errors.printable(text), [("", ""), ("a", "b")]),
    "column": (lambda on, text: on.output.column_key(text), [("", "")]),
    "label": (lambda on, text: on.encoding._in_bytes((text, "")), [("", "")]),
}


def work(on, reads, text):
    from imgpkg.auth.keychain import Credential

    on.credential = Credential("a", "b")
    with counting() as steps:
        try:
            result = reads(on, CountedText(text))
        except (on.errors.ImgpkgError, ValueError) as error:
            result = str(error)
        return steps() + (len(result) if isinstance(result, str) else 0)


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_reading_takes_work_in_proportion_to_the_text(on, grammar):
    reads, around = GRAMMARS[grammar]
    for start, rest in around:
        for pump in EVERY_PUMP:

            def grown(pumps, start=start, pump=pump, rest=rest):
                return growth([work(on, reads, start + pump * (pumps * times) + rest) for times in (1, 2, 3)])

            bend = grown(PUMPS)
            # At a limit of length the line has a bend, which is as large for longer texts; a curve is not.
            is_straight = bend < 4 * PUMPS or grown(4 * PUMPS) < 8 * bend
            assert is_straight, f"{start!r} + {pump!r} * n + {rest!r}"


def test_work_that_grows_faster_is_found_out(on):
    """The way in which a configuration file was read once."""
    slow = Pattern(r'"(?:[^"\\]|\\.)*"')

    def grown(pumps):
        return growth(
            [work(on, lambda _, text: slow.findall(text), '\\"' * (pumps * times)) for times in (1, 2, 3)]
        )

    assert grown(4 * PUMPS) > 8 * grown(PUMPS) > 0
