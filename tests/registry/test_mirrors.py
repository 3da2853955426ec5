"""Mirrors: which places an image is read from, in which order, and what happens when they fail."""

from __future__ import annotations

import json

import pytest
from tests.operations.making import make_image
from tests.servers.raw import RawServer

import imgpkg
from imgpkg.embedded.server import serve
from imgpkg.errors import (
    ConnectionFailed,
    InvalidSettings,
    NotFound,
    UsageError,
)
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Reference, Repository
from imgpkg.registry.mirrors import Mirror, Mirrors, PullFrom, Rule

DIGEST = "sha256:" + "a" * 64


def sources(reference, *rules):
    return [str(source) for source in Mirrors(rules).sources(Reference.parse(reference))]


class TestMatching:
    @pytest.mark.parametrize(
        ("prefix", "reference", "moved"),
        [
            ("r.example", "r.example/team/app:v1", "m.example/xx/team/app:v1"),
            ("r.example/team", f"r.example/team/app@{DIGEST}", f"m.example/xx/app@{DIGEST}"),
            ("r.example/team/app", "r.example/team/app:v1", "m.example/xx:v1"),
            ("r.example/team/app:v1", "r.example/team/app:v1", "m.example/xx:latest"),
            ("docker.io", "alpine:3", "m.example/xx/library/alpine:3"),
            ("docker.io/library", "docker.io/library/alpine:3", "m.example/xx/alpine:3"),
            ("*.r.example", "a.b.r.example/team/app:v1", "m.example/xx/team/app:v1"),
            ("*.r.example", "a.r.example:5000/team/app:v1", "m.example/xx/team/app:v1"),
        ],
    )
    def test_the_prefix_is_replaced_and_the_rest_stays(self, prefix, reference, moved):
        assert sources(reference, Rule(prefix, "m.example/xx")) == [moved]

    @pytest.mark.parametrize(
        ("prefix", "reference"),
        [
            ("r.example/te", "r.example/team/app:v1"),
            ("r.exam", "r.example/team/app:v1"),
            ("r.example/team/app:v", "r.example/team/app:v1"),
            ("*.r.example", "r.example/team/app:v1"),
            ("*.r.example", "a.xr.example/team/app:v1"),
        ],
    )
    def test_a_prefix_ends_where_a_name_has_a_joint(self, prefix, reference):
        assert sources(reference, Rule(prefix, "m.example/xx")) == [reference]

    def test_the_longest_prefix_counts(self):
        rules = (Rule("r.example", "a.example"), Rule("r.example/team", "b.example/team"))
        assert sources("r.example/team/app:v1", *rules) == ["b.example/team/app:v1"]
        assert sources("r.example/other/app:v1", *rules) == ["a.example/other/app:v1"]

    def test_a_wildcard_without_location_keeps_the_host(self):
        rule = Rule("*.r.example", mirrors=(Mirror("m.example"),))
        assert sources("a.r.example/b/c:v1", rule) == ["m.example/b/c:v1", "a.r.example/b/c:v1"]

    def test_mirrors_come_in_order_and_before_the_location(self):
        mirrors = (Mirror("m.example"), Mirror("n.example", insecure=True))
        found = Mirrors((Rule("r.example", "r.example", mirrors=mirrors),)).sources(
            Reference.parse("r.example/b/c:v1")
        )
        assert [(str(s), s.insecure, s.is_mirror) for s in found] == [
            ("m.example/b/c:v1", False, True),
            ("n.example/b/c:v1", True, True),
            ("r.example/b/c:v1", False, False),
        ]

    @pytest.mark.parametrize(
        ("pull_from", "tag", "digest"),
        [(PullFrom.ALL, 2, 2), (PullFrom.DIGEST_ONLY, 1, 2), (PullFrom.TAG_ONLY, 2, 1)],
    )
    def test_a_mirror_may_be_for_tags_or_digests_only(self, pull_from, tag, digest):
        rule = Rule("r.example", "r.example", mirrors=(Mirror("m.example", pull_from=pull_from),))
        assert len(sources("r.example/b/c:v1", rule)) == tag
        assert len(sources(f"r.example/b/c@{DIGEST}", rule)) == digest

    def test_a_blocked_registry_is_not_read(self):
        with pytest.raises(UsageError) as caught:
            sources("r.example/b/c:v1", Rule("r.example", "r.example", blocked=True, path="x.conf"))
        assert str(caught.value) == "reading r.example/b/c:v1 is blocked by the rule 'r.example' of x.conf"

    def test_a_location_that_makes_no_reference_is_an_error(self):
        with pytest.raises(InvalidSettings) as caught:
            sources("r.example/b/c:v1", Rule("r.example", "m.example/UPPER", path="x.conf"))
        assert str(caught.value).startswith(
            "the rule 'r.example' of x.conf makes 'm.example/UPPER/b/c:v1' of r.example/b/c:v1: "
        )


