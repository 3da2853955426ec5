"""The rows of the tables as data: our command lines, those of others for the same work, and the aims.

A command line is text with places in braces. What is read is named by its kind and the material, as
material.py has them: `{image:small}`, `{bundle:…}`, `{collocated:…}`, `{folder:…}`, `{layer:…}`, `{tar:…}`,
`{oci:…}`, `{dir:…}`, `{sync:…}`. `{source}` is the registry that has it, `{safe}` one on https whose
authority is `{ca}` in the folder `{certs}`, `{target}` an empty one that is started for this command, `{out}`
a path where nothing is yet, and `{number}` another number for each command.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.results import ABOVE, FLOOR, OTHER, Aim

BARE_FLOOR = 'python -c "import http.client, ssl, json"'
PASS = "python -c pass"
SKOPEO = "skopeo"
SKOPEO_COPY = "skopeo --insecure-policy copy -q --src-tls-verify=false --dest-tls-verify=false"
SKOPEO_SYNC = "skopeo --insecure-policy sync --src yaml --dest docker --dest-tls-verify=false"
ONE_CONNECTION = "one connection"


@dataclass(frozen=True)
class Shape:
    """A link: its round trip in seconds, bytes/s of each connection (0: no limit), and how many we open."""

    round_trip: float
    speed: float = 0
    connections: int = 5


@dataclass(frozen=True)
class Work:
    """One row before it is measured: our command line, and those of others by their names.

    `start` replaces a text in all of them, which gives commands that have hardly any bytes to move. Those in
    `once` take so long that they are only measured in the first round, those in `long` only when one asks for
    it. `original` says whether a program with the command line of the original has this command.
    """

    name: str
    words: str
    others: dict[str, str] = field(default_factory=dict)
    aims: tuple[Aim, ...] = ()
    start: tuple[str, str] | None = None
    once: tuple[str, ...] = ()
    long: tuple[str, ...] = ()
    original: bool = True
    env: dict[str, str] = field(default_factory=dict)
    given: str = ""


@dataclass(frozen=True)
class Group:
    """The rows of one table: how often each is measured, and the link that registries are reached by."""

    key: str
    title: str
    rounds: int
    works: tuple[Work, ...]
    shape: Shape | None = None


def _starting(name: str, words: str, most: float | None, skopeo: str = "", **more) -> Work:
    """A command that has little to do: the CPU time is at most `most` times that of a bare program."""
    others = {FLOOR: BARE_FLOOR, "pass": PASS} | ({SKOPEO: skopeo} if skopeo else {})
    aims = () if most is None else (Aim("cpu", most, FLOOR),)
    return Work(name, words, others, aims, **more)


_LOGIN = {
    "IMGPKG_REGISTRY_HOSTNAME_0": "r.example.com",
    "IMGPKG_REGISTRY_USERNAME_0": "me",
    "IMGPKG_REGISTRY_PASSWORD_0": "secret",
}
_TO_SOURCE = "docker://{source}/new/skopeo{number}:v1"

START = (
    _starting("version", "imgpkg version", 1, "skopeo --version"),
    _starting("push --help", "imgpkg push --help", 1, "skopeo copy --help"),
    _starting("completion bash", "imgpkg completion bash", 1, "skopeo completion bash"),
    _starting(
        "docker-credential-imgpkg get",
        "docker-credential-imgpkg get",
        1,
        original=False,
        env=_LOGIN,
        given="r.example.com",
    ),
    _starting(
        "tag resolve",
        "imgpkg tag resolve -i {image:small}",
        2,
        "skopeo inspect --raw --tls-verify=false docker://{image:small}",
    ),
    _starting(
        "tag resolve, https",
        "imgpkg tag resolve -i {safe}/bench/app:v1 --registry-ca-cert-path {ca}",
        2,
        "skopeo inspect --raw --cert-dir {certs} docker://{safe}/bench/app:v1",
    ),
    _starting(
        "tag list",
        "imgpkg tag list -i {image:small}",
        None,
        "skopeo list-tags --tls-verify=false docker://{source}/bench/small",
    ),
    _starting(
        "push of 3 files",
        "imgpkg push -i {source}/new/app{number}:v1 -f {folder:small}",
        2,
        f"{SKOPEO_COPY} tarball:{{layer:small}} {_TO_SOURCE}",
    ),
    _starting(
        "push of 3 files, https",
        "imgpkg push -i {safe}/new/app{number}:v1 -f {folder:small} --registry-ca-cert-path {ca}",
        2,
        "skopeo --insecure-policy copy -q --dest-cert-dir {certs} tarball:{layer:small}"
        " docker://{safe}/new/skopeo{number}:v1",
    ),
    _starting(
        "describe -b",
        "imgpkg describe -b {bundle:small}",
        2,
        "skopeo inspect --tls-verify=false docker://{bundle:small}",
    ),
    _starting(
        "pull -i",
        "imgpkg pull -i {image:small} -o {out}",
        2.5,
        f"{SKOPEO_COPY} docker://{{image:small}} dir:{{out}}",
    ),
    _starting(
        "pull -b",
        "imgpkg pull -b {bundle:small} -o {out}",
        2.5,
        f"{SKOPEO_COPY} docker://{{bundle:small}} dir:{{out}}",
    ),
    _starting(
        "copy -i",
        "imgpkg copy -i {image:small} --to-repo {source}/new/copy{number}",
        2.5,
        f"{SKOPEO_COPY} docker://{{image:small}} {_TO_SOURCE}",
    ),
    _starting(
        "copy -b --to-tar",
        "imgpkg copy -b {bundle:small} --to-tar {out}",
        2.5,
        f"{SKOPEO_COPY} docker://{{bundle:small}} oci-archive:{{out}}:v1",
    ),
    _starting(
        "copy --tar",
        "imgpkg copy --tar {tar:small} --to-repo {source}/new/from-tar{number}",
        2.5,
        f"{SKOPEO_COPY} oci-archive:{{oci:small}} {_TO_SOURCE}",
    ),
    _starting("auth explain", "imgpkg auth explain {image:small}", None, original=False),
)

_TO_TARGET = "docker://{target}/bench/new:v1"


def _above(most: float, beside: str) -> dict[str, object]:
    """Aims of CPU above start-up, for three layers of 200 MB, and how start-up is measured."""
    aims = (Aim(ABOVE, most, beside), Aim(ABOVE, 0.9, OTHER))
    return {"aims": aims, "start": ("three-200", "three-small")}


def _moving(title: str, image: str, **more) -> tuple[Work, ...]:
    """To a tar file, from one, and between two registries."""
    limits = {key: _above(*value) for key, value in more.items()}
    place = f"{{image:{image}}}"
    return (
        Work(
            f"copy --to-tar, {title}",
            f"imgpkg copy -i {place} --to-tar {{out}}",
            {
                "skopeo, dir:": f"{SKOPEO_COPY} docker://{place} dir:{{out}}",
                "skopeo, oci-archive:": f"{SKOPEO_COPY} docker://{place} oci-archive:{{out}}:v1",
            },
            **limits.get("to_tar", {}),
        ),
        Work(
            f"copy --tar, {title}",
            f"imgpkg copy --tar {{tar:{image}}} --to-repo {{target}}/bench/new",
            {
                "skopeo, dir:": f"{SKOPEO_COPY} dir:{{dir:{image}}} {_TO_TARGET}",
                "skopeo, oci-archive:": f"{SKOPEO_COPY} oci-archive:{{oci:{image}}} {_TO_TARGET}",
            },
            **limits.get("from_tar", {}),
        ),
        Work(
            f"copy to another registry, {title}",
            f"imgpkg copy -i {place} --to-repo {{target}}/bench/new",
            {SKOPEO: f"{SKOPEO_COPY} docker://{place} {_TO_TARGET}"},
            **limits.get("between", {}),
        ),
    )


def _thirty(*aims: tuple[Aim, ...], **more) -> tuple[Work, ...]:
    """Copy a bundle of thirty images of two small layers within a registry, and to another one."""
    one, two = aims or ((), ())
    bundle, sync = "{bundle:thirty}", f"{SKOPEO_SYNC} {{sync:thirty}}"
    return (
        Work(
            "copy of 30 images, one registry",
            f"imgpkg copy -b {bundle} --to-repo {{source}}/copy/ours{{number}}",
            {"skopeo sync": f"{sync} {{source}}/copy/skopeo{{number}}"},
            one,
            **more,
        ),
        Work(
            "copy of 30 images, to another",
            f"imgpkg copy -b {bundle} --to-repo {{target}}/copy/ours",
            {"skopeo sync": f"{sync} {{target}}/copy/skopeo"},
            two,
            **more,
        ),
    )


LOOPBACK = (
    Work(
        "tag resolve, on loopback",
        "imgpkg tag resolve -i {image:small}",
        {"skopeo inspect --raw": "skopeo inspect --raw --tls-verify=false docker://{image:small}"},
    ),
    *(
        Work(
            f"push of {title}",
            f"imgpkg push -i {{target}}/bench/new:v1 -f {{folder:{name}}}",
            {"skopeo, tarball:": f"{SKOPEO_COPY} tarball:{{layer:{name}}} {_TO_TARGET}"},
        )
        for title, name in (("200 kB", "kb-200"), ("150 MB", "mb-150"))
    ),
    Work(
        "pull of 150 MB",
        "imgpkg pull -i {image:mb-150} -o {out}",
        {"skopeo, dir:": f"{SKOPEO_COPY} docker://{{image:mb-150}} dir:{{out}}"},
    ),
    *_moving("120 MB", "one-120"),
    *_moving(
        "3 × 200 MB",
        "three-200",
        to_tar=(0.37, "skopeo, dir:"),
        from_tar=(0.2, "skopeo, oci-archive:"),
        between=(0.29, SKOPEO),
    ),
    *_thirty(),
)

NEAR = (
    Work(
        "pull -b at 20 ms",
        "imgpkg pull -b {collocated:thirty} -o {out}",
        {"skopeo, dir:": f"{SKOPEO_COPY} docker://{{collocated:thirty}} dir:{{out}}"},
    ),
    _thirty((Aim("wall", 1.5),), (), once=("skopeo sync",))[0],
    Work("describe of 30 images", "imgpkg describe -b {bundle:thirty}", aims=(Aim("wall", 1.0),)),
    Work(
        "describe of 30 images, collocated",
        "imgpkg describe -b {collocated:thirty}",
        aims=(Aim("wall", 1.0),),
    ),
)

# `pull` has no flag for it; the library has.
_PULL_ALONE = (
    'python -c "import imgpkg, sys; imgpkg.pull(sys.argv[2], image=sys.argv[1],'
    ' session=imgpkg.Session(imgpkg.Settings(concurrency=1)))" {image:one-300} {out}'
)
_POLITE = Aim("connections", 5)
_FAST = (Aim("wall", 0.25, ONE_CONNECTION), _POLITE)

FAR = (
    Work(
        "pull of one blob of 300 MB",
        "imgpkg pull -i {image:one-300} -o {out}",
        {
            ONE_CONNECTION: _PULL_ALONE,
            "skopeo, dir:": f"{SKOPEO_COPY} docker://{{image:one-300}} dir:{{out}}",
        },
        _FAST,
        once=(ONE_CONNECTION, "skopeo, dir:", OTHER),
    ),
    Work(
        "copy --to-tar of one blob of 300 MB",
        "imgpkg copy -i {image:one-300} --to-tar {out}",
        {
            ONE_CONNECTION: "imgpkg copy -i {image:one-300} --to-tar {out} --concurrency 1",
            "skopeo, oci-archive:": f"{SKOPEO_COPY} docker://{{image:one-300}} oci-archive:{{out}}:v1",
        },
        _FAST,
        once=(ONE_CONNECTION, "skopeo, oci-archive:", OTHER),
    ),
    *_thirty((Aim("wall", 1.2, FLOOR), _POLITE), (Aim("wall", 1.2, FLOOR), _POLITE), long=("skopeo sync",)),
)

_DEFLATE = "python -m benchmarks.deflate {} 65536"

GROUPS = (
    Group("start-up", "Start-up", 11, START),
    Group("loopback", "Traffic on loopback", 5, LOOPBACK),
    Group("20 ms", "20 ms away", 3, NEAR, Shape(0.020)),
    Group("80 ms", "80 ms away, 10 MB/s for each connection", 3, FAR, Shape(0.080, 10e6)),
    Group(
        "deflate",
        "Deflate",
        3,
        (
            Work(
                "64 MB of text",
                _DEFLATE.format("c"),
                {"zlib, level 1": _DEFLATE.format("zlib")},
                start=("65536", "0"),
                original=False,
            ),
        ),
    ),
)
