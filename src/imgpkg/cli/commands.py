"""The table of commands: names, flags and help texts. What runs is imported only then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING

from imgpkg.cli.arguments import Flag, ValueType, switch, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgpkg.cli.context import Context


@dataclass(frozen=True, slots=True)
class Command:
    """One command: `path` is typed after `imgpkg`; `handler` is its module and function, empty for groups."""

    path: tuple[str, ...]
    short: str
    flags: tuple[Flag, ...] = ()
    handler: str = ""
    example: str = ""
    aliases: tuple[str, ...] = ()
    words: str = ""

    @property
    def name(self) -> str:
        """The last word of the path."""
        return self.path[-1] if self.path else "imgpkg"

    @property
    def full_name(self) -> str:
        """The path with the program, as typed."""
        return " ".join(("imgpkg", *self.path))

    @property
    def own_flags(self) -> tuple[Flag, ...]:
        """Its own flags, help among them."""
        return (*self.flags, _HELP)

    @property
    def all_flags(self) -> tuple[Flag, ...]:
        """Its own flags and the global ones."""
        return (*self.own_flags, *GLOBAL)

    def run(self, context: Context) -> None:
        """Run the command."""
        module, _, function = self.handler.rpartition(".")
        getattr(import_module(f"imgpkg.cli.{module}"), function)(context)


_HELP = switch("help", "Show this help", short="h")
GLOBAL = (
    switch("color", "Use colours on a terminal", default=True),
    Flag("column", ValueType.STRINGS, "Column of a table to print, such as name or digest (may be repeated)"),
    switch("debug", "Write each request and response to standard error, without secrets"),
    switch("json", "Write the result as JSON"),
    switch("tty", "Write to a pipe or file what a terminal gets"),
    switch("yes", "Accepted for compatibility: no command asks for confirmation", short="y"),
)
REGISTRY = (
    switch(
        "registry-anon",
        "Send no login and do not read the docker config; environment sets and keychains still apply "
        "($IMGPKG_ANON)",
    ),
    Flag(
        "registry-ca-cert-path",
        ValueType.STRINGS,
        "File with CA certificates to trust in addition to the system's (may be repeated)",
    ),
    switch("registry-insecure", "Allow plain http with any registry"),
    Flag(
        "registry-idle-timeout",
        ValueType.DURATION,
        "Time without any data after which a download or upload is tried again (ms, s, m or h)",
        default=60.0,
    ),
    Flag(
        "registry-password",
        ValueType.STRING,
        "Password of the login; other users can see it in the process list ($IMGPKG_PASSWORD)",
        secret=True,
    ),
    text(
        "registry-password-file",
        "File with the password of the login, read again when it changes ($IMGPKG_PASSWORD_FILE)",
    ),
    switch("registry-password-stdin", "Read the password of the login from standard input"),
    Flag(
        "registry-response-header-timeout",
        ValueType.DURATION,
        "Time to wait for the headers of a response (ms, s, m or h; 0 waits without limit)",
        default=30.0,
    ),
    Flag(
        "registry-retry-count", ValueType.INT, "Number of attempts for each request, at least one", default=5
    ),
    Flag(
        "registry-token",
        ValueType.STRING,
        "Access token to send to every registry as it is ($IMGPKG_TOKEN)",
        secret=True,
    ),
    text(
        "registry-token-file",
        "File with the access token, read again when it changes ($IMGPKG_TOKEN_FILE)",
    ),
    text("registry-username", "User name of the login for every registry ($IMGPKG_USERNAME)"),
    switch(
        "registry-verify-certs",
        "Verify the certificate chain and the host name of each registry",
        default=True,
    ),
)
_BOTH_SIDES = frozenset({"registry-idle-timeout", "registry-response-header-timeout", "registry-retry-count"})


def _side(side: str, registries: str) -> tuple[Flag, ...]:
    """Return the flags of one side of a copy: those that say who logs in, and which registry is trusted."""
    return tuple(
        replace(flag, name=f"{side}-{flag.name}", usage=_usage(flag, side, registries), default=None)
        for flag in REGISTRY
        if flag.name not in _BOTH_SIDES
    )


def _usage(flag: Flag, side: str, registries: str) -> str:
    _, found, variable = flag.usage.rpartition(" ($IMGPKG_")
    shown = f" ($IMGPKG_{side.upper()}_{variable}" if found else ""
    return f"Like --{flag.name}, {registries}{shown}"


FROM_REGISTRY = _side("from", "only for what is copied from")
TO_REGISTRY = _side("to", "only for what is copied to")
_BUNDLE = text("bundle", "Bundle, such as registry.example.com/team/bundle:v1", short="b")
_IMAGE = text("image", "Image, such as registry.example.com/team/app:v1", short="i")
_EXCLUSION = "Path to leave out, relative to the folder of --file, instead of the default (may be repeated)"
_CONCURRENCY = Flag("concurrency", ValueType.INT, "Number of requests at the same time", default=5)

PUSH = Command(
    ("push",),
    "Push files as an image or a bundle",
    (
        _BUNDLE,
        _IMAGE,
        Flag("file", ValueType.STRINGS, "File or folder to pack (may be repeated)", short="f"),
        Flag("file-exclusion", ValueType.STRINGS, _EXCLUSION, default=(".git",)),
        # The older name of --file-exclusion: both set the same value.
        Flag(
            "file-exclude-defaults",
            ValueType.STRINGS,
            _EXCLUSION,
            default=(".git",),
            target="file-exclusion",
            hidden=True,
            deprecated="use '--file-exclusion' instead",
        ),
        switch("preserve-permissions", "Keep the permissions of group and others, not only the owner's"),
        text("lock-output", "File to write a BundleLock to; only with --bundle"),
        Flag("labels", ValueType.LABELS, "Label of the image as key=value (may be repeated)", short="l"),
        *REGISTRY,
    ),
    "handlers.push",
    "  # Push a folder that holds .imgpkg/images.yml as a bundle\n"
    "  imgpkg push -b registry.example.com/team/bundle:v1 -f bundle\n\n"
    "  # Push a folder and a file as an image\n"
    "  imgpkg push -i registry.example.com/team/config:v1 -f config -f values.yml",
)
PULL = Command(
    ("pull",),
    "Pull the files of an image or a bundle",
    (
        _BUNDLE,
        _IMAGE,
        text("lock", "BundleLock file that names the bundle to pull"),
        Flag(
            "output",
            ValueType.STRING,
            "Folder to write the files to; what it held before is removed",
            short="o",
            required=True,
        ),
        switch("recursive", "Also pull the bundles that the bundle contains", short="r"),
        switch("image-is-bundle-check", "Refuse to pull a bundle with --image", default=True),
        *REGISTRY,
    ),
    "handlers.pull",
    "  # Pull a bundle and the bundles that it contains\n"
    "  imgpkg pull -b registry.example.com/team/bundle:v1 -o bundle-copy --recursive\n\n"
    "  # Pull an image\n"
    "  imgpkg pull -i registry.example.com/team/config:v1 -o config-copy",
)
COPY = Command(
    ("copy",),
    "Copy images and bundles between registries, tar files and OCI layouts",
    (
        text("bundle", "Bundle to copy, with all images and bundles that it names", short="b"),
        text("image", "Image to copy, such as registry.example.com/team/app:v1", short="i"),
        text("lock", "BundleLock or ImagesLock file that names what to copy"),
        text("lock-output", "File to write a lock of the copied references to; only with --to-repo"),
        text("to-repo", "Repository to copy to, such as registry.inside.example/team/bundle"),
        text("to-tar", "Tar file to write"),
        text("tar", "Tar file to copy from, as --to-tar has written it"),
        text("to-oci-layout", "Folder to write as an OCI image layout"),
        text("from-oci-layout", "Folder with an OCI image layout to copy from"),
        switch("resume", "Download only what an interrupted copy has not written yet; only with --to-tar"),
        _CONCURRENCY,
        switch(
            "include-non-distributable-layers",
            "Also copy layers whose media type says that they must not be distributed",
        ),
        switch("repo-based-tags", "Include the name of the original repository in the tags of the copies"),
        switch("cosign-signatures", "Also copy the cosign signatures of each image"),
        switch("referrers", "Also copy what refers to an image as its subject (OCI referrers)"),
        switch("dry-run", "Print what would be copied and with which credentials, and copy nothing"),
        switch("check", "First check that all sources can be read and the destination can be written to"),
        *REGISTRY,
        *FROM_REGISTRY,
        *TO_REGISTRY,
    ),
    "handlers.copy",
    "  # Copy a bundle and all images that it names into a tar file\n"
    "  imgpkg copy -b registry.example.com/team/bundle:v1 --to-tar bundle.tar\n\n"
    "  # Copy the tar file into another registry\n"
    "  imgpkg copy --tar bundle.tar --to-repo registry.inside.example/team/bundle\n\n"
    "  # Print what a copy of an image would transfer\n"
    "  imgpkg copy -i registry.example.com/team/config:v1 --to-repo registry.inside.example/team/config "
    "--dry-run\n\n"
    "  # Copy an image from registry to registry\n"
    "  imgpkg copy -i registry.example.com/team/config:v1 --to-repo registry.inside.example/team/config",
)
DESCRIBE = Command(
    ("describe",),
    "Describe a bundle and the images that it names",
    (
        _BUNDLE,
        text("output-type", "Form of the output: text, yaml, json or tree", short="o", default="text"),
        switch("layers", "Print the digests of the layers", default=True),
        switch("cosign-artifacts", "Print the cosign signatures of each image", default=True),
        switch("referrers", "Print what refers to an image as its subject (OCI referrers)"),
        _CONCURRENCY,
        *REGISTRY,
    ),
    "handlers.describe",
    "  # Print what a bundle contains, as a tree\n"
    "  imgpkg describe -b registry.example.com/team/bundle:v1 -o tree",
)
TAG = Command(("tag",), "List and resolve tags")
TAG_LIST = Command(
    ("tag", "list"),
    "List the tags of a repository",
    (
        text("image", "Repository, such as registry.example.com/team/app", short="i"),
        switch("digests", "Print the digest of each tag"),
        switch("imgpkg-internal-tags", "Also print the tags that imgpkg writes for itself"),
        *REGISTRY,
    ),
    "handlers.tag_list",
    "  # List the tags of a repository with their digests\n"
    "  imgpkg tag list -i registry.example.com/team/config --digests",
    aliases=("ls",),
)
TAG_RESOLVE = Command(
    ("tag", "resolve"),
    "Print the digest reference of a tag",
    (_IMAGE, *REGISTRY),
    "handlers.tag_resolve",
    "  # Print the reference of an image by its digest\n"
    "  imgpkg tag resolve -i registry.example.com/team/config:v1",
)
VERSION = Command(
    ("version",),
    "Print the version",
    (switch("verbose", "Also print the version of Python and the encoder that compresses layers"),),
    "handlers.version",
)
COMPLETION = Command(
    ("completion",),
    "Print a completion script for a shell",
    (),
    "completion.run",
    "  # Complete commands and flags in this bash\n  source <(imgpkg completion bash)",
    words="[bash|zsh|fish|powershell]",
)
HELP = Command(("help",), "Print the help of a command", (), "help.run", words="[command]")
AUTH = Command(("auth",), "Explain and check credentials")
AUTH_EXPLAIN = Command(
    ("auth", "explain"),
    "Explain which credential a repository or registry gets, and why",
    (_BUNDLE, _IMAGE, *REGISTRY),
    "auth.explain",
    "  # Explain the credential of a repository, without a request to the registry\n"
    "  imgpkg auth explain registry.example.com/team/config\n\n"
    "  # Explain the credentials of a registry as a whole and of an image\n"
    "  imgpkg auth explain registry.example.com ghcr.io/team/app:v1",
    words="REFERENCE...",
)
AUTH_CHECK = Command(
    ("auth", "check"),
    "Check over the network that repositories can be read, and written to with --push",
    (
        _BUNDLE,
        _IMAGE,
        switch("push", "Also open an upload and cancel it, to check that pushing is allowed"),
        *REGISTRY,
    ),
    "access.check",
    "  # Check that an image can be pulled, and say what to do if not\n"
    "  imgpkg auth check registry.example.com/team/config:v1\n\n"
    "  # Check that a repository can be pushed to, and write nothing\n"
    "  imgpkg auth check registry.example.com/team/config --push",
    words="REFERENCE...",
)
REGISTRY_GROUP = Command(("registry",), "Serve a small registry")
REGISTRY_SERVE = Command(
    ("registry", "serve"),
    "Serve a small registry for demonstrations and tests",
    (
        text("address", "HOST:PORT to listen on; port 0 chooses a free one", default="127.0.0.1:5000"),
        text("storage", "Folder to keep images in (default: memory)"),
        text("username", "Require a login with this user name; only with --password-stdin"),
        switch("password-stdin", "Read the password of the login from standard input"),
        switch("token-service", "Accept tokens of its own token service instead of the login"),
        text("tls-cert", "File with the certificate chain for https; only with --tls-key"),
        text("tls-key", "File with the private key of the certificate"),
    ),
    "registry_serve.run",
)
ROOT = Command(
    (),
    "Store configuration, and references to the images it needs, as OCI artifacts in container registries",
    (switch("version", "Print the version", short="v"),),
)
COMMANDS = (
    AUTH,
    AUTH_CHECK,
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