@pytest.fixture
def two():
    """The primary registry, and its mirror with a login."""
    with serve() as primary, serve(login=("ci", "secret-of-the-mirror")) as mirror:
        yield primary, mirror


@pytest.fixture
def reading(tmp_path):
    """Open a session that reads `primary` from these mirrors; each is a location, or its table."""
    sessions = []

    def opened(primary, *mirrors, rule="", environ=None, **options):
        tables = [one if isinstance(one, dict) else {"location": one} for one in mirrors]
        lines = ["[[registry]]", f'location = "{primary}"', rule]
        for table in tables:
            lines += [
                "[[registry.mirror]]",
                *(f"{key} = {json.dumps(value)}" for key, value in table.items()),
            ]
        path = tmp_path / "registries.conf"
        path.write_text("\n".join(lines))
        seen = []
        settings = imgpkg.Settings(environ=environ or {}, registries_conf=path, retry_count=1, **options)
        session = imgpkg.Session(settings, on_event=seen.append)
        session.seen = seen
        sessions.append(session)
        return session

    yield opened
    for session in sessions:
        session.close()


def login_of(mirror):
    return {
        "IMGPKG_REGISTRY_HOSTNAME_m": mirror.address,
        "IMGPKG_REGISTRY_USERNAME_m": "ci",
        "IMGPKG_REGISTRY_PASSWORD_m": "secret-of-the-mirror",
    }


def paths(server):
    return [request.path for request in server.requests]


def fill(server, name="team/app", environ=None):
    with imgpkg.Session(imgpkg.Settings(environ=environ or {})) as session:
        return make_image(session, f"{server.address}/{name}")


