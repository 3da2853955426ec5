"""Values of the library go into other processes, caches, sets, logs and documents, secrets left out."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import pickle
import pprint
import subprocess
import sys
import typing
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, strategies
from tests.servers import signatures
from tools.api import INTERNAL

import imgpkg
from imgpkg import errors
from imgpkg.auth.keychain import format_time, parse_time
from imgpkg.operations.check import Mark, Step
from imgpkg.registry.probe import Grant, Surroundings
from imgpkg.values import FrozenDict

SECRET = "hunter2"
DIGEST = imgpkg.Digest.of(b"")
REFERENCE = imgpkg.Reference.parse(f"registry.example.com/team/app@{DIGEST}")
DESCRIPTOR = imgpkg.Descriptor(
    "a/b", DIGEST, 5, {"k": "v"}, ("https://x.example",), b"data", "c/d", "linux/arm/v7"
)
MANIFEST = imgpkg.Manifest(
    DESCRIPTOR, b"{}", DESCRIPTOR, (DESCRIPTOR,), (DESCRIPTOR,), DESCRIPTOR, {"k": "v"}, "c/d"
)
LOCKED = imgpkg.LockedImage(REFERENCE, {"k": "v"})
LOCATIONS = imgpkg.ImageLocations((imgpkg.Location("image", is_bundle=True),))
FOUND = imgpkg.FoundLocations(REFERENCE, MANIFEST, LOCATIONS)
IMAGE = imgpkg.Image(REFERENCE, MANIFEST, b"{}")
MEMBER = imgpkg.Member(LOCKED, REFERENCE, IMAGE)
LOGIN = imgpkg.Login("me", SECRET, SECRET, anonymous=False)
CREDENTIAL = imgpkg.Credential("me", SECRET, SECRET, SECRET, 5.0)
FINDING = imgpkg.Finding("flags", imgpkg.Outcome.MATCHED, "why", "where", CREDENTIAL)
DECISION = imgpkg.Decision(REFERENCE.repository, CREDENTIAL, (FINDING,))
BASE = imgpkg.Base("a.tar", "a/b:v1", "registry.example.com/a/b", {str(DIGEST): 5})
LEFT_OUT = imgpkg.LeftOut(REFERENCE, DESCRIPTOR)
ATTACHED = imgpkg.Attached(imgpkg.AttachmentKind.SBOM, DIGEST, "application/spdx+json")
COPIED = imgpkg.Copied(REFERENCE, REFERENCE, "v1", ATTACHED)
INFO = imgpkg.ImageInfo("key", "image", imgpkg.ImageType.SIGNATURE, "origin", {"k": "v"}, (DIGEST,), "none")
STATUS = imgpkg.ImagesLockStatus("path", is_updated=True)
PLAN_HEADER = imgpkg.PlanHeader(
    "registry.example.com/team/app", REFERENCE.repository, root_bundle=(REFERENCE, "")
)
PREVIEWED = imgpkg.PreviewedImage(REFERENCE, "v1", 1, 2, 3, is_there=True, attached=ATTACHED)
GRANT = Grant(("repository:team/app:pull",), (), is_opaque=True, issuer="i", ends_at=5.0)
STEP = Step("read", Mark.OK, "text")
POSITION = imgpkg.Position("some.yml", 1, 2)
RESOLVED = imgpkg.ResolvedImage("a/b:1", REFERENCE, (POSITION,))
SKIPPED = imgpkg.SkippedImage(POSITION, "{{ x }}", "is a template")
DOCUMENT = imgpkg.DocumentFile("some.yml", b"a: b", is_inside=True)
PUBLIC_KEY = imgpkg.PublicKey.parse(signatures.public_pem(signatures.MAKERS["p256"]()), "cosign.pub")
SIGNER = imgpkg.SignerIdentity("me@example.com", "https://login.example.com", "trusted_root.json")
REQUIREMENT = imgpkg.Requirement((PUBLIC_KEY,), (SIGNER,), annotations={"k": "v"})
RULE = imgpkg.PolicyRule(("registry.example.com/**",), (REQUIREMENT,))
REASON = imgpkg.Reason(imgpkg.ReasonKind.CHILD, "v1")
GOING = imgpkg.PlannedManifest(DIGEST, ("v1",), REASON, 5, "a/b", (DIGEST,))
GONE = imgpkg.PrunedManifest(GOING, imgpkg.PruneOutcome.FAILED, "why")
DEFECT = imgpkg.Defect(imgpkg.DefectKind.MISSING, str(DIGEST), "not found", (str(REFERENCE),))
MISSING_LAYER = imgpkg.MissingLayer(DIGEST, (str(REFERENCE),))
INDEX = imgpkg.Manifest.parse(b'{"manifests": []}')
CUT = imgpkg.Cut.make([INDEX], [])
NOON = datetime(2024, 1, 2, 12, tzinfo=timezone.utc)
STEP_OF_A_BUILD = imgpkg.HistoryEntry(NOON, "RUN make", empty_layer=True)
MAP_RULE = imgpkg.MapRule("docker.io/team", "registry.example.com/a")
PULLED_FILE = imgpkg.PulledFile("a", "/out/a", DESCRIPTOR)
VALUES = [
    imgpkg.AccessReport("r", REFERENCE.repository, True, DECISION, Surroundings("u"), (GRANT,), (STEP,)),
    imgpkg.ArtifactFile(b"data", title="a", media_type="a/b", annotations={"k": "v"}),
    PULLED_FILE,
    imgpkg.ArtifactPullResult(REFERENCE, MANIFEST, (PULLED_FILE,)),
    imgpkg.ArtifactPushResult(REFERENCE, "v1", MANIFEST),
    ATTACHED,
    imgpkg.Authorization("https://registry.example.com", f"Bearer {SECRET}", 5.0),
    BASE,
    imgpkg.BlobAdvanced(DIGEST, 1),
    imgpkg.BlobFinished(DIGEST, imgpkg.BlobOutcome.MOUNTED, 1),
    imgpkg.BlobStarted(DIGEST, 1, "push"),
    imgpkg.Bundle(IMAGE, imgpkg.ImagesLock((LOCKED,)), FOUND, (MEMBER,)),
    imgpkg.BundleLock(REFERENCE, "v1", "text"),
    COPIED,
    imgpkg.CopyOptions(referrers=True),
    imgpkg.CopyPreview((PREVIEWED,), 1, 2, 3, 4, (DECISION,), (LEFT_OUT,), bases=(BASE,)),
    imgpkg.CopyResult((COPIED,), COPIED, (LEFT_OUT,)),
    imgpkg.CopySource(lock="x"),
    imgpkg.Selection(("x",)),
    imgpkg.Unselected(REFERENCE, "x"),
    CUT,
    imgpkg.Platform("linux", "arm64", "v8"),
    CREDENTIAL,
    DECISION,
    imgpkg.Deleted(REFERENCE, imgpkg.DeletionOutcome.IMAGE, DIGEST, ("v1",)),
    imgpkg.BundlePart(imgpkg.PartKind.IMAGE, "image", "origin", DIGEST, {"k": "v"}, manifest=DESCRIPTOR),
    imgpkg.Description(DIGEST, "image", "origin", {"k": "v"}, (DIGEST,), (), (INFO,)),
    DESCRIPTOR,
    DIGEST,
    DOCUMENT,
    FINDING,
    FOUND,
    IMAGE,
    imgpkg.ImageConfig({"k": "v"}, ("x",), env={"A": "b"}, created=NOON, history=(STEP_OF_A_BUILD,)),
    imgpkg.Healthcheck(("NONE",)),
    imgpkg.ImageFile("etc/os-release", imgpkg.FileKind.FILE, DIGEST, 5),
    STEP_OF_A_BUILD,
    INFO,
    LOCATIONS,
    imgpkg.ImagesLock((LOCKED,)),
    imgpkg.Inventory("a.tar", "", {"a/b:v1": str(DIGEST)}, {str(DIGEST): 5}, {str(DIGEST): 5}, (BASE,)),
    STATUS,
    LEFT_OUT,
    imgpkg.Location("image", is_bundle=False),
    MAP_RULE,
    imgpkg.Placement((MAP_RULE,), imgpkg.KeptNames.HOSTS),
    LOCKED,
    imgpkg.LockResult(imgpkg.ImagesLock((LOCKED,)), (RESOLVED,), (SKIPPED,), (LOCKED,)),
    POSITION,
    RESOLVED,
    imgpkg.RewriteResult((DOCUMENT,), (RESOLVED,), (SKIPPED,)),
    SKIPPED,
    LOGIN,
    MANIFEST,
    MEMBER,
    imgpkg.Message("text"),
    imgpkg.StepsAdvanced("reading", 1, 2),
    imgpkg.PackAdvanced(1),
    imgpkg.Progress(imgpkg.ProgressStage.PACKING, "pack", 1, 2),
    imgpkg.StoredLogin(
        "registry.example.com", "ci", "config.json", "registry.example.com", "", True, ("Is clear.",)
    ),
    imgpkg.RemovedLogin(
        "registry.example.com", "config.json", ("registry.example.com",), "pass", ("A set.",)
    ),
    imgpkg.IssuedToken(REFERENCE.repository, SECRET, 5.0, "service", ("repository:a/b:pull",), ("a",)),
    imgpkg.NearMiss("flags", "almost", "a command"),
    imgpkg.PackStarted(1),
    imgpkg.Planned(1, 2),
    imgpkg.Transfer(1, 2, 3, 4),
    imgpkg.TransferUnit(
        "r", DESCRIPTOR, REFERENCE.repository, REFERENCE.repository, imgpkg.Settings(), imgpkg.Settings()
    ),
    imgpkg.WorkerShare("worker 1", imgpkg.Transfer(1, 4), 0.5),
    imgpkg.Transferred(REFERENCE.repository, DIGEST, imgpkg.BlobOutcome.MOVED, 4, 0.5, "w", ("text",)),
    PLAN_HEADER,
    imgpkg.CopyPlan("plan.jsonl", PLAN_HEADER),
    imgpkg.PlanBlob(DESCRIPTOR, REFERENCE.repository, REFERENCE.repository, REFERENCE.repository),
    imgpkg.PlanManifest(REFERENCE, "text/plain", 4, (REFERENCE,)),
    imgpkg.PlanRecord(REFERENCE.repository, DIGEST, (imgpkg.Location("image", is_bundle=False),)),
    imgpkg.PlanLocked(REFERENCE, {"a": "b"}),
    imgpkg.PlanImage(REFERENCE, REFERENCE, (REFERENCE,), "v1"),
    imgpkg.PlanEnd(1, 2, 3, 4),
    PREVIEWED,
    REASON,
    GOING,
    imgpkg.PrunePlan(REFERENCE.repository, (GOING,), (GOING,), 5, ("x",), ("note",)),
    GONE,
    imgpkg.PruneResult(REFERENCE.repository, (GONE,), "problem", ("hint",)),
    imgpkg.PullResult(REFERENCE, is_bundle=True, images_lock=STATUS, nested=(imgpkg.PullResult(REFERENCE),)),
    imgpkg.Policy((RULE,), checks_members=True),
    PUBLIC_KEY,
    imgpkg.PushResult(REFERENCE, "v1", REFERENCE),
    REQUIREMENT,
    RULE,
    SIGNER,
    imgpkg.Verified(REFERENCE, ("cosign.pub",), ("https://slsa.dev/provenance/v1",)),
    REFERENCE,
    REFERENCE.repository,
    imgpkg.Settings(LOGIN, {"IMGPKG_PASSWORD": SECRET}, ("ca.pem",), insecure=True),
    DEFECT,
    MISSING_LAYER,
    imgpkg.IntegrityReport(
        "a.tar", (REFERENCE,), 1, 2, 3, (DEFECT,), (MISSING_LAYER,), (DIGEST,), (DIGEST,), ("x",)
    ),
    imgpkg.Tag("v1", DIGEST),
    imgpkg.Catalog("registry.example.com", (REFERENCE.repository,), ("a",)),
    imgpkg.Referrer(REFERENCE, DESCRIPTOR),
    imgpkg.ReferrerList(REFERENCE, (imgpkg.Referrer(REFERENCE, DESCRIPTOR),)),
    imgpkg.Retagged(REFERENCE, ("v1",), {"v1": DIGEST}),
    imgpkg.TagList(REFERENCE.repository, (imgpkg.Tag("v1"),)),
    imgpkg.TagVersion("v1.2-rc.1_5"),
    imgpkg.Warned("text", is_logged=True),
    errors.Diagnostic("CODE", "message", "detail"),
]
ERRORS = [
    kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.ImgpkgError)
]


def of(value):
    return type(value).__name__


def test_every_value_of_the_library_is_here():
    public = [getattr(imgpkg, name) for name in imgpkg.__all__]
    wanted = {one.__name__ for one in public if inspect.isclass(one) and dataclasses.is_dataclass(one)}
    assert wanted - {of(value) for value in VALUES} == set()


@pytest.mark.parametrize("value", VALUES, ids=of)
def test_a_value_is_pickled_copied_and_hashed_whole(value):
    twins = [copy.copy(value), copy.deepcopy(value)]
    twins += [
        pickle.loads(pickle.dumps(value, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    ]
    twins.append(dataclasses.replace(value))
    for twin in twins:
        assert type(twin) is type(value)
        assert twin == value
        assert hash(twin) == hash(value)
    assert len({value, *twins}) == 1


@pytest.mark.parametrize("value", VALUES, ids=of)
def test_a_value_is_shown_as_a_dict_without_its_secrets(value):
    shown = dataclasses.asdict(value)
    texts = [repr(shown), str(value), repr(value), pprint.pformat(value), repr(dataclasses.astuple(value))]
    texts.append(json.dumps(shown, default=str))
    assert not any(SECRET in text for text in texts)


def test_what_is_shown_has_mappings_as_dicts():
    assert dataclasses.asdict(LOCKED)["annotations"] == {"k": "v"}
    assert json.loads(json.dumps(dataclasses.asdict(INFO), default=str))["annotations"] == {"k": "v"}


def test_what_is_left_out_of_what_is_shown_counts_for_all_the_rest():
    settings = imgpkg.Settings(LOGIN, {"A": SECRET})
    changed = dataclasses.replace(settings, concurrency=9)
    assert (changed.environ, changed.login.password, changed.concurrency) == ({"A": SECRET}, SECRET, 9)
    assert settings != imgpkg.Settings(LOGIN, {"A": "other"})
    assert settings != imgpkg.Settings(dataclasses.replace(LOGIN, token="other"), {"A": SECRET})
    assert dataclasses.replace(CREDENTIAL, expires_at=None) == imgpkg.Credential("me", SECRET, SECRET, SECRET)
    assert dataclasses.replace(CREDENTIAL, registry_token="other") != CREDENTIAL
    assert dataclasses.asdict(CREDENTIAL) == {"username": "me", "expires_at": 5.0}
    assert dataclasses.asdict(settings)["login"] == {
        "username": "me",
        "anonymous": False,
        "password_file": None,
        "token_file": None,
        "password_origin": "",
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.environ = {}


def test_settings_work_in_another_process():
    program = (
        "import pickle, sys, imgpkg; settings = pickle.load(sys.stdin.buffer); "
        "decision = imgpkg.explain('host.example/a/b', session=imgpkg.Session(settings)); "
        "print(decision.credential.username, decision.credential.password == sys.argv[1])"
    )
    environ = {"IMGPKG_USERNAME": "me", "IMGPKG_PASSWORD": SECRET}
    done = subprocess.run(
        [sys.executable, "-c", program, SECRET],
        input=pickle.dumps(imgpkg.Settings(environ=environ)),
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"me True\n"


def test_an_environment_is_taken_as_it_is_now():
    environ = {"A": "b"}
    settings = imgpkg.Settings(environ=environ)
    environ["A"] = "c"
    assert settings.environ == {"A": "b"}


def error_of(kind):
    if issubclass(kind, errors.TransportError):
        error = kind("GET", "https://host/", "reason", hints=("do this",))
    elif issubclass(kind, errors.RegistryError):
        said = (errors.Diagnostic("CODE", "message"),)
        options = {"method": "GET", "url": "https://host/", "status": 404, "retry_after": 5.0}
        error = kind("message", diagnostics=said, hints=("do this",), **options)
    elif kind is errors.Cancelled:
        error = kind("message")
    else:
        error = kind("message", hints=("do this",))
    error.context = ("outer", "inner")
    return error


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_is_pickled_copied_and_hashed_whole(kind):
    error = error_of(kind)
    assert {error: 1}[error] == 1
    for twin in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is kind
        assert (str(twin), vars(twin)) == (str(error), vars(error))


class TestAFrozenDict:
    def test_is_a_dict_of_what_it_was_made_of(self):
        made = FrozenDict(a=1)
        assert made == {"a": 1}
        assert FrozenDict({"a": 1}) == made
        assert hash(FrozenDict({"b": 2, "a": 1})) == hash(FrozenDict({"a": 1, "b": 2}))
        assert made | {"b": 2} == {"a": 1, "b": 2}

    @pytest.mark.parametrize(
        "change",
        [
            lambda made: made.update(b=2),
            lambda made: made.__setitem__("b", 2),
            lambda made: made.__delitem__("a"),
            lambda made: made.__ior__({"b": 2}),
            lambda made: made.setdefault("b", 2),
            lambda made: made.pop("a"),
            lambda made: made.popitem(),
            lambda made: made.clear(),
        ],
    )
    def test_stays_as_it_was_made(self, change):
        made = FrozenDict(a=1)
        with pytest.raises(TypeError, match="stays as it was made"):
            change(made)
        assert made == {"a": 1}


def described(thing):
    """Yield what has annotations: a class with its public methods, or a function."""
    yield thing
    for owner in thing.__mro__ if inspect.isclass(thing) else ():
        if not owner.__module__.startswith("imgpkg"):
            continue
        for name, member in vars(owner).items():
            function = getattr(member, "__func__", getattr(member, "fget", member))
            is_public = name == "__init__" or not name.startswith("_")
            if (
                inspect.isfunction(function)
                and is_public
                and f"imgpkg.{owner.__name__}.{name}" not in INTERNAL
            ):
                yield function


def test_the_types_of_every_public_name_can_be_looked_up():
    for thing in (*(getattr(imgpkg, name) for name in imgpkg.__all__), *ERRORS):
        if inspect.isclass(thing) or inspect.isfunction(thing):
            for one in described(thing):
                hints = typing.get_type_hints(one).values()
                assert not any(isinstance(hint, str) for hint in hints), one


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01t00:00:00z", 0.0),
        ("1970-01-01 00:00:01.5Z", 1.5),
        ("1970-01-01T01:00:00.123456789+01:00", 0.123456789),
        ("1969-12-31T23:00:00-01:00", 0.0),
    ],
)
def test_a_time_is_read(text, seconds):
    assert parse_time(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "1970-01-01", "1970-01-01T00:00:00", "1970-13-01T00:00:00Z", "1970-01-01T00:00:00+0100", "now"],
)
def test_anything_else_is_an_error(text):
    with pytest.raises(ValueError):
        parse_time(text)


@given(strategies.integers(0, 4_000_000_000_000_000))
def test_a_time_that_is_written_reads_as_itself(microseconds):
    seconds = microseconds / 1e6
    assert parse_time(format_time(seconds)) == pytest.approx(seconds, abs=2e-6)


def test_no_dataclass_has_a_mapping_as_default():
    """Python 3.10 refuses every dict as a default, immutable ones too."""
    package = Path(imgpkg.__file__).parent
    for path in package.rglob("*.py"):
        if not path.stem.startswith("__"):
            module = import_module(".".join(("imgpkg", *path.relative_to(package).with_suffix("").parts)))
            for value in vars(module).values():
                for field in dataclasses.fields(value) if dataclasses.is_dataclass(value) else ():
                    assert not isinstance(field.default, dict), (value, field.name)
