"""The command table: names, flags and help texts; what runs is imported only then."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from imgpkg.cli.arguments import Flag, ValueType, switch, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgpkg.cli.context import Context


@dataclass(frozen=True, slots=True)
class Command:
    """One command: `path` as typed after `imgpkg`; `home` is module and function, empty for groups."""

    path: tuple[str, ...]
    short: str
    flags: tuple[Flag, ...] = ()
    home: str = ""
    example: str = ""
    aliases: tuple[str, ...] = ()
    words: str = ""

    @property
    def name(self) -> str:
        """The last word of the path."""
        return self.path[-1] if self.path else "imgpkg"

    @property
    def full_name(self) -> str:
        """The path as typed, with the program."""
        return " ".join(("imgpkg", *self.path))

    @property
    def all_flags(self) -> tuple[Flag, ...]:
        """Its own flags, the global ones, and help."""
        return (*self.flags, switch("help", f"help for {self.name}", short="h"), *GLOBAL)

    def run(self, context: Context) -> None:
        """Do what the command says."""
        module, _, function = self.home.rpartition(".")
        getattr(import_module(f"imgpkg.cli.{module}"), function)(context)


GLOBAL = (
    switch("color", "Set color output", default=True),
    Flag("column", ValueType.STRINGS, "Filter to show only given columns"),
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
        ValueType.STRINGS,
        f"Add CA certificates for registry API (format: {EXAMPLE_PATH}) (can be specified multiple times)",
    ),
    switch("registry-insecure", "Allow the use of http when interacting with registries"),
    Flag(
        "registry-idle-timeout",
        ValueType.DURATION,
        "Maximum time a download or upload may stand still before it is tried again (ms|s|m|h)",
        default=60.0,
    ),
    Flag("registry-password", ValueType.STRING, "Set password for auth ($IMGPKG_PASSWORD)", secret=True),
    switch("registry-password-stdin", "Read the password for auth from standard input"),
    Flag(
        "registry-response-header-timeout",
        ValueType.DURATION,
        "Maximum time to allow a request to wait for a server's response headers "
        "from the registry (ms|s|m|h)",
        default=30.0,
    ),
    Flag(
        "registry-retry-count",
        ValueType.INT,
        "Set the number of times imgpkg retries to send requests to the registry in case of an error",
        default=5,
    ),
    Flag("registry-token", ValueType.STRING, "Set token for auth ($IMGPKG_TOKEN)", secret=True),
    text("registry-username", "Set username for auth ($IMGPKG_USERNAME)"),
    switch(
        "registry-verify-certs",
        "Set whether to verify server's certificate chain and host name",
        default=True,
    ),
)
_BUNDLE = text("bundle", "Set bundle (example: docker.io/dkalinin/test-content)", short="b")
_IMAGE = text("image", "Set image (example: docker.io/dkalinin/test-content)", short="i")
_LOCK = text("lock", "Lock file with asset references to copy to destination")
_EXCLUSION = (
    "Exclude file whose path, relative to the bundle root, matches (format: bar.yaml, nested-dir/baz.txt) "
    "(can be specified multiple times)"
)
_CONCURRENCY = Flag("concurrency", ValueType.INT, "Concurrency", default=5)

PUSH = Command(
    ("push",),
    "Push files as image",
    (
        _BUNDLE,
        _IMAGE,
        Flag(
            "file",
            ValueType.STRINGS,
            f"Set file (format: {EXAMPLE_PATH}) (can be specified multiple times)",
            short="f",
        ),
        Flag("file-exclusion", ValueType.STRINGS, _EXCLUSION, default=(".git",)),
        Flag(
            "file-exclude-defaults",
            ValueType.STRINGS,
            _EXCLUSION,
            default=(".git",),
            target="file-exclusion",
            hidden=True,
            deprecated="use '--file-exclusion' instead",
        ),
        switch("preserve-permissions", "Preserve the group and all permissions of all the files and folders"),
        text(
            "lock-output",
            "Location to output the generated lockfile. Option only available when using --bundle flag",
        ),
        Flag("labels", ValueType.LABELS, "Set labels on image", short="l"),
        *REGISTRY,
    ),
    "handlers.push",
    "  # Push bundle repo/app1-config with contents of config/ directory\n"
    "  imgpkg push -b repo/app1-config -f config/\n\n"
    "  # Push image repo/app1-config with contents from multiple locations\n"
    "  imgpkg push -i repo/app1-config -f config/ -f additional-config.yml",
)
PULL = Command(
    ("pull",),
    "Pull files from bundle, image, or bundle lock file",
    (
        _BUNDLE,
        _IMAGE,
        _LOCK,
        Flag("output", ValueType.STRING, "Output directory path", short="o", required=True),
        switch("recursive", "Recursively iterate and fetch content of every bundle", short="r"),
        switch(
            "image-is-bundle-check",
            "Error when image is a bundle (disable pulling bundles via -i)",
            default=True,
        ),
        *REGISTRY,
    ),
    "handlers.pull",
    "  # Pull bundle repo/app1-bundle and extract into /" + "tmp/app1-bundle\n"
    "  imgpkg pull -b repo/app1-bundle -o /" + "tmp/app1-bundle\n\n"
    "  # Pull image repo/app1-image and extract into /" + "tmp/app1-image\n"
    "  imgpkg pull -i repo/app1-image -o /" + "tmp/app1-image",
)
COPY = Command(
    ("copy",),
    "Copy a bundle from one location to another",
    (
        text(
            "bundle",
            "Bundle reference for copying (happens thickly, i.e. bundle image + all referenced images)",
            short="b",
        ),
        text(
            "image",
            "Image reference for copying a generic image (example: docker.io/dkalinin/test-content)",
            short="i",
        ),
        _LOCK,
        text(
            "lock-output",
            "Location to output the generated lockfile. "
            "Option only available when using --bundle or --lock flags",
        ),
        text("to-repo", "Location to upload assets"),
        text("to-tar", "Location to write a tar file containing assets"),
        text("tar", "Path to tar file which contains assets to be copied to a registry"),
        text("to-oci-layout", "Location to write an OCI image layout folder containing assets"),
        text("from-oci-layout", "Path to an OCI image layout folder which contains assets to be copied"),
        switch(
            "resume",
            "Resume the copy to tar. "
            "When set to true will try to read the tar and only download the missing blobs",
        ),
        _CONCURRENCY,
        switch(
            "include-non-distributable-layers",
            "Include non-distributable layers when copying an image/bundle",
        ),
        switch("repo-based-tags", "Allow imgpkg to use repository-based tags for convenience"),
        switch("cosign-signatures", "Find and copy cosign signatures for images"),
        switch("referrers", "Find and copy whatever is attached to images by subject (OCI referrers)"),
        switch(
            "dry-run", "Tell what would be copied, from where and with which credential, and copy nothing"
        ),
        *REGISTRY,
    ),
    "handlers.copy",
    "    # Copy bundle dkalinin/app1-bundle to local tarball at /" + "Volumes/app1-bundle.tar\n"
    "    imgpkg copy -b dkalinin/app1-bundle --to-tar /" + "Volumes/app1-bundle.tar\n\n"
    "    # Copy bundle dkalinin/app1-bundle to another registry (or repository)\n"
    "    imgpkg copy -b dkalinin/app1-bundle --to-repo internal-registry/app1-bundle\n\n"
    "    # Copy image dkalinin/app1-image to another registry (or repository)\n"
    "    imgpkg copy -i dkalinin/app1-image --to-repo internal-registry/app1-image\n\n"
    "    # Copy image dkalinin/app1-image to another registry (or repository) and use repository-based tags\n"
    "    imgpkg copy -i dkalinin/app1-image --to-repo internal-registry/app1-image --repo-based-tags",
)
DESCRIBE = Command(
    ("describe",),
    "Describe the images and bundles associated with a give bundle",
    (
        text(
            "bundle",
            "Bundle reference for copying (happens thickly, i.e. bundle image + all referenced images)",
            short="b",
        ),
        text(
            "output-type",
            "Type of output possible values: [text, yaml, json, tree]",
            short="o",
            default="text",
        ),
        switch("layers", "Retrieve image layers info", default=True),
        switch("cosign-artifacts", "Retrieve cosign artifact information (Default: true)", default=True),
        switch("referrers", "Retrieve whatever is attached to images by subject (OCI referrers)"),
        _CONCURRENCY,
        *REGISTRY,
    ),
    "handlers.describe",
    "  # Describe a bundle\n  imgpkg describe -b carvel.dev/app1-bundle",
)
TAG = Command(("tag",), "Tag (list, resolve)")
TAG_LIST = Command(
    ("tag", "list"),
    "List tags for image",
    (
        _IMAGE,
        switch("digests", "Include digests"),
        switch("imgpkg-internal-tags", "Include internal .imgpkg tags"),
        *REGISTRY,
    ),
    "handlers.tag_list",
    aliases=("ls",),
)
TAG_RESOLVE = Command(
    ("tag", "resolve"), "Resolve tag to digest for image", (_IMAGE, *REGISTRY), "handlers.tag_resolve"
)
VERSION = Command(
    ("version",),
    "Print client version",
    (switch("verbose", "Print which parts are in use, too"),),
    "handlers.version",
)
COMPLETION = Command(
    ("completion",), "Generate completion script", (), "completion.run", words="[bash|zsh|fish|powershell]"
)
HELP = Command(("help",), "Help about any command", (), "help.run", words="[command]")
AUTH = Command(("auth",), "Credentials (explain)")
AUTH_EXPLAIN = Command(
    ("auth", "explain"),
    "Explain which credential a repository gets, and why",
    REGISTRY,
    "handlers.auth_explain",
    words="REPOSITORY",
)
REGISTRY_GROUP = Command(("registry",), "Small registry for demonstrations and tests (serve)")
REGISTRY_SERVE = Command(
    ("registry", "serve"),
    "Serve a small registry, for demonstrations and tests",
    (
        text("address", "Address to listen on, port 0 takes a free one", default="127.0.0.1:5000"),
        text("storage", "Folder to keep images in (default: in memory)"),
        text("username", "Ask for a login with this user name"),
        switch("password-stdin", "Read the password of the login from standard input"),
        switch("token-service", "Give out tokens in place of taking the login at each request"),
        text("tls-cert", "Certificate chain to serve https with"),
        text("tls-key", "Private key of the certificate"),
    ),
    "registry_serve.run",
)
ROOT = Command(
    (),
    "imgpkg allows to store configuration and image references as OCI artifacts "
    "(copy, describe, pull, push, tag, version)",
    (switch("version", "version for imgpkg", short="v"),),
)
COMMANDS = (
    AUTH,
    AUTH_EXPLAIN,
    COMPLETION,
    COPY,
    DESCRIBE,
    HELP,
    PULL,
    PUSH,
    REGISTRY_GROUP,
    REGISTRY_SERVE,
    TAG,
    TAG_LIST,
    TAG_RESOLVE,
    VERSION,
)


def find(path: tuple[str, ...], word: str) -> Command | None:
    """Return the command `word` below the group `path`."""
    for command in COMMANDS:
        if command.path[:-1] == path and word in (command.name, *command.aliases):
            return command
    return None


def children(path: tuple[str, ...]) -> tuple[Command, ...]:
    """List the commands right below `path`, sorted by name."""
    return tuple(command for command in COMMANDS if command.path[:-1] == path)


def locate(argv: Sequence[str]) -> tuple[Command, list[str]]:
    """Return the command that `argv` names, and the other words in their order.

    Flags may come in front of its name, as in cobra.
    """
    command, rest = ROOT, list(argv)
    at = 0
    while at < len(rest) and rest[at] != "--":
        word = rest[at]
        if word.startswith("-"):
            at += 2 if _takes_next(command, word) else 1
            continue
        below = find(command.path, word)
        if below is None:
            break
        command = below
        del rest[at]
    return command, rest


def _takes_next(command: Command, word: str) -> bool:
    """Tell whether the word after `word` is its value; a flag of a command not yet named takes one, too."""
    is_long = word.startswith("--")
    if "=" in word or (len(word) != len("-x") and not is_long):
        return False
    switches = {
        flag.name if is_long else flag.short
        for flag in command.all_flags
        if flag.value_type is ValueType.BOOL
    }
    return word.lstrip("-") not in switches