class TestReading:
    def test_an_image_comes_from_the_mirror_with_the_credential_of_the_mirror(self, two, reading, tmp_path):
        primary, mirror = two
        there = fill(mirror, environ=login_of(mirror))
        reference = f"{primary.address}/team/app@{there.digest}"
        session = reading(primary.address, mirror.address, environ=login_of(mirror))
        pulled = imgpkg.pull(tmp_path / "out", image=reference, session=session)
        assert str(pulled.reference) == reference
        assert (tmp_path / "out/file").read_text() == "two"
        assert primary.requests == ()
        assert session.seen == []

    def test_what_the_mirror_does_not_have_comes_from_the_primary(self, two, reading, tmp_path):
        primary, mirror = two
        there = fill(primary)
        session = reading(primary.address, mirror.address, environ=login_of(mirror))
        imgpkg.pull(tmp_path / "out", image=str(there), session=session)
        assert session.seen == []
        # Blobs follow the manifest: the mirror is not asked for them.
        assert not [path for path in paths(mirror) if "/blobs/" in path]

    def test_a_mirror_that_is_down_or_refuses_is_passed_over_with_one_warning(self, two, reading, tmp_path):
        primary, mirror = two
        there = fill(primary)
        session = reading(primary.address, "127.0.0.1:1/dead", f"{mirror.address}/in")
        imgpkg.pull(tmp_path / "out", image=str(there), session=session)
        warnings = [str(event.text) for event in session.seen]
        assert len(warnings) == 2
        assert warnings[0].startswith("the mirror 127.0.0.1:1 is passed over: ")
        assert warnings[1].startswith(f"the mirror {mirror.address} is passed over: ")
        assert "secret" not in "".join(warnings)

    def test_wrong_bytes_of_a_mirror_are_not_taken(self, two, reading):
        primary, _ = two
        there = fill(primary)
        with imgpkg.Session() as plain:
            wrong = plain.client.manifest(make_image(plain, f"{primary.address}/team/other", ("x",))).raw

        def lie(conversation):
            while conversation.receive() is not None:
                conversation.respond(wrong, headers=[("Content-Type", media.DOCKER_MANIFEST)])

        with RawServer(lie) as liar:
            session = reading(primary.address, liar.address)
            manifest = session.client.manifest(there)
        assert manifest.digest == there.digest
        (event,) = session.seen
        assert "does not match requested digest" in event.text

    def test_a_tag_is_resolved_at_the_mirror_or_by_digest_only_at_the_primary(self, two, reading):
        primary, mirror = two
        with imgpkg.Session(imgpkg.Settings(environ=login_of(mirror))) as session:
            new = make_image(session, f"{mirror.address}/team/app", tag="v1")
            old = make_image(session, f"{primary.address}/team/app", ("old",), tag="v1")
        tag = Reference.parse(f"{primary.address}/team/app:v1")
        options = {"environ": login_of(mirror)}
        assert reading(primary.address, mirror.address, **options).client.resolve(tag).digest == new.digest
        by_digest = reading(primary.address, mirror.address, rule="mirror-by-digest-only = true", **options)
        assert by_digest.client.resolve(tag).digest == old.digest
        assert by_digest.client.manifest(tag.repository.digest(new.digest)).digest == new.digest

    def test_when_all_fail_the_error_is_the_primary_s_with_a_line_for_each_mirror(self, two, reading):
        primary, mirror = two
        session = reading(primary.address, "127.0.0.1:1/dead", mirror.address)
        with pytest.raises(NotFound) as caught:
            session.client.manifest(Reference.parse(f"{primary.address}/team/app:v1"))
        first, *others = str(caught.value).splitlines()
        assert first.startswith(f"GET http://{primary.address}/v2/team/app/manifests/v1: ")
        assert others[0].startswith("before that, 127.0.0.1:1/dead/team/app:v1: ")
        assert others[1].startswith(f"before that, {mirror.address}/team/app:v1: ")

    def test_what_exists_nowhere_does_not_exist(self, two, reading):
        primary, mirror = two
        client = reading(primary.address, mirror.address, environ=login_of(mirror)).client
        repository = Repository.parse(f"{primary.address}/team/app")
        digest = Digest.parse(DIGEST)
        assert client.exists(repository.tag("v1")) is None
        assert not client.names(repository.digest(digest), digest)
        assert client.referrers(repository, digest) == ()

    def test_what_the_mirror_has_exists(self, two, reading):
        primary, mirror = two
        there = fill(mirror, environ=login_of(mirror))
        client = reading(primary.address, mirror.address, environ=login_of(mirror)).client
        here = Reference.parse(f"{primary.address}/team/app@{there.digest}")
        assert client.exists(here).digest == there.digest
        assert client.names(here, there.digest)
        assert [str(source) for source in client.sources(here)] == [
            f"{mirror.address}/team/app@{there.digest}",
            str(here),
        ]

    def test_a_primary_that_is_down_is_no_obstacle(self, two, reading, tmp_path):
        _, mirror = two
        there = fill(mirror, environ=login_of(mirror))
        session = reading("127.0.0.1:1", mirror.address, environ=login_of(mirror))
        imgpkg.pull(tmp_path / "out", image=f"127.0.0.1:1/team/app@{there.digest}", session=session)
        with pytest.raises(ConnectionFailed):
            session.client.primary.manifest(Reference.parse("127.0.0.1:1/team/app:v1"))


