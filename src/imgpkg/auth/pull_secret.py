"""Pull secrets of Kubernetes that are mounted as folders: their files, and what is peculiar to them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imgpkg.auth.authfile import items

if TYPE_CHECKING:
    from collections.abc import Iterator

# The keys of secrets of the types dockerconfigjson and dockercfg, and what volumes often rename them to.
FILE_NAMES = (".dockerconfigjson", ".dockercfg", "config.json")

_LOGIN = ("username", "password")
_KEYS_OF_CONFIG = frozenset({"auths", "credhelpers", "credsstore", "httpheaders"})
_NOT_JSON = (
    "A pull secret is a JSON object; `kubectl get secret` prints it as base64. Mount it as a volume, or "
    "decode it with `base64 -d`."
)


def paths(value: str) -> Iterator[str]:
    """Yield the files that `value`, folders and files separated by colons, names, in its order.

    A folder stands for each file in it with a name of FILE_NAMES, and for itself if it has none.
    """
    for path in filter(None, value.split(os.pathsep)):
        inside = [os.path.join(path, name) for name in FILE_NAMES]
        # The folder itself stays in the list, so that a missing file is reported with its name.
        yield from [file for file in inside if os.path.isfile(file)] or [path]


def why_nothing(folder: str) -> str:
    """Return why a folder holds no pull secret, and what it may be for."""
    *names, last = FILE_NAMES
    missing = f"a folder without {', '.join(names)} and {last}"
    if not all(os.path.isfile(os.path.join(folder, name)) for name in _LOGIN):
        return missing
    return (
        f"{missing}; a login in a folder names no registry: set IMGPKG_REGISTRY_HOSTNAME_0, and "
        f"IMGPKG_REGISTRY_USERNAME_FILE_0 and IMGPKG_REGISTRY_PASSWORD_FILE_0 with the paths of its files"
    )


def config_of(value: object) -> object:
    """Return the configuration for the JSON value of a pull secret.

    The older type of Kubernetes, dockercfg, has the entries without `auths` around them.
    """
    pairs = items(value, "the top level")
    # The type of the secret is not in the file; only these keys distinguish the two forms.
    if any(key.lower() in _KEYS_OF_CONFIG for key, _ in pairs):
        return value
    return {"auths": {key: entry for key, entry in pairs if isinstance(entry, dict)}}


def hints_for(data: bytes) -> tuple[str, ...]:
    """Return what may be wrong with the content of a pull secret that could not be read."""
    return () if data.lstrip().startswith(b"{") else (_NOT_JSON,)
