"""Environment sets against an oracle that follows the documented rules one by one."""

from __future__ import annotations

from functools import cmp_to_key

from hypothesis import example, given, settings
from hypothesis import strategies as st

from imgpkg.auth.environment import EnvironmentSource
from imgpkg.auth.pattern import Address, Pattern
from imgpkg.errors import CredentialError
from imgpkg.oci.reference import Repository

labels = st.sampled_from(["a", "b", "ab", "aab", "a1", "A"])
globs = st.sampled_from(
    ["*", "a*", "*b", "**", "?", "??", "a?", "[ab]", "[a-b]*", "[!a]", "[^a]b", "a[0-9]", "[!0-9]*", "?*?"]
)
ports = st.sampled_from(["", ":443", ":5000", ":80"])
segments = st.lists(st.sampled_from(["foo", "foobar", "fo", "bar", "v2"]), max_size=3)
hub = st.sampled_from(
    ["docker.io", "index.docker.io", "registry-1.docker.io", "*.docker.io", "*.io", "DOCKER.IO"]
)
hub_paths = st.sampled_from(["", "/library", "/library/ubuntu", "/ubuntu", "/org", "/org/ubuntu"])


@st.composite
def patterns(draw):
    if draw(st.integers(0, 3)) == 0:
        return draw(hub) + draw(hub_paths)
    host = ".".join(draw(st.lists(labels | globs, min_size=1, max_size=3)))
    path = "".join(f"/{segment}" for segment in draw(segments))
    return host + draw(ports) + ("" if path.startswith("/v2") else path)


@st.composite
def repositories(draw):
    if draw(st.integers(0, 3)) == 0:
        return draw(
            st.sampled_from(
                ["ubuntu", "org/ubuntu", "docker.io/library/ubuntu", "registry-1.docker.io/org/x"]
            )
        )
    host = ".".join(draw(st.lists(labels, min_size=2, max_size=3)))
    path = "/".join(draw(segments.filter(bool)))
    return f"{host}{draw(ports)}/{path}"


def tokens(label):
    """Read a label as a list of predicates on a character; None stands for any run of characters."""
    read, i = [], 0
    while i < len(label):
        if label[i] == "*":
            read.append(None)
        elif label[i] == "?":
            read.append(lambda _: True)
        elif label[i] == "[":
            end = label.index("]", i)
            read.append(members(label[i + 1 : end]))
            i = end
        else:
            read.append(lambda c, wanted=label[i]: c == wanted)
        i += 1
    return read


def members(inside):
    negated = inside[0] in "!^"
    inside = inside[1:] if negated else inside
    chosen = (
        {chr(c) for c in range(ord(inside[0]), ord(inside[2]) + 1)} if inside[1:2] == "-" else set(inside)
    )
    return lambda c: (c in chosen) is not negated


def label_matches(wanted, label):
    if not wanted:
        return not label
    if wanted[0] is None:
        return any(label_matches(wanted[1:], label[i:]) for i in range(len(label) + 1))
    return bool(label) and wanted[0](label[0]) and label_matches(wanted[1:], label[1:])


def cut(text):
    authority, _, path = text.partition("/")
    host, _, port = authority.lower().partition(":")
    return host, port if port != "443" else "", [segment for segment in path.split("/") if segment]


def oracle_matches(pattern, target):
    (host, port, path), (target_host, target_port, target_path) = cut(pattern), target
    wanted, found = host.split("."), target_host.split(".")
    return (
        port == target_port
        and len(wanted) == len(found)
        and all(label_matches(tokens(a), b) for a, b in zip(wanted, found, strict=True))
        and path == target_path[: len(path)]
    )


def is_glob(text):
    return any(character in text for character in "*?[")


def literal_count(host):
    count, inside = 0, False
    for character in host:
        inside = inside or character == "["
        count += not inside and character not in "*?"
        inside = inside and character != "]"
    return count


HUB = "index.docker.io"


def compare(one, other):
    """The tuple of 2.4, word by word; negative when `one` is better."""
    (suffix, text, length), (other_suffix, other_text, other_length) = one, other
    host, other_host = cut(text)[0], cut(other_text)[0]
    if is_glob(host) != is_glob(other_host):
        return 1 if is_glob(host) else -1
    if length != other_length:
        return other_length - length
    if is_glob(host):
        wild = sum(map(is_glob, host.split("."))) - sum(map(is_glob, other_host.split(".")))
        if wild:
            return wild
        literal = literal_count(other_host) - literal_count(host)
        if literal:
            return literal
    if (host == HUB) != (other_host == HUB):
        return -1 if host == HUB else 1
    return -1 if suffix < other_suffix else 1


