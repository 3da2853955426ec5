"""The table of commands: names, flags and help texts. The module of a command is imported when it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.cli import auth_commands, tidying_commands
from imgpkg.cli.arguments import Flag, ValueType, switch, text, texts
from imgpkg.cli.command import (
    BUNDLE,
    CONCURRENCY,
    DASK,
    FROM_REGISTRY,
    IMAGE,
    PLACE,
    PLAN,
    REGISTRY,
    SELECTION,
    SIGN,
    TO_REGISTRY,
    VERIFY,
    Command,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXCLUSION = "Path to leave out, relative to the folder of --file, instead of the default (may be repeated)"
_TAR = text("tar", "Tar file to read from instead of a registry, as 'copy --to-tar' has written it")
_LAYOUT = text("from-oci-layout", "Folder with an OCI image layout to read from instead of a registry")
_CHUNK_SIZE = text(
    "upload-chunk-size",
    "Send larger blobs in pieces of this size, such as 50MB, where a proxy limits the size of a request",
)

# Of what was pushed, copied or asked for; read by the next step of a script.
_DIGEST_FILE = text(
    "digest-file", "File to write the digest to, and a line end, for the next step of a script"
)

INVENTORY = Command(
    ("inventory",),
    "List what a tar file, a layout or a repository has, for 'copy --since-inventory'",
    (
        text("image", "Repository, such as registry.example.com/team/app", short="i"),
        _TAR,
        _LAYOUT,
        text("output", "File to write the inventory to (default: standard output)", short="o"),
        CONCURRENCY,
        *REGISTRY,
    ),
    "inventory.run",
    "  # List what a repository has, to carry only what is new\n"
    "  imgpkg inventory registry.inside.example/team/bundle -o inside.json\n\n"
    "  # List what a tar file has\n"
    "  imgpkg inventory bundle.tar",
    words="[TAR|LAYOUT|REPOSITORY]",
)
LOCK = Command(
    ("lock",),
    "Write an images lock of the images that Kubernetes documents and values files name",
    (
        Flag(
            "file",
            ValueType.STRINGS,
            "File or folder of documents, or - for standard input (may be repeated)",
            short="f",
        ),
        Flag("image", ValueType.STRINGS, "Image to lock as well (may be repeated)", short="i"),
        text("output", "File to write the ImagesLock to (default: standard output)", short="o"),
        Flag(
            "path",
            ValueType.ARRAY,
            "Further place of images in documents, such as 'spec.sidecars.image' (may be repeated)",
        ),
        Flag("exclude", ValueType.ARRAY, "Pattern of references to leave out (may be repeated)"),
        switch("rewrite", "Print the documents with digests in place of tags, and every other byte as it is"),
        text("images-lock", "ImagesLock whose digests to write; only with --rewrite, needs no registry"),
        switch("strict", "Fail on text in the place of an image that is no reference, such as a template"),
        _DIGEST_FILE,
        CONCURRENCY,
        *REGISTRY,
    ),
    "lock.run",
    "  # Lock the images of a folder of documents, and one more\n"
    "  imgpkg lock -f config -i registry.example.com/team/config:v1 -o bundle/.imgpkg/images.yml\n\n"
    "  # Print the documents with the images of a bundle that was pulled\n"
    "  imgpkg lock --rewrite -f config --images-lock bundle/.imgpkg/images.yml",
)
PUSH = Command(
    ("push",),
    "Push files as an image or a bundle",
    (
        BUNDLE,
        IMAGE,
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
        switch("strict", "Fail, and not only warn, where .imgpkg/images.yml cannot be used later"),
        text("lock-output", "File to write a BundleLock to; only with --bundle"),
        text("to-tar", "Tar file to write for 'copy --tar', instead of a push"),
        text("to-oci-layout", "Folder to write as an OCI image layout, instead of a push"),
        Flag("labels", ValueType.LABELS, "Label of the image as key=value (may be repeated)", short="l"),
        _CHUNK_SIZE,
        _DIGEST_FILE,
        *SIGN,
        *REGISTRY,
    ),
    "handlers.push",
    "  # Push a folder that holds .imgpkg/images.yml as a bundle\n"
    "  imgpkg push -b registry.example.com/team/bundle:v1 -f bundle\n\n"
    "  # Push a folder and a file as an image\n"
    "  imgpkg push -i registry.example.com/team/config:v1 -f config -f values.yml\n\n"
    "  # Write a tar file that 'imgpkg copy --tar' pushes later, without a registry\n"
    "  imgpkg push -i registry.example.com/team/config:v1 -f config --to-tar config.tar",
)
PULL = Command(
    ("pull",),
    "Pull the files of an image or a bundle",
    (
        BUNDLE,
        IMAGE,
        text("lock", "BundleLock file that names the bundle to pull"),
        Flag(
            "output",
            ValueType.STRING,
            "Folder to write the files to; what it held before is removed",
            short="o",
            required=True,
        ),
        switch("recursive", "Also pull the bundles that the bundle contains", short="r"),
        _TAR,
        _LAYOUT,
        switch("image-is-bundle-check", "Refuse to pull a bundle with --image", default=True),
        _DIGEST_FILE,
        *VERIFY,
        *REGISTRY,
    ),
    "handlers.pull",
    "  # Pull a bundle and the bundles that it contains\n"
    "  imgpkg pull -b registry.example.com/team/bundle:v1 -o bundle-copy --recursive\n\n"
    "  # Pull an image\n"
    "  imgpkg pull -i registry.example.com/team/config:v1 -o config-copy\n\n"
    "  # Pull the bundle that a tar file was made of\n"
    "  imgpkg pull --tar bundle.tar -o bundle-copy",
)
COPY = Command(
    ("copy",),
    "Copy images and bundles between registries, tar files and OCI layouts",
    (
        texts("bundle", "Bundle to copy, with all images and bundles that it names", short="b"),
        texts("image", "Image to copy, such as registry.example.com/team/app:v1", short="i"),
        texts("lock", "BundleLock or ImagesLock file that names what to copy"),
        text("lock-output", "File to write a lock of the copied references to; only with --to-repo"),
        text("to-repo", "Repository to copy to, such as registry.inside.example/team/bundle"),
        *PLACE,
        text("to-tar", "Tar file to write, or - for standard output"),
        text("tar", "Tar file to copy from, as --to-tar has written it, or - for standard input"),
        text("to-oci-layout", "Folder to write as an OCI image layout"),
        text("from-oci-layout", "Folder with an OCI image layout to copy from"),
        text(
            "split",
            "Write the tar file in numbered pieces of this size, such as 4GiB, with a list of their digests",
        ),
        texts("since", "Tar file or layout whose blobs to leave out of a file, as they are there already"),
        texts("since-inventory", "File that 'imgpkg inventory' has written, whose blobs to leave out"),
        texts("mount-from", "Repository beside --to-repo for the blobs that a file was made without"),
        _DIGEST_FILE,
        switch("resume", "Download only what an interrupted copy has not written yet; only with --to-tar"),
        CONCURRENCY,
        *DASK,
        _CHUNK_SIZE,
        switch(
            "include-non-distributable-layers",
            "Also copy layers whose media type says that they must not be distributed",
        ),
        switch("repo-based-tags", "Include the name of the original repository in the tags of the copies"),
        *SELECTION,
        texts(
            "platform",
            "Copy only these platforms of indexes, such as linux/amd64,linux/arm64/v8; the indexes get other "
            "digests",
        ),
        switch("attachments", "Also copy all signatures, attestations, SBOMs and referrers of each image"),
        switch("cosign-signatures", "Also copy the cosign signatures of each image"),
        switch("referrers", "Also copy what refers to an image as its subject (OCI referrers)"),
        *PLAN,
        *VERIFY,
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
        BUNDLE,
        text(
            "output-type",
            "Form of the output: text, yaml, json, tree, or a picture: svg, dot, html",
            short="o",
            default="text",
        ),
        switch("layers", "Print the digests of the layers", default=True),
        switch("attachments", "Print all signatures, attestations, SBOMs and referrers of each image"),
        switch("cosign-artifacts", "Print the cosign signatures of each image", default=True),
        switch("referrers", "Print what refers to an image as its subject (OCI referrers)"),
        _TAR,
        _LAYOUT,
        CONCURRENCY,
        *REGISTRY,
    ),
    "description.run",
    "  # Print what a bundle contains, as a tree\n"
    "  imgpkg describe -b registry.example.com/team/bundle:v1 -o tree\n\n"
    "  # Print what a tar file contains\n"
    "  imgpkg describe --tar bundle.tar\n\n"
    "  # Write a page with its images, layers and sizes\n"
    "  imgpkg describe --tar bundle.tar -o html >bundle.html",
)
TAG = Command(("tag",), "List, resolve and delete tags")
TAG_LIST = Command(
    ("tag", "list"),
    "List the tags of a repository",
    (
        text("image", "Repository, such as registry.example.com/team/app", short="i"),
        switch("digests", "Print the digest of each tag"),
        switch("imgpkg-internal-tags", "Also print the tags that imgpkg writes for itself"),
        _TAR,
        _LAYOUT,
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
    (IMAGE, _DIGEST_FILE, *REGISTRY),
    "handlers.tag_resolve",
    "  # Print the reference of an image by its digest\n"
    "  imgpkg tag resolve -i registry.example.com/team/config:v1",
)
VERIFY_COMMAND = Command(
    ("verify",),
    "Verify every byte of a tar file, a layout, an image or a bundle, and that all it names is there",
    (
        BUNDLE,
        IMAGE,
        text("tar", "Tar file to verify, as 'copy --to-tar' has written it"),
        text("from-oci-layout", "Folder with an OCI image layout to verify"),
        CONCURRENCY,
        *REGISTRY,
    ),
    "verify.run",
    "  # Verify a tar file before it is copied into a registry\n"
    "  imgpkg verify bundle.tar\n\n"
    "  # Verify a bundle and all that it names where it has been copied to\n"
    "  imgpkg verify -b registry.inside.example/team/bundle:v1",
    words="[FILE|FOLDER|REFERENCE]",
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
    "  # bash: in this shell; as a line of ~/.bashrc in each new one\n"
    "  source <(imgpkg completion bash)\n\n"
    "  # zsh: in each new shell, if ~/.zshrc runs compinit\n"
    '  imgpkg completion zsh > "${fpath[1]}/_imgpkg"\n\n'
    "  # fish: in each new shell\n"
    "  imgpkg completion fish > ~/.config/fish/completions/imgpkg.fish\n\n"
    "  # PowerShell: in this shell; as a line of the file $PROFILE in each new one\n"
    "  imgpkg completion powershell | Out-String | Invoke-Expression",
    words="[bash|zsh|fish|powershell]",
)
HELP = Command(("help",), "Print the help of a command", (), "help.run", words="[command]")
REGISTRY_GROUP = Command(("registry",), "Serve a small registry")
REGISTRY_SERVE = Command(
    ("registry", "serve"),
    "Serve a small registry for demonstrations and tests",
    (
        text("address", "HOST:PORT to listen on; port 0 chooses a free one", default="127.0.0.1:5000"),
        switch("delete", "Allow tags, images and blobs to be deleted", default=True),
        text("storage", "Folder to keep images in (default: memory)"),
        Flag("tar", ValueType.STRINGS, "Tar file to serve, read-only and not unpacked (may be repeated)"),
        Flag(
            "from-oci-layout",
            ValueType.STRINGS,
            "Folder with an OCI image layout to serve, read-only (may be repeated)",
        ),
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
    *auth_commands.COMMANDS,
    *tidying_commands.COMMANDS,
    COMPLETION,
    COPY,
    DESCRIBE,
    HELP,
    INVENTORY,
    LOCK,
    PULL,
    PUSH,
    REGISTRY_GROUP,
    REGISTRY_SERVE,
    TAG,
    TAG_LIST,
    TAG_RESOLVE,
    VERIFY_COMMAND,
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
    below = (command for command in COMMANDS if command.path[:-1] == path)
    return tuple(sorted(below, key=lambda command: command.name))


def locate(argv: Sequence[str]) -> tuple[Command, list[str]]:
    """Return the command that `argv` names, and the other words in their order.

    Flags may come in front of its name, as in cobra.
    """
    command, rest = ROOT, list(argv)
    at = 0
    while at < len(rest) and rest[at] != "--":
        word = rest[at]
        # A flag may precede the command: `imgpkg --tty push`.
        if word.startswith("-"):
            at += 2 if _takes_next(command, word) else 1
            continue
        below = find(command.path, word)
        # The first word that is no subcommand ends the name: it is an argument.
        if below is None:
            break
        command = below
        del rest[at]
    return command, rest


def _takes_next(command: Command, word: str) -> bool:
    """Return True when the word after `word` is its value; unknown flags are assumed to take one."""
    is_long = word.startswith("--")
    if "=" in word or (len(word) != len("-x") and not is_long):
        return False
    # The command that owns a flag may come later, so only the known switches take no value.
    switches = (flag for flag in command.all_flags if flag.value_type is ValueType.BOOL)
    return word.lstrip("-") not in {flag.name if is_long else flag.short for flag in switches}
