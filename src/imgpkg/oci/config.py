"""The configuration of an image: what it runs, where, and how it was made (OCI image-spec, config.md)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from imgpkg.dataclass import dataclass, field
from imgpkg.errors import InvalidManifest
from imgpkg.expression import expression
from imgpkg.oci.manifest import diff_ids_of, json_object, labels_of
from imgpkg.oci.platform import Platform
from imgpkg.values import FrozenDict

_TIME = expression(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.([0-9]{1,30}))?(Z|z|[+-][0-9]{2}:[0-9]{2})"
)
_MICROSECONDS = 6
_SECOND = 1e9
# What Go has room for: an integer of JSON may have any number of digits.
_LARGEST = 1 << 63


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A step of a build, in the order of the layers; with `empty_layer` it has made none of these.

    `created` is None where no time is written. See config.md, "history".
    """

    created: datetime | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """How a container is found to be healthy, as Docker writes it; times are in seconds.

    `test` begins with `CMD` or `CMD-SHELL`, or is `("NONE",)` for no check. 0 means the runtime's default.
    """

    test: tuple[str, ...] = ()
    interval: float = 0.0
    timeout: float = 0.0
    start_period: float = 0.0
    start_interval: float = 0.0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """An image configuration (OCI image-spec, config.md), and what Docker adds to it.

    What is absent, null or of another type is empty: many tools write only some of the fields, and artifacts
    such as Helm charts have a configuration of their own form. The names are those of the specification:
    `env` has the variables by name, `exposed_ports` are like `80/tcp` and `volumes` are paths, both in their
    order. `created` has the offset that is written, and microseconds. `diff_ids` are the digests of the
    uncompressed layers, from the base on. `platform` has `os`, `architecture` and `variant` in one value.
    """

    labels: Mapping[str, str] = field(default_factory=FrozenDict)
    diff_ids: tuple[str, ...] = ()
    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    created: datetime | None = None
    author: str = ""
    env: Mapping[str, str] = field(default_factory=FrozenDict)
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    healthcheck: Healthcheck | None = None
    history: tuple[HistoryEntry, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", FrozenDict(self.labels))
        object.__setattr__(self, "env", FrozenDict(self.env))

    @classmethod
    def parse(cls, raw: bytes) -> ImageConfig:
        """Parse an image configuration; a document of another form gives an empty one, and never an error."""
        try:
            document = json_object(raw)
        except InvalidManifest:
            return cls()
        found = document.get("config")
        config = found if isinstance(found, dict) else {}
        healthcheck = config.get("Healthcheck")
        return cls(
            labels=labels_of(document),
            diff_ids=diff_ids_of(document),
            os=_text(document, "os"),
            architecture=_text(document, "architecture"),
            variant=_text(document, "variant"),
            os_version=_text(document, "os.version"),
            os_features=_texts(document, "os.features"),
            created=_time(document),
            author=_text(document, "author"),
            env=_variables(_texts(config, "Env")),
            entrypoint=_words(config, "Entrypoint"),
            cmd=_words(config, "Cmd"),
            working_dir=_text(config, "WorkingDir"),
            user=_text(config, "User"),
            exposed_ports=_names(config, "ExposedPorts"),
            volumes=_names(config, "Volumes"),
            stop_signal=_text(config, "StopSignal"),
            shell=_words(config, "Shell"),
            on_build=_texts(config, "OnBuild"),
            healthcheck=_healthcheck(healthcheck) if isinstance(healthcheck, dict) else None,
            history=_history(document.get("history")),
        )

    @property
    def platform(self) -> Platform | None:
        """What the image runs on, by the names of GOOS and GOARCH; None where these are not written."""
        if not (self.os and self.architecture):
            return None
        return Platform(self.os.lower(), self.architecture.lower(), self.variant.lower())

    @property
    def command(self) -> tuple[str, ...]:
        """The words that a container runs without arguments of its own: those of `entrypoint`, then `cmd`."""
        return (*self.entrypoint, *self.cmd)


def _text(document: dict[str, Any], name: str) -> str:
    """Return a text; a number, which some tools write for a user, as one."""
    found = document.get(name)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return found if isinstance(found, str) else ""


def _texts(document: dict[str, Any], name: str) -> tuple[str, ...]:
    found = document.get(name)
    return tuple(item for item in found if isinstance(item, str)) if isinstance(found, list) else ()


def _words(document: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return the words of a command, of which Docker reads a single one without a list, too."""
    found = document.get(name)
    return (found,) if isinstance(found, str) and found else _texts(document, name)


def _names(document: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return the keys of an object with empty values, which is how Go writes a set."""
    found = document.get(name)
    return tuple(found) if isinstance(found, dict) else _texts(document, name)


def _variables(texts: tuple[str, ...]) -> Mapping[str, str]:
    parts = [text.partition("=") for text in texts]
    return {name: value for name, _, value in parts if name}


def _time(document: dict[str, Any]) -> datetime | None:
    """Return the time `created` (RFC 3339); its fraction is cut to what Python has room for."""
    found = document.get("created")
    match = _TIME.fullmatch(found) if isinstance(found, str) else None
    if match is None:
        return None
    date, clock, fraction, offset = match.groups()
    digits = (fraction or "")[:_MICROSECONDS].ljust(_MICROSECONDS, "0")
    try:
        return datetime.fromisoformat(f"{date}T{clock}.{digits}{offset.upper().replace('Z', '+00:00')}")
    except ValueError:
        return None


def _healthcheck(document: dict[str, Any]) -> Healthcheck:
    return Healthcheck(
        test=_texts(document, "Test"),
        interval=_number(document, "Interval") / _SECOND,
        timeout=_number(document, "Timeout") / _SECOND,
        start_period=_number(document, "StartPeriod") / _SECOND,
        start_interval=_number(document, "StartInterval") / _SECOND,
        retries=_number(document, "Retries"),
    )


def _number(document: dict[str, Any], name: str) -> int:
    found = document.get(name)
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) < _LARGEST:
        return found
    return 0


def _history(items: Any) -> tuple[HistoryEntry, ...]:
    if not isinstance(items, list):
        return ()
    return tuple(
        HistoryEntry(
            created=_time(item),
            created_by=_text(item, "created_by"),
            author=_text(item, "author"),
            comment=_text(item, "comment"),
            empty_layer=item.get("empty_layer") is True,
        )
        for item in items
        if isinstance(item, dict)
    )
