"""The warning before a login of flags goes to a registry that only images of a bundle or lock file name."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from imgpkg.auth.flags import ExplicitSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imgpkg.auth.keychain import Finding
    from imgpkg.oci.reference import Reference, Repository
    from imgpkg.session import Session

_SETS = (
    "sets of IMGPKG_REGISTRY_HOSTNAME_0, IMGPKG_REGISTRY_USERNAME_0 and IMGPKG_REGISTRY_PASSWORD_0 are for "
    "one registry each, and a set with only the hostname makes its registry anonymous"
)
_SIDES = "--from-registry-username and --to-registry-username are for one side of a copy; "


class Disclosure:
    """Warns once in an operation on `source`; safe from many threads.

    A login of flags is for every registry. Whoever writes a bundle decides which registries its images are
    in, and so where the login is sent. `has_sides` is true if flags for one side could limit the login.
    """

    def __init__(self, session: Session, source: str, *, has_sides: bool = False) -> None:
        self._session = session
        self._source = source
        self._has_sides = has_sides and session.settings.side is None
        self._flags = _finding_of_flags(session)
        self._lock = Lock()
        self._registries: set[str] = set()
        # Each repository is resolved once: a bundle can name thousands of images.
        self._checked: set[Repository] = set()

    def name(self, *registries: str) -> None:
        """Record that the user named these registries."""
        self._registries.update(registries)

    def name_single(self, references: Iterable[Reference]) -> None:
        """Take the registry of `references` for the one that the user means, if no other one can be meant."""
        registries = {reference.repository.registry for reference in references}
        # With a lock of one registry, that one is meant; of several, none is the obvious one.
        if not self._registries and len(registries) == 1:
            self.name(*registries)

    def approach_named(self, references: Sequence[Reference]) -> None:
        """Do what comes before all `references` of a file are requested; see `name_single` and `approach`."""
        self.name_single(references)
        self.approach(*references)

    def approach(self, *references: Reference) -> None:
        """Warn if the login would be sent for one of `references`; called before they are requested."""
        # Under the lock: no other thread may send the login before the warning.
        with self._lock:
            if self._flags is None:
                return
            repositories = {reference.repository for reference in references}
            strange = {place.registry for place in repositories if self._is_sent(place, self._flags)}
            if strange:
                self._session.warn(self._warning(sorted(strange), self._flags))
                self._flags = None

    def _is_sent(self, repository: Repository, flags: Finding) -> bool:
        if repository.registry in self._registries or repository in self._checked:
            return False
        self._checked.add(repository)
        winner = self._session.keychain.resolve(repository).winner
        return winner is not None and winner.source == flags.source

    def _warning(self, registries: list[str], flags: Finding) -> str:
        kind = flags.credential.kind if flags.credential is not None else "login"
        names = " and ".join(registries)
        limits = f"{_SIDES if self._has_sides else ''}{_SETS}"
        return (
            f"the {kind} from {flags.origin} is for any registry and is also used for {names}, where only "
            f"{self._source} names images; to limit it: {limits}"
        )


def _finding_of_flags(session: Session) -> Finding | None:
    """Return what the flags and their variables give, None if that cannot be disclosed."""
    sources = session.keychain.sources
    flags = next(source.stated for source in sources if isinstance(source, ExplicitSource))
    return None if flags.credential is None or flags.credential.is_anonymous else flags