def aliases(target):
    host, port, path = target
    if host not in ("docker.io", "index.docker.io", "registry-1.docker.io") or port:
        return []
    paths = [path] + ([path[1:]] if path[0] == "library" else [])
    return [(name, "", p) for name in ("docker.io", "index.docker.io", "registry-1.docker.io") for p in paths]


def oracle(sets, repository):
    """Try every set, sort by the rules: the suffix of the winner, None when nothing matches.

    The names of Docker Hub are one host; a path that leaves out `library` is as long as with it.
    """
    target = cut(str(repository))
    found = []
    for suffix, text in sets.items():
        lengths = [
            len(cut(text)[2]) + len(target[2]) - len(place[2])
            for place in [target, *aliases(target)]
            if oracle_matches(text, place)
        ]
        found += [(suffix, text, length) for length in lengths[:1]]
    return min(found, key=cmp_to_key(compare))[0] if found else None


@st.composite
def likely_patterns(draw, text):
    """Generalise the target label by label, so that several patterns match and have to be ranked."""
    host, port, path = cut(str(Repository.parse(text)))
    wanted = [draw(st.sampled_from(generalised(label))) for label in host.split(".")]
    kept = path[: draw(st.integers(0, len(path)))]
    if kept and draw(st.integers(0, 4)) == 0:
        kept[-1] = kept[-1][:-1] or "x"
    if kept[:1] in (["v1"], ["v2"]):
        kept = []
    return "/".join([".".join(wanted) + (f":{port}" if port else ""), *kept])


def generalised(label):
    first, rest = label[0], label[1:]
    return [
        label,
        label,
        "*",
        "?" * len(label),
        f"{first}*",
        f"*{label[-1]}",
        f"[{first}]{rest}",
        f"[!z]{rest}",
    ]


@st.composite
def situations(draw):
    """Draw a target, and up to five sets that may or may not match it."""
    text = draw(repositories())
    suffixes = st.sampled_from(["0", "1", "10", "A", "a", "z"])
    return draw(st.dictionaries(suffixes, patterns() | likely_patterns(text), max_size=5)), text


@settings(max_examples=400)
@given(situations())
@example(({"0": "docker.io", "1": "*.docker.io"}, "ubuntu"))
@example(({"0": "host.a/fo"}, "host.a/foo/bar"))
def test_the_winning_set_is_the_one_that_the_rules_name(situation):
    """The order: port, labels, whole segments; then literal, longer path, fewer globs, suffix."""
    sets, text = situation
    repository = Repository.parse(text)
    environ = {f"IMGPKG_REGISTRY_HOSTNAME_{suffix}": pattern for suffix, pattern in sets.items()}
    finding = EnvironmentSource(environ, lambda _: None).lookup(repository)
    winner = oracle(sets, repository)
    assert finding.origin == ("" if winner is None else f"IMGPKG_REGISTRY_HOSTNAME_{winner}={sets[winner]}")


@given(patterns(), repositories())
def test_a_pattern_matches_what_the_rules_say_and_gives_a_reason_otherwise(pattern, text):
    """The rule: "compare whole segments: `foo` matches `foo` and `foo/...` only"."""
    target = Address.of(Repository.parse(text))
    parsed = Pattern.parse(pattern)
    assert parsed.matches(target) is oracle_matches(pattern, cut(str(Repository.parse(text))))
    assert bool(parsed.mismatch(target)) is not parsed.matches(target)


@given(patterns(), st.sampled_from(["", "http://", "HTTPS://"]), st.sampled_from(["", "/", "//"]))
def test_the_spelling_around_a_pattern_does_not_matter(pattern, scheme, end):
    """The scheme, trailing slashes and surrounding whitespace never influence the key."""
    assert Pattern.parse(f" {scheme}{pattern}{end}\n").address == Pattern.parse(pattern).address


@given(st.text(max_size=30) | st.text(alphabet="ab.*?[]!^:/@#-_ 0", max_size=12))
def test_any_text_is_a_pattern_or_a_credential_error_that_does_not_repeat_it(text):
    """Failures are errors with a reason; the value may hold a misplaced login."""
    read = parsed_or_reason(text)
    if isinstance(read, Pattern):
        read.matches(Address("a.b", "", ("foo",)))
        assert Pattern.parse(str(read)) == read
    else:
        assert read
        assert len(text) < 8 or text not in read


def parsed_or_reason(text):
    try:
        return Pattern.parse(text)
    except CredentialError as error:
        return error.message
