"""References as go-containerregistry parses them; an error names the invalid part."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from imgpkg.errors import InvalidReference
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Reference, Repository, WholeRegistry, parse_any, parse_place

H = "a" * 64
TAG = "abcdefghijklmnopqrstuvwxyz0123456789_-.ABCDEFGHIJKLMNOPQRSTUVWXYZ"
PATH = "abcdefghijklmnopqrstuvwxyz0123456789_-./"


def refusal(parse, text):
    with pytest.raises(InvalidReference) as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize("given", [Reference.parse("a.io/bb"), Repository.parse("a.io/bb"), None, b"a.io/bb"])
@pytest.mark.parametrize(
    "parse",
    [
        Reference.parse,
        Reference.parse_tag,
        Reference.parse_digest,
        Reference.parse_docker,
        Repository.parse,
        parse_any,
        parse_place,
    ],
)
def test_only_texts_are_parsed(parse, given):
    expected = f"Expected the text of a reference, and not a {type(given).__name__}"
    with pytest.raises(TypeError) as caught:
        parse(given)
    assert str(caught.value).startswith(expected)
    assert str(caught.value).endswith(": str() returns it") == isinstance(given, (Reference, Repository))


class TestAnyReference:
    @pytest.mark.parametrize(
        ("text", "canonical"),
        [
            ("nginx", "index.docker.io/library/nginx:latest"),
            ("nginx:1.27", "index.docker.io/library/nginx:1.27"),
            ("docker.io/nginx", "index.docker.io/library/nginx:latest"),
            ("index.docker.io/nginx", "index.docker.io/library/nginx:latest"),
            ("docker.io/user/app:v1", "index.docker.io/user/app:v1"),
            ("user/app", "index.docker.io/user/app:latest"),
            ("gcr.io/p/a", "gcr.io/p/a:latest"),
            ("localhost:5001/spec/x:", "localhost:5001/spec/x:latest"),
            (f"localhost:5001/spec/x:v1@sha256:{H}", f"localhost:5001/spec/x@sha256:{H}"),
            (f"localhost:5001/spec/x:@sha256:{H}", f"localhost:5001/spec/x@sha256:{H}"),
            (f"nginx@sha256:{H}", f"index.docker.io/library/nginx@sha256:{H}"),
            ("localhost:5001", "index.docker.io/library/localhost:5001"),
            (f"localhost:5001@sha256:{H}", f"index.docker.io/library/localhost@sha256:{H}"),
            ("localhost/ab", "index.docker.io/localhost/ab:latest"),
            ("localhost:5001/ab", "localhost:5001/ab:latest"),
            ("LOCALHOST:5001/x/y", "LOCALHOST:5001/x/y:latest"),
            ("R.io/w4/", "R.io/w4/:latest"),
            ("R.io//w4", "R.io//w4:latest"),
            ("R.io/a//b", "R.io/a//b:latest"),
            ("/ab", "index.docker.io//ab:latest"),
            ("[::1]:5000/ab:v1", "[::1]:5000/ab:v1"),
            ("a.b/c/d:.-_A", "a.b/c/d:.-_A"),
            (f"ab:{'t' * 128}", f"index.docker.io/library/ab:{'t' * 128}"),
            (f"a.b/{'p' * 255}", f"a.b/{'p' * 255}:latest"),
            ("a.b/pp", "a.b/pp:latest"),
        ],
    )
    def test_prints_its_canonical_name(self, text, canonical):
        parsed = Reference.parse(text)
        assert str(parsed) == canonical
        assert Reference.parse(canonical) == parsed

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "http://host/x",
            "https://host.io/x",
            "host/UPPER",
            "localhost:5001/a",
            f"ab@sha256:{H}@sha256:{H}",
            f"ab@sha512:{H}{H}",
            "100%sure",
        ],
    )
    def test_that_is_none_fails_with_one_text_when_only_read(self, text):
        reason = refusal(Reference.parse, text)
        with pytest.raises(InvalidReference) as caught:
            parse_any(text)
        assert str(caught.value) == f"could not parse reference: {text.rpartition('://')[2]}"
        assert caught.value.hints[0] == reason

    def test_that_is_one_is_read(self):
        assert parse_any("a.b/cd") == Reference(Repository("a.b", "cd"), tag="latest")

    def test_is_identified_by_its_tag_or_digest(self):
        assert Reference.parse("ab:v1").identifier == "v1"
        assert Reference.parse(f"ab:v1@sha256:{H}").identifier == f"sha256:{H}"

    def test_shares_the_repository_of_others_with_a_digest(self):
        """A lock of a hundred thousand images names few repositories."""
        one, other = (Reference.parse_digest(f"a.b/cd:v1@sha256:{digit * 64}") for digit in "12")
        assert one.repository is other.repository
        assert one != other

    def test_orders_by_its_canonical_name(self):
        texts = [f"a.b/cc1@sha256:{H}", "a.b/cc1:v1", "a.b/cc:v1", "a.a/zz:v1"]
        ordered = sorted(Reference.parse(text) for text in texts)
        assert [str(reference) for reference in ordered] == sorted(texts)

    def test_does_not_order_beside_text(self):
        with pytest.raises(TypeError):
            assert Reference.parse("ab") < "ab"

    @pytest.mark.parametrize("parts", [{}, {"tag": "v1", "digest": Digest.of(b"")}])
    def test_has_a_tag_or_a_digest_and_never_both(self, parts):
        with pytest.raises(InvalidReference, match="either a tag or a digest"):
            Reference(Repository("registry.example.com", "team/app"), **parts)


class TestATagReference:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("ab:b+d", f"tag can only contain the characters `{TAG}`: b+d"),
            ("ab:b d", f"tag can only contain the characters `{TAG}`: b d"),
            ("UPPER:b+d", f"tag can only contain the characters `{TAG}`: b+d"),
            ("ab:" + "t" * 129, f"tag must be between 1 and 128 characters in length: {'t' * 129}"),
            ("spec/x:a:b", f"repository can only contain the characters `{PATH}`: spec/x:a"),
            (f"spec/x@sha256:{H}", f"repository can only contain the characters `{PATH}`: spec/x@sha256"),
            ("host/UPPER", f"repository can only contain the characters `{PATH}`: host/UPPER"),
            ("a", "repository must be between 2 and 255 characters in length: a"),
            ("localhost:5001/a", "repository must be between 2 and 255 characters in length: a"),
            ("gcr.io/", "repository must be between 2 and 255 characters in length: "),
            ("", "a repository name must be specified"),
            (":v1", "a repository name must be specified"),
        ],
    )
    def test_names_the_part_that_is_wrong(self, text, message):
        assert refusal(Reference.parse_tag, text) == message


class TestADigestReference:
    @pytest.mark.parametrize(
        "text", ["ab", f"ab@sha256:{H}@sha256:{H}", "ab@@", ""], ids=["none", "two", "doubled", "empty"]
    )
    def test_has_exactly_one_separator(self, text):
        assert refusal(Reference.parse_digest, text) == (
            f"a digest must contain exactly one '@' separator (e.g. registry/repository@digest) saw: {text}"
        )

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (f"ab@sha512:{H}{H}", f"unsupported digest algorithm: sha512:{H}{H}"),
            ("ab@latest", "unsupported digest algorithm: latest"),
            ("ab@", "unsupported digest algorithm: "),
            (f"ab@sha256:{'A' * 64}", f"invalid checksum digest format: sha256:{'A' * 64}"),
            ("ab@sha256:abc", "invalid checksum digest length: sha256:abc"),
            ("UPPER@sha256:abc", "invalid checksum digest length: sha256:abc"),
            (f"@sha256:{H}", "a repository name must be specified"),
            (f"UPPER@sha256:{H}", f"repository can only contain the characters `{PATH}`: UPPER"),
            (f"ab:b+d@sha256:{H}", f"repository can only contain the characters `{PATH}`: ab:b+d"),
        ],
    )
    def test_names_the_part_that_is_wrong(self, text, message):
        assert refusal(Reference.parse_digest, text) == message


class TestARepository:
    def test_prints_registry_and_path(self):
        assert str(Repository.parse("docker.io/ab")) == "index.docker.io/library/ab"

    @pytest.mark.parametrize(
        "registry",
        [
            "http:",
            "a.b:",
            ":5000",
            "a.b:port",
            "a.b:1:2",
            "a.b:99999",
            "%41.b",
            "a\u2100b.io",
            "a\u200db.io",
            "\u00e9" * 60 + ".io",
            "\u00e9!.io",
            "[::",
            "[:::]",
            "a.b:٣",
            "a b.c",
        ],
    )
    def test_has_a_registry_that_is_an_authority(self, registry):
        message = f"registries must be valid RFC 3986 URI authorities: {registry}"
        assert refusal(Repository.parse, f"{registry}/some/path") == message

    @pytest.mark.parametrize(
        ("text", "registry"),
        [
            ("é.io", "xn--9ca.io"),
            ("Bücher.Example:5000", "xn--bcher-kva.Example:5000"),
            ("bücher\u3002例え.テスト", "xn--bcher-kva.xn--r8jz45g.xn--zckzah"),
            ("straße.example", "xn--strae-oqa.example"),
            ("ελλάς.example", "xn--hxarsa0b.example"),
            ("\uff46\uff55ll.example", "full.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ],
    )
    def test_has_the_form_for_dns_of_a_registry_in_letters_of_the_world(self, text, registry):
        repository = Repository.parse(f"{text}/some/path")
        assert repository.registry == registry
        assert str(Reference.parse(f"{text}/some/path@sha256:{H}")) == f"{registry}/some/path@sha256:{H}"

    @pytest.mark.parametrize(
        "parts",
        [
            ("localhost", "some/path"),
            ("docker.io", "p" * 248),
            ("a\u2100b.io", "some/path"),
            ("a.b/c", "some/path"),
            ("a b.c", "some/path"),
            ("a.b", "UPPER"),
            ("a.b", "some/path:v1"),
            ("a.b", "x"),
            ("a.b", ""),
        ],
    )
    def test_that_could_not_be_parsed_cannot_be_made(self, parts):
        with pytest.raises(InvalidReference):
            Repository(*parts)

    @pytest.mark.parametrize(
        "parts", [("docker.io", "library/nginx"), ("", "nginx"), ("index.docker.io", "nginx")]
    )
    def test_of_docker_hub_is_one_value_however_it_is_made(self, parts):
        assert Repository(*parts) == Repository.parse("nginx")
        assert Repository("é.io", "some/path").registry == "xn--9ca.io"

    @pytest.mark.parametrize("tag", ["", "b+d", "t" * 129, "v1\n"])
    def test_has_no_reference_with_a_tag_that_could_not_be_parsed(self, tag):
        with pytest.raises(InvalidReference, match="tag "):
            Reference(Repository("a.b", "cd"), tag=tag)
        with pytest.raises(InvalidReference):
            replace(Reference.parse("a.b/cd:v1"), tag=tag)

    def test_of_docker_hub_is_as_long_as_its_canonical_name(self):
        longest = "p" * (255 - len("library/"))
        assert Repository.parse(longest).path == f"library/{longest}"
        message = f"repository must be between 2 and 255 characters in length: library/{longest}p"
        assert refusal(Repository.parse, f"{longest}p") == message

    def test_takes_no_tag(self):
        assert refusal(Repository.parse, "a.b/cd:v1") == (
            f"repository can only contain the characters `{PATH}`: cd:v1"
        )

    def test_names_tags_and_digests(self):
        repository, digest = Repository.parse("a.b/cd"), Digest.parse(f"sha256:{H}")
        assert str(repository.tag("v1")) == "a.b/cd:v1"
        assert str(repository.digest(digest)) == f"a.b/cd@sha256:{H}"

    @pytest.mark.parametrize("tag", ["", "b+d", "t" * 129])
    def test_names_no_tag_that_cannot_be(self, tag):
        assert refusal(Repository.parse("a.b/cd").tag, tag).startswith("tag ")


class TestAPlace:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("ghcr.io", "ghcr.io"),
            ("ghcr.io/", "ghcr.io"),
            ("https://ghcr.io", "ghcr.io"),
            ("HTTP://ghcr.io/v2/", "ghcr.io"),
            ("https://index.docker.io/v1/", "index.docker.io"),
            ("docker.io", "index.docker.io"),
            ("127.0.0.1:5055", "127.0.0.1:5055"),
            ("localhost", "localhost"),
            ("localhost:5000", "localhost:5000"),
            ("registry:5000", "registry:5000"),
            ("http://registry", "registry"),
            ("[::1]", "[::1]"),
            ("[::1]:5000", "[::1]:5000"),
            ("bücher.example", "xn--bcher-kva.example"),
        ],
    )
    def test_without_a_path_is_a_whole_registry(self, text, shown):
        place = parse_place(text)
        assert isinstance(place, WholeRegistry)
        assert (str(place), place.registry) == (shown, shown)

    @pytest.mark.parametrize(
        ("text", "repository"),
        [
            ("ubuntu", "index.docker.io/library/ubuntu"),
            ("ubuntu:22.04", "index.docker.io/library/ubuntu"),
            (f"ubuntu@sha256:{'0' * 64}", "index.docker.io/library/ubuntu"),
            ("team/app:v1", "index.docker.io/team/app"),
            ("ghcr.io/team/app:v1", "ghcr.io/team/app"),
            ("https://ghcr.io/team/app:v1", "ghcr.io/team/app"),
            ("https://ghcr.io/v2/team/app/", "ghcr.io/team/app"),
            ("https://ghcr.io/v2/team/app/manifests/v1", "ghcr.io/team/app"),
            ("https://ghcr.io/v2/team/app/tags/list", "ghcr.io/team/app"),
            ("ghcr.io/v2/app", "ghcr.io/v2/app"),
        ],
    )
    def test_with_a_path_is_a_repository(self, text, repository):
        place = parse_place(text)
        assert (type(place), str(place)) == (Repository, repository)

    @pytest.mark.parametrize(
        ("text", "hint"),
        [
            (
                "ghcr.io:v1",
                "ghcr.io is a registry: a tag stands behind a repository, such as ghcr.io/team/app:v1",
            ),
            ("a!b#.io", "registries must be valid RFC 3986 URI authorities: a!b#.io"),
            ("", "a repository name must be specified"),
            ("https://", "registries must be valid RFC 3986 URI authorities: :443"),
        ],
    )
    def test_that_is_none_is_refused_with_its_reason(self, text, hint):
        with pytest.raises(InvalidReference, match=r"^could not parse reference: ") as caught:
            parse_place(text)
        assert caught.value.hints[0] == hint

    @pytest.mark.parametrize("text", ["https://me:s3cret@ghcr.io/team/app", "me:s3cret@ghcr.io"])
    def test_with_a_login_is_refused_without_it(self, text):
        with pytest.raises(InvalidReference) as caught:
            parse_place(text)
        assert "s3cret" not in f"{caught.value} {caught.value.hints}"

    def test_that_is_a_whole_registry_is_a_value(self):
        place = WholeRegistry("ghcr.io")
        assert pickle.loads(pickle.dumps(place)) == place
        assert place != Repository("ghcr.io", place.path)
