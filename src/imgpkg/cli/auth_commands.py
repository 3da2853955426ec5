"""The commands below `imgpkg auth`: names, flags and help texts."""

from __future__ import annotations

from imgpkg.cli.arguments import Flag, ValueType, switch, text
from imgpkg.cli.command import BUNDLE, IMAGE, NETWORK, REGISTRY, Command

_AUTHFILE = text("authfile", "Podman file of logins to use instead of the docker config")
AUTH = Command(("auth",), "Log in and out, and explain and check credentials")
AUTH_CHECK = Command(
    ("auth", "check"),
    "Check over the network that repositories can be read, and written to with --push",
    (
        BUNDLE,
        IMAGE,
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
AUTH_EXPLAIN = Command(
    ("auth", "explain"),
    "Explain which credential a repository or registry gets, and why",
    (BUNDLE, IMAGE, *REGISTRY),
    "auth.explain",
    "  # Explain the credential of a repository, without a request to the registry\n"
    "  imgpkg auth explain registry.example.com/team/config\n\n"
    "  # Explain the credentials of a registry as a whole and of an image\n"
    "  imgpkg auth explain registry.example.com ghcr.io/team/app:v1",
    words="REFERENCE...",
)
AUTH_LIST = Command(
    ("auth", "list"),
    "List the known logins, without their secrets",
    (),
    "login.list_logins",
    "  # List the logins of environment sets, keychains, files and credential helpers\n  imgpkg auth list",
    aliases=("ls",),
)
AUTH_LOGIN = Command(
    ("auth", "login"),
    "Check a login with the registry and store it",
    (
        _AUTHFILE,
        switch("check", "Store the login only if the registry accepts it", default=True),
        switch("identity-token-stdin", "Read an identity token (refresh token) from standard input"),
        Flag("password", ValueType.STRING, "Refused", short="p", hidden=True, secret=True),
        switch("password-stdin", "Read the password from standard input instead of asking for it"),
        text("username", "User name (default: asked for)", short="u"),
        *NETWORK,
    ),
    "login.login",
    "  # Log in to a registry; the password is asked for\n"
    "  imgpkg auth login registry.example.com -u me\n\n"
    "  # Log a robot account in to a part of a registry, in podman's file\n"
    "  imgpkg auth login registry.example.com/team -u robot --password-stdin --authfile auth.json < password",
    words="HOST[/PATH]",
)
AUTH_LOGOUT = Command(
    ("auth", "logout"),
    "Remove a stored login",
    (_AUTHFILE,),
    "login.logout",
    "  # Remove the login of a registry\n  imgpkg auth logout registry.example.com",
    words="HOST[/PATH]",
)
AUTH_TOKEN = Command(
    ("auth", "token"),
    "Print a bearer token for a repository",
    (
        Flag(
            "scope",
            ValueType.ARRAY,
            "Scope of the token, such as repository:team/app:pull,push, instead of pull for the repository "
            "(may be repeated)",
        ),
        *REGISTRY,
    ),
    "login.token",
    "  # List the tags of a repository with curl\n"
    '  curl -H "Authorization: Bearer $(imgpkg auth token registry.example.com/team/app)" '
    "https://registry.example.com/v2/team/app/tags/list",
    words="REFERENCE",
)
COMMANDS = (AUTH, AUTH_CHECK, AUTH_EXPLAIN, AUTH_LIST, AUTH_LOGIN, AUTH_LOGOUT, AUTH_TOKEN)
