"""What a command is, and the flags that several commands have."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from imgpkg.cli.arguments import Flag, ValueType, switch, text, texts
from imgpkg.dataclass import dataclass, replace

if TYPE_CHECKING:
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
        """Its own flags and the global ones, of which its own take precedence."""
        own = {flag.name for flag in self.own_flags}
        return (*self.own_flags, *(flag for flag in GLOBAL if flag.name not in own))

    def run(self, context: Context) -> None:
        """Run the command."""
        # Imported by name, so that a command does not load the modules of all others.
        module, _, function = self.handler.rpartition(".")
        getattr(import_module(f"imgpkg.cli.{module}"), function)(context)


_HELP = switch("help", "Show this help", short="h")
GLOBAL = (
    switch("color", "Use colours on a terminal", default=True),
    Flag("column", ValueType.STRINGS, "Column of a table to print, such as name or digest (may be repeated)"),
    switch("debug", "Write each request and response to standard error, without secrets"),
    text("format", "Form of the result or error on standard output: text or json", default="text"),
    switch("json", "Write the result as JSON in the form of the original; --format json has more"),
    # What people try first. Some commands have a flag of this name, for a file or folder, which stays.
    Flag("output", ValueType.STRING, "Like --format", default="text", target="format", hidden=True),
    text("progress", "Form of the progress on standard error: auto or json", default="auto"),
    switch(
        "quiet", "Write nothing but the reference that was pushed, pulled or copied, and errors", short="q"
    ),
    switch("tty", "Write to a pipe or file what a terminal gets"),
    switch(
        "yes", "Delete what 'prune' only lists without it; accepted elsewhere for compatibility", short="y"
    ),
)
REGISTRY = (
    text(
        "registries-conf",
        "File in the form of podman's registries.conf, whose mirrors images are read from, or 'auto' for "
        "podman's own files ($IMGPKG_REGISTRIES_CONF)",
    ),
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
    text(
        "registry-client-cert",
        "File with the client certificate for registries that want one ($IMGPKG_CLIENT_CERT)",
    ),
    text(
        "registry-client-key",
        "File with the key of the client certificate, if it is another file ($IMGPKG_CLIENT_KEY)",
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
    Flag(
        "timeout",
        ValueType.DURATION,
        "Time after which the command gives up (ms, s, m or h; 0 is no limit)",
        default=0.0,
    ),
)
VERIFY = (
    Flag(
        "verify-key",
        ValueType.ARRAY,
        "File with a public key, or env://NAME, that has to have signed what is asked for; any of several "
        "(may be repeated)",
    ),
    text(
        "verify-policy", "File with a policy: by repository, which signatures and attestations are required"
    ),
    text(
        "verify-identity",
        "E-mail or URI of the signer's certificate; with --verify-issuer and --trusted-root",
    ),
    text("verify-identity-regexp", "Expression for the whole identity, instead of --verify-identity"),
    text("verify-issuer", "URL of the provider that the signer logged in at"),
    text("verify-issuer-regexp", "Expression for the whole issuer, instead of --verify-issuer"),
    text("trusted-root", "File trusted_root.json with the authorities and logs of sigstore"),
)
# Where a copy puts its images; all of them only with --to-repo.
PLACE = (
    Flag(
        "to-tag",
        ValueType.STRINGS,
        "Further tag at the destination for the image or bundle that is copied; only with --to-repo (may be "
        "repeated)",
    ),
    Flag(
        "map",
        ValueType.STRINGS,
        "Rule FROM=TO: images from repositories that begin with FROM go to TO and the rest of their name; "
        "the longest FROM decides (may be repeated)",
    ),
    text("map-file", "File with such rules in YAML; those of --map come before them"),
    switch("keep-names", "Keep the name of each repository, below that of --to-repo"),
    switch("keep-hosts", "Keep the registry, too, as the first part of each name that is kept"),
)
# Only with --to-repo, and from registries.
DASK = (
    text(
        "dask",
        "Dask cluster whose workers move the blobs: tls://HOST:8786, tcp://HOST:8786, or local:N for N "
        "processes here; needs imgpkg-py[dask]",
    ),
    switch(
        "dask-send-credentials", "Send credentials to the workers, which else find their own; only over TLS"
    ),
    Flag(
        "dask-timeout",
        ValueType.DURATION,
        "Time to wait for the scheduler, and for a worker (ms, s, m or h)",
        default=30.0,
    ),
)
SELECTION = (
    texts(
        "include", "Copy only images of bundles and locks that match the pattern, which may have * ? [...]"
    ),
    texts("exclude", "Leave out images of bundles and locks that match the pattern"),
    texts("include-annotation", "Copy only images with this annotation in the lock, as KEY or KEY=PATTERN"),
    texts("exclude-annotation", "Leave out images with this annotation in the lock"),
)
PLAN = (
    switch("dry-run", "Print what would be copied and with which credentials, and copy nothing"),
    switch(
        "stream-plan",
        "Move what is planned while the rest is still being planned, with little memory; the default for "
        "lock files and bundles of more than 10,000 images",
    ),
    switch("check", "First check that all sources can be read and the destination can be written to"),
    text(
        "plan-output", "File to write the plan of the copy to, for --plan; only with --dry-run and --to-repo"
    ),
    text("plan", "File with a plan to copy by, as --plan-output has written it, instead of a source"),
    text(
        "shard",
        "Move only this part of the blobs of --plan, such as 3/16, and write no tags; auto or auto/16 in a "
        "job of GitLab, Slurm or Kubernetes",
    ),
)
SIGN = (
    text("sign-key", "File with a private key in PEM, or env://NAME, to sign the pushed image with"),
    text("sign-format", "Where the signature is kept: tag (as cosign 1 and 2) or bundle", default="tag"),
    text("sign-password-file", "File with the password of the private key ($IMGPKG_SIGN_PASSWORD)"),
)
# Time limits and retries are about the network of this machine, and mirrors about reading only.
_BOTH_SIDES = frozenset(
    {
        "registries-conf",
        "registry-idle-timeout",
        "registry-response-header-timeout",
        "registry-retry-count",
        "timeout",
    }
)


def _side(side: str, registries: str) -> tuple[Flag, ...]:
    """Return the flags of one side of a copy: those for its login, and for the trust in its registry."""
    return tuple(
        replace(flag, name=f"{side}-{flag.name}", usage=_usage(flag, side, registries), default=None)
        for flag in REGISTRY
        if flag.name not in _BOTH_SIDES
    )


def _usage(flag: Flag, side: str, registries: str) -> str:
    _, found, variable = flag.usage.rpartition(" ($IMGPKG_")
    shown = f" ($IMGPKG_{side.upper()}_{variable}" if found else ""
    return f"Like --{flag.name}, {registries}{shown}"


# Made from the plain flags, so that a flag that is added there exists for each side.
FROM_REGISTRY = _side("from", "only for what is copied from")
TO_REGISTRY = _side("to", "only for what is copied to")
# `auth login` has its own flags for the credential, and must not read one that is meant for pulls.
NETWORK = tuple(
    flag for flag in REGISTRY if not {"anon", "password", "token", "username"} & set(flag.name.split("-"))
)
CONCURRENCY = Flag("concurrency", ValueType.INT, "Number of requests at the same time", default=5)
BUNDLE = text("bundle", "Bundle, such as registry.example.com/team/bundle:v1", short="b")
IMAGE = text("image", "Image, such as registry.example.com/team/app:v1", short="i")