class TestWriting:
    def test_a_push_goes_to_the_primary(self, two, reading, tmp_path):
        primary, mirror = two
        (tmp_path / "in").mkdir()
        (tmp_path / "in/file").write_text("x")
        session = reading(primary.address, mirror.address, environ=login_of(mirror))
        imgpkg.push([tmp_path / "in"], image=f"{primary.address}/team/new:v1", session=session)
        assert mirror.requests == ()

    def test_a_copy_writes_to_the_primary_though_a_mirror_has_everything(self, two, reading):
        primary, mirror = two
        there = fill(mirror, environ=login_of(mirror))
        source = f"{primary.address}/team/app@{there.digest}"
        session = reading(primary.address, mirror.address, environ=login_of(mirror))
        imgpkg.copy(imgpkg.CopySource(image=source), to_repo=f"{primary.address}/team/copy", session=session)
        with imgpkg.Session() as plain:
            copied = Reference.parse(f"{primary.address}/team/copy@{there.digest}")
            assert plain.client.manifest(copied).digest == there.digest

    def test_tags_are_listed_at_the_primary(self, two, reading):
        primary, mirror = two
        with imgpkg.Session(imgpkg.Settings(environ=login_of(mirror))) as session:
            make_image(session, f"{mirror.address}/team/app", tag="mirrored")
            make_image(session, f"{primary.address}/team/app", tag="v1")
        session = reading(primary.address, mirror.address, environ=login_of(mirror))
        assert [
            tag.name for tag in imgpkg.list_tags(f"{primary.address}/team/app", session=session).tags
        ] == ["v1"]

    def test_locks_name_the_original(self, two, reading, tmp_path):
        primary, mirror = two
        (tmp_path / "bundle/.imgpkg").mkdir(parents=True)
        with imgpkg.Session(imgpkg.Settings(environ=login_of(mirror))) as session:
            image = make_image(session, f"{mirror.address}/team/app")
            original = f"{primary.address}/team/app@{image.digest}"
            (tmp_path / "bundle/.imgpkg/images.yml").write_text(
                f"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n- image: {original}\n"
            )
            pushed = imgpkg.push(
                [tmp_path / "bundle"], bundle=f"{mirror.address}/team/bundle:v1", session=session
            )
        bundle = f"{primary.address}/team/bundle@{pushed.reference.digest}"
        session = reading(primary.address, mirror.address, environ=login_of(mirror))
        imgpkg.pull(tmp_path / "out", bundle=bundle, session=session)
        assert mirror.address not in (tmp_path / "out/.imgpkg/images.yml").read_text()
        result = imgpkg.copy(
            imgpkg.CopySource(bundle=bundle), to_repo=f"{primary.address}/team/copy", session=session
        )
        assert result.bundle is not None
        assert mirror.address not in repr(result)


class TestInsecure:
    """What a mirror may do without valid TLS concerns no other registry."""

    @pytest.fixture
    def private(self, tmp_path):
        """A mirror whose certificate no authority has signed that anybody trusts."""
        import trustme

        issued = trustme.CA().issue_cert("127.0.0.1")
        paths = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
        issued.cert_chain_pems[0].write_to_path(paths[0])
        issued.private_key_pem.write_to_path(paths[1])
        with serve(tls=paths) as server:
            with imgpkg.Session(imgpkg.Settings(verify_certs=False)) as session:
                server.there = make_image(session, f"{server.address}/team/app")
            yield server

    def test_an_insecure_mirror_is_read_without_valid_tls(self, two, reading, private):
        primary, _ = two
        table = {"location": private.address, "insecure": True}
        reference = Reference.parse(f"{primary.address}/team/app@{private.there.digest}")
        session = reading(primary.address, table)
        assert session.client.manifest(reference).digest == reference.digest
        with pytest.raises(imgpkg.errors.CertificateRejected):
            session.client.manifest(private.there)
        session.close()

    def test_another_mirror_needs_valid_tls(self, two, reading, private):
        primary, _ = two
        reference = Reference.parse(f"{primary.address}/team/app@{private.there.digest}")
        with pytest.raises(NotFound) as caught:
            reading(primary.address, private.address).client.manifest(reference)
        assert "certificate signed by unknown authority" in str(caught.value)
