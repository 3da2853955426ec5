"""What a flag is, and the flags that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """How a flag's value is read; the value is the word that help shows."""

    BOOL = ""
    STRING = "string"
    STRINGS = "strings"
    INT = "int"
    DURATION = "duration"
    LABELS = "stringToString"


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: `target` names the value that it sets when that is not its own name."""

    name: str
    kind: Kind
    usage: str
    short: str = ""
    default: object = None
    target: str = ""
    hidden: bool = False
    required: bool = False
    secret: bool = False
    deprecated: str = ""

    @property
    def key(self) -> str:
        """The name of the value that the flag sets."""
        return self.target or self.name

    @property
    def shown(self) -> str:
        """How an error names the flag: `-l, --labels`."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    @property
    def initial(self) -> object:
        """The value when the flag is not given."""
        if self.default is not None:
            return self.default
        return {Kind.BOOL: False, Kind.STRINGS: (), Kind.INT: 0, Kind.DURATION: 0.0, Kind.LABELS: {}}.get(
            self.kind, ""
        )


def switch(name: str, usage: str, *, short: str = "", default: bool = False) -> Flag:
    """Make a flag that is on or off."""
    return Flag(name, Kind.BOOL, usage, short, default)


def text(name: str, usage: str, *, short: str = "", default: str = "") -> Flag:
    """Make a flag with a text."""
    return Flag(name, Kind.STRING, usage, short, default)


GLOBAL = (
    switch("color", "Set color output", default=True),
    Flag("column", Kind.STRINGS, "Filter to show only given columns"),
    switch("debug", "Enables debugging"),
    switch("json", "Output as JSON"),
    switch("tty", "Force TTY-like output"),
    switch("yes", "Assume yes for any prompt", short="y"),
)
EXAMPLE_PATH = "/tmp/foo"  # noqa: S108 - the path of the original's examples
REGISTRY = (
    switch("registry-anon", "Set anonymous auth ($IMGPKG_ANON); environment sets and keychains still apply"),
    Flag(
        "registry-ca-cert-path",
        Kind.STRINGS,
        f"Add CA certificates for registry API (format: {EXAMPLE_PATH}) (can be specified multiple times)",
    ),
    switch("registry-insecure", "Allow the use of http when interacting with registries"),
    Flag(
        "registry-idle-timeout",
        Kind.DURATION,
        "Maximum time a download or upload may stand still before it is tried again (ms|s|m|h)",
        default=60.0,
    ),
    Flag("registry-password", Kind.STRING, "Set password for auth ($IMGPKG_PASSWORD)", secret=True),
    switch("registry-password-stdin", "Read the password for auth from standard input"),
    Flag(
        "registry-response-header-timeout",
        Kind.DURATION,
        "Maximum time to allow a request to wait for a server's response headers "
        "from the registry (ms|s|m|h)",
        default=30.0,
    ),
    Flag(
        "registry-retry-count",
        Kind.INT,
        "Set the number of times imgpkg retries to send requests to the registry in case of an error",
        default=5,
    ),
    Flag("registry-token", Kind.STRING, "Set token for auth ($IMGPKG_TOKEN)", secret=True),
    text("registry-username", "Set username for auth ($IMGPKG_USERNAME)"),
    switch(
        "registry-verify-certs",
        "Set whether to verify server's certificate chain and host name",
        default=True,
    ),
)
