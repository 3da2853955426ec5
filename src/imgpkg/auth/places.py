"""Where docker and podman keep credentials: the list of places, and reading one."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imgpkg.auth.authfile import AuthFile
from imgpkg.auth.jsonfile import MAX_SIZE
from imgpkg.errors import CredentialError, doing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Place:
    """A file, or the text of one in `inline`; a missing file is worth a warning if `named_by` a variable.

    A file in a folder that is closed to us is passed over, with a warning unless it `is_guess`.
    """

    name: str
    inline: str | None = field(default=None, repr=False)
    named_by: str = ""
    is_guess: bool = False

    def load(self, warn: Callable[[str], None]) -> AuthFile | None:
        """Read the place; None when there is no file; CredentialError naming place, line and column."""
        with doing(f"loading config file: {self.name}"):
            data = self._bytes(warn)
            if data is None:
                return None
            return AuthFile.parse(data, lambda text: warn(f"{self.name}: {text}"))

    def _bytes(self, warn: Callable[[str], None]) -> bytes | None:
        if self.inline is not None:
            return self.inline.encode("utf-8", "surrogateescape")
        try:
            # A byte more than any may have, for whoever decodes it to refuse; a device may have no end.
            with open(self.name, "rb") as file:
                return file.read(MAX_SIZE + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            if self.named_by:
                warn(f"{self.named_by} names {self.name}, which is not there; it is passed over")
        except OSError as error:
            # HOME may be that of another user, after sudo: the original finds nothing there.
            if os.path.exists(self.name) or not isinstance(error, PermissionError):
                raise CredentialError(f"open: {os.strerror(error.errno or 0).lower()}") from error
            if not self.is_guess:
                warn(f"{self.name} is in a folder that is closed to this user; it is passed over")
        return None


def places(environ: Mapping[str, str]) -> tuple[Place, ...]:
    """List the places in the order of their precedence; an environment without HOME names none by default."""
    return tuple(_places(environ))


def _places(environ: Mapping[str, str]) -> Iterator[Place]:
    home = environ.get("HOME") or environ.get("USERPROFILE", "")
    if inline := environ.get("DOCKER_AUTH_CONFIG"):
        yield Place("$DOCKER_AUTH_CONFIG", inline=inline)
    if docker := environ.get("DOCKER_CONFIG") or _below(home, ".docker"):
        yield Place(os.path.join(docker, "config.json"))
    if named := environ.get("REGISTRY_AUTH_FILE"):
        yield Place(named, named_by="REGISTRY_AUTH_FILE")
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Place(os.path.join(runtime, "containers", "auth.json"))
    elif home and sys.platform == "linux":
        # Root's podman may have made /run/containers for itself alone.
        yield Place(f"/run/containers/{os.getuid()}/auth.json", is_guess=True)
    if config := environ.get("XDG_CONFIG_HOME") or _below(home, ".config"):
        yield Place(os.path.join(config, "containers", "auth.json"))


def _below(folder: str, name: str) -> str:
    return os.path.join(folder, name) if folder else ""
